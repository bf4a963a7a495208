"""All labelled rows of a file or folder, in its order, for an audit."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._extras import import_extra
from sklgm.datasets._folder import read_class_folders
from sklgm.datasets._npz import read_npz_rows
from sklgm.datasets._splits import scale_pixels

#: Columns that are taken for labels if none is named, the first one there.
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
    """

    name: str
    X: NDArray[np.float32]
    y: NDArray[Any]
    row_names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return (
            f"LabelledRows(name={self.name!r}, X={self.X.dtype} {self.X.shape}, "
            f"{len(np.unique(self.y))} classes)"
        )


def load_rows(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
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
        Column of the labels, for tables. None takes the first that is there of label,
        labels, y, target, class.
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
        table has no such column, no column of numbers, text in another column, or
        values that are missing or not finite.
    ImportError
        If a table is given and Polars is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if label_column is not None and suffix not in _TABLES:
        raise ValueError(
            f"label_column is for .csv and .parquet tables only, got "
            f"{label_column!r} for {path}."
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
        return LabelledRows(path.stem, *_read_table(path, label_column))
    raise ValueError(
        f"path must be a folder or .zip archive with one folder of images a class, or "
        f"a .npz, .csv or .parquet file, got {path}."
    )


def _read_table(
    path: Path, label_column: str | None
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Numbers (n_samples, n_features) and labels of a table."""
    polars = import_extra("polars", "cli")
    read = polars.read_csv if path.suffix.lower() == ".csv" else polars.read_parquet
    try:
        # All rows decide the type of a column, not the first hundred.
        options = {"infer_schema_length": None} if read is polars.read_csv else {}
        table = read(path, **options)
    except Exception as error:  # a damaged table may raise anything
        raise ValueError(f"{path} cannot be read: {error}") from error
    label_column = _found_label_column(table.columns, label_column, path)
    for column in table.columns:
        n_missing = table[column].null_count()
        if n_missing > 0:
            raise ValueError(
                f"{path}: column {column!r} lacks {n_missing} of {len(table)} values; "
                "fill them or leave these rows out."
            )
    labels = table[label_column]
    if not (labels.dtype.is_integer() or labels.dtype in _label_types(polars)):
        raise ValueError(
            f"{path}: the label column {label_column!r} must hold integers, booleans "
            f"or text, got {labels.dtype}."
        )
    numbers = table.drop(label_column)
    texts = [c for c in numbers.columns if not _is_number(numbers[c].dtype, polars)]
    if texts:
        raise ValueError(
            f"{path}: every column but the labels ({label_column!r}) must hold "
            f"numbers; drop or encode {', '.join(map(repr, texts[:5]))}"
            + (", ..." if len(texts) > 5 else ".")
        )
    if not numbers.columns or len(table) == 0:
        raise ValueError(
            f"{path} must hold rows with at least one column of numbers beside the "
            f"labels ({label_column!r}), got shape {numbers.shape}."
        )
    with np.errstate(over="ignore"):
        X = numbers.to_numpy().astype(np.float32)
    for index in np.flatnonzero(~np.isfinite(X).all(axis=0))[:1]:
        raise ValueError(
            f"{path}: column {numbers.columns[index]!r} holds values that are NaN, "
            "infinite or too large for float32."
        )
    y = labels.to_numpy()
    return X, y.astype(str) if y.dtype.kind == "O" else y


def _found_label_column(
    columns: list[str], label_column: str | None, path: Path
) -> str:
    asked = LABEL_COLUMNS if label_column is None else (label_column,)
    found = [column for column in asked if column in columns]
    if found:
        return found[0]
    wanted = f"{label_column!r}" if label_column else f"any of {', '.join(asked)}"
    named = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    raise ValueError(f"{path} has no label_column {wanted}; its columns are {named}.")


def _label_types(polars: Any) -> tuple[Any, ...]:
    return polars.String, polars.Boolean, polars.Categorical, polars.Enum


def _is_number(dtype: Any, polars: Any) -> bool:
    return bool(dtype.is_numeric()) or dtype == polars.Boolean
