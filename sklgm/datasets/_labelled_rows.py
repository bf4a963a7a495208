"""All labelled rows of a file or folder, in its order, for an audit."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklgm._running import import_extra
from sklgm.datasets._folder import read_class_folders
from sklgm.datasets._labelled_splits import scale_pixels
from sklgm.datasets._npz import read_npz_rows

#: Columns that are taken for labels if none is named.
LABEL_COLUMNS = ("label", "labels", "y", "target", "class")
_TABLES = (".csv", ".parquet")


@dataclass(frozen=True, eq=False, repr=False)
class LabelledRows:
    """Labelled rows in the order of their source.

    Parameters
    ----------
    name : str
        Name of the data set.
    X : ndarray of float32
        Images (n_samples, n_channels, height, width), in [0, 1] unless they came from
        a file of floats, or numbers (n_samples, n_features).
    y : ndarray of shape (n_samples,)
        Labels.
    row_names : tuple of str, default=None
        File of each image; None where rows have numbers only.
    feature_names : tuple of str, default=None
        Columns of a table.
    """

    name: str
    X: NDArray[np.float32]
    y: NDArray[Any]
    row_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None

    def with_features(self, feature_names: tuple[str, ...] | None) -> Self:
        """Order the columns as those of another table.

        Parameters
        ----------
        feature_names : tuple of str or None
            Columns of the other; None where it has no names.

        Returns
        -------
        LabelledRows
            The same rows.

        Raises
        ------
        ValueError
            If one has columns that the other lacks.
        """
        own = self.feature_names
        if own == feature_names:
            return self
        if own is None or feature_names is None or set(own) != set(feature_names):
            only = sorted(set(own or ()) ^ set(feature_names or ()))
            raise ValueError(
                f"{self.name} must have the columns of the audited rows; only one of "
                f"them has {', '.join(map(repr, only[:5]))}."
            )
        order = [own.index(name) for name in feature_names]
        return replace(self, X=self.X[:, order], feature_names=feature_names)

    def __repr__(self) -> str:
        return (
            f"LabelledRows(name={self.name!r}, X={self.X.dtype} {self.X.shape}, "
            f"{len(np.unique(self.y))} classes)"
        )


def load_rows(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
    image_size: int | tuple[int, int] | None = None,
) -> LabelledRows:
    """Load the labelled rows of a path, with nothing split off or reordered.

    Parameters
    ----------
    path : str or path-like
        A folder of images or a ``.zip`` of one, with one folder a class (see
        :func:`load_image_folder`); a ``.npz`` file with arrays X and y (see
        :func:`load_npz`); or a table, ``.csv`` or ``.parquet``, with a column of
        labels and otherwise numbers. Where there are training and test rows, the
        training rows.
    label_column : str or None, default=None
        Column of the labels, for tables. None takes the one that is there of label,
        labels, y, target, class.
    drop_columns : sequence of str, default=()
        Columns of a table that are no features, such as an identifier.
    image_size : int or tuple of int, default=None
        Height and width in pixels to resize images to; only for image folders.

    Returns
    -------
    LabelledRows
        Rows, labels and, for image folders, file names.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If `path` is none of these or cannot be read, a parameter does not apply, or a
        table has no such column or several that may be the labels, no column of
        numbers, a column that counts the rows, text in another column, or values that
        are missing or not finite.
    ImportError
        If a table is given and Polars is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    for name, value in (("label_column", label_column), ("drop_columns", drop_columns)):
        if value and suffix not in _TABLES:
            raise ValueError(
                f"{name} is for .csv and .parquet tables only, got {value!r} for "
                f"{path}."
            )
    is_folder = path.is_dir() or suffix == ".zip"
    if image_size is not None and not is_folder:
        raise ValueError(
            f"image_size is for image folders only, got {image_size!r} for {path}."
        )
    if is_folder:
        with ExitStack() as stack:
            folders = read_class_folders(path, image_size, stack)
            pixels, y, files = folders.decode_train()
        return LabelledRows(folders.name, scale_pixels(pixels), y, tuple(files))
    if suffix == ".npz":
        return LabelledRows(path.stem, *read_npz_rows(path))
    if suffix in _TABLES:
        X, y, feature_names = _read_table(path, label_column, drop_columns)
        return LabelledRows(path.stem, X, y, feature_names=feature_names)
    raise ValueError(
        f"path must be a folder or .zip archive with one folder of images a class, or "
        f"a .npz, .csv or .parquet file, got {path}."
    )


