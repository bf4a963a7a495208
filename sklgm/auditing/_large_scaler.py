"""Standardisation of rows that do not fit into memory."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from sklgm._running import is_large_file, row_chunks, scratch_array


class LargeScaler(StandardScaler, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """``StandardScaler`` that holds no copy of an array that is a large file.

    Means and variances of such an array are those of ``partial_fit``: the same up to
    rounding. Output is an array, whatever ``sklearn.set_config`` says.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn mean and variance of each column.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted scaler.
        """
        if not is_large_file(X):
            super().fit(X)
            return self
        self._reset()
        for rows in row_chunks(X):
            self.partial_fit(X[rows])
        return self

    def transform(self, X: Any, copy: bool | None = None) -> NDArray[Any]:
        """Standardise rows.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        copy : bool or None, default=None
            As in ``StandardScaler``; a large file is never changed.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Standardised rows, a file where they are large.
        """
        if not is_large_file(X):
            return np.asarray(super().transform(X, copy=copy))
        dtype = super().transform(X[:1]).dtype
        scaled = scratch_array(X.shape, dtype, of_file=True)
        for rows in row_chunks(X):
            scaled[rows] = super().transform(X[rows], copy=True)
        return scaled
