"""Values that rows can hold, the range of them, and poisons rounded to both."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm._running import row_chunks

# A poison may be this far beyond its bound by the rounding of floats.
_ROUNDING = 1e-6
_EXACT = 1e-3


@dataclass(frozen=True, eq=False)
class Levels:
    """Steps in which the values of rows are counted.

    Attributes
    ----------
    per_unit : ndarray of float64
        Levels per unit, 0 where values are not counted; broadcasts to an instance.
    eight_bit_scale : float or None
        What makes all values whole numbers from 0 to 255; None if nothing does.
    """

    per_unit: NDArray[np.float64]
    eight_bit_scale: float | None

    def check_bound(self, max_perturbation: float | None) -> None:
        """Refuse a bound within which no value can change.

        Parameters
        ----------
        max_perturbation : float or None
            The bound.

        Raises
        ------
        ValueError
            If it is below one level of every value.
        """
        most = float(self.per_unit.max())
        if max_perturbation is None or (self.per_unit == 0.0).any():
            return
        if max_perturbation * most < 1.0 - _EXACT:
            raise ValueError(
                f"max_perturbation={max_perturbation:g} is below one level, "
                f"{1 / most:g}, of the values of X: no poison could differ from its "
                "base"
            )


def find_levels(X: NDArray[Any], whole_columns: Collection[int] = ()) -> Levels:
    """Find the steps in which the values of rows are counted.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Rows. Integers and booleans are whole numbers; floats are counted where all of
        them are multiples of 1/255 in [0, 1], or whole numbers in [0, 255], and in
        columns of 2-D X that hold whole numbers alone.
    whole_columns : collection of int, default=()
        Columns of 2-D X that are known to be integers.

    Returns
    -------
    Levels
        For all rows.
    """
    scale = _eight_bit_scale(X)
    if X.dtype.kind in "iub":
        return Levels(np.ones(()), scale)
    per_unit = np.full(X.shape[1:], scale or 0.0)
    per_unit[list(whole_columns)] = 1.0
    if X.ndim == 2 and scale is None:
        per_unit[[j for j in range(X.shape[1]) if _is_whole(X[:, j])]] = 1.0
    elif scale == 255.0 and all(_are_whole(X[rows]) for rows in row_chunks(X)):
        per_unit[...] = 1.0  # black or white, yes or no
    return Levels(per_unit, scale)


def _is_whole(column: NDArray[Any]) -> bool:
    return bool((column == np.rint(column)).all())


def _eight_bit_scale(X: NDArray[Any]) -> float | None:
    """Find what makes X whole numbers from 0 to 255; None if nothing does."""
    low, high = float(X.min()), float(X.max())
    is_whole = X.dtype.kind in "iub"
    for scale in (1.0,) if is_whole else (255.0, 1.0):
        if low < 0.0 or not 1.0 - _EXACT < high * scale < 255.0 + _EXACT:
            continue
        if is_whole or all(_are_whole(X[rows] * scale) for rows in row_chunks(X)):
            return scale
    return None


def _are_whole(values: NDArray[Any]) -> bool:
    return bool((np.abs(values - np.rint(values)) <= _EXACT).all())


def range_of(X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the range of values: of each column of rows, of all pixels of images.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features) or (n_samples, *input_shape)
        Columns may have different units; the pixels of an image share one.

    Returns
    -------
    low, high : ndarray of shape (n_features,) or ()
        Its ends.
    """
    axis = 0 if X.ndim == 2 else None
    return (
        np.asarray(X.min(axis=axis), dtype=np.float64),
        np.asarray(X.max(axis=axis), dtype=np.float64),
    )


def rounded(
    X_poison: NDArray[np.floating[Any]],
    X_base: NDArray[Any],
    levels: Levels,
    pixel_range: tuple[ArrayLike, ArrayLike],
    max_perturbation: float | None,
) -> NDArray[Any]:
    """Give poisons as X could hold them, within their bounds.

    Parameters
    ----------
    X_poison : ndarray of shape (n_poisons, ...)
        Poisons, floats.
    X_base : ndarray of shape (n_poisons, ...)
        Their bases, in the type of X.
    levels : Levels
        Of X.
    pixel_range : tuple of (low, high)
        Range of the poisons; broadcasts to an instance.
    max_perturbation : float or None
        Bound on how far a value may be from its base.

    Returns
    -------
    ndarray of shape (n_poisons, ...)
        In the type of `X_base`.
    """
    result = np.empty_like(X_base)
    counted = levels.per_unit > 0.0
    per_unit = np.where(counted, levels.per_unit, 1.0)
    for rows in row_chunks(X_base):
        base = X_base[rows].astype(np.float64)
        low, high = (np.asarray(end, dtype=np.float64) for end in pixel_range)
        if max_perturbation is not None:
            low = np.maximum(low, base - max_perturbation)
            high = np.minimum(high, base + max_perturbation)
        values = X_poison[rows].astype(np.float64)
        whole = np.clip(
            np.rint(values * per_unit),
            np.ceil((low - _ROUNDING) * per_unit),
            np.floor((high + _ROUNDING) * per_unit),
        )
        values = np.where(counted, whole / per_unit, values) + 0.0  # -0.0 is 0.0
        result[rows] = cast = values.astype(X_base.dtype)
        if X_base.dtype == np.float16:  # poisons are crafted in wider types
            is_out = ~counted & ((cast < low) | (cast > high))
            result[rows] = np.where(is_out, np.nextafter(cast, X_base[rows]), cast)
    return result
