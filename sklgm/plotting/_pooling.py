"""Rates of several seeds, taken together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklgm.metrics import Rate, wilson_rate

if TYPE_CHECKING:
    import polars as pl


def pooled_rate(table: pl.DataFrame, *, confidence: float = 0.95) -> Rate:
    """Pool the rates of several seeds: successes and cases are summed.

    Parameters
    ----------
    table : DataFrame
        Rows of the tidy table that hold rates of the same quantity. Those without cases
        or with an unknown value do not contribute.
    confidence : float, default=0.95
        Coverage of the Wilson interval, in (0, 1).

    Returns
    -------
    Rate
        With no case at all the value is nan and the interval (0, 1).

    Examples
    --------
    >>> import polars as pl
    >>> from sklgm.plotting import pooled_rate
    >>> rate = pooled_rate(pl.DataFrame({"value": [0.1, 0.2], "n": [20, 20]}))
    >>> rate.n_success, rate.n_targets
    (6, 40)
    """
    known = table.drop_nulls("value")
    n_success = (known["value"] * known["n"]).round().sum()
    return wilson_rate(int(n_success), int(known["n"].sum()), confidence=confidence)


def check_one_comparison(table: pl.DataFrame, columns: tuple[str, ...]) -> None:
    """Check that rows differ in no column that a figure cannot show.

    Parameters
    ----------
    table : DataFrame
        Rows of the tidy table.
    columns : tuple of str
        The columns that must hold one value.

    Raises
    ------
    ValueError
        If one holds several; the message lists them.
    """
    for name in columns:
        values = table[name].unique().sort().to_list()
        if len(values) > 1:
            listed = ", ".join(map(str, values))
            raise ValueError(
                f"table holds several values of {name!r}: {listed}. Filter it first."
            )
