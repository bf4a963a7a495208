"""What users give to an audit: rows in any container, and their labels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch.utils.data import Dataset, Subset

from sklgm._inputs import StreamedInstances, as_array
from sklgm._running import import_extra, is_large_file, scratch_array
from sklgm._sklearn_private import safe_indexing
from sklgm.auditing._dask_frames import is_dask_frame, is_of_dask, parted_dask_frame
from sklgm.auditing._number_columns import NumberColumns
from sklgm.auditing._table import is_missing
from sklgm.datasets._columns import features_of
from sklgm.datasets._labelled_rows import LABEL_COLUMNS

# Rows that are copied at once.
_CHUNK = 4_096


def parted_rows(
    X: Any, y: Any, groups: Any = None, *, X_name: str = "X", y_name: str = "y"
) -> tuple[Any, NDArray[Any], NDArray[Any] | None]:
    """Part what the user gave into rows, labels and groups.

    Parameters
    ----------
    X : object
        Array-like, frame, sparse matrix, sequence of texts, map-style torch
        ``Dataset``, mapping of columns, or a ``Dataset`` of the Hugging Face Hub.
    y : array-like of shape (n_samples,), str or None
        Labels, or the column of X that holds them, as it must be for a frame of Dask;
        None: the column ``label``, ``labels``, ``y``, ``target`` or ``class``, or the
        second element of items.
    groups : array-like of shape (n_samples,), str or None, default=None
        Groups, or the column of X that holds them.
    X_name, y_name : str
        Names of the parameters, for errors.

    Returns
    -------
    rows : object
        What estimators take, with :func:`taken_rows`; :class:`NumberColumns` of a frame
        of Dask.
    labels : ndarray of shape (n_samples,)
        The labels.
    groups : ndarray of shape (n_samples,) or None
        The groups.

    Raises
    ------
    ValueError
        If there is no column of labels, or another number of labels or groups than
        rows, labels are missing or continuous.
    TypeError
        If X holds no rows, or something is a column of Dask without its frame.
    """
    if is_of_dask(X) and not is_dask_frame(X):
        raise TypeError(
            f"{X_name} is a {type(X).__name__} of Dask: give a frame of Dask with a "
            f"column of labels, or {X_name}.compute()"
        )
    check_no_series(y_name, y, X_name)
    check_no_series("groups", groups, X_name)
    rows: Any
    if is_dask_frame(X):
        rows, y, groups = _parted_dask_frame(X, y, groups, X_name, y_name)
    elif isinstance(X, Dataset) and not hasattr(X, "column_names"):
        rows = X
        y = StreamedInstances(X).labels() if y is None else y
    elif isinstance(X, Mapping) or hasattr(X, "column_names"):
        columns = _columns_of(X, X_name)
        rows, y, groups = _parted_columns(columns, y, groups, X_name, y_name)
        if not isinstance(rows, np.ndarray) and rows.shape[1] == 1:
            values = rows.to_series().to_list()
            rows = values if all(isinstance(v, str) for v in values) else rows
    elif hasattr(X, "columns"):
        rows, y, groups = _parted_frame(X, y, groups, X_name, y_name)
    else:
        rows = _indexable(X, X_name)
    if y is None or isinstance(y, str):
        raise ValueError(
            f"{y_name}={y!r} needs {X_name} with columns, got {type(X).__name__}: give "
            "one label for each row"
        )
    labels = _checked_labels(y, n_rows(rows), X_name, y_name)
    if groups is not None:
        if isinstance(groups, str):
            raise ValueError(
                f"groups={groups!r} needs {X_name} with columns; give one group for "
                "each row"
            )
        groups = column_or_1d(as_array(groups), warn=False)
        if len(groups) != len(labels):
            raise ValueError(
                f"groups must have a group for each of the {len(labels)} rows of "
                f"{X_name}, got {len(groups)}"
            )
        groups = groups.astype(str) if groups.dtype.kind == "O" else groups
    return rows, labels, groups


def check_no_series(name: str, values: Any, X_name: str = "X") -> None:
    """Refuse a column of a Dask frame that is not given by its name.

    Parameters
    ----------
    name : str
        Name of the parameter.
    values : object
        What was given.
    X_name : str, default="X"
        Name of the parameter that holds rows.

    Raises
    ------
    TypeError
        If it is one.
    """
    if is_of_dask(values):
        raise TypeError(
            f"{name} is a {type(values).__name__} of Dask, whose values may come in "
            "another order each time that they are computed: give the name of its "
            f"column in {X_name}, or {name}.compute()"
        )


def n_rows(rows: Any) -> int:
    """Count rows.

    Parameters
    ----------
    rows : object
        As :func:`parted_rows` gives them.

    Returns
    -------
    int
        How many there are.
    """
    return int(rows.shape[0]) if hasattr(rows, "shape") else len(rows)


def taken_rows(rows: Any, indices: NDArray[np.intp]) -> Any:
    """Take some rows.

    Parameters
    ----------
    rows : object
        As :func:`parted_rows` gives them.
    indices : ndarray of int of shape (n_taken,)
        Which.

    Returns
    -------
    object
        Of the same kind; of a torch ``Dataset`` a ``Subset``, and of an array that is
        large a file that vanishes with it, as of :func:`scratch_array`.
    """
    if isinstance(rows, Dataset):
        return Subset(rows, indices.tolist())
    if isinstance(rows, np.ndarray) and rows.dtype != object:
        shape = (len(indices), *rows.shape[1:])
        taken = scratch_array(shape, rows.dtype, of_file=is_large_file(rows))
        for start in range(0, len(indices), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            taken[chunk] = rows[indices[chunk]]
        return taken
    return safe_indexing(rows, indices)


def _indexable(X: Any, name: str) -> Any:
    """Rows that can be taken by number."""
    if sparse.issparse(X):
        return X.tocsr()
    X = as_array(X)
    if isinstance(X, str | bytes) or not hasattr(X, "__len__"):
        raise TypeError(
            f"{name} must hold rows: an array, a frame, a sparse matrix, a list of "
            f"texts or a data set, got {type(X).__name__}"
        )
    if isinstance(X, np.ndarray):
        if X.ndim == 0:
            raise ValueError(f"{name} must hold rows, got a single value")
        return X
    if hasattr(X, "to_list"):  # a Series
        return X.to_list()
    X = list(X)
    if len(X) > 0 and not isinstance(X[0], str):
        try:
            return np.asarray(X)
        except ValueError:  # rows of several lengths
            return X
    return X


def _checked_labels(y: Any, n_samples: int, X_name: str, y_name: str) -> NDArray[Any]:
    labels: NDArray[Any] = column_or_1d(as_array(y), warn=True)
    if len(labels) != n_samples:
        raise ValueError(
            f"{y_name} must have a label for each of the {n_samples} rows of "
            f"{X_name}, got {len(labels)}"
        )
    if labels.dtype == object:
        lacks = np.array([is_missing(label) for label in labels], dtype=bool)
        if lacks.any():
            raise ValueError(
                f"{y_name} lacks {lacks.sum()} of {n_samples} labels, row "
                f"{np.flatnonzero(lacks)[0]} the first; leave these rows out"
            )
        if len({type(label) for label in labels}) > 1:
            labels = np.array([str(label) for label in labels])
    check_classification_targets(labels)
    return labels


def _column_name(names: Any, asked: str | None, X_name: str, y_name: str) -> str:
    names = [str(name) for name in names]
    wanted = LABEL_COLUMNS if asked is None else (asked,)
    found = [name for name in names if name in wanted]
    if len(found) != 1:
        raise ValueError(
            f"{y_name}={asked!r}: {X_name} has "
            f"{'several columns' if found else 'no column'} of the name "
            f"{' or '.join(map(repr, found or wanted))}; its columns are "
            f"{', '.join(names[:20])}"
        )
    return str(found[0])


def _parted_frame(
    X: Any, y: Any, groups: Any, X_name: str, y_name: str
) -> tuple[Any, Any, Any]:
    """Rows, labels and groups of a frame of pandas or Polars."""
    if y is None or isinstance(y, str):
        name = _column_name(X.columns, y, X_name, y_name)
        X, y = _without(X, name), X[name]
    if isinstance(groups, str):
        name = _column_name(X.columns, groups, X_name, "groups")
        X, groups = _without(X, name), X[name]
    return X, y, groups


def _parted_dask_frame(
    X: Any, y: Any, groups: Any, X_name: str, y_name: str
) -> tuple[NumberColumns, Any, Any]:
    """Numbers, labels and groups of a frame of Dask, by the names of columns."""
    for values, name in ((y, y_name), (groups, "groups")):
        if values is not None and not isinstance(values, str):
            raise TypeError(
                f"{name} must be the name of a column where {X_name} is a frame of "
                f"Dask, got {type(values).__name__}: its rows may come in another "
                f"order each time that it is computed. Make {name} a column of "
                f"{X_name}, or give {X_name}.compute()"
            )
    labels = _column_name(X.columns, y, X_name, y_name)
    others = [column for column in X.columns if str(column) != labels]
    group = None
    if groups is not None:
        group = _column_name(others, groups, X_name, "groups")
    columns = {str(column): column for column in X.columns}
    return parted_dask_frame(
        X, columns[labels], None if group is None else columns[group], X_name
    )


def _without(frame: Any, name: str) -> Any:
    return frame.drop(columns=name) if hasattr(frame, "iloc") else frame.drop(name)


def _columns_of(X: Any, name: str) -> dict[str, Any]:
    """Columns of a mapping, or of a ``Dataset`` of the Hugging Face Hub."""
    if isinstance(X, Mapping):
        if X and all(hasattr(part, "column_names") for part in X.values()):
            raise ValueError(
                f"{name} holds the splits {', '.join(map(str, X))}: give one of them, "
                f"such as {name}[{next(iter(X))!r}]"
            )
        return {str(column): as_array(values) for column, values in X.items()}
    features = getattr(X, "features", None) or {}
    for column, feature in features.items():
        if getattr(feature, "decode", False) and hasattr(X, "cast_column"):
            # As it is stored: decoded here, upright and resized.
            X = X.cast_column(column, type(feature)(decode=False))
    columns = {column: as_array(X[column][:]) for column in X.column_names}
    for column, feature in features.items():
        class_names = getattr(feature, "names", None)
        if class_names and column in columns:
            columns[column] = [
                None if k is None or k < 0 else class_names[k] for k in columns[column]
            ]
    return columns


def _parted_columns(
    columns: dict[str, Any], y: Any, groups: Any, X_name: str, y_name: str
) -> tuple[Any, NDArray[Any], Any]:
    """Rows, labels and groups of columns by name."""
    pl = import_extra("polars", "cli")
    if y is None or isinstance(y, str):
        y = columns.pop(_column_name(columns, y, X_name, y_name))
    if isinstance(groups, str):
        groups = columns.pop(_column_name(columns, groups, X_name, "groups"))
    y = np.asarray(y)
    y = np.array(y.tolist(), dtype=object) if y.dtype == object else y
    images = [
        name
        for name, values in columns.items()
        if isinstance(values, np.ndarray) and values.ndim > 2
    ]
    if images:
        return _as_images(columns[images[0]]), y, groups
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{X_name} must have columns of one length, got {lengths}")
    made = {}
    for name, values in columns.items():
        first = next((value for value in values if value is not None), None)
        if hasattr(first, "convert") and hasattr(first, "save"):  # images of Pillow
            values = [None if v is None else {"bytes": _as_png(v)} for v in values]
        elif isinstance(first, Mapping) and first.get("bytes", 0) is None:
            values = [
                value and {**value, "bytes": Path(value["path"]).read_bytes()}
                for value in values
            ]
        made[name] = values
    table = pl.DataFrame(made, strict=False)
    if len(table) != len(y):
        raise ValueError(
            f"{y_name} must have a label for each of the {len(table)} rows of "
            f"{X_name}, got {len(y)}"
        )
    features = features_of(
        table,
        np.array([str(label) for label in y]),
        X_name,
        image_size=None,
        on_error="skip",
        stacklevel=4,
    )
    kept = slice(None) if features.rows is None else features.rows
    return features.X, y[kept], None if groups is None else np.asarray(groups)[kept]


def _as_images(values: NDArray[Any]) -> NDArray[np.float32]:
    """Images (n_samples, n_channels, height, width), in [0, 1] if they were bytes."""
    if values.ndim == 3:
        values = values[:, np.newaxis]
    elif values.shape[3] in (1, 3) and values.shape[1] not in (1, 3):
        values = values.transpose(0, 3, 1, 2)
    scale = 255 if values.dtype == np.uint8 else 1
    return np.ascontiguousarray(values, dtype=np.float32) / np.float32(scale)


def _as_png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()
