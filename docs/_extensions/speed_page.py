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
``tests/benchmarks`` side by side: ratios are medians of turns in one process (those of
imports, of one process each), times are of the processor, of all threads together.
"Asked" is the bound that the benchmark asserts. No number is typed by hand.
"""


def write_page(folder: Path) -> None:
    """Write ``speed.rst`` in `folder` for what lies in its ``results``."""
    source = folder / "results" / "speed.json"
    of_profiles = folder / "results" / "profiles.json"
    generated.write_page(source, folder / "speed.rst", render_page, of_profiles)


def render_page(
    record: dict[str, Any] | None, profiles: dict[str, Any] | None = None
) -> str:
    """Text of the page for records of ``run.py`` and ``profiles.py``, or for none."""
    if record is None:
        return f"{FOREWORD}\nNo measurement is committed.\n"
    records = [*record.get("earlier", ()), record]
    measured = [row for one in records for row in one["rows"]]
    threads = sorted({row["threads"] for row in measured})
    names = list(dict.fromkeys(row["what"] for row in measured))
    found = {(row["what"], row["threads"]): row for row in measured}
    header = [f"{n} thread{'s' if n > 1 else ''}" for n in threads]
    rows = []
    for name in names:
        own = [found.get((name, n)) for n in threads]
        first = next(row for row in own if row is not None)
        asked = f"{first['asked']:g}{_unit(first)}"
        rows.append([name, asked, *map(_cell, own)])
    lines = generated.table(["What", "Asked", *header], rows)
    lines = [FOREWORD, *_machines(records), "", *lines]
    if profiles is not None:
        lines += _profiles(profiles)
    return "\n".join(lines) + "\n"


def _machines(records: list[dict[str, Any]]) -> list[str]:
    """Sentences on how each record was measured, the latest first."""
    latest = records[-1]
    lines = [_machine(latest)]
    for record in reversed(records[:-1]):
        lines += ["", f"What that leaves out: {_machine(record)}"]
    return lines


def _machine(record: dict[str, Any]) -> str:
    """Sentence on when, how and where a record was measured."""
    environment = record["environment"]
    packages = ", ".join(
        f"{name} {environment['packages'][name]}"
        for name in ("torch", "scikit-learn", "skorch", "numpy")
        if environment["packages"].get(name)
    )
    return (
        f"Measured on {record['date']} by ``{record['command']}`` on "
        f"{record['processor'] or 'an unnamed processor'}, {environment['cpu_count']} "
        f"CPUs, {environment['platform']}, Python {environment['python']}, {packages}; "
        f"the load of the machine was {record['load_at_start']} at the start."
    )


def _profiles(record: dict[str, Any]) -> list[str]:
    """Lines of where the time goes of what costs more than it should."""
    rows = []
    for profile in record["profiles"]:
        n_operators = profile.get("n_operators")
        counted = "" if n_operators is None else f"{n_operators:,}"
        shares = [f"``{name}`` {part:.0%}" for name, part in profile["shares"]]
        seconds = f"{profile['seconds']:.3g} s"
        rows.append([profile["what"], seconds, counted, ", ".join(shares)])
    return [
        "",
        "Where the time goes",
        "===================",
        "",
        _machine(record),
        "The profilers of torch and of Python cost time themselves, and each row is",
        "measured alone: read the shares and the number of operators, not which row is",
        "slower.",
        "",
        *generated.table(["What", "Time", "Operators", "Shares"], rows),
    ]


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
