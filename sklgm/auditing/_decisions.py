"""Decisions that a person made on rows: keep, relabel, drop or unsure."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECISIONS = ("keep", "relabel", "drop", "unsure")


@dataclass(frozen=True, eq=False)
class CheckedRows:
    """Rows on which a person has decided, without the unsure ones.

    Attributes
    ----------
    rows : ndarray of int of shape (n_checked,)
        Rows, ascending.
    is_right : ndarray of bool of shape (n_checked,)
        Whether their labels were kept; the others were relabelled or dropped.
    """

    rows: NDArray[np.intp]
    is_right: NDArray[np.bool_]


def check_decisions(decisions: Any, n_samples: int) -> CheckedRows:
    """Check decisions against the rows that are audited.

    Parameters
    ----------
    decisions : mapping of int to str
        Decision on each row, counted from 0.
    n_samples : int
        Number of rows.

    Returns
    -------
    CheckedRows
        The rows on which there is a decision.

    Raises
    ------
    TypeError
        If ``decisions`` is not a mapping.
    ValueError
        If a row is none of the audited ones, or a decision is unknown.
    """
    if not isinstance(decisions, Mapping):
        raise TypeError(
            "decisions must be a dict of rows and decisions, such as {17: 'relabel'}, "
            f"got {type(decisions).__name__}; read_decisions reads one from a CSV file"
        )
    checked = []
    for row, decision in decisions.items():
        if not isinstance(row, Integral) or not 0 <= int(row) < n_samples:
            raise ValueError(
                f"decisions has row {row!r}: rows are 0 to {n_samples - 1}"
            )
        if decision not in DECISIONS:
            raise ValueError(
                f"decisions[{row}] must be one of {', '.join(DECISIONS)}, "
                f"got {decision!r}"
            )
        if decision != "unsure":
            checked.append((int(row), decision == "keep"))
    checked.sort()
    return CheckedRows(
        np.array([row for row, _ in checked], dtype=np.intp),
        np.array([is_right for _, is_right in checked], dtype=bool),
    )
