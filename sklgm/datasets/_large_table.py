"""Columns of numbers of a table that is larger than memory, some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs import ARRAYS, rows_looked_at, to_float, warn_of_telling_columns
from sklgm._running import import_extra, scratch_array
from sklgm.datasets._columns import (
    Features,
    feature_columns,
    holds_images,
    ordinary_numbers,
)

if TYPE_CHECKING:
    import polars

# Bytes from which on numbers are read some rows at a time, and values read together.
_LARGE, _N_VALUES = 2**27, 2**21


def is_large(lazy: polars.LazyFrame, n_rows: int, n_stored: int) -> bool:
    """Whether a table holds nothing but numbers, and many of them.

    Parameters
    ----------
    lazy : polars.LazyFrame of shape (n_rows, n_columns)
        The table without labels.
    n_rows : int
        Its number of rows.
    n_stored : int
        Size of its file, in bytes.

    Returns
    -------
    bool
        By its first row. False where the file is too small for as many numbers.
    """
    read = _numbers(_some_rows(lazy, 0, 1), "")
    if read is None:
        return False
    n_bytes = n_rows * len(read.names) * 8
    return _LARGE <= n_bytes <= max(ARRAYS.free, ARRAYS.times * n_stored)


def features_of_large(
    lazy: polars.LazyFrame,
    n_rows: int,
    labels: NDArray[Any],
    source: Any,
    *,
    stacklevel: int,
) -> Features | None:
    """Read the columns of a table of numbers, some rows at a time.

    Parameters
    ----------
    lazy : polars.LazyFrame of shape (n_rows, n_columns)
        The table without labels, the same each time that it is collected.
    n_rows : int
        Its number of rows.
    labels : ndarray of shape (n_rows,)
        Claimed labels, which no column should tell.
    source : object
        Where the table comes from, for messages.
    stacklevel : int
        Frames above this function to which warnings belong.

    Returns
    -------
    Features or None
        What :func:`~sklgm.datasets._columns.features_of` gives, as a file where it is
        large; None where a column must be looked at as a whole: integers beyond 2**53,
        and whatever is an error.
    """
    values: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()
    single: list[tuple[str, int]] = []
    counters = _Counters()
    start, step = 0, 1
    while start < n_rows:
        table = _some_rows(lazy, start, step)
        read = None if table is None else _numbers(table, source)
        if table is None or read is None or (start > 0 and read.names != names):
            return None
        counters.look_at(table)
        if values is None:
            names, single = read.names, read.single
            shape = (n_rows, len(names))
            values = scratch_array(shape, np.float64, of_file=True)
            step = max(_N_VALUES // len(names), 1)
        values[start : start + len(table)] = read.values
        start += len(table)
    if values is None or counters.found():
        return None
    looked_at = rows_looked_at(n_rows)
    sample = values[looked_at]
    warn_of_telling_columns(
        [(name, sample[:, j]) for name, j in single],
        labels[looked_at],
        how="drop_columns",
        stacklevel=stacklevel + 1,
    )
    return Features(to_float(values), names)


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Some rows of a table of numbers."""

    names: tuple[str, ...]
    single: list[tuple[str, int]]  # columns that are one feature, and which
    values: NDArray[np.float64]  # (n_rows, n_features)


def _some_rows(
    lazy: polars.LazyFrame, start: int, n_rows: int
) -> polars.DataFrame | None:
    """Read some rows; None where they cannot be read."""
    panic = import_extra("polars", "cli").exceptions.PanicException  # no Exception
    try:
        table: polars.DataFrame = lazy.slice(start, n_rows).collect()
    except (Exception, panic):  # a damaged table may raise anything
        return None
    return table if len(table) > 0 else None


def _numbers(table: polars.DataFrame | None, source: Any) -> _Numbers | None:
    """Read rows of numbers; None where a column is anything else, or an error."""
    if table is None or any(holds_images(column) for column in table):
        return None
    pl = import_extra("polars", "cli")
    table = table.with_columns(pl.selectors.float().fill_nan(None))
    ordinary = ordinary_numbers(table)
    columns: list[Any] = []
    single: list[tuple[str, int]] = []
    for column in table.get_columns():
        made = [column]
        if column.name not in ordinary:
            if column.dtype.is_integer():
                return None
            try:
                made = feature_columns(column, source)
            except ValueError:
                return None
        if len(made) == 1:
            single.append((column.name, len(columns)))
        columns += made
    if not all(column.dtype.is_numeric() for column in columns):
        return None
    names = tuple(column.name for column in columns)
    values = pl.DataFrame(columns).to_numpy().astype(np.float64)
    return _Numbers(names, single, values)


class _Counters:
    """Columns of integers that so far counted the rows, with their last values."""

    def __init__(self) -> None:
        self._last: dict[str, int] | None = None

    def look_at(self, table: polars.DataFrame) -> None:
        """Look at the next rows."""
        known = self._last
        self._last = {}
        for column in table.get_columns():
            if not column.dtype.is_integer() or column.null_count() > 0:
                continue
            if known is not None and known.get(column.name) != column[0] - 1:
                continue
            if bool((column.diff().drop_nulls() == 1).all()):
                self._last[column.name] = column[-1]

    def found(self) -> bool:
        """Whether a column counts all rows."""
        return bool(self._last)
