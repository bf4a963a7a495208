"""Frames of Dask as arrays of numbers: each partition is computed once, and stored."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import import_extra, scratch_array
from sklgm.auditing._number_columns import NumberColumns
from sklgm.auditing._table import check_repeated, columns_of, is_missing

# To delete a folder in which other threads make files.
_MOST_ATTEMPTS = 100


def is_of_dask(values: Any) -> bool:
    """Whether something is a frame of Dask, or a column of one.

    Parameters
    ----------
    values : object
        Anything.

    Returns
    -------
    bool
        True of what ``dask.dataframe`` has, which is not imported here.
    """
    module = type(values).__module__
    return module.startswith(("dask.dataframe.", "dask_expr."))


def is_dask_frame(X: Any) -> bool:
    """Whether something is a ``dask.dataframe.DataFrame``.

    Parameters
    ----------
    X : object
        Anything.

    Returns
    -------
    bool
        True of a frame.
    """
    return is_of_dask(X) and getattr(X, "ndim", 1) == 2


def parted_dask_frame(
    X: Any, label: Any, group: Any, X_name: str
) -> tuple[NumberColumns, Any, Any]:
    """Compute a frame of Dask, and part each partition while it is in memory.

    Parameters
    ----------
    X : dask.dataframe.DataFrame of shape (n_samples, n_columns)
        Numbers, booleans and lists of numbers beside labels and groups.
    label, group : object
        Columns of the labels and of the groups; None where there are no groups.
    X_name : str
        Name of the parameter, for errors.

    Returns
    -------
    rows : NumberColumns
        The numbers.
    labels : pandas.Series of shape (n_samples,)
        The labels.
    groups : pandas.Series of shape (n_samples,) or None
        The groups.

    Raises
    ------
    ValueError
        If another column holds something else, two have one name, lists are of several
        lengths, or workers of Dask do not see the folder for temporary files.

    Notes
    -----
    Two computations of a frame may have its rows in different orders, as after a
    shuffle. So all that is needed comes from one.
    """
    dask = import_extra("dask", "dask")
    kept = [column for column in X.columns if column not in (label, group)]
    names = [str(column) for column in kept]
    check_repeated(names, X_name)
    for name, column in zip(names, kept, strict=True):
        _check_type(name, X[column].dtype, X_name)
    with _scratch_folder() as folder:
        tasks = [
            dask.delayed(_stored)(part, folder, kept, label, group, X_name)
            for part in X.to_delayed()
        ]
        parts = dask.compute(*tasks)
        # As Dask joins partitions: the types of empty ones do not count.
        parts = [part for part in parts if part.n_rows > 0] or parts[:1]
        rows = _joined(parts, names, X_name)
    concat = import_extra("pandas", "dask").concat
    labels = concat([part.labels for part in parts])
    groups = None if group is None else concat([part.groups for part in parts])
    return rows, labels, groups


def numbers_of_frame(frame: Any, X_name: str) -> NumberColumns:
    """Read a frame of pandas or Polars as partitions of Dask are read.

    Parameters
    ----------
    frame : frame of shape (n_samples, n_columns)
        Numbers, booleans and lists of numbers.
    X_name : str
        Name of the parameter, for errors.

    Returns
    -------
    NumberColumns
        The numbers.
    """
    check_repeated([str(name) for name in frame.columns], X_name)
    read = [_numbers(str(name), frame[name], X_name) for name in frame.columns]
    places = [place for column in read for place in column.places]
    check_repeated(places, X_name)
    no_columns = np.empty((len(frame), 0), dtype=bool)  # of no influence on the type
    values = np.concatenate([no_columns, *(column.values for column in read)], axis=1)
    return NumberColumns(values, places)


@contextlib.contextmanager
def _scratch_folder() -> Iterator[str]:
    """Folder that is gone afterwards, though tasks may still write after an error."""
    folder = tempfile.mkdtemp(prefix="sklgm-")
    try:
        yield folder
    finally:
        for _ in range(_MOST_ATTEMPTS):
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):  # no file can be made in it any more
                break
            time.sleep(0.05)


@dataclass(frozen=True, eq=False)
class _Column:
    """Numbers of one column; several where it holds lists."""

    places: list[str]
    values: NDArray[Any]  # (n_samples, n_places)


@dataclass(frozen=True, eq=False)
class _Part:
    """A partition whose numbers were stored."""

    path: Path
    n_rows: int
    labels: Any
    groups: Any
    places: list[list[str]]
    dtypes: set[np.dtype[Any]]


def _stored(
    part: Any, folder: str, kept: Sequence[Any], label: Any, group: Any, X_name: str
) -> _Part:
    """Store the numbers of a computed partition; runs where Dask computes it."""
    # A task that is done again leaves a file of its own: rows and labels stay together.
    path = Path(folder) / f"{uuid.uuid4().hex}.npy"
    columns = []
    if len(part) > 0 and len(kept) > 0:
        columns = [_numbers(str(name), part[name], X_name) for name in kept]
        values = np.concatenate([each.values for each in columns], axis=1)
        if values.dtype.kind == "f":
            values[np.isnan(values)] = np.nan  # one of many, so that equal rows are
        try:
            np.save(path, values)
        except FileNotFoundError as error:
            raise ValueError(_not_seen(folder)) from error
    return _Part(
        path,
        len(part),
        # Copies: a part of the partition would keep all of it in memory.
        part[label].copy(),
        None if group is None else part[group].copy(),
        [column.places for column in columns],
        {column.values.dtype for column in columns},
    )


def _joined(parts: Sequence[_Part], names: list[str], X_name: str) -> NumberColumns:
    """Numbers of all partitions, whose files are deleted."""
    n_rows = sum(part.n_rows for part in parts)
    if n_rows == 0 or not names:
        return NumberColumns(np.empty((n_rows, len(names))), names)
    places = parts[0].places
    for part in parts:
        for name, first, own in zip(names, places, part.places, strict=True):
            if own != first:
                raise ValueError(
                    f"column {name!r} of {X_name} holds lists of several lengths, such "
                    f"as {len(first)} and {len(own)}; features need as many numbers in "
                    "each row"
                )
    dtype = np.result_type(*{dtype for part in parts for dtype in part.dtypes})
    joined = [place for of_column in places for place in of_column]
    check_repeated(joined, X_name)
    values = scratch_array((n_rows, len(joined)), dtype, of_file=True)
    start = 0
    for part in parts:
        if not part.path.exists():
            raise ValueError(_not_seen(str(part.path.parent)))
        values[start : start + part.n_rows] = np.load(part.path, mmap_mode="r")
        part.path.unlink()
        start += part.n_rows
    return NumberColumns(values, joined)


def _not_seen(folder: str) -> str:
    return (
        f"workers of Dask do not see the folder {folder}, where partitions are stored: "
        "set TMPDIR to a folder that all machines share, or read the frame without a "
        "cluster, dask.config.set(scheduler='threads')"
    )


def _check_type(name: str, dtype: Any, X_name: str) -> None:
    """Refuse a column that is known to hold no numbers before it is computed."""
    kind = str(dtype).lower()
    if (
        kind.startswith(("str", "large_string", "category"))
        or getattr(dtype, "kind", "O") in "Mm"
    ):
        raise ValueError(_not_numbers(name, kind, X_name))


def _numbers(name: str, column: Any, X_name: str) -> _Column:
    """Read a column of numbers, or of lists of them."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return _Column([name], column.to_numpy().reshape(-1, 1))
    if getattr(dtype, "kind", "O") == "c":
        raise ValueError(_not_numbers(name, "complex numbers", X_name))
    if getattr(dtype, "kind", "O") == "O" and all(map(is_missing, column.to_numpy())):
        return _Column([name], np.full((len(column), 1), np.nan))
    lists = None
    if getattr(dtype, "kind", "O") == "O":
        lists = _lists(name, column, X_name)
    if lists is not None:
        return _Column([f"{name}[{j}]" for j in range(lists.shape[1])], lists)
    read = columns_of(name, column)
    kinds = {kind for _, kind, _ in read}
    if kinds != {"number"}:
        raise ValueError(_not_numbers(name, ", ".join(sorted(kinds)), X_name))
    values = np.column_stack([values for _, _, values in read]).astype(np.float64)
    return _Column([place for place, _, _ in read], values)


def _lists(name: str, column: Any, X_name: str) -> NDArray[Any] | None:
    """Join lists of as many numbers to one array; None of anything else."""
    values = column.to_numpy()
    if not all(isinstance(value, list | tuple | np.ndarray) for value in values):
        return None
    try:
        array = np.stack([np.asarray(value) for value in values])
    except ValueError:  # of several lengths, which is told elsewhere
        return None
    if array.dtype.kind not in "biufO":
        raise ValueError(_not_numbers(name, f"lists of {array.dtype}", X_name))
    return array if array.ndim == 2 and array.dtype.kind != "O" else None


def _not_numbers(name: str, kind: str, X_name: str) -> str:
    hint = ""
    if "str" in kind:
        hint = (
            ". Lists of numbers become text in dask.dataframe.from_pandas, unless "
            "dask.config.set({'dataframe.convert-string': False})"
        )
    return (
        f"column {name!r} of {X_name} holds {kind}, but of a Dask frame only numbers, "
        "and lists of as many numbers, are read a partition at a time: convert it to "
        f"numbers, leave it out, {X_name}.drop(columns=[{name!r}]), or give "
        f"{X_name}.compute() where that fits into memory{hint}"
    )
