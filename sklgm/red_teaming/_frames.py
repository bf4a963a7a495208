"""Frames of numbers: attacked as an array, and given to estimators as they were."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """Names and types of the columns of a frame.

    Attributes
    ----------
    empty : pandas.DataFrame or polars.DataFrame
        The frame without its rows.
    """

    empty: Any

    @classmethod
    def of(cls, X: Any) -> Frame | None:
        """Look whether rows are a frame.

        Parameters
        ----------
        X : object
            Rows, as users give them.

        Returns
        -------
        Frame or None
            None if they are something else.

        Raises
        ------
        ValueError
            If columns do not hold numbers, or two have one name.
        """
        if type(X).__name__ != "DataFrame" or _library_name(X) is None:
            return None
        frame = cls(X[:0])
        if len({*X.columns}) < len(X.columns):
            raise ValueError("X must be a frame whose columns have different names")
        others = [n for n, kind in frame._kinds().items() if kind not in "iufb"]
        if others:
            raise ValueError(
                "X must hold numbers, which poisons change, got other values in "
                f"{', '.join(map(repr, others))}: leave these columns out, or encode "
                "them"
            )
        return frame

    @property
    def names(self) -> list[Any]:
        """Names of the columns."""
        return [*self.empty.columns]

    def in_order(self, name: str, X: Any) -> Any:
        """Put the columns of another frame into the order of these.

        Parameters
        ----------
        name : str
            Of the parameter that it is.
        X : object
            What is not a frame stays as it is.

        Returns
        -------
        object
            The same rows.

        Raises
        ------
        ValueError
            If it has other columns.
        """
        if type(X).__name__ != "DataFrame" or _library_name(X) is None:
            return X
        if {*X.columns} != {*self.names}:
            raise ValueError(
                f"{name} must have the columns of X, {self.names}, got {[*X.columns]}"
            )
        return X[self.names]

    def whole_columns(self) -> list[int]:
        """Numbers of the columns of integers and booleans."""
        kinds = self._kinds().values()
        return [j for j, kind in enumerate(kinds) if kind in "iub"]

    def filled(self, rows: NDArray[Any]) -> Any:
        """Make a frame of rows.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_columns)
            Its values.

        Returns
        -------
        DataFrame
            With the names and types of the columns.
        """
        library: Any = sys.modules[_library_name(self.empty) or ""]
        if library.__name__ == "polars":
            columns = dict(zip(self.empty.columns, rows.T, strict=True))
            return library.DataFrame(columns).cast(dict(self.empty.schema))
        frame = library.DataFrame(rows, columns=self.empty.columns)
        return frame.astype(dict(self.empty.dtypes))

    def _kinds(self) -> dict[str, str]:
        """Kind of each column, as numpy names them."""
        return {
            name: getattr(self.empty[name].dtype, "kind", None)
            or np.asarray(self.empty[name]).dtype.kind
            for name in self.empty.columns
        }


def _library_name(X: Any) -> str | None:
    name = type(X).__module__.split(".")[0]
    return name if name in ("pandas", "polars") else None
