"""Tables with corrected labels: all other fields stay as they are."""

from __future__ import annotations

import re
import shutil
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklgm._inputs import decode_text, is_image, split_separator
from sklgm._running import Progress, import_extra
from sklgm.datasets._columns import holds_images, image_files
from sklgm.datasets._label_source import Corrections, LabelSource, parsed_label
from sklgm.datasets._labelled_rows import (
    check_no_missing,
    found_label_column,
    labels_of,
)
from sklgm.datasets._parquet_files import ParquetFiles
from sklgm.datasets._tables import read_text_table, shown_text
from sklgm.datasets._text_columns import parsed_labels

if TYPE_CHECKING:
    import polars

# Metadata that the written file has of its own.
_OWN_METADATA = "ARROW:schema"


class _TableSource(LabelSource):
    """Rows of a table, with a column of labels."""

    def __init__(
        self,
        path: Path,
        table: polars.DataFrame,
        label_column: str | None,
        drop_columns: Sequence[str],
    ) -> None:
        self.path = path
        self.table = table
        unknown = [name for name in drop_columns if name not in self.table.columns]
        if unknown:
            raise ValueError(f"{path} has no column {unknown[0]!r} of drop_columns.")
        columns = [name for name in self.table.columns if name not in drop_columns]
        self.label_column = found_label_column(columns, label_column, path)
        self.features = [name for name in columns if name != self.label_column]
        check_no_missing(self.table[self.label_column], "labels", path)

    def texts_of(self, row: int) -> tuple[str, ...]:
        """Start of each text of a row."""
        values = self.table.row(row, named=True)
        texts = [
            name for name, kind in self.table.schema.items() if str(kind) == "String"
        ]
        return tuple(shown_text(values[name]) for name in texts)

    @abstractmethod
    def write_table(self, to: Path, corrections: Corrections) -> None:
        """Write a corrected copy."""

    def write(self, to: Path, corrections: Corrections, progress: Progress) -> int:
        """Write a table of the same columns, with other labels and fewer rows."""
        progress("write the table", 0, 1)
        self.write_table(to, corrections)
        progress("write the table", 1, 1)
        return 0


class TextTableSource(_TableSource):
    """Rows of a ``.csv``, ``.tsv`` or ``.tab`` file.

    Only fields of labels are written anew: encoding, separator, quotes, numbers, line
    ends and the order of columns are those of the source, byte for byte.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    label_column : str or None
        Column of the labels.
    drop_columns : sequence of str
        Columns that cannot be meant.

    Raises
    ------
    ValueError
        If it cannot be read, has no such column, or lines and rows do not match.
    """

    def __init__(
        self, path: Path, label_column: str | None, drop_columns: Sequence[str]
    ) -> None:
        table, _ = read_text_table(path, label_column)
        super().__init__(path, table, label_column, drop_columns)
        column = self.table[self.label_column]
        self.labels = labels_of(parsed_labels(column), path)
        content = path.read_bytes()
        self._text = decode_text(content, path, stacklevel=3)
        self._separator, lines = split_separator(self._text.text, label_column)
        lines = lines.lstrip("\r\n")  # those before the header
        self._before = self._text.text[: len(self._text.text) - len(lines)]
        self._header, *self._records = _records(lines)
        self._position = self._position_of_labels()
        texts = [_unquoted(self._label(record)) for record in self._records]
        if texts != column.to_list() or self._text.encode(self._text.text) != content:
            raise ValueError(
                f"{path}: its lines cannot be told from its text, such as by a quote "
                "that never ends; save it as a table again"
            )

    def label_of(self, text: str) -> Any:
        """Take any text."""
        if not text.strip():
            raise ValueError(f"{text!r} is not a label")
        return text

    def write_table(self, to: Path, corrections: Corrections) -> None:
        """Write lines as they are, but for labels."""
        # Such as 1.0 for the label 1.
        written = (_unquoted(self._label(record)) for record in self._records)
        known = dict(zip(map(str, self.labels.tolist()), written, strict=True))
        is_kept = corrections.kept(len(self._records))
        lines = [self._before, self._header]
        for row in np.flatnonzero(is_kept).tolist():
            record = self._records[row]
            if row in corrections.new_labels:
                new = str(corrections.new_labels[row])
                record = self._with_label(record, known.get(new, new))
            lines.append(record)
        if not is_kept[-1] and not self._records[-1].endswith("\n"):
            lines[-1] = lines[-1].removesuffix("\n").removesuffix("\r")
        try:
            content = self._text.encode("".join(lines))
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{self.path} is {self._text.encoding}, which has no letter "
                f"{error.object[error.start]!r} of a new label; save it as UTF-8"
            ) from error
        to.write_bytes(content)

    def _position_of_labels(self) -> int:
        names = []
        for position in range(self._header.count(self._separator) + 1):
            field = _field(self._header, position, self._separator)
            if field is None:
                break
            names.append(_unquoted(self._header[slice(*field)]).strip())
        return names.index(self.label_column)

    def _label(self, record: str) -> str:
        field = _field(record, self._position, self._separator)
        return "" if field is None else record[slice(*field)]

    def _with_label(self, record: str, label: str) -> str:
        field = _field(record, self._position, self._separator)
        assert field is not None
        start, end = field
        is_quoted = record.startswith('"', start)
        needs_quotes = any(c in label for c in f'{self._separator}"\r\n')
        if is_quoted or needs_quotes or label != label.strip():
            label = '"' + label.replace('"', '""') + '"'
        return record[:start] + label + record[end:]


