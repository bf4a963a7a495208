"""All labelled rows of a file or folder, in its order, for an audit."""

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_scalar

from sklgm._inputs import check_on_error, decode_images
from sklgm._running import Progress, import_extra
from sklgm.datasets._columns import features_of
from sklgm.datasets._folder import check_image_size, read_class_folders
from sklgm.datasets._labelled_splits import scale_pixels
from sklgm.datasets._large_table import features_of_large, is_large
from sklgm.datasets._npz import read_npz_rows
from sklgm.datasets._parquet_files import ParquetFiles, find_parquet_files
from sklgm.datasets._tables import TABLES, TEXT_TABLES, check_names, read_text_table
from sklgm.datasets._text_columns import parsed_columns, parsed_labels

#: Columns that are taken for labels if none is named.
LABEL_COLUMNS = ("label", "labels", "y", "target", "class")


@dataclass(frozen=True, eq=False, repr=False)
class LabelledRows:
    """Labelled rows in the order of their source.

    Parameters
    ----------
    name : str
        Name of the data set.
    X : ndarray of float32 or float64, or polars.DataFrame
        Images (n_samples, n_channels, height, width), in [0, 1] unless they came from
        a file of floats; numbers (n_samples, n_features), float64 where float32 would
        lose the differences of a column, NaN where they are missing; or a frame, where
        columns of a table hold text, categories or dates.
    y : ndarray of shape (n_samples,)
        Labels.
    row_names : tuple of str, default=None
        File of each image; None where rows are not images.
    feature_names : tuple of str, default=None
        Columns of a table.
    groups : ndarray of shape (n_samples,), default=None
        Group of each row, if a column of groups was named.
    skipped : tuple of (str, str), default=()
        Files that could not be read, each with the reason.
    """

    name: str
    X: Any
    y: NDArray[Any]
    row_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    groups: NDArray[Any] | None = None
    skipped: tuple[tuple[str, str], ...] = ()

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
        if isinstance(self.X, np.ndarray):
            X: Any = self.X[:, [own.index(name) for name in feature_names]]
        else:
            X = self.X.select(feature_names)
        return replace(self, X=X, feature_names=feature_names)

    def __repr__(self) -> str:
        kind = self.X.dtype if isinstance(self.X, np.ndarray) else "frame"
        return (
            f"LabelledRows(name={self.name!r}, X={kind} {self.X.shape}, "
            f"{len(np.unique(self.y))} classes)"
        )


