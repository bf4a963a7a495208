"""The table of a verdict: in full for a page, with fewer rows for plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sklgm.plotting import rate_of, victim_color
from sklgm.report._cells import (
    Cell,
    Table,
    TableRow,
    number,
    percent,
    rate_digits,
    rate_interval,
)
from sklgm.report._measured import Measured
from sklgm.report._names import BASELINE, DEFENCES
from sklgm.report._terms import model_detail

#: Numbers by victim and variant, then by the title of their column.
Lines = dict[tuple[str | None, str | None], dict[str, Measured]]

_CAPTION = "Verdict"


def comparison_table(title: str, found: Sequence[Measured]) -> Table:
    """Put one number of each model below another.

    Parameters
    ----------
    title : str
        What is compared.
    found : sequence of Measured
        The numbers.

    Returns
    -------
    Table
        A row per number.
    """
    rows = [TableRow(m.name, [_cell(m)], color=_color(m.victim)) for m in found]
    return Table(_CAPTION, ["Model", title], rows)


def verdict_table(lines: Lines, titles: Sequence[str]) -> Table:
    """Make a row per model, its variants and the certified heads among them.

    Parameters
    ----------
    lines : mapping
        Numbers by victim and variant, then by column.
    titles : sequence of str
        The columns; those without a number are left out.

    Returns
    -------
    Table
        Cells hold intervals; what a model is stands small below its name.
    """
    titles = [t for t in titles if any(t in line for line in lines.values())]
    rows = []
    for (victim, variant), line in lines.items():
        cells = [_cell(line[t]) if t in line else None for t in titles]
        detail = model_detail(victim, variant)
        rows.append(TableRow(_name(line), cells, detail, _color(victim)))
    return Table(_CAPTION, ["Model", *titles], rows)


def brief_table(
    lines: Lines, titles: Sequence[str], certified: Sequence[Measured]
) -> Table:
    """Make fewer rows: variants in brackets, of rivals' certified heads the best.

    Parameters
    ----------
    lines, titles
        As for :func:`verdict_table`.
    certified : sequence of Measured
        The certified heads.

    Returns
    -------
    Table
        Cells hold texts alone. Variants have rows of their own if there are several
        of them, or several protocols that attack.
    """
    rivals = [m for m in certified if m.victim not in DEFENCES]
    best = max(rivals, key=lambda m: m.value, default=None)
    left_out = {m.victim for m in rivals if m is not best}
    variants = {variant for _, variant in lines} - {None}
    attacked = [title for title in titles if title.startswith("Fooled")]
    in_brackets = len(variants) == len(attacked) == 1
    names: dict[tuple[str | None, str | None], str] = {}
    texts: dict[tuple[str | None, str | None], dict[str, str]] = {}
    for (victim, variant), line in lines.items():
        if victim in left_out:
            continue
        key = (victim, None) if in_brackets else (victim, variant)
        is_cheap = key == (BASELINE, None)
        names.setdefault(key, _brief_name(line) + (" (cheap)" if is_cheap else ""))
        row = texts.setdefault(key, {})
        if in_brackets and variant is not None:
            own = row.get(attacked[0], "")
            row[attacked[0]] = f"{own} ({line[attacked[0]].text})".lstrip()
        else:
            row |= {title: m.text for title, m in line.items()}
    shown = [t for t in titles if any(t in row for row in texts.values())]
    rows = [
        TableRow(names[key], [Cell(row[t]) if t in row else None for t in shown])
        for key, row in texts.items()
    ]
    columns = [t if t in attacked else t.split(",")[0] for t in shown]
    if in_brackets:
        columns[0] += f" ({variants.pop()})"
    return Table(_CAPTION, ["Model", *columns], rows)


def _brief_name(line: Mapping[str, Measured]) -> str:
    return _name(line).replace("class medians", "medians")


def _name(line: Mapping[str, Measured]) -> str:
    name = next(iter(line.values())).name
    return name + (" (no defence)" if name == "softmax" else "")


def _cell(m: Measured) -> Cell:
    ends = None
    details = []
    if m.low is not None and m.high is not None:
        ends = (m.low, m.value, m.high)
        details.append(_interval(m))
    return Cell(m.text, details, ends, _color(m.victim))


def _color(victim: str | None) -> str | None:
    return victim_color(victim) if victim else None


def _interval(m: Measured) -> str:
    assert m.low is not None
    assert m.high is not None
    if " of " in m.text:
        rate = rate_of({"n_success": round(m.value * m.n), "n": m.n})
        return f"{percent(rate.value, rate_digits(rate))}, {rate_interval(rate)}"
    if m.text.endswith("%"):
        return f"{100 * m.low:.1f} to {percent(m.high)}"
    return f"{number(m.low)} to {number(m.high)}"
