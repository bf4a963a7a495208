"""Columns of numbers as one array: of a frame in memory, or of Dask by partitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import scratch_array
from sklgm.auditing._chunks import row_chunks
from sklgm.auditing._table import columns_of

_HINT = (
    "convert it to numbers, leave it out ({X}.drop(columns=...)), or give "
    "{X}.compute() where that fits into memory"
)


@dataclass(frozen=True, eq=False)
class NumberColumns:
    """Columns of numbers, without their frame.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_columns)
        The numbers, of the type that all columns have in common; memory-mapped where
        they are large.
    names : list of str
        Columns; ``name[0]``, ``name[1]`` and so on for the places of lists.
    """

    values: NDArray[Any]
    names: list[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and columns."""
        return self.values.shape

    def columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and values of each column.

        Yields
        ------
        tuple of (str, ndarray of shape (n_samples,))
            A column.
        """
        for j, name in enumerate(self.names):
            yield name, self.values[:, j]

    def incomplete(self) -> list[str]:
        """Names of the columns that hold NaN.

        Returns
        -------
        list of str
            The names.
        """
        if self.values.dtype.kind != "f":
            return []
        has_nan = np.zeros(len(self.names), dtype=bool)
        for chunk in row_chunks(self.values):
            has_nan |= np.isnan(self.values[chunk]).any(axis=0)
        return [self.names[j] for j in np.flatnonzero(has_nan)]

    def in_order_of(self, names: list[str]) -> NDArray[Any]:
        """Values in the order of other columns.

        Parameters
        ----------
        names : list of str
            Columns of the audited rows.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            The values.

        Raises
        ------
        ValueError
            If one has columns that the other lacks.
        """
        if set(names) != set(self.names):
            only = sorted(set(names) ^ set(self.names))
            raise ValueError(
                "trusted rows must have the columns of X; only one of them has "
                f"{', '.join(map(repr, only[:5]))}"
            )
        if names == self.names:
            return self.values
        return self.values[:, [self.names.index(name) for name in names]]


def is_dask(values: Any) -> bool:
    """Whether something is a collection of Dask, which must be computed.

    Parameters
    ----------
    values : object
        Anything.

    Returns
    -------
    bool
        True of a frame, series, index or array of Dask; Dask is not imported.
    """
    module = type(values).__module__.partition(".")[0]
    return module.startswith("dask") and hasattr(values, "compute")


def is_dask_frame(X: Any) -> bool:
    """Whether something is a frame of Dask.

    Parameters
    ----------
    X : object
        Anything.

    Returns
    -------
    bool
        True of a ``dask.dataframe.DataFrame``.
    """
    return is_dask(X) and hasattr(X, "columns") and hasattr(X, "partitions")


def numbers_in_memory(frame: Any) -> NumberColumns:
    """Read a frame of pandas or Polars whose columns are all numbers.

    Parameters
    ----------
    frame : frame of shape (n_samples, n_columns)
        Numbers, booleans or lists of numbers, all of one length.

    Returns
    -------
    NumberColumns
        The numbers.
    """
    names, parts = [], []
    for label, column in _labelled_columns(frame):
        of_column, values = _numbers_of(str(label), column)
        names += of_column
        parts.append(values)
    dtype = np.result_type(*(values.dtype for values in parts))
    array = np.empty((len(frame), len(names)), dtype=dtype)
    start = 0
    for values in parts:
        array[:, start : start + values.shape[1]] = values
        start += values.shape[1]
    return NumberColumns(array, names)


def numbers_by_partitions(X: Any, n_rows: int, name: str) -> NumberColumns:
    """Read a frame of Dask, a partition at a time.

    Parameters
    ----------
    X : dask.dataframe.DataFrame of shape (n_rows, n_columns)
        Numbers, booleans or lists of numbers, all of one length.
    n_rows : int
        How many rows all partitions hold.
    name : str
        Name of the parameter, for errors.

    Returns
    -------
    NumberColumns
        The numbers, in the order of the partitions.

    Raises
    ------
    ValueError
        If there is no column, two have one name, one holds something else or another
        type than the frame says, or partitions do not hold ``n_rows`` rows.
    """
    names = [str(column) for column in X.columns]
    if not names:
        raise ValueError(f"{name} must have at least one column beside the labels")
    repeated = [column for column in names if names.count(column) > 1]
    if repeated:
        raise ValueError(f"{name} has several columns of the name {repeated[0]!r}")
    declared = dict(zip(names, X.dtypes, strict=True))
    for column, dtype in declared.items():
        # Objects may be lists of numbers.
        is_object = isinstance(dtype, np.dtype) and dtype.kind == "O"
        if not is_object and getattr(dtype, "kind", "O") not in "biuf":
            raise ValueError(_not_a_number(column, str(dtype), name))
    dtype = np.result_type(*(_array_type(each) for each in declared.values()))
    places: dict[str, list[str]] | None = None
    array = np.empty((0, len(names)), dtype=dtype)
    stop = 0
    for number in range(X.npartitions):
        part = X.partitions[number].compute()
        if len(part) == 0:
            continue
        start, stop = stop, stop + len(part)
        if stop > n_rows:
            break
        read = _read_partition(part, names, f"partition {number}", name)
        if places is None:
            places = {column: of_column for column, (of_column, _) in read.items()}
            n_columns = sum(map(len, places.values()))
            array = scratch_array((n_rows, n_columns), dtype)
        first = 0
        for column, (of_column, numbers) in read.items():
            if not np.can_cast(numbers.dtype, dtype):
                raise ValueError(
                    f"column {column!r} is {declared[column]} by {name}.dtypes, but "
                    f"{numbers.dtype} in partition {number} of {name}, as where values "
                    f"are missing: give {name}.astype({{{column!r}: 'float64'}})"
                )
            if of_column != places[column]:
                raise ValueError(
                    f"column {column!r} holds lists of {len(places[column])} numbers, "
                    f"but of {len(of_column)} in partition {number}; features need as "
                    "many numbers in each row"
                )
            array[start:stop, first : first + len(of_column)] = numbers
            first += len(of_column)
    if stop != n_rows:
        raise ValueError(
            f"{name} has {n_rows} rows, but its partitions hold "
            f"{'more' if stop > n_rows else stop}: it is not the same each time it is "
            "computed. Write it to Parquet first, and read that"
        )
    if places is not None:
        names = [place for of_column in places.values() for place in of_column]
    return NumberColumns(array, names)


def _read_partition(
    part: Any, names: list[str], place: str, name: str
) -> dict[str, tuple[list[str], NDArray[Any]]]:
    """Names and values of each column of a partition."""
    read = {}
    for column, (_, values) in zip(names, _labelled_columns(part), strict=True):
        try:
            read[column] = _numbers_of(column, values)
        except _NotNumbers as error:
            kind = f"{error} in {place}"
            raise ValueError(_not_a_number(column, kind, name)) from None
    return read


class _NotNumbers(Exception):
    """A column holds something else; its text says what."""


def _numbers_of(name: str, column: Any) -> tuple[list[str], NDArray[Any]]:
    """Names and values (n_samples, n_places) of a column of numbers."""
    plain = _plain_numbers(column)
    if plain is not None:
        return [name], plain.reshape(len(plain), 1)
    columns = columns_of(name, column)
    kinds = {kind for _, kind, _ in columns}
    if kinds != {"number"}:
        raise _NotNumbers(", ".join(sorted(kinds)))
    values = np.column_stack([values for _, _, values in columns])
    return [place for place, _, _ in columns], values.astype(np.float64)


def _plain_numbers(column: Any) -> NDArray[Any] | None:
    """Values of a column of a type of numbers; None of any other column."""
    if hasattr(column, "iloc"):  # of pandas
        if getattr(column.dtype, "kind", "O") not in "biuf":
            return None
        if not isinstance(column.dtype, np.dtype):
            return np.asarray(column.to_numpy(dtype="float64", na_value=np.nan))
    values = np.asarray(column.to_numpy())
    return values if values.ndim == 1 and values.dtype.kind in "biuf" else None


def _array_type(dtype: Any) -> np.dtype[Any]:
    """Type by which an array holds a column; float64 where values may be missing."""
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return dtype
    return np.dtype(np.float64)


def _labelled_columns(frame: Any) -> list[tuple[Any, Any]]:
    return [(label, frame[label]) for label in frame.columns]


def _not_a_number(column: str, kind: str, name: str) -> str:
    return (
        f"column {column!r} of {name} holds {kind}, but only columns of numbers are "
        f"read from a Dask frame: {_HINT.format(X=name)}"
    )