def _read_table(
    path: Path, label_column: str | None, drop_columns: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[Any], tuple[str, ...]]:
    """Numbers (n_samples, n_features), labels and column names of a table."""
    polars = import_extra("polars", "cli")
    read = polars.read_csv if path.suffix.lower() == ".csv" else polars.read_parquet
    try:
        # All rows decide the type of a column, not the first hundred.
        options = {"infer_schema_length": None} if read is polars.read_csv else {}
        table = read(path, **options)
    except Exception as error:  # a damaged table may raise anything
        raise ValueError(f"{path} cannot be read: {error}") from error
    unknown = [column for column in drop_columns if column not in table.columns]
    if unknown:
        raise ValueError(f"{path} has no column {unknown[0]!r} of drop_columns.")
    table = table.drop(drop_columns)
    label_column = _found_label_column(table.columns, label_column, path)
    if len(table) == 0 or len(table.columns) < 2:
        raise ValueError(
            f"{path} must hold rows with at least one column of numbers beside the "
            f"labels ({label_column!r}), got shape {table.shape}."
        )
    for column in table.columns:
        n_missing = table[column].null_count()
        if n_missing > 0:
            raise ValueError(
                f"{path}: column {column!r} lacks {n_missing} of {len(table)} values; "
                "fill them or leave these rows out."
            )
    y = _labels_of(table[label_column], path, polars)
    numbers = table.drop(label_column)
    texts = [c for c in numbers.columns if not _is_number(numbers[c].dtype, polars)]
    if texts:
        raise ValueError(
            f"{path}: every column but the labels ({label_column!r}) must hold "
            f"numbers; drop or encode {', '.join(map(repr, texts[:5]))}"
            + (", ..." if len(texts) > 5 else ".")
        )
    X = numbers.to_numpy()
    for index, column in enumerate(numbers.columns):
        # In rows sorted by label such a column gives every label away.
        if len(X) > 2 and np.all(np.diff(X[:, index]) == 1):
            raise ValueError(
                f"{path}: column {column!r} counts the rows; name it in drop_columns, "
                "for it is no feature."
            )
    with np.errstate(over="ignore"):
        X = X.astype(np.float32)
    for index in np.flatnonzero(~np.isfinite(X).all(axis=0))[:1]:
        raise ValueError(
            f"{path}: column {numbers.columns[index]!r} holds values that are NaN, "
            "infinite or too large for float32."
        )
    return X, y, tuple(numbers.columns)


def _labels_of(labels: Any, path: Path, polars: Any) -> NDArray[Any]:
    if labels.dtype.is_float() and bool((labels == labels.round()).all()):
        labels = labels.cast(polars.Int64, strict=False)  # as numpy.savetxt writes them
    is_wide = labels.dtype.is_integer() and labels.dtype not in _numpy_integers(polars)
    if is_wide or not (
        labels.dtype.is_integer() or labels.dtype in _label_types(polars)
    ):
        raise ValueError(
            f"{path}: the label column {labels.name!r} must hold integers, booleans or "
            f"text, got {labels.dtype}."
        )
    y: NDArray[Any] = labels.to_numpy()
    return y.astype(str) if y.dtype.kind == "O" else y


def _found_label_column(
    columns: list[str], label_column: str | None, path: Path
) -> str:
    asked = LABEL_COLUMNS if label_column is None else (label_column,)
    found = [column for column in asked if column in columns]
    if len(found) > 1:
        raise ValueError(
            f"{path} has several columns that may be the labels, "
            f"{', '.join(map(repr, found))}; choose by label_column, and name in "
            "drop_columns what is no feature."
        )
    if found:
        return found[0]
    wanted = f"{label_column!r}" if label_column else f"any of {', '.join(asked)}"
    named = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    raise ValueError(f"{path} has no label_column {wanted}; its columns are {named}.")


def _numpy_integers(polars: Any) -> tuple[Any, ...]:
    signed = (polars.Int8, polars.Int16, polars.Int32, polars.Int64)
    return (*signed, polars.UInt8, polars.UInt16, polars.UInt32, polars.UInt64)


def _label_types(polars: Any) -> tuple[Any, ...]:
    return polars.String, polars.Boolean, polars.Categorical, polars.Enum


def _is_number(dtype: Any, polars: Any) -> bool:
    return bool(dtype.is_numeric()) or dtype == polars.Boolean
