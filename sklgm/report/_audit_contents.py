"""What audited rows hold, as the page shows it: images, columns of values, or texts."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sklgm._inputs import ImageFiles
from sklgm._running import import_extra
from sklgm.report._audit_texts import as_unicode
from sklgm.report._page import data_uri

#: Longest side, in pixels, of the images that are embedded.
_MAX_IMAGE_SIDE = 224
#: Smaller images are kept as they are and enlarged with sharp pixels.
_CRISP_SIDE = 96
_JPEG_QUALITY = 85
_MAX_LETTERS = 4000
#: Text of at most so many different values is a category.
_MOST_CATEGORIES = 50
#: Of wide rows this many of the most unusual values are shown.
_MAX_CELLS = 16
#: Usual values of a class: the middle 95 % of this many rows that are not suspects.
_USUAL_SHARE = 0.95
_MAX_ROWS_OF_CLASS = 500
#: Categories are unusual where fewer rows of the class have them.
_RARE_SHARE = 0.05


@dataclass(frozen=True)
class ShownRows:
    """Which rows the page shows, and where it compares them.

    Attributes
    ----------
    listed : list of int
        Rows, in the order of the list.
    claimed : list of int
        Index of the class that each of them claims.
    with_images : list of int
        Rows whose images are embedded.
    compared : dict of int to ndarray of int
        Rows that are not suspects of each class that a listed row claims, or is
        likelier of.
    typical : dict of int to list of int
        Rows that are typical of each of these classes.
    """

    listed: list[int]
    claimed: list[int]
    with_images: list[int]
    compared: dict[int, NDArray[np.intp]]
    typical: dict[int, list[int]]


class Contents(Protocol):
    """What the rows hold."""

    def payload(self, shown: ShownRows) -> dict[str, Any]:
        """Collect what the script of the page needs, as JSON has it."""


def read_contents(
    X: Any, n_samples: int, feature_names: Sequence[str] | None = None
) -> Contents | None:
    """Read rows as something that can be shown.

    Parameters
    ----------
    X : array-like, frame, mapping, sequence of str or ImageFiles
        The rows.
    n_samples : int
        How many were audited.
    feature_names : sequence of str or None, default=None
        Names of the columns of an array.

    Returns
    -------
    Contents or None
        None where nothing can be shown: sparse rows, or images of other than 1 or 3
        channels.

    Raises
    ------
    ValueError
        If X has another number of rows, or is none of these; or if feature_names has
        another length than X has columns.
    """
    if isinstance(X, ImageFiles):
        _check_length(len(X), n_samples)
        return _Images(_FileImages(X))
    if isinstance(X, Mapping) or hasattr(X, "columns"):
        names = list(X if isinstance(X, Mapping) else X.columns)
        columns = [_Column.of(str(name), X[name]) for name in names]
        for column in columns:
            _check_length(len(column.values), n_samples)
        if len(columns) == 1 and columns[0].kind == "text":
            return _Texts(columns[0].values)
        return _Table(columns)
    if sparse.issparse(X):
        _check_length(X.shape[0], n_samples)
        return None
    values = np.asarray(X)
    if values.ndim == 1 and len(values) and isinstance(values[0], str):
        _check_length(len(values), n_samples)
        return _Texts(values)
    if values.ndim not in (2, 4):
        raise ValueError(
            f"X of shape {values.shape} must have the shape (n_samples, n_features) or "
            "(n_samples, n_channels, height, width), or hold texts."
        )
    _check_length(len(values), n_samples)
    if values.ndim == 4:
        is_image = values.shape[1] in (1, 3) and min(values.shape[2:]) > 0
        return _Images(values) if is_image else None
    n_columns = values.shape[1]
    if feature_names is None:
        feature_names = [f"column {j}" for j in range(n_columns)]
    elif len(feature_names) != n_columns:
        raise ValueError(
            f"feature_names has {len(feature_names)} entries for {n_columns} columns."
        )
    return _Table(
        [_Column.of(str(name), values[:, j]) for j, name in enumerate(feature_names)]
    )


def _check_length(n_rows: int, n_samples: int) -> None:
    if n_rows != n_samples:
        raise ValueError(f"X has {n_rows} rows, but {n_samples} were audited.")


class _FileImages:
    """Images in files, decoded when they are shown; smaller ones are not enlarged."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files
        self.shape = (len(files), 3, _MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        image = self.files.image(row)
        image.thumbnail((_MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE))
        return np.asarray(image).transpose(2, 0, 1)


@dataclass(frozen=True, eq=False)
class _Images:
    images: NDArray[Any] | _FileImages

    def payload(self, shown: ShownRows) -> dict[str, Any]:
        typical = {row for rows in shown.typical.values() for row in rows}
        rows = sorted(typical | set(shown.with_images)) if shown.with_images else []
        return {
            "kind": "images",
            "images": {row: _image_uri(self.images[row]) for row in rows},
            "typical": shown.typical if rows else {},
            "isCrisp": max(self.images.shape[2:]) < _CRISP_SIDE,
        }


def _image_uri(image: NDArray[Any]) -> str:
    """Encode an image of shape (n_channels, height, width)."""
    pillow = import_extra("PIL.Image", "cli")
    if image.dtype != np.uint8:
        finite = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
        image = np.rint(255 * np.clip(finite, 0, 1)).astype(np.uint8)
    if len(image) == 1:
        picture = pillow.fromarray(image[0])
    else:
        # (height, width, n_channels)
        picture = pillow.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    picture.thumbnail((_MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE))
    buffer = io.BytesIO()
    if max(picture.size) < _CRISP_SIDE:
        picture.save(buffer, format="PNG", optimize=True)
        return data_uri("image/png", buffer.getvalue())
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return data_uri("image/jpeg", buffer.getvalue())


@dataclass(frozen=True, eq=False)
class _Texts:
    values: NDArray[Any]

    def payload(self, shown: ShownRows) -> dict[str, Any]:
        return {
            "kind": "texts",
            "texts": [_shortened(self.values[row]) for row in shown.listed],
            "typical": {
                k: [_shortened(self.values[row]) for row in rows]
                for k, rows in shown.typical.items()
            },
        }


def _shortened(value: Any) -> str:
    text = "" if value is None else as_unicode(value)
    return text if len(text) <= _MAX_LETTERS else text[: _MAX_LETTERS - 1] + "…"


@dataclass(frozen=True, eq=False)
class _Column:
    """A column: numbers, NaN where they are missing; or texts, None there."""

    name: str
    kind: str
    values: NDArray[Any]

    @classmethod
    def of(cls, name: str, column: Any) -> _Column:
        name = as_unicode(name)
        values = np.asarray(column)
        if values.dtype.kind in "biuf":
            return cls(name, "number", values)
        items = [None if _is_missing(item) else item for item in values.tolist()]
        if all(item is None or isinstance(item, int | float) for item in items):
            numbers = [np.nan if item is None else float(item) for item in items]
            return cls(name, "number", np.array(numbers))
        texts = np.empty(len(items), dtype=object)
        texts[:] = [None if item is None else _shortened(item) for item in items]
        n_values = len(set(texts.tolist()) - {None})
        return cls(name, "category" if n_values <= _MOST_CATEGORIES else "text", texts)

    def shares(self, rows: NDArray[np.intp]) -> dict[str, float] | None:
        """Shares of the categories among rows; missing ones are the empty text."""
        if self.kind != "category" or len(rows) == 0:
            return None
        counts = Counter(value or "" for value in self.values[rows].tolist())
        return {value: round(n / len(rows), 3) for value, n in counts.items()}

    def cell(self, row: int) -> float | str | None:
        value = self.values[row]
        if self.kind != "number":
            return None if value is None else str(value)
        number = float(value)
        # JSON knows no infinite numbers.
        if math.isinf(number):
            return str(number)
        return None if math.isnan(number) else _rounded(number)


def _is_missing(item: Any) -> bool:
    return item is None or item != item


def _rounded(number: float) -> float:
    return float(f"{number:.5g}")


@dataclass(frozen=True, eq=False)
class _Table:
    columns: list[_Column]

    def payload(self, shown: ShownRows) -> dict[str, Any]:
        usual, strangeness = {}, np.zeros((len(shown.listed), len(self.columns)))
        listed, claimed = np.array(shown.listed, dtype=int), np.array(shown.claimed)
        for k, of_class in shown.compared.items():
            rows = _evenly(of_class)
            bounds = _usual_bounds(self._numbers(rows))
            is_claimed = claimed == k
            places = self._places("number")
            strangeness[np.ix_(is_claimed, places)] = _distance_outside(
                self._numbers(listed[is_claimed]), bounds
            )
            of_columns: list[Any] = [column.shares(rows) for column in self.columns]
            for place, (low, high) in zip(places, bounds.T.tolist(), strict=True):
                if not math.isnan(low):
                    of_columns[place] = [_rounded(low), _rounded(high)]
            for place in self._places("category"):
                strangeness[is_claimed, place] = [
                    max(0.0, 1 - of_columns[place].get(value or "", 0.0) / _RARE_SHARE)
                    if of_columns[place]
                    else 0.0
                    for value in self.columns[place].values[listed[is_claimed]]
                ]
            usual[k] = of_columns
        return {
            "kind": "table",
            "columns": [
                {"name": column.name, "kind": column.kind} for column in self.columns
            ],
            "usual": usual,
            "cells": [
                self._cells(row, strange)
                for row, strange in zip(shown.listed, strangeness, strict=True)
            ],
        }

    def _places(self, kind: str) -> list[int]:
        return [j for j, column in enumerate(self.columns) if column.kind == kind]

    def _numbers(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Columns of numbers of rows, shape (n_rows, n_columns_of_numbers)."""
        columns = [self.columns[j].values[rows] for j in self._places("number")]
        if not columns:
            return np.empty((len(rows), 0))
        return np.column_stack(columns).astype(np.float64)

    def _cells(self, row: int, strangeness: NDArray[np.float64]) -> list[list[Any]]:
        """Values of a row: column, value, and 1 where it is unusual; else 0.

        Of wide rows the most unusual ones come first, and others are left out.
        """
        places = list(range(len(self.columns)))
        if len(places) > _MAX_CELLS:
            # Columns of text are read, whatever is usual.
            texts = self._places("text")[:_MAX_CELLS]
            order = np.argsort(-strangeness, kind="stable")[: _MAX_CELLS + len(texts)]
            places = texts + [j for j in order.tolist() if j not in texts]
            places = places[:_MAX_CELLS]
        return [[j, self.columns[j].cell(row), int(strangeness[j] > 0)] for j in places]


def _usual_bounds(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bounds of the middle 95 % of each column, (2, n_columns); NaN where unknown."""
    bounds = np.full((2, numbers.shape[1]), np.nan)
    is_finite = np.isfinite(numbers)
    is_whole = is_finite.all(axis=0)
    rest = (1 - _USUAL_SHARE) / 2
    shares = [rest, 1 - rest]
    if len(numbers) and is_whole.any():
        bounds[:, is_whole] = np.quantile(numbers[:, is_whole], shares, axis=0)
    for j in np.flatnonzero(is_finite.any(axis=0) & ~is_whole):
        bounds[:, j] = np.quantile(numbers[is_finite[:, j], j], shares)
    return bounds


def _distance_outside(
    numbers: NDArray[np.float64], bounds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far numbers are outside of bounds, in their width; 0 for unknown ones."""
    low, high = bounds
    outside = np.maximum(np.maximum(low - numbers, numbers - high), 0.0)
    # A constant column has no width.
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
    largest = float(np.finfo(np.float64).max)
    return np.asarray(np.nan_to_num(outside / width, nan=0.0, posinf=largest))


def _evenly(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    if len(rows) <= _MAX_ROWS_OF_CLASS:
        return rows
    chosen = np.linspace(0, len(rows) - 1, _MAX_ROWS_OF_CLASS, dtype=np.intp)
    return rows[chosen]
