"""Coverage-guided fuzzing of the model file and the loaders by atheris.

Each target runs in a process of its own for a share of the minutes. What a target
raises beyond the errors that are documented, executes, or takes longer than ten seconds
for, is wrong.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

#: Target to the packages whose branches guide it.
TARGETS = ("model", "arrays", "table", "images")


def run(n, seed, minutes):
    """Fuzz all targets, for so many minutes in all; `n` is not used."""
    del n
    counts, wrong, coverage = {}, [], {}
    for target in TARGETS:
        seconds = int(60.0 * minutes / len(TARGETS))
        with tempfile.TemporaryDirectory() as place:
            _write_seeds(target, Path(place))
            command = [sys.executable, "-m", "tests.fuzz.loaders", target, place]
            command += [f"-max_total_time={seconds}", f"-seed={seed + 1}"]
            command += ["-timeout=10", "-rss_limit_mb=4096", "-max_len=20000"]
            command += [f"-artifact_prefix={place}/", "-print_final_stats=1"]
            ended = subprocess.run(
                command, capture_output=True, text=True, check=False, env=_environment()
            )
        said = ended.stderr + ended.stdout
        found = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
        counts[target] = int(found.group(1)) if found else 0
        covered = re.findall(r"cov: (\d+)", said)
        coverage[target] = int(covered[-1]) if covered else 0
        if ended.returncode != 0 or not found:
            wrong.append(f"{target}: {said[-1500:]}")
        print(target, counts[target], coverage[target], ended.returncode, flush=True)
    return {
        "n": sum(counts.values()),
        "counts": counts,
        "branches_reached": coverage,
        "n_wrong": len(wrong),
        "wrong": wrong,
    }


def _environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _write_seeds(target, folder):
    """Files to begin with."""
    import numpy as np

    from tests.fuzz import files, hostile

    rng = np.random.default_rng(0)
    if target == "model":
        contents = list(files.small_contents().values())
    elif target == "arrays":
        np.savez(folder / "seed.npz", X=rng.normal(size=(6, 2)), y=np.arange(6) % 2)
        return
    elif target == "table":
        contents = [b"a,b,label\n1,2,x\n3,4,y\n", b"a;label\n1,5;0\n2,5;1\n"]
    else:
        contents = [hostile.encoded(rng, kind) for kind in hostile.IMAGE_KINDS]
    for number, content in enumerate(contents):
        (folder / f"seed{number}").write_bytes(content)


def _import_late_modules():
    """Import what odd files make Python, Pillow or Polars import."""
    import encodings
    import importlib
    import pkgutil

    import polars  # noqa: F401
    from PIL import Image

    Image.init()
    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in ("mbcs", "oem"):  # of Windows
            importlib.import_module(f"encodings.{module.name}")


def _fuzz(target):
    """Run a target; in a process of its own, since libFuzzer ends it."""
    import warnings

    import atheris

    packages = ["sklgm.persistence", "sklgm.datasets", "sklgm._inputs"]
    with atheris.instrument_imports(include=packages):
        from sklgm._inputs import is_image
        from sklgm.datasets import load_rows
        from sklgm.persistence import unpack
    from tests.fuzz import _children

    warnings.simplefilter("ignore")
    place = Path(tempfile.mkdtemp())
    path = place / {"arrays": "rows.npz", "table": "rows.csv"}.get(target, "file")

    def read(content):
        try:
            if target == "model":
                unpack(content, "file")
            elif target == "images":
                is_image(lambda: content)
            else:
                with _children.unwatched():
                    path.write_bytes(content)
                load_rows(path)
        except (ValueError, TypeError, OSError):
            pass

    _import_late_modules()
    for seed in sorted(Path(sys.argv[2]).iterdir()):
        read(seed.read_bytes())
    # The header of an array is parsed by ast.literal_eval, which executes nothing.
    events = [e for e in _children.FORBIDDEN if (target, e) != ("arrays", "compile")]
    _children.watch(events)

    def one(content):
        with _children.watching():
            read(content)
        if _children.executed:
            raise AssertionError(json.dumps(_children.executed[:3]))

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    _fuzz(sys.argv[1])
