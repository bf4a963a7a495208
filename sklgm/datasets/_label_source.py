"""Labels of a file or folder, and copies of it with corrected ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import Progress

# Digits of a label that is a whole number, at most.
_MOST_DIGITS = 20


@dataclass(frozen=True)
class Corrections:
    """What a copy has otherwise than its source.

    Attributes
    ----------
    new_labels : mapping of int to object
        Label of rows that are relabelled, as :meth:`LabelSource.label_of` gives it.
    dropped : frozenset of int
        Rows that are left out.
    """

    new_labels: Mapping[int, Any]
    dropped: frozenset[int]

    def kept(self, n_rows: int) -> NDArray[np.bool_]:
        """Tell which rows stay.

        Parameters
        ----------
        n_rows : int
            Number of rows of the source.

        Returns
        -------
        ndarray of bool of shape (n_rows,)
            False where a row is left out.
        """
        is_kept = np.ones(n_rows, dtype=bool)
        is_kept[sorted(self.dropped)] = False
        return is_kept


class LabelSource(ABC):
    """Labels of a file or folder in the order of its rows.

    Attributes
    ----------
    labels : ndarray of shape (n_rows,)
        Labels, as :func:`~sklgm.datasets.load_rows` gives them, also of images that
        cannot be read.
    names : tuple of str or None
        File of each image; None where rows are not images.
    """

    labels: NDArray[Any]
    names: tuple[str, ...] | None = None

    def texts_of(self, row: int) -> tuple[str, ...]:
        """Tell what lists of an audit may call a row that has no name.

        Parameters
        ----------
        row : int
            Row of the source.

        Returns
        -------
        tuple of str
            The start of each of its texts; empty where it has none.
        """
        return ()

    def test_classes(self) -> set[str]:
        """Name the classes of the test rows, which need training rows.

        Returns
        -------
        set of str
            Empty where there are no test rows.
        """
        return set()

    def is_readable(self, row: int) -> bool:
        """Whether a row is one of an audit: images that cannot be read are not.

        Parameters
        ----------
        row : int
            Row of the source.

        Returns
        -------
        bool
            True of all rows but damaged images.
        """
        return True

    @abstractmethod
    def label_of(self, text: str) -> Any:
        """Make the label of a new class from its text.

        Parameters
        ----------
        text : str
            As a person wrote it.

        Returns
        -------
        object
            A label of the type of the others.

        Raises
        ------
        ValueError
            If the source can hold no such label.
        """

    @abstractmethod
    def write(self, to: Path, corrections: Corrections, progress: Progress) -> int:
        """Write a corrected copy.

        Parameters
        ----------
        to : pathlib.Path
            Where; there is nothing yet.
        corrections : Corrections
            What it has otherwise.
        progress : callable
            Called with the name of a stage, steps done and steps in all.

        Returns
        -------
        int
            Rows that are not in the copy because they cannot be read.

        Raises
        ------
        OSError, ValueError
            If it cannot be written, or the source changed. What was written until
            then is the caller's to delete.
        """


def parsed_label(text: str, dtype: np.dtype[Any], name: str) -> Any:
    """Make a label of a numpy type from its text.

    Parameters
    ----------
    text : str
        As a person wrote it.
    dtype : numpy.dtype
        Of the other labels: of integers, floats, booleans or strings.
    name : str
        Of what holds the labels, for the error.

    Returns
    -------
    object
        The label.

    Raises
    ------
    ValueError
        If the type has no such value.
    """
    if dtype.kind in "UO":
        return text
    try:
        if dtype.kind == "b":
            return {"true": True, "false": False}[text.strip().lower()]
        exact = Decimal(text.strip())
        if exact.is_finite() and exact.adjusted() > _MOST_DIGITS:
            raise ValueError  # an integer of a billion digits takes for ever
        number = int(exact)
        if number != exact:
            raise ValueError
        if dtype.kind == "f" or np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
            return number
    except (ArithmeticError, ValueError, KeyError):
        pass
    kind = "true or false" if dtype.kind == "b" else "whole numbers"
    raise ValueError(f"{name} holds {kind} ({dtype}), which {text!r} is not")