class ParquetSource(_TableSource):
    """Rows of a Parquet file, or of all files of a folder.

    A copy has the same files.

    Parameters
    ----------
    parquet : ParquetFiles
        The files.
    label_column : str or None
        Column of the labels.
    drop_columns : sequence of str
        Columns that cannot be meant.

    Raises
    ------
    ValueError
        If it cannot be read, or has no such column.
    """

    def __init__(
        self,
        parquet: ParquetFiles,
        label_column: str | None,
        drop_columns: Sequence[str],
    ) -> None:
        super().__init__(parquet.path, parquet.read(), label_column, drop_columns)
        self._parquet = parquet
        self.labels = labels_of(self.table[self.label_column], self.path)
        self._read: Callable[[int], bytes] | None = None
        images = [name for name in self.features if holds_images(self.table[name])]
        if images:
            files, self._read = image_files(self.table[images[0]])
            self.names = tuple(files)

    def is_readable(self, row: int) -> bool:
        """Whether the image of a row can be decoded, if rows are images."""
        read = self._read
        return read is None or is_image(lambda: read(row))

    def label_of(self, text: str) -> Any:
        """Take what the column can hold."""
        name = f"the label column {self.label_column!r} of {self.path}"
        return parsed_label(text, self.labels.dtype, name)

    def write_table(self, to: Path, corrections: Corrections) -> None:
        """Write all columns as they are, but for labels."""
        polars = import_extra("polars", "cli")
        column = self.table[self.label_column]
        values = column.to_list()
        for row, label in corrections.new_labels.items():
            values[row] = label.item() if isinstance(label, np.generic) else label
        dtype: Any = column.dtype
        if dtype == polars.Enum:
            known = dtype.categories.to_list()
            used = {*values} - {*known}
            dtype = polars.Enum([*known, *sorted(used)])
        elif dtype.is_float():
            values = [float(value) for value in values]
        labels = polars.Series(self.label_column, values, dtype=dtype)
        table = self.table.with_columns(labels)
        is_kept = polars.Series(corrections.kept(len(values)))
        start = 0
        for file in self._parquet.files:
            # A damaged file may count other rows than it has.
            of_labels = {"columns": [self.label_column], "glob": False}
            n_rows = polars.read_parquet(file, **of_labels).height
            of_file = slice(start, start + n_rows)
            start += n_rows
            metadata = polars.read_parquet_metadata(file)
            metadata.pop(_OWN_METADATA, None)
            table[of_file].filter(is_kept[of_file]).write_parquet(
                self._place(file, to), metadata=metadata or None
            )
        if start != len(values):
            raise ValueError(f"{self.path} changed while it was read")
        for file in self._parquet.other_files:
            shutil.copyfile(file, self._place(file, to))

    def _place(self, file: Path, to: Path) -> Path:
        """Where the copy of a file goes."""
        if file == self.path:
            return to
        place = to / file.relative_to(self.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _records(text: str) -> list[str]:
    """Lines of a table with their ends; a field in quotes may have several."""
    records: list[str] = []
    open_lines: list[str] = []
    is_open = False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        is_open ^= line.count('"') % 2 == 1
        open_lines.append(line)
        if not is_open:
            records.append("".join(open_lines))
            open_lines = []
    records += ["".join(open_lines)] if open_lines else []
    return records


def _field(record: str, position: int, separator: str) -> tuple[int, int] | None:
    """Where a field of a line begins and ends; None where there are fewer."""
    end_of_line = len(record.removesuffix("\n").removesuffix("\r"))
    start = 0
    for number in range(position + 1):
        end = start
        if record.startswith('"', start):
            # Quotes within are doubled.
            end += 1
            while end < end_of_line:
                if record[end] == '"':
                    if not record.startswith('""', end):
                        break
                    end += 1
                end += 1
        end = record.find(separator, end, end_of_line)
        end = end_of_line if end < 0 else end
        if number == position:
            return start, end
        if end == end_of_line:
            return None
        start = end + 1
    return None


def _unquoted(field: str) -> str:
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
