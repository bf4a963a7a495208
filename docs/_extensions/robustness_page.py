"""The page of robustness, written from ``results/robustness.json`` at each build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generated
from sphinx.application import Sphinx

from sklgm.metrics import wilson_rate

FOREWORD = """\
.. This page is written by docs/_extensions/robustness_page.py; edits are lost.

==========
Robustness
==========

What ``python -m tests.fuzz`` counted: interruptions, altered files, hostile inputs,
threads, and faults put into the code that the tests must notice. :doc:`../security`
says what is promised. No number is typed by hand.
"""
#: Command to its title and what it asks.
TITLES = {
    "kills": (
        "Interruptions",
        "``audit``, ``reproduce`` and trainings with ``checkpoint_dir``, killed or "
        "interrupted at random times and started again. Wrong would be half a "
        "result, another result in the end, or another exit code.",
    ),
    "files": (
        "Altered model and cache files",
        "Wrong would be anything executed, an error that is not documented, or a "
        "file that was altered and is loaded. One who knows the format can make a "
        "file anew, with another model in it: such files count as opened.",
    ),
    "inputs": (
        "Hostile images, archives, arrays, tables and names",
        "Given to the loaders, and some to ``sklgm audit``. Wrong would be a "
        "traceback, a hang, memory beyond the bound, anything executed, a formula "
        "in a list, or a tag of a name in the report.",
    ),
    "threads": (
        "Seeded fits in four threads",
        "Wrong would be other bits than without threads, or a global generator that "
        "was moved.",
    ),
    "loaders": (
        "Coverage-guided fuzzing",
        "atheris on the model file and the loaders. Wrong would be anything "
        "executed, or an error that is not documented.",
    ),
    "order": (
        "The tests in random order",
        "With two workers, and warnings as errors. Wrong would be a test that fails. "
        "What they cover of the package is measured with branches.",
    ),
    "mutants": (
        "Faults that the tests must notice",
        "Drawn from all small faults of the Gaussians, the certificates, the "
        "losses, the metrics and the detection engine.",
    ),
}


def write_page(folder: Path) -> None:
    """Write ``robustness.rst`` beside ``robustness.json`` in `folder`."""
    generated.write_page(
        folder / "robustness.json", folder / "robustness.rst", render_page
    )


def render_page(record: dict[str, dict[str, Any]] | None) -> str:
    """Text of the page, for the commands that were run."""
    if not record:
        return f"{FOREWORD}\nNothing is committed.\n"
    rows = [
        [TITLES[name][0], _number(each), _wrong(each), f"``{each['command']}``"]
        for name, each in _in_order(record)
    ]
    lines = [FOREWORD, *generated.table(["What", "n", "Wrong", "Command"], rows)]
    for name, each in _in_order(record):
        title, what = TITLES[name]
        lines += ["", title, "=" * len(title), "", what, "", _run_on(each), ""]
        counts = [[key, f"{n:,}"] for key, n in sorted(each["counts"].items())]
        lines += generated.table(["Outcome", "Count"], counts)
        if each.get("survivors"):
            lines += ["", _unnoticed(each["survivors"])]
    return "\n".join(lines) + "\n"


def _in_order(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    unknown = set(record) - set(TITLES)
    if unknown:
        raise ValueError(f"there is no text for {sorted(unknown)}")
    return ((name, record[name]) for name in TITLES if name in record)


def _number(each: dict[str, Any]) -> str:
    if isinstance(each["n"], dict):
        return ", ".join(f"{n:,} {kind}" for kind, n in each["n"].items())
    return f"{each['n']:,}"


def _wrong(each: dict[str, Any]) -> str:
    """What went wrong; of faults the share that was noticed, with its interval."""
    if "survivors" not in each:
        return f"{each['n_wrong']:,}"
    rate = wilson_rate(each["n"] - len(each["survivors"]), each["n"])
    return f"{rate.value:.1%} noticed ({rate.low:.1%} to {rate.high:.1%})"


def _unnoticed(survivors: list[dict[str, Any]]) -> str:
    """How many are left for a reason; a reason of null is a test written since."""
    n_explained = sum(bool(survivor["reason"]) for survivor in survivors)
    n_since = sum(survivor["reason"] is None for survivor in survivors)
    since = f", and tests that were written since notice {n_since}" if n_since else ""
    return (
        f"No test noticed {len(survivors)}, of which {n_explained} have a reason to be "
        f"left{since}; :download:`robustness.json` lists them."
    )


def _run_on(each: dict[str, Any]) -> str:
    environment = each["environment"]
    text = (
        f"On {each['date']}, {each['processor_seconds']:,} s of the processor, "
        f"{environment['platform']}, Python {environment['python']}"
    )
    more = []
    if "longest_seconds" in each:
        more.append(f"the longest took {each['longest_seconds']:g} s of the processor")
    if "peak_bytes" in each:
        more.append(
            f"the largest process {each['peak_bytes'] / 2**20:,.0f} MiB, libraries "
            "included"
        )
    n_run = sum(each["n"].values()) if isinstance(each["n"], dict) else each["n"]
    if each.get("n_asked", n_run) != n_run:
        more.append(f"{each['n_asked']:,} were asked for, {n_run:,} run")
    return "; ".join([text, *more]) + "."


def _write(app: Sphinx) -> None:
    write_page(Path(app.srcdir) / "results")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the page before Sphinx looks for sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
