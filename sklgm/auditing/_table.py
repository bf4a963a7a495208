"""Rows of columns of several kinds: numbers, dates, categories, texts."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A column of text is a category where it has at most so many values, or values a row.
_MOST_CATEGORIES = 20
_CATEGORY_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of columns of several kinds.

    Attributes
    ----------
    columns : list of ndarray of shape (n_samples,)
        Floats (NaN where missing), or texts (None where missing).
    names : list of str
        Names of the columns.
    kinds : list of {"number", "date", "category", "text"}
        What each holds.
    """

    columns: list[NDArray[Any]]
    names: list[str]
    kinds: list[str]

    @cached_property
    def values(self) -> NDArray[Any]:
        """All columns (n_samples, n_columns): of floats, or of objects."""
        if not self.columns:
            return np.empty((0, 0), dtype=object)
        values = np.column_stack(self.columns)
        if values.dtype == np.float64:
            # Of one sign: equal rows have equal bytes.
            values[np.isnan(values)] = np.nan
        return values

    @property
    def is_of_numbers(self) -> bool:
        """Whether all columns hold numbers."""
        return set(self.kinds) == {"number"}


def as_table(X: Any, like: Table | None = None) -> Table:
    """Read rows as a table.

    Parameters
    ----------
    X : frame, ndarray of shape (n_samples, n_columns) or sequence of texts
        Of pandas or Polars, or of numpy.
    like : Table or None, default=None
        Table whose columns and kinds the rows must have.

    Returns
    -------
    Table
        The table.

    Raises
    ------
    ValueError
        If columns are missing, or hold something that is not a feature.
    """
    columns: list[tuple[str, str, NDArray[Any]]] = []
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        check_repeated(names)
        for name, column in zip(names, X.columns, strict=True):
            columns += columns_of(name, X[column])
    elif isinstance(X, np.ndarray) and X.ndim > 1:
        for j, values in enumerate(X.reshape(len(X), -1).T):
            columns += columns_of(f"column {j}", values)
    else:
        values = np.empty(len(X), dtype=object)
        values[:] = [None if is_missing(text) else str(text) for text in X]
        columns = [("text", "text", values)]
    check_repeated([name for name, _, _ in columns])
    table = Table(
        [values for _, _, values in columns],
        [name for name, _, _ in columns],
        [kind for _, kind, _ in columns],
    )
    if like is None:
        return table
    if set(table.names) != set(like.names):
        only = sorted(set(table.names) ^ set(like.names))
        raise ValueError(
            "trusted rows must have the columns of X; only one of them has "
            f"{', '.join(map(repr, only[:5]))}"
        )
    of_name = dict(zip(table.names, table.columns, strict=True))
    return Table([of_name[name] for name in like.names], like.names, like.kinds)


def check_repeated(names: Sequence[str], X_name: str = "X") -> None:
    """Refuse columns of the same name.

    Parameters
    ----------
    names : sequence of str
        Names of all columns.
    X_name : str, default="X"
        Name of the parameter, for the error.

    Raises
    ------
    ValueError
        If a name is there more than once.
    """
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise ValueError(f"{X_name} has several columns of the name {repeated[0]!r}")


def is_missing(value: Any) -> bool:
    """Whether a value of a column is none.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    bool
        True of None, NaN, NA of pandas, and NaT.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def columns_of(name: str, column: Any) -> list[tuple[str, str, NDArray[Any]]]:
    """Read a column; several where it holds lists.

    Parameters
    ----------
    name : str
        Its name.
    column : series or ndarray of shape (n_samples,) or (n_samples, n_places)
        Of pandas or Polars, or of numpy.

    Returns
    -------
    list of (str, str, ndarray of shape (n_samples,))
        Name, kind and values, as in :class:`Table`.

    Raises
    ------
    ValueError
        If it holds lists of several lengths.
    """
    dtype = getattr(column, "dtype", None)
    is_category = str(dtype).lower().startswith(("category", "categorical", "enum"))
    if getattr(dtype, "kind", "O") in ("b", "i", "u", "f") and hasattr(column, "iloc"):
        values = column.to_numpy(dtype="float64", na_value=np.nan)
    elif getattr(dtype, "tz", None) is not None and hasattr(column, "dt"):
        values = column.dt.tz_convert(None).to_numpy()
    else:
        values = np.asarray(
            column.to_numpy() if hasattr(column, "to_numpy") else column
        )
    if values.dtype.kind in "Mm":
        is_nat = np.isnat(values)
        unit = "datetime64[us]" if values.dtype.kind == "M" else "timedelta64[us]"
        seconds = values.astype(unit).astype(np.int64) / 1e6
        return [(name, "date", np.where(is_nat, np.nan, seconds))]
    if values.dtype.kind in "biuf" and values.ndim == 1 and not is_category:
        return [(name, "number", values.astype(np.float64))]
    if values.ndim > 1:  # lists of one length
        return [
            (f"{name}[{j}]", "number", place.astype(np.float64))
            for j, place in enumerate(values.reshape(len(values), -1).T)
        ]
    return _columns_of_objects(name, values, is_category)


def _columns_of_objects(
    name: str, values: NDArray[Any], is_category: bool
) -> list[tuple[str, str, NDArray[Any]]]:
    known = [value for value in values if not is_missing(value)]
    if known and not is_category:
        if all(isinstance(value, Number | Decimal | np.bool_) for value in known):
            floats = [np.nan if is_missing(v) else float(v) for v in values]
            return [(name, "number", np.array(floats))]
        if all(isinstance(value, datetime.date | np.datetime64) for value in known):
            dates = [None if is_missing(v) else np.datetime64(v, "us") for v in values]
            return columns_of(name, np.array(dates, dtype="datetime64[us]"))
        if all(isinstance(value, list | tuple | np.ndarray) for value in known):
            if len(known) < len(values) or len({len(value) for value in known}) > 1:
                raise ValueError(
                    f"column {name!r} holds lists of several lengths, or none in some "
                    "rows; features need as many numbers in each row"
                )
            try:
                places = np.stack([np.asarray(v, dtype=np.float64) for v in known])
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"column {name!r} holds lists of something other than numbers, of "
                    "which no features can be made"
                ) from error
            return columns_of(name, places)
    texts = np.array([None if is_missing(v) else str(v) for v in values], dtype=object)
    n_values = len({text for text in texts if text is not None})
    most = max(_MOST_CATEGORIES, _CATEGORY_SHARE * len(known))
    is_rare = n_values == len(known) and len(known) > _MOST_CATEGORIES // 2
    kind = "category" if is_category or (n_values <= most and not is_rare) else "text"
    return [(name, kind, texts)]
