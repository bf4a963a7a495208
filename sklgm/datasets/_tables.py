"""Tables as they come: their files, the names of columns, and texts as shown."""

from __future__ import annotations

import csv
import io
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sklgm._inputs import decode_text, split_separator
from sklgm._running import import_extra
from sklgm.datasets._text_columns import holds_decimal_commas

if TYPE_CHECKING:
    import polars


#: Files of text that are read as tables.
TEXT_TABLES = (".csv", ".tsv", ".tab")
TABLES = (*TEXT_TABLES, ".parquet")
# Of the start of a text, by which people know a row.
_MOST_LETTERS = 120
_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_text_table(
    path: Path, label_column: str | None = None
) -> tuple[polars.DataFrame, bool]:
    """Read a table of text as it is: all that it holds is text.

    Parameters
    ----------
    path : pathlib.Path
        A ``.csv``, ``.tsv`` or ``.tab`` file.
    label_column : str or None, default=None
        Column that the header has; helps to recognise the separator.

    Returns
    -------
    table : polars.DataFrame
        The table. Empty fields are missing.
    has_decimal_comma : bool
        Whether ``1,234`` is a little more than one there.

    Raises
    ------
    ValueError
        If the file is damaged, or two columns have one name.
    ImportError
        If Polars is not installed.
    """
    polars = import_extra("polars", "cli")
    text = decode_text(path.read_bytes(), path, stacklevel=3).text
    separator, text = split_separator(text, label_column)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [name.strip() for name in next(records, [])]
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    try:
        table = polars.read_csv(
            text.encode(),
            separator=separator,
            infer_schema=False,  # all text: a conversion may lose something
            null_values=[""],
        )
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a table separated by "
            f"{_SEPARATOR_NAMES[separator]}: {error}"
        ) from error
    if len(header) != table.width:
        raise ValueError(
            f"{path} cannot be read: its header has {len(header)} names for "
            f"{table.width} columns separated by {_SEPARATOR_NAMES[separator]}."
        )
    table.columns = [str(position) for position in range(table.width)]
    # Separators at the end of all lines make columns of nothing.
    empty = [
        position
        for position, name in enumerate(header)
        if name == "" and table[str(position)].null_count() == len(table) > 0
    ]
    table = table.drop(str(position) for position in empty)
    header = [name for position, name in enumerate(header) if position not in empty]
    check_names(header, str(path))
    table.columns = header
    return table, separator == ";" or holds_decimal_commas(table)


def check_names(names: Sequence[str], source: str) -> None:
    """Refuse two columns of one name.

    Parameters
    ----------
    names : sequence of str
        Names of the columns.
    source : str
        What has them, for the error.

    Raises
    ------
    ValueError
        If a name occurs twice.
    """
    twice = [name for name, n_times in Counter(names).items() if n_times > 1]
    if twice:
        raise ValueError(
            f"{source} has several columns of the name {twice[0]!r}: which of them is "
            "meant cannot be told. Rename or delete all but one."
        )


def shown_text(text: str | None) -> str:
    """Start of a text, by which lists of an audit call a row that has no name.

    Parameters
    ----------
    text : str or None
        The text; None where it is missing.

    Returns
    -------
    str
        At most 120 letters, without line breaks.
    """
    return textwrap.shorten(text or "", _MOST_LETTERS, placeholder=" ...")
