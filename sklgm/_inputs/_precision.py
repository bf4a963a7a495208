"""Which columns of numbers float32 cannot hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import is_large_file, row_chunks, scratch_array

# Rows from which the distance of neighbouring values of a column is taken.
_N_SAMPLED = 1000
# Share of that distance that rounding may move a value.
_MOST_MOVED = 0.1
_CHUNK = 256  # columns that are looked at together


def is_lost_in_float32(X: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell columns whose differences do not survive a cast to float32.

    A column of Unix times is one: float32 has steps of 128 seconds there.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Real numbers; NaN is passed over.

    Returns
    -------
    ndarray of bool of shape (n_features,)
        Whether rounding moves a value of the column by more than a tenth of the
        distance between neighbouring values of 1,000 rows.
    """
    is_lost = np.zeros(X.shape[1], dtype=bool)
    if len(X) == 0 or np.can_cast(X.dtype, np.float32):
        return is_lost
    sampled = np.unique(np.linspace(0, len(X) - 1, _N_SAMPLED).astype(np.intp))
    for start in range(0, X.shape[1], _CHUNK):
        chunk = X[:, start : start + _CHUNK]
        most_moved = _most_moved(chunk)
        for j in np.flatnonzero(most_moved > 0):
            values = np.unique(chunk[sampled, j].astype(np.float64))
            gaps = np.diff(values[np.isfinite(values)])
            if len(gaps) > 0:
                gap = np.median(gaps)
            else:  # the rows that were looked at are alike, and the others decide
                column = chunk[:, j].astype(np.float64)
                gap = np.nanmax(column) - column[0]
            is_lost[start + j] = gap > 0 and most_moved[j] > _MOST_MOVED * gap
    return is_lost


def _most_moved(X: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """How far a cast to float32 moves a value of each column, at most."""
    most = np.zeros(X.shape[1])
    for part in row_chunks(X):
        rows = X[part]
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.abs(rows - rows.astype(np.float32).astype(rows.dtype))
        most = np.maximum(most, np.nan_to_num(moved, posinf=np.inf).max(axis=0))
    return most


def column_offsets(X: NDArray[Any]) -> NDArray[np.float64] | None:
    """Tell what to subtract from columns before they are cast to float32.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Real numbers.

    Returns
    -------
    ndarray of shape (n_features,) or None
        The mean of a column that float32 would lose, 0 for others; None if all are 0,
        or X holds images.
    """
    if X.ndim != 2 or X.dtype == np.float32:
        return None
    is_lost = is_lost_in_float32(X)
    if not is_lost.any():
        return None
    offsets = np.zeros(X.shape[1])
    offsets[is_lost] = X[:, is_lost].mean(axis=0, dtype=np.float64)
    return offsets


def to_float(X: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Cast rows of numbers to float32, or to float64 where that would lose a column.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Real numbers.

    Returns
    -------
    ndarray of float32 or float64, of the shape of X
        The same numbers; a file where X is a large one.
    """
    flat = X.reshape(len(X), -1)
    dtype = np.float64 if is_lost_in_float32(flat).any() else np.float32
    with np.errstate(over="ignore"):
        if X.dtype == dtype or not is_large_file(X):
            return np.ascontiguousarray(X, dtype=dtype)
        cast = scratch_array(X.shape, dtype, of_file=True)
        for part in row_chunks(X):
            cast[part] = X[part]
    return cast
