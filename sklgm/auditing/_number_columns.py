"""Columns of numbers without their frame, as one array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array

from sklgm._inputs import rows_looked_at, warn_of_telling_columns
from sklgm._running import row_chunks


@dataclass(frozen=True, eq=False)
class NumberColumns:
    """Columns of numbers, without their frame.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_columns)
        The numbers, of the type that all columns have in common; a file that vanishes
        with it where they are large, as of :func:`~sklgm._running.scratch_array`.
    names : list of str
        Columns; ``name[0]``, ``name[1]`` and so on for the places of lists.
    """

    values: NDArray[Any]
    names: list[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and columns."""
        return self.values.shape

    def sample(self, rows: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and some values of each column.

        Parameters
        ----------
        rows : ndarray of int of shape (n_taken,)
            Which.

        Yields
        ------
        tuple of (str, ndarray of shape (n_taken,))
            Floats, as those of a frame in memory.
        """
        values = self.values[rows].astype(np.float64)
        yield from zip(self.names, values.T, strict=True)

    def incomplete(self) -> list[str]:
        """Names of the columns that hold NaN.

        Returns
        -------
        list of str
            The names.
        """
        has_nan = np.zeros(len(self.names), dtype=bool)
        for rows in row_chunks(self.values):
            has_nan |= np.isnan(self.values[rows]).any(axis=0)
        return [self.names[j] for j in np.flatnonzero(has_nan)]

    def in_order_of(self, names: list[str]) -> NDArray[Any]:
        """Values in the order of other columns.

        Parameters
        ----------
        names : list of str
            Columns of the audited rows.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            The values.

        Raises
        ------
        ValueError
            If one has columns that the other lacks.
        """
        if names == self.names:
            return self.values
        if set(names) != set(self.names):
            only = sorted(set(names) ^ set(self.names))
            raise ValueError(
                "trusted rows must have the columns of X; only one of them has "
                f"{', '.join(map(repr, only[:5]))}"
            )
        return self.values[:, [self.names.index(name) for name in names]]


def check_columns(
    columns: NumberColumns, labels: NDArray[Any], name: str, *, stacklevel: int
) -> None:
    """Check numbers for the default estimator.

    Parameters
    ----------
    columns : NumberColumns of shape (n_samples, n_columns)
        The numbers, of a frame of Dask.
    labels : ndarray of shape (n_samples,)
        Claimed labels, which no column should tell.
    name : str
        Name of the parameter, for errors.
    stacklevel : int
        Frames above this function to which warnings belong.

    Raises
    ------
    ValueError
        If there are no columns, or numbers are missing or infinite.
    """
    if not columns.names:
        raise ValueError(f"{name} must have at least one column beside the labels")
    incomplete = columns.incomplete()
    if incomplete:
        raise ValueError(
            f"{name} lacks values (NaN) in the columns {', '.join(incomplete[:5])}, "
            "which the default estimator fills in only of rows in memory: fill them, "
            f"{name}.fillna(...), leave their rows out, {name}.dropna(), give an "
            f"estimator that takes NaN, or {name}.compute() where that fits into memory"
        )
    check_array(columns.values, input_name=name)
    looked_at = rows_looked_at(len(labels))
    warn_of_telling_columns(
        columns.sample(looked_at), labels[looked_at], stacklevel=stacklevel + 1
    )


def check_names(estimator: Any, columns: NumberColumns) -> None:
    """Refuse a fitted estimator that knows the columns in another order.

    Parameters
    ----------
    estimator : estimator
        It sees an array, and could not tell.
    columns : NumberColumns of shape (n_samples, n_columns)
        What it judges.

    Raises
    ------
    ValueError
        If it is a ``FrozenEstimator`` that was fitted on other names.
    """
    if not isinstance(estimator, FrozenEstimator):
        return
    known = list(getattr(estimator, "feature_names_in_", columns.names))
    if known != columns.names:
        raise ValueError(
            "estimator was fitted on the columns "
            f"{', '.join(map(str, known[:5]))}, but those of X are "
            f"{', '.join(columns.names[:5])}: give X the same columns in that order"
        )
