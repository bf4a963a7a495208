"""The page of speed, written from ``results/speed.json`` at each build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import generated
from sphinx.application import Sphinx

FOREWORD = """\
.. This page is written by docs/_extensions/speed_page.py; edits are lost.

=====
Speed
=====

What training, estimation, scoring and imports cost, measured by
``tests/benchmarks`` side by side: ratios are medians of turns in one process, times are
of the process. "Asked" is the bound that the benchmark asserts. No number is typed by
hand.
"""


def write_page(folder: Path) -> None:
    """Write ``speed.rst`` in `folder` for its ``results/speed.json``."""
    source = folder / "results" / "speed.json"
    generated.write_page(source, folder / "speed.rst", render_page)


def render_page(record: dict[str, Any] | None) -> str:
    """Text of the page for a record of ``tests/benchmarks/run.py``, or for none."""
    if record is None:
        return f"{FOREWORD}\nNo measurement is committed.\n"
    environment = record["environment"]
    packages = ", ".join(
        f"{name} {environment['packages'][name]}"
        for name in ("torch", "scikit-learn", "skorch", "numpy")
        if environment["packages"].get(name)
    )
    machine = (
        f"Measured on {record['date']} by ``{record['command']}`` on "
        f"{record['processor'] or 'an unnamed processor'}, {environment['cpu_count']} "
        f"CPUs, {environment['platform']}, Python {environment['python']}, {packages}; "
        f"the load of the machine was {record['load_at_start']} at the start."
    )
    threads = sorted({row["threads"] for row in record["rows"]})
    names = list(dict.fromkeys(row["what"] for row in record["rows"]))
    found = {(row["what"], row["threads"]): row for row in record["rows"]}
    header = [f"{n} thread{'s' if n > 1 else ''}" for n in threads]
    rows = []
    for name in names:
        own = [found.get((name, n)) for n in threads]
        first = next(row for row in own if row is not None)
        asked = f"{first['asked']:g}{_unit(first)}"
        rows.append([name, asked, *map(_cell, own)])
    lines = generated.table(["What", "Asked", *header], rows)
    return "\n".join([FOREWORD, machine, "", *lines]) + "\n"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    text = f"{row['median']:.3g}{_unit(row)}"
    if row["n"] > 1:
        text += f" ({row['low']:.3g} to {row['high']:.3g})"
    return text if row["median"] <= row["asked"] else f"{text}, missed"


def _unit(row: dict[str, Any]) -> str:
    return "" if row["unit"] == "ratio" else f" {row['unit']}"


def _write(app: Sphinx) -> None:
    write_page(Path(app.srcdir))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the page before Sphinx looks for sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