def load_rows(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
    group_column: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    shorter_side: int | None = None,
    on_error: str = "skip",
    progress: Progress | None = None,
) -> LabelledRows:
    """Load the labelled rows of a path, with nothing split off or reordered.

    Parameters
    ----------
    path : str or path-like
        A folder of images or a ``.zip`` of one, with one folder per class (see
        :func:`load_image_folder`); a ``.npz`` file with arrays X and y (see
        :func:`load_npz`); or a table, ``.csv``, ``.tsv``, ``.tab``, ``.parquet`` or a
        folder of ``.parquet`` files, with a column of labels. Where there are training
        and test rows, the training rows.
    label_column : str or None, default=None
        Column of the labels, for tables. None takes the one that is there of label,
        labels, y, target, class, whatever the case.
    drop_columns : sequence of str, default=()
        Columns of a table to ignore, such as an identifier.
    group_column : str or None, default=None
        Column of a table that says which rows belong together, such as a patient or a
        scene; it is not a feature.
    image_size : int or tuple of int, default=None
        Height and width in pixels to resize images to. None keeps the size that all
        share; images of several sizes are resized to one, and a warning says which.
    shorter_side : int or None, default=None
        Shorter side in pixels that images keep where ``image_size`` is None, the longer
        one being at most four times as long: larger ones are resized, and a warning
        says to what. None keeps images of one size as they are.
    on_error : {"skip", "stop"}, default="skip"
        Whether an image that cannot be read is left out, listed in ``skipped`` and
        warned of, or an error.
    progress : callable or None, default=None
        Called with the name of a stage, images done and in all, where there are images.

    Returns
    -------
    LabelledRows
        Rows, labels and, for images, file names.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If `path` is none of these, is not a regular file or cannot be read; if a
        parameter does not apply; if a table has no such column, two of one name or
        several that may be the labels; if it has no column beside them, one that counts
        the rows, or one that holds neither numbers, text, dates, lists of numbers nor
        images; or if labels are missing or numbers infinite.
    ImportError
        If a table is given and Polars is not installed.

    Notes
    -----
    The files of a Parquet table lie in the folder itself, in its folder ``data``, in
    the only folder that it holds, or in one folder per split; their rows follow each
    other by name, ``part.10`` after ``part.9``, and what is called ``_...`` is not
    read. Where names begin with a split, such as ``train-00000-of-00002.parquet``, the
    training files are read. Beside folders of images they are not.

    Of a table of text the separator (comma, semicolon, tab, bar), the encoding (UTF-8,
    UTF-16, Windows-1252) and decimal commas are recognised. A column of text becomes
    numbers or dates only if no two of its values become one: ``007`` beside ``7`` stays
    text, and so do labels with leading zeros. Lists of numbers, such as embeddings,
    become one feature per place; columns of encoded images are decoded. A warning
    names columns that tell nearly every label, or run with the order of the rows.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    check_on_error(on_error)
    size: tuple[int, int] | int | None = check_image_size(image_size)
    if size is None and shorter_side is not None:
        size = int(
            check_scalar(
                shorter_side,
                "shorter_side",
                Integral,
                min_val=1,
                include_boundaries="left",
            )
        )
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    parquet = find_parquet_files(path)
    for name, value in (
        ("label_column", label_column),
        ("drop_columns", drop_columns),
        ("group_column", group_column),
    ):
        if value and suffix not in TEXT_TABLES and parquet is None:
            raise ValueError(f"{name} is for tables only, got {value!r} for {path}.")
    if parquet is None and (path.is_dir() or suffix == ".zip"):
        with ExitStack() as stack:
            folders = read_class_folders(path, None, stack)
            files, y = folders.train_images()
            decoded = decode_images(
                files,
                folders.read,
                path,
                size,
                on_error,
                n_stored=folders.n_stored,
                progress=progress,
                stacklevel=2,
            )
        return LabelledRows(
            folders.name,
            scale_pixels(decoded.pixels),
            y[decoded.kept],
            tuple(files[index] for index in decoded.kept),
            skipped=decoded.skipped,
        )
    if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"path must be a folder or a regular file, got {path}.")
    if suffix == ".npz" and parquet is None:
        if image_size is not None:
            raise ValueError(
                f"image_size is for image folders and columns of images only, got "
                f"{image_size!r} for {path}."
            )
        return LabelledRows(path.stem, *read_npz_rows(path))
    if parquet is not None and not isinstance(size, tuple):
        rows = _rows_of_large_parquet(parquet, label_column, drop_columns, group_column)
        if rows is not None:
            return rows
    has_decimal_comma = False
    if parquet is not None:
        table = parquet.read()
    elif suffix in TEXT_TABLES:
        table, has_decimal_comma = read_text_table(path, label_column)
    else:
        raise ValueError(
            f"path must be a folder or .zip archive with one folder of images per "
            f"class, a folder of .parquet files, or a .npz, {', '.join(TABLES[:-1])} "
            f"or {TABLES[-1]} file, got {path}."
        )
    return rows_of_table(
        table,
        path,
        path.stem if parquet is None else parquet.name,
        label_column=label_column,
        drop_columns=drop_columns,
        group_column=group_column,
        image_size=size,
        on_error=on_error,
        progress=progress,
        is_text=parquet is None,
        has_decimal_comma=has_decimal_comma,
        stacklevel=2,
    )


def _rows_of_large_parquet(
    parquet: ParquetFiles,
    label_column: str | None,
    drop_columns: Sequence[str],
    group_column: str | None,
) -> LabelledRows | None:
    """Rows of a table that memory need not hold; None where all is read at once.

    What is an error is left to :func:`rows_of_table`, so that it is told the same way.
    """
    path = parquet.path
    lazy, n_rows = parquet.scan()
    all_columns = lazy.collect_schema().names()
    columns = [name for name in all_columns if name not in drop_columns]
    is_known = group_column is None or group_column in columns
    if not is_known or not {*drop_columns} <= {*all_columns}:
        return None
    if any(name.startswith("^") or "*" in name for name in columns):
        return None  # Polars takes such names for patterns
    label_column = found_label_column(columns, label_column, path)
    names = [name for name in columns if name not in (label_column, group_column)]
    known = [name for name in columns if name not in names]
    is_odd = not names or group_column == label_column
    if is_odd or not is_large(lazy.select(names), n_rows, parquet.n_stored):
        return None
    try:
        table = lazy.select(known).collect()
        y = labels_of(table[label_column], path)
    except (Exception, _panic()):  # a damaged table may raise anything
        return None
    # A damaged file may count other rows than it has.
    if len(table) != n_rows or table.null_count().sum_horizontal()[0] > 0:
        return None
    features = features_of_large(lazy.select(names), n_rows, y, path, stacklevel=3)
    if features is None:
        return None
    groups = None if group_column is None else _groups_of(table[group_column])
    return LabelledRows(parquet.name, features.X, y, None, features.names, groups)


def _panic() -> type[BaseException]:
    """Get what Polars raises where its code fails, which is no ``Exception``."""
    panic: type[BaseException] = import_extra("polars", "cli").exceptions.PanicException
    return panic


def _groups_of(column: Any) -> NDArray[Any]:
    groups: NDArray[Any] = column.to_numpy()
    return groups.astype(str) if groups.dtype.kind == "O" else groups


def rows_of_table(
    table: Any,
    source: Any,
    name: str,
    *,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
    group_column: str | None = None,
    image_size: tuple[int, int] | int | None = None,
    on_error: str = "skip",
    progress: Progress | None = None,
    is_text: bool = False,
    has_decimal_comma: bool = False,
    stacklevel: int,
) -> LabelledRows:
    """Part a table into labels, groups and features.

    Parameters
    ----------
    table : polars.DataFrame
        The table.
    source : object
        Where it comes from, for messages.
    name : str
        Name of the data set.
    label_column, drop_columns, group_column, image_size, on_error, progress
        As in :func:`load_rows`; the size as a pair, or the shorter side as a number.
    is_text, has_decimal_comma : bool
        Whether all columns are text that is yet to be converted, and how.
    stacklevel : int
        Frames above this function to which warnings belong.

    Returns
    -------
    LabelledRows
        The rows.

    Raises
    ------
    ValueError
        As :func:`load_rows`.
    """
    unknown = [column for column in drop_columns if column not in table.columns]
    if unknown:
        raise ValueError(f"{source} has no column {unknown[0]!r} of drop_columns.")
    table = _without(table, *drop_columns)
    label_column = found_label_column(table.columns, label_column, source)
    labels, table = table[label_column], _without(table, label_column)
    groups = None
    if group_column is not None:
        if group_column not in table.columns:
            raise ValueError(f"{source} has no group_column {group_column!r}.")
        groups, table = table[group_column], _without(table, group_column)
        check_no_missing(groups, "group_column", source)
        groups = _groups_of(groups)
    if len(table) == 0 or len(table.columns) == 0:
        raise ValueError(
            f"{source} must hold rows with at least one column of features beside the "
            f"labels ({label_column!r}), got {len(labels)} rows with "
            f"{len(table.columns)} columns of features."
        )
    check_no_missing(labels, "labels", source)
    y = labels_of(parsed_labels(labels) if is_text else labels, source)
    if is_text:
        table = parsed_columns(table, has_decimal_comma)
    _check_no_counter(table, source)
    features = features_of(
        table,
        y,
        source,
        image_size=image_size,
        on_error=on_error,
        progress=progress,
        stacklevel=stacklevel + 1,
    )
    kept = slice(None) if features.rows is None else features.rows
    return LabelledRows(
        name,
        features.X,
        y[kept],
        features.row_names,
        features.names,
        None if groups is None else groups[kept],
        features.skipped,
    )


def labels_of(labels: Any, source: Any) -> NDArray[Any]:
    """Labels of a column that holds integers, booleans or text.

    Parameters
    ----------
    labels : polars.Series
        The column.
    source : object
        Where it comes from, for the error.

    Returns
    -------
    ndarray of shape (n_samples,)
        The labels; text as numpy has it.

    Raises
    ------
    ValueError
        If it holds anything else.
    """
    polars = import_extra("polars", "cli")
    if labels.dtype.is_float():
        is_whole = labels.is_finite() & (labels == labels.round())
        if bool(is_whole.all()):  # as numpy.savetxt writes them
            labels = labels.cast(polars.Int64, strict=False)
    is_wide = labels.dtype.is_integer() and labels.dtype not in _numpy_integers(polars)
    if is_wide or not (
        labels.dtype.is_integer() or labels.dtype in _label_types(polars)
    ):
        raise ValueError(
            f"{source}: the label column {labels.name!r} must hold integers, booleans "
            f"or text, got {labels.dtype}."
        )
    y: NDArray[Any] = labels.to_numpy()
    return y.astype(str) if y.dtype.kind == "O" else y


def check_no_missing(column: Any, what: str, source: Any) -> None:
    """Refuse a column that lacks values.

    Parameters
    ----------
    column : polars.Series
        Labels or groups.
    what : str
        What they are, for the error.
    source : object
        Where they come from, for the error.

    Raises
    ------
    ValueError
        If a value is missing.
    """
    n_missing = column.null_count()
    if column.dtype.is_float():
        n_missing += int(column.is_nan().sum())
    if n_missing > 0:
        raise ValueError(
            f"{source}: column {column.name!r}, the {what}, lacks {n_missing} of "
            f"{len(column)} values; fill them or leave these rows out."
        )


def _without(table: Any, *names: str) -> Any:
    """Leave columns out: where Polars drops, ``^.*$`` stands for all of them."""
    pl = import_extra("polars", "cli")
    return pl.DataFrame({c.name: c for c in table if c.name not in names})


def _check_no_counter(table: Any, source: Any) -> None:
    """Refuse a column that counts the rows: in sorted ones it gives labels away."""
    pl = import_extra("polars", "cli")
    if len(table) <= 2:
        return
    whole = pl.DataFrame({c.name: c for c in table if c.dtype.is_integer()})
    counts = (pl.all().null_count() == 0) & (pl.all().diff().drop_nulls() == 1).all()
    for is_counter in whole.select(counts):
        if is_counter[0]:
            raise ValueError(
                f"{source}: column {is_counter.name!r} counts the rows; name it in "
                "drop_columns, for it is not a feature."
            )


def found_label_column(
    columns: list[str], label_column: str | None, source: Any
) -> str:
    """Find the column of the labels.

    Parameters
    ----------
    columns : list of str
        All columns but those to ignore.
    label_column : str or None
        Its name, if it was given.
    source : object
        What has them, for the error.

    Returns
    -------
    str
        Name of the column.

    Raises
    ------
    ValueError
        If there is none, or several may be meant.
    """
    check_names(columns, str(source))
    if label_column is not None:
        found = [column for column in columns if column == label_column]
    else:
        found = [column for column in columns if column in LABEL_COLUMNS]
        found = found or [c for c in columns if c.strip().lower() in LABEL_COLUMNS]
    if len(found) > 1:
        raise ValueError(
            f"{source} has several columns that may be the labels, "
            f"{', '.join(map(repr, found))}; choose by label_column, and name in "
            "drop_columns what is not a feature."
        )
    if found:
        return found[0]
    # Labels are often the last column.
    shown = columns if len(columns) <= 20 else [*columns[:10], "...", *columns[-10:]]
    wanted = (
        f"no label_column {label_column!r}"
        if label_column
        else f"no column {', '.join(LABEL_COLUMNS[:-1])} or {LABEL_COLUMNS[-1]}: name "
        "the one that holds the labels by label_column"
    )
    raise ValueError(f"{source} has {wanted}; its columns are {', '.join(shown)}.")


def _numpy_integers(polars: Any) -> tuple[Any, ...]:
    signed = (polars.Int8, polars.Int16, polars.Int32, polars.Int64)
    return (*signed, polars.UInt8, polars.UInt16, polars.UInt32, polars.UInt64)


def _label_types(polars: Any) -> tuple[Any, ...]:
    return polars.String, polars.Boolean, polars.Categorical, polars.Enum
