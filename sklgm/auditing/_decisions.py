"""Decisions that a person made on rows: keep, relabel, drop or unsure."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
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


def read_decisions(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read decisions on rows from a CSV file.

    Parameters
    ----------
    path : path-like
        File with a header and the columns ``row``, counted from 0, and ``decision``:
        keep, relabel, drop or unsure. Other columns, and rows without a decision, are
        ignored.

    Returns
    -------
    dict of int to str
        Decision on each row, for ``audit(..., decisions=...)``.

    Raises
    ------
    ValueError
        If a column is missing, a row is no whole number, a decision is none of these,
        or a row has two different ones. The message names the line.
    """
    decisions: dict[int, str] = {}
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        missing = {"row", "decision"} - set(lines.fieldnames or ())
        if missing:
            raise ValueError(
                f"decisions: {path} has no column {' and no column '.join(missing)}; "
                "it needs the columns row and decision"
            )
        for line in lines:
            decision = (line["decision"] or "").strip().lower()
            if not decision:
                continue
            place = f"decisions: {path}, line {lines.line_num}: "
            if not (line["row"] or "").strip().isdecimal():
                raise ValueError(
                    f"{place}row {line['row']!r} is no row number, counted from 0"
                )
            row = int(line["row"])
            if decision not in DECISIONS:
                raise ValueError(
                    f"{place}decision {decision!r} must be one of "
                    f"{', '.join(DECISIONS)}"
                )
            if decisions.setdefault(row, decision) != decision:
                raise ValueError(f"{place}row {row} has two decisions")
    return decisions


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
        If ``decisions`` is no mapping.
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
