"""Lists of decisions on rows, as files."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from sklgm._inputs import decode_text, split_separator
from sklgm.auditing._decisions import DECISIONS


@dataclass(frozen=True)
class Decision:
    """What a line of a list says of a row.

    Attributes
    ----------
    row : int
        Row, counted from 0.
    decision : {"keep", "relabel", "drop", "unsure"}
        What to do.
    new_label : str
        Label to give to the row: ``new_label``, else ``likely_label``; empty where
        neither is there.
    claimed_label, name : str or None
        Label and name of the row when it was audited; None where the list has no such
        column.
    line : int
        Line of the file.
    """

    row: int
    decision: str
    new_label: str
    claimed_label: str | None
    name: str | None
    line: int


def read_decision_lines(path: str | os.PathLike[str]) -> list[Decision]:
    """Read decisions on rows from a CSV file, with all it says of the rows.

    Parameters
    ----------
    path : path-like
        As for :func:`read_decisions`.

    Returns
    -------
    list of Decision
        One for each row with a decision.

    Raises
    ------
    ValueError
        As :func:`read_decisions`.
    """
    path = Path(path)
    text = decode_text(path.read_bytes(), path, stacklevel=3).text
    separator, text = split_separator(text, "decision")
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    columns = [(name or "").strip().lower() for name in lines.fieldnames or ()]
    lines.fieldnames = columns
    missing = [name for name in ("row", "decision") if name not in columns]
    if missing:
        raise ValueError(
            f"decisions: {path} has no column {' and no column '.join(missing)}; "
            "it needs the columns row and decision (keep, relabel, drop or unsure). "
            "The report of an audit writes such a file, or add the column to its "
            "suspects.csv"
        )
    decisions: dict[int, Decision] = {}
    for line in lines:
        decision = (line["decision"] or "").strip().lower()
        if not decision:
            continue
        place = f"decisions: {path}, line {lines.line_num}: "
        row = (line["row"] or "").strip()
        if not (row.isascii() and row.isdecimal()):
            raise ValueError(
                f"{place}row {line['row']!r} is not a row number, counted from 0"
            )
        if decision not in DECISIONS:
            raise ValueError(
                f"{place}decision {decision!r} must be one of {', '.join(DECISIONS)}"
            )
        before = decisions.get(int(row))
        if before is not None:
            raise ValueError(
                f"{place}row {row} has two decisions, the other is in line "
                f"{before.line}"
            )
        decisions[int(row)] = Decision(
            int(row),
            decision,
            line.get("new_label") or line.get("likely_label") or "",
            line.get("claimed_label"),
            line.get("name"),
            lines.line_num,
        )
    return list(decisions.values())


def read_decisions(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read decisions on rows from a CSV file.

    Parameters
    ----------
    path : path-like
        File with a header and the columns ``row``, counted from 0, and ``decision``:
        keep, relabel, drop or unsure. Rows without a decision are ignored, and so are
        other columns here; :func:`apply_decisions` reads them too. What the audit
        writes into ``suspects.csv`` becomes such a file by a column ``decision``, in a
        spreadsheet too: separator and encoding are recognised.

    Returns
    -------
    dict of int to str
        Decision on each row, for ``audit(..., decisions=...)``.

    Raises
    ------
    ValueError
        If a column is missing, a row is not a whole number, a decision is unknown, or a
        row has two. The message names the line.

    See Also
    --------
    apply_decisions : Writes the data set that they lead to.
    """
    return {line.row: line.decision for line in read_decision_lines(path)}


def holds_decisions(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds what somebody decided, so that it must not be replaced.

    Parameters
    ----------
    path : path-like
        File, which may be missing.

    Returns
    -------
    bool
        True also of one that cannot be understood.
    """
    if not os.path.lexists(path):
        return False
    try:
        return len(read_decisions(path)) > 0
    except (OSError, ValueError):
        return True
