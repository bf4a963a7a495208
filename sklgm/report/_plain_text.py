"""Tables and sentences as lines of plain text that break between words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sklgm.report._cells import Table

_GAP = "  "
_NONE = "\N{EN DASH}"
_INDENT = "    "
#: Letters of a value at least, so that columns stand below one another.
_VALUE_WIDTH = 9
#: Letters that are left to intervals and counts.
_DETAIL_WIDTH = 24


def sentence_lines(text: str, width: int = 80, indent: str = "") -> list[str]:
    """Break sentences between words.

    Parameters
    ----------
    text : str
        Prose. No-break spaces hold words together and are written as spaces.
    width : int, default=80
        Letters per line at most; a single longer word is left whole.
    indent : str, default=""
        What lines begin with.

    Returns
    -------
    list of str
        The lines.
    """
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return [_plain(line) for line in lines]


def table_lines(table: Table, width: int = 80) -> list[str]:
    """Write a small table, a line per row where the width allows it.

    Parameters
    ----------
    table : Table
        What stands small in its cells is left out.
    width : int, default=80
        Letters per line at most, if the numbers leave room for the names.

    Returns
    -------
    list of str
        The lines; titles and names break between words.
    """
    cells = [
        [_NONE if cell is None else _plain(cell.text) for cell in row.cells]
        for row in table.rows
    ]
    headers = [_plain(row.header) for row in table.rows]
    longest = max(map(len, [table.columns[0], *headers]))
    # Titles on one line where there is room, else as narrow as their words.
    for is_broken in (False, True):
        widths = [
            max(
                *map(len, title.split() if is_broken else [title]),
                *(len(row[i]) for row in cells),
            )
            for i, title in enumerate(table.columns[1:])
        ]
        room = width - sum(widths) - len(_GAP) * len(widths)
        if longest <= room:
            break
    left = min(longest, room)
    titles = [
        sentence_lines(t, w) for t, w in zip(table.columns[1:], widths, strict=True)
    ]
    height = max(1, *map(len, titles))
    lines = []
    for i in range(height):  # titles end on the same line
        parts = [t[i - height + len(t)] if i >= height - len(t) else "" for t in titles]
        name = table.columns[0] if i == height - 1 else ""
        lines.append(_line(name, parts, left, widths))
    for header, row in zip(headers, cells, strict=True):
        first, *rest = sentence_lines(header, max(left, 1))
        lines.append(_line(first, row, left, widths))
        lines += [f"  {more}" for more in rest]
    return lines


def detail_lines(table: Table, width: int = 80) -> list[str]:
    """Write a table of any width, column below column, each with all its numbers.

    Parameters
    ----------
    table : Table
        A table of a report.
    width : int, default=80
        Letters per line at most.

    Returns
    -------
    list of str
        The caption; then the title of each column, and below it a line per row.
    """
    lines = sentence_lines(table.caption, width)
    headers = [
        f"{row.header}, {row.detail}" if row.detail else row.header
        for row in table.rows
    ]
    for index, title in enumerate(table.columns[1:]):
        lines += sentence_lines(title, width, "  ")
        cells = [row.cells[index] for row in table.rows]
        longest = max((len(cell.text) for cell in cells if cell), default=0)
        values = max(_VALUE_WIDTH, longest)
        room = width - len(_INDENT) - 2 * len(_GAP) - values
        names = [sentence_lines(header, room - _DETAIL_WIDTH) for header in headers]
        left = max((len(line) for name in names for line in name), default=0)
        for name, cell in zip(names, cells, strict=True):
            if cell is None:
                continue
            details = sentence_lines("; ".join(cell.details), room - left)
            for i in range(max(len(name), len(details), 1)):
                of_name = name[i] if i < len(name) else ""
                value = _plain(cell.text) if i == 0 else ""
                detail = details[i] if i < len(details) else ""
                line = f"{_INDENT}{of_name.ljust(left)}{_GAP}{value.rjust(values)}"
                lines.append(f"{line}{_GAP}{detail}".rstrip())
    return lines


def _line(name: str, parts: Sequence[str], left: int, widths: Sequence[int]) -> str:
    cells = [part.rjust(width) for part, width in zip(parts, widths, strict=True)]
    return _GAP.join([name.ljust(left), *cells]).rstrip()


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")
