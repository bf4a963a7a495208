"""Hostile inputs: each is read, or refused by one line, in bounded time and memory.

Each is given to the loader that the commands share; every twentieth to ``sklgm audit``
as a whole, with a report, and to options that take arrays and decisions.
"""

import io
import os
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from sklgm.datasets import load_path, load_rows
from tests.fuzz import _children
from tests.fuzz.hostile import KINDS, changed, good_folder

_EVERY = 20
_OPTIONS = ("--features", "--pred-probs", "--decisions", "--trusted")


def run(n, seed, minutes):
    """Read `n` inputs; see the module."""
    warnings.simplefilter("ignore")
    end = time.monotonic() + 60.0 * minutes
    _children.import_all()
    counts, wrong, longest, peak = Counter(), [], 0.0, 0
    kinds = list(KINDS)
    for number in range(n):
        if time.monotonic() > end:
            break
        kind = kinds[number % len(kinds)]
        is_whole = number // len(kinds) % _EVERY == 0
        draw = seed, number
        with tempfile.TemporaryDirectory() as place:
            # In a fork too: the threads of Polars do not outlive one.
            made = _children.call(_make, kind, place, draw, seconds=60.0)
            if made["end"] != "returned":
                raise RuntimeError(f"input {number} cannot be made: {made}")
            what, path = made["value"]
            path = Path(os.fsdecode(bytes.fromhex(path)))
            told = _children.call(_read, draw, place, path, is_whole)
        planted = (
            told["value"].pop("planted", False) if told["end"] == "returned" else 0
        )
        longest, peak = max(longest, told["seconds"]), max(peak, told["peak"])
        fate = told["value"]["fate"] if told["end"] == "returned" else told["end"]
        counts[f"{kind}: {fate}"] += 1
        if fate not in ("read", "refused", "audited") or planted:
            text = f"{number}, {kind}, {what}: {fate} {told['value']}"
            wrong.append(text[:1500])
            print(text, flush=True)
        if (number + 1) % 50 == 0:
            print(number + 1, dict(counts), flush=True)
    return {
        "n_asked": n,
        "n": sum(counts.values()),
        "counts": dict(sorted(counts.items())),
        "n_wrong": len(wrong),
        "wrong": wrong[:20],
        "longest_seconds": round(longest, 2),
        "peak_bytes": peak,
        "bound_seconds": _children.SECONDS,
        "bound_bytes": _children.MEMORY,
    }


def _make(kind, place, draw):
    what, path = KINDS[kind](np.random.default_rng(draw), Path(place))
    return what, os.fsencode(path).hex()


def _read(draw, place, path, is_whole):
    """Read one input; in a fork."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng((*draw, 1))
    os.chdir(place)
    if is_whole:
        fate, text = _audited(rng, path)
    else:
        fate, text = _loaded(load_rows if rng.random() < 0.7 else load_path, path)
    planted = Path("planted").exists()
    return {"fate": fate, "text": text, "planted": planted}


def _loaded(load, path):
    try:
        load(path)
    except (ValueError, TypeError, OSError) as error:
        return "refused", str(error)[:300]
    return "read", ""


def _audited(rng, path):
    """Fate of ``sklgm audit``, in this process."""
    from sklgm.cli import main

    option = []
    if rng.random() < 0.4:
        name = str(rng.choice(_OPTIONS))
        option = [name, str(_option_file(rng, name))]
    arguments = ["--cv", "2", "--max-epochs", "1", "--n-jobs", "1", "--out", "out"]
    sys.argv = ["sklgm", "audit", str(path), *arguments, *option]
    os.environ["XDG_CACHE_HOME"] = str(Path("cache").resolve())
    said, code = io.StringIO(), 0
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main()
    except SystemExit as error:
        code = error.code or 0
    lines = said.getvalue().strip().splitlines()
    if "Traceback" in said.getvalue() or code not in (0, 1, 2):
        return "traceback", said.getvalue()[-800:]
    if code == 0:
        return "audited", _checked_results(Path("out"))
    error = [line for line in lines if line.startswith("Error: ")]
    # Of typer's own, in a frame.
    is_usage = code == 2
    text = "\n".join(lines)[-300:]
    return ("refused" if is_usage or len(error) == 1 else "no error said"), text


def _checked_results(folder):
    """Whether lists hold no formula and the report no tag of a name."""
    for path in folder.glob("*.csv"):
        for line in path.read_text(errors="surrogateescape").splitlines():
            for cell in line.split(","):
                if re.match(r'^"?[=@]', cell):
                    raise AssertionError(f"a formula in {path.name}: {line}")
    page = (folder / "report.html").read_text()
    for tag in ("<script>alert", "<img src=x onerror"):
        if tag in page:
            raise AssertionError(f"{tag} in the report")
    return ""


def _option_file(rng, name):
    """A hostile file for an option."""
    if name == "--trusted":
        return good_folder(rng, Path("trusted"), names=("cat", "ape"))
    if name == "--decisions":
        text = rng.choice(
            ["", "row,decision\n", "row,decision\n-1,drop\nx,keep\n", "\0"]
        )
        Path("decisions.csv").write_text(str(text))
        return Path("decisions.csv")
    path = Path(f"given.{rng.choice(['npy', 'npz'])}")
    content = io.BytesIO()
    key = name.strip("-").replace("-", "_")
    values = rng.normal(size=(12, 3))
    if path.suffix == ".npy":
        np.save(content, values)
    else:
        np.savez(content, **{key: values})
    path.write_bytes(changed(rng, content.getvalue()))
    if rng.random() < 0.2:
        path.unlink()
        os.mkfifo(path)
    return path
