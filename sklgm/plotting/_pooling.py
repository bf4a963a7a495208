"""Numbers of several seeds, taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sklgm._running import import_extra
from sklgm.metrics import Rate, wilson_rate

if TYPE_CHECKING:
    import polars as pl


def pool_seeds(table: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Pool what was measured for several seeds.

    Parameters
    ----------
    table : DataFrame
        Rows of the tidy table. Equal rows count once, and rows of an unknown value
        contribute nothing.
    key : sequence of str
        Columns that say what was measured; rows that agree in them are pooled.

    Returns
    -------
    DataFrame
        One row for each combination of values of `key`, in the order of first
        appearance, with the columns ``value`` (mean, null if unknown), ``low`` and
        ``high`` (of a single number, else null), ``lowest`` and ``highest``,
        ``n_values``, ``n`` (sum) and ``n_success`` (sum of value times n, what
        :func:`rate_of` makes a rate of).

    Examples
    --------
    >>> import polars as pl
    >>> from sklgm.plotting import pool_seeds, rate_of
    >>> table = pl.DataFrame(
    ...     {"victim": 2 * ["lgm"], "value": [0.1, 0.2], "low": [0.0, 0.1],
    ...      "high": [0.3, 0.4], "n": [20, 20], "seed": [0, 1]}
    ... )
    >>> (row,) = pool_seeds(table, ["victim"]).iter_rows(named=True)
    >>> rate = rate_of(row)
    >>> rate.n_success, rate.n_targets
    (6, 40)
    """
    polars = import_extra("polars", "cli")
    value, is_known = polars.col("value"), polars.col("value").is_not_null()
    is_alone = value.count() == 1
    pooled: pl.DataFrame = (
        table.unique(maintain_order=True)
        .group_by(key, maintain_order=True)
        .agg(
            value.mean(),
            polars.when(is_alone).then(polars.col("low").filter(is_known).first()),
            polars.when(is_alone).then(polars.col("high").filter(is_known).first()),
            value.min().alias("lowest"),
            value.max().alias("highest"),
            value.count().cast(polars.Int64).alias("n_values"),
            polars.col("n").filter(is_known).sum(),
            (value * polars.col("n"))
            .round()
            .sum()
            .cast(polars.Int64)
            .alias("n_success"),
        )
    )
    return pooled


def rate_of(row: Mapping[str, Any]) -> Rate:
    """Rate of a pooled row: successes and cases of all seeds are summed.

    Parameters
    ----------
    row : mapping
        A row of what :func:`pool_seeds` returned.

    Returns
    -------
    Rate
        With a 95 % Wilson interval; with no case at all the value is nan and the
        interval (0, 1).
    """
    return wilson_rate(row["n_success"], row["n"])


def bar_lengths(rate: Rate) -> tuple[float, float]:
    """Lengths of the error bar of a rate, below and above, at least 0."""
    return max(0.0, rate.value - rate.low), max(0.0, rate.high - rate.value)


def check_one_comparison(table: pl.DataFrame, columns: Sequence[str]) -> None:
    """Check that rows differ in no column that a figure cannot show.

    Parameters
    ----------
    table : DataFrame
        Rows of the tidy table.
    columns : sequence of str
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
