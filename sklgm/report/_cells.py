"""Cells of tables: values of one or more seeds as plain text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sklgm.metrics import Rate
from sklgm.plotting import pooled_rate

if TYPE_CHECKING:
    import polars as pl

_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Cell:
    """A number, what stands small below it, and where its interval is drawn."""

    text: str
    details: Sequence[str] = ()
    #: (low, value, high) in [0, 1] for the interval strip, None for no strip.
    interval: tuple[float, float, float] | None = None
    color: str | None = None


@dataclass(frozen=True)
class TableRow:
    """A row header and its cells; None is an empty cell."""

    header: str
    cells: Sequence[Cell | None]
    detail: str = ""
    color: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first column is that of the row headers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[TableRow] = field(default_factory=list)


def value_cell(
    rows: pl.DataFrame,
    kind: str,
    *,
    details: Sequence[str] = (),
    color: str | None = None,
    is_difference: bool = False,
) -> Cell:
    """Show one quantity.

    Parameters
    ----------
    rows : DataFrame
        Its rows of the tidy table: one per seed, at least one.
    kind : {"rate", "share", "area", "number"}
        As in :class:`sklgm.results.ColumnSpec`.
    details : sequence of str, default=()
        What stands below it first.
    color : str or None, default=None
        Of the interval strip.
    is_difference : bool, default=False
        Whether it is a difference, written with its sign and without n.

    Returns
    -------
    Cell
        With interval and n of one seed, or the range of several.
    """
    if kind == "rate":
        rate = pooled_rate(rows)
        if rate.n_targets == 0:
            return Cell("unknown", ["no target counts"])
        cell = rate_cell(rate, color)
        return Cell(cell.text, [*details, *cell.details], cell.interval, color)
    known = rows.drop_nulls("value")
    if known.is_empty():
        return Cell("unknown", details)
    show: Callable[[float], str] = percent if kind == "share" else number
    if is_difference:
        show = signed_points if kind == "share" else signed_number
    values = known["value"].to_list()
    value = math.fsum(values) / len(values)
    lines, interval = list(details), None
    if len(values) > 1:
        n_seeds = known["seed"].n_unique()
        over = plural(n_seeds, "seed") if n_seeds > 1 else f"{len(values)} numbers"
        lines.append(f"{show(min(values))} to {show(max(values))} over {over}")
    elif not is_difference:
        low, high = known.select("low", "high").row(0)
        if low is not None and high is not None:
            lines.append(f"{show(low)} to {show(high)}")
            if kind != "number" and 0 <= low <= high <= 1:
                interval = (low, value, high)
        lines.append(f"n = {known['n'][0]:,}")
    return Cell(show(value), lines, interval, color)


def rate_cell(rate: Rate, color: str | None = None) -> Cell:
    """Show a rate in percent, with counts and interval below."""
    return Cell(
        percent(rate.value, rate_digits(rate)),
        [f"{rate.n_success:,} of {rate.n_targets:,}", rate_interval(rate)],
        (rate.low, rate.value, rate.high),
        color,
    )


def rate_digits(rate: Rate) -> int:
    """Digits after the point of a percentage that the counts support."""
    return 0 if rate.n_targets < 200 else 1


def rate_interval(rate: Rate) -> str:
    """Write the interval of a rate in percent."""
    digits = rate_digits(rate)
    return f"{100 * rate.low:.{digits}f} to {percent(rate.high, digits)}"


def percent(value: float, digits: int = 1) -> str:
    """Write a share in percent."""
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Write three digits after the point, never rounded up to a perfect 1."""
    if 0.9995 <= value < 1:
        return "> 0.999"
    return f"{value:.3f}"


def signed_points(share: float) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f} points".replace("-", _MINUS)


def signed_number(value: float) -> str:
    """Write a difference with its sign and three digits after the point."""
    return f"{value:+.3f}".replace("-", _MINUS)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
