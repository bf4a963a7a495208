"""Columns of a table as what a classifier takes: numbers, a frame, or images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs import decode_images, to_float, warn_of_telling_columns
from sklgm._running import Progress, import_extra
from sklgm.datasets._labelled_splits import scale_pixels

if TYPE_CHECKING:
    import polars

_LARGEST = float(np.finfo(np.float32).max)
_MOST_INTEGER = 2**53  # up to which float64 tells all integers apart


@dataclass(frozen=True, eq=False)
class Features:
    """What the columns of a table hold beside the labels.

    Attributes
    ----------
    X : ndarray or polars.DataFrame of shape (n_samples, ...)
        Images, rows of numbers, or a frame where columns hold text, categories or
        dates.
    names : tuple of str or None
        Columns; None of images.
    rows : ndarray of int of shape (n_samples,) or None
        Which rows of the table these are; None: all.
    row_names : tuple of str or None
        Paths of images.
    skipped : tuple of (str, str)
        Images that cannot be read, and why.
    """

    X: Any
    names: tuple[str, ...] | None
    rows: NDArray[np.intp] | None = None
    row_names: tuple[str, ...] | None = None
    skipped: tuple[tuple[str, str], ...] = ()


def features_of(
    table: polars.DataFrame,
    labels: NDArray[Any],
    source: Any,
    *,
    image_size: tuple[int, int] | int | None,
    on_error: str,
    progress: Progress | None = None,
    stacklevel: int,
) -> Features:
    """Turn the columns of a table into rows of features.

    Parameters
    ----------
    table : polars.DataFrame of shape (n_samples, n_columns)
        Without labels; at least one column.
    labels : ndarray of shape (n_samples,)
        Claimed labels, which no column should tell.
    source : object
        Where the table comes from, for messages.
    image_size, on_error, progress
        As in :func:`sklgm.datasets.load_rows`.
    stacklevel : int
        Frames above this function to which warnings belong.

    Returns
    -------
    Features
        The features.

    Raises
    ------
    ValueError
        If a column holds nothing that can be used, lists of several lengths, or
        numbers that are infinite or too large.
    """
    pl = import_extra("polars", "cli")
    images = [c for c in table.columns if holds_images(table[c])]
    if images:
        return _images(
            table,
            images,
            source,
            image_size=image_size,
            on_error=on_error,
            progress=progress,
            stacklevel=stacklevel + 1,
        )
    if isinstance(image_size, tuple):
        raise ValueError(
            f"image_size is for images only, got {image_size!r} for {source}, which "
            "holds none."
        )
    columns: list[Any] = []
    single: list[tuple[str, NDArray[Any]]] = []
    table = table.with_columns(pl.selectors.float().fill_nan(None))
    ordinary = ordinary_numbers(table)
    for column in table.get_columns():
        is_ordinary = column.name in ordinary
        made = [column] if is_ordinary else feature_columns(column, source)
        columns += made
        if len(made) == 1:
            single.append((column.name, made[0].to_numpy()))
    warn_of_telling_columns(
        single, labels, how="drop_columns", stacklevel=stacklevel + 1
    )
    names = tuple(column.name for column in columns)
    if all(column.dtype.is_numeric() for column in columns):
        X = to_float(pl.DataFrame(columns).to_numpy().astype(np.float64, copy=False))
        return Features(X, names)
    return Features(pl.DataFrame(columns), names)


def ordinary_numbers(table: polars.DataFrame) -> set[str]:
    """Find columns of numbers that any type can hold, by one call for all.

    Parameters
    ----------
    table : polars.DataFrame of shape (n_samples, n_columns)
        The table; no float is NaN.

    Returns
    -------
    set of str
        Names of the columns.
    """
    pl = import_extra("polars", "cli")
    kinds = [(c, c.dtype) for c in table]
    numbers = pl.DataFrame(
        {c.name: c for c, k in kinds if k.is_float() or k.is_integer()}
    )
    largest = numbers.select(pl.all().cast(pl.Float64).abs().max())
    return {c.name for c in largest if len(c) > 0 and (c[0] or 0) < _MOST_INTEGER}


def feature_columns(column: Any, source: Any) -> list[Any]:
    """Make numbers, text, a category or a date of a column.

    Parameters
    ----------
    column : polars.Series of shape (n_samples,)
        Any column.
    source : object
        Where it comes from, for messages.

    Returns
    -------
    list of polars.Series of shape (n_samples,)
        One; of a column of lists one for each of their places.

    Raises
    ------
    ValueError
        As :func:`features_of`.
    """
    pl = import_extra("polars", "cli")
    dtype, name = column.dtype, column.name
    if dtype == pl.Null:
        column = column.cast(pl.Float64)
    elif dtype == pl.Boolean:
        return [column.cast(pl.UInt8)]
    elif dtype.is_decimal():
        column = column.cast(pl.Float64)
    elif dtype in (pl.Duration, pl.Time):
        column = column.to_physical()
    elif dtype in (pl.List, pl.Array):
        return _places_of_lists(column, source, pl)
    dtype = column.dtype
    if dtype.is_numeric():
        if dtype.is_integer():
            _check_integers(column, source, pl)
        return [_checked_numbers(column, source)]
    is_text = dtype in (pl.String, pl.Categorical, pl.Enum)
    if is_text or dtype in (pl.Date, pl.Datetime):
        return [column]
    raise ValueError(
        f"{source}: column {name!r} holds {dtype}, of which no feature can be made; "
        "name it in drop_columns, or store numbers, text, dates or images."
    )


def _places_of_lists(column: Any, source: Any, pl: Any) -> list[Any]:
    """Numbers at each place of the lists of a column, such as an embedding."""
    name, inner = column.name, column.dtype.inner
    if not (inner.is_numeric() or inner == pl.Boolean):
        raise ValueError(
            f"{source}: column {name!r} holds lists of {inner}; only lists of numbers "
            "are features. Name it in drop_columns, or join its texts to one."
        )
    if column.null_count() > 0:
        raise ValueError(
            f"{source}: column {name!r} lacks {column.null_count()} of "
            f"{len(column)} lists; leave these rows out."
        )
    if column.dtype == pl.List:
        lengths = column.list.len().unique().sort().to_list()
        if len(lengths) != 1 or lengths[0] == 0:
            raise ValueError(
                f"{source}: the lists of column {name!r} have {lengths[0]} to "
                f"{lengths[-1]} numbers; features need as many in each row."
            )
        column = column.list.to_array(lengths[0])
    values = column.to_numpy()
    values = values.reshape(len(values), -1)  # (n_samples, length)
    if values.dtype == object:  # lists with missing numbers
        values = np.array(column.to_list(), dtype=np.float64).reshape(len(values), -1)
    places = [pl.Series(f"{name}[{i}]", values[:, i]) for i in range(values.shape[1])]
    return [_checked_numbers(place.cast(pl.Float64), source) for place in places]


def _check_integers(column: Any, source: Any, pl: Any) -> None:
    """Refuse integers that float64 would merge."""
    known = column.drop_nulls()
    if len(known) == 0 or max(abs(known.min()), abs(known.max())) <= _MOST_INTEGER:
        return
    if known.cast(pl.Float64).n_unique() < known.n_unique():
        raise ValueError(
            f"{source}: column {column.name!r} holds integers beyond 2**53, which "
            "numbers with a decimal point cannot tell apart; name it in drop_columns "
            "if it is an identifier, else subtract its smallest value."
        )


def _checked_numbers(column: Any, source: Any) -> Any:
    known = column.drop_nulls()
    if len(known) > 0 and not bool((known.abs() <= _LARGEST).all()):
        raise ValueError(
            f"{source}: column {column.name!r} holds values that are infinite or too "
            "large for float32."
        )
    return column


def holds_images(column: polars.Series) -> bool:
    """Whether a column is one of encoded images, as data sets on the hub have it.

    Parameters
    ----------
    column : polars.Series
        Any column.

    Returns
    -------
    bool
        True of bytes, and of records with a field ``bytes``.
    """
    pl = import_extra("polars", "cli")
    dtype: Any = column.dtype
    if dtype == pl.Struct:
        fields = {field.name: field.dtype for field in dtype.fields}
        return bool(fields.get("bytes") == pl.Binary)
    return bool(dtype == pl.Binary)


def image_files(
    column: polars.Series,
) -> tuple[list[str], Callable[[int], bytes]]:
    """Name the images of a column, and say how one is read.

    Parameters
    ----------
    column : polars.Series of shape (n_samples,)
        One that :func:`holds_images`.

    Returns
    -------
    files : list of str
        Path of each image, or the number of its row.
    read : callable
        Takes a row and returns the content of its image; raises ValueError where there
        is none.
    """
    pl = import_extra("polars", "cli")
    files = [str(row) for row in range(len(column))]
    contents: Any = column
    if column.dtype == pl.Struct:
        fields = column.struct.unnest()
        contents = fields["bytes"]
        if "path" in fields.columns:
            paths = fields["path"].cast(pl.String).to_list()
            files = [path or file for path, file in zip(paths, files, strict=True)]

    def read(row: int) -> bytes:
        content = contents[row]
        if content is None:
            raise ValueError("it is missing")
        return bytes(content)

    return files, read


def _images(
    table: polars.DataFrame,
    names: Sequence[str],
    source: Any,
    *,
    image_size: tuple[int, int] | int | None,
    on_error: str,
    progress: Progress | None = None,
    stacklevel: int,
) -> Features:
    name, *others = [*names, *(c for c in table.columns if c not in names)]
    if others:
        warnings.warn(
            f"{source}: rows are judged by the images of column {name!r} alone, not by "
            f"{', '.join(map(repr, others))}. Name one column of images less in "
            "drop_columns to take another.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    files, read = image_files(table[name])
    decoded = decode_images(
        [str(row) for row in range(len(files))],
        lambda index: read(int(index)),
        f"column {name!r} of {source}",
        image_size,
        on_error,
        progress=progress,
        stacklevel=stacklevel + 1,
    )
    kept = decoded.kept
    return Features(
        scale_pixels(decoded.pixels),
        None,
        kept,
        tuple(files[row] for row in kept),
        tuple((files[int(row)], why) for row, why in decoded.skipped),
    )
