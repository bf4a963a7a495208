"""Lists as CSV files that a spreadsheet may open: nothing in them is executed."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from sklgm.persistence._files import write_atomically

# Spreadsheets also skip a tab or a line break before a formula.
_FORMULA_STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)


def write_csv(path: Path, lines: list[list[Any]], escape_formulas: bool) -> None:
    """Write a list whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Where.
    lines : list of list
        Cells of each line, with the header.
    escape_formulas : bool
        Whether to write texts as :func:`inert` makes them.
    """
    text = io.StringIO(newline="")
    if escape_formulas:
        lines = [[inert(cell) for cell in line] for line in lines]
    csv.writer(text, lineterminator="\n", quoting=_quoting(lines)).writerows(lines)
    write_text(path, text.getvalue())


def _quoting(lines: Iterable[Iterable[Any]]) -> Literal[0, 1]:
    """Say which cells of a CSV to quote: all, if one holds a carriage return.

    Python 3.11 quotes it by itself only where lines end in one.
    """
    is_odd = any(
        "\r" in cell for line in lines for cell in line if isinstance(cell, str)
    )
    return csv.QUOTE_ALL if is_odd else csv.QUOTE_MINIMAL


def inert(cell: Any) -> Any:
    """Text that no spreadsheet takes for a formula; numbers stay as they are.

    Parameters
    ----------
    cell : object
        Anything.

    Returns
    -------
    object
        The same, or the text after an apostrophe.
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def listed(value: Any) -> str:
    """Text of a label or name in a list, as it is read again.

    Parameters
    ----------
    value : object
        Label or name.

    Returns
    -------
    str
        Formulas and what is not Unicode are escaped.
    """
    return escaped(inert(value))


def escaped(value: Any) -> str:
    """Text of a label or name in which what is not Unicode is escaped.

    Parameters
    ----------
    value : object
        Label or name.

    Returns
    -------
    str
        Text that can be written.
    """
    return str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text; names that are not Unicode are escaped.

    Parameters
    ----------
    path : pathlib.Path
        Where.
    text : str
        What.
    """
    write_atomically(path, text.encode("utf-8", errors="backslashreplace"))
