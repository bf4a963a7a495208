"""Rows of an array a part at a time, where a copy of all would not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from sklgm._running import scratch_array

# Of a chunk of rows, as float64.
_MOST_BYTES = 2**26
_MOST_ROWS, _LEAST_ROWS = 65_536, 1024


def row_chunks(rows: NDArray[Any]) -> Iterator[slice]:
    """Cut rows into parts of at most 64 MiB of float64.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, ...)
        The rows.

    Yields
    ------
    slice
        Of at most 65,536 rows; of 1,024 where they are long.
    """
    n_values = rows.size // max(len(rows), 1)
    n_rows = min(_MOST_ROWS, max(_LEAST_ROWS, _MOST_BYTES // (8 * max(n_values, 1))))
    for start in range(0, len(rows), n_rows):
        yield slice(start, start + n_rows)


def has_nan(rows: NDArray[Any]) -> bool:
    """Whether a value is NaN.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, ...)
        Real numbers.

    Returns
    -------
    bool
        True if one is.
    """
    if rows.dtype.kind != "f":
        return False
    return any(bool(np.isnan(rows[chunk]).any()) for chunk in row_chunks(rows))


class ChunkedScaler(StandardScaler):
    """``StandardScaler`` that holds no copy of an array that is larger than memory.

    Rows that fit into one chunk (:func:`row_chunks`) are scaled to the same bits; of
    more the mean and variance are those of ``partial_fit``, the same up to rounding.
    """

    def fit(
        self, X: NDArray[Any], y: Any = None, sample_weight: NDArray[Any] | None = None
    ) -> Self:
        """Learn mean and variance of each column, a chunk at a time.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        self : object
            The fitted scaler.
        """
        for chunk in row_chunks(X):
            weights = None if sample_weight is None else sample_weight[chunk]
            learn = super().fit if chunk.start == 0 else self.partial_fit
            learn(X[chunk], None, weights)
        return self

    def transform(self, X: NDArray[Any], copy: bool | None = None) -> NDArray[Any]:
        """Scale rows, a chunk at a time.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        copy : bool or None, default=None
            Ignored: X is never changed.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Scaled rows; memory-mapped where they are large.
        """
        chunks = list(row_chunks(X))
        if len(chunks) <= 1:
            return np.asarray(super().transform(X, copy=True))
        first = super().transform(X[chunks[0]], copy=True)
        scaled = scratch_array(X.shape, first.dtype)
        scaled[chunks[0]] = first
        for chunk in chunks[1:]:
            scaled[chunk] = super().transform(X[chunk], copy=True)
        return scaled
