"""Cells of tables: values of one or more seeds as plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sklgm.metrics import Rate
from sklgm.plotting import rate_of

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
    row: Mapping[str, Any],
    kind: str,
    *,
    details: Sequence[str] = (),
    color: str | None = None,
    is_difference: bool = False,
) -> Cell:
    """Show one quantity.

    Parameters
    ----------
    row : mapping
        A row of what :func:`sklgm.plotting.pool_seeds` returned.
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
    if row["n_values"] == 0 or row["n"] == 0:
        return Cell("unknown", ["no target counts"] if kind == "rate" else details)
    if kind == "rate":
        rate = rate_of(row)
        counts = f"{rate.n_success:,} of {rate.n_targets:,}"
        return Cell(
            percent(rate.value, rate_digits(rate)),
            [*details, counts, rate_interval(rate)],
            (rate.low, rate.value, rate.high),
            color,
        )
    show: Callable[[float], str] = percent if kind == "share" else number
    if is_difference:
        show = signed_points if kind == "share" else signed_number
    lines, interval = list(details), None
    if row["n_values"] > 1:
        spread = f"{show(row['lowest'])} to {show(row['highest'])}"
        spread = spread.replace(" points to", " to")
        lines.append(f"{spread} over {plural(row['n_values'], 'seed')}")
    elif not is_difference:
        low, high = row["low"], row["high"]
        if low is not None and high is not None:
            lines.append(f"{show(low)} to {show(high)}")
            if kind != "number" and 0 <= low <= high <= 1:
                interval = (low, row["value"], high)
        lines.append(f"n = {row['n']:,}")
    return Cell(show(row["value"]), lines, interval, color)


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
