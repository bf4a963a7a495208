"""Text files of any origin: their encoding, and what separates fields."""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SEPARATORS = (",", ";", "\t", "|")
# Longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Records from which the separator is recognised.
_N_LOOKED_AT = 100


@dataclass(frozen=True)
class DecodedText:
    """Text of a file, and how it was written.

    Attributes
    ----------
    text : str
        The text, without a mark before it.
    encoding : str
        Name of its encoding.
    mark : bytes
        What stands before it and says so; empty where there is none.
    """

    text: str
    encoding: str
    mark: bytes

    def encode(self, text: str) -> bytes:
        """Write another text as this one was.

        Parameters
        ----------
        text : str
            Any text.

        Returns
        -------
        bytes
            Content of a file.

        Raises
        ------
        UnicodeEncodeError
            If the encoding lacks one of its letters.
        """
        return self.mark + text.encode(self.encoding)


def decode_text(content: bytes, path: Path, *, stacklevel: int) -> DecodedText:
    """Text of a file, by its mark, as UTF-8, or as Windows-1252.

    Parameters
    ----------
    content : bytes
        Content of the file.
    path : pathlib.Path
        Where it lies, for messages.
    stacklevel : int
        Frames above this function to which a warning belongs.

    Returns
    -------
    DecodedText
        The text.

    Raises
    ------
    ValueError
        If it is none of these.

    Warns
    -----
    UserWarning
        Where it was read as Windows-1252.
    """
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", None)
    )
    content = content[len(mark) :]
    start = content[:1000]
    if encoding is None and b"\x00" in start:
        # Text of Latin letters in UTF-16 has every other byte zero.
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) > len(start) // 4:
            encoding = "utf-16-be" if even > odd else "utf-16-le"
    try:
        return DecodedText(
            content.decode(encoding or "utf-8"), encoding or "utf-8", mark
        )
    except UnicodeDecodeError as error:
        if encoding is not None or b"\x00" in start:
            raise ValueError(
                f"{path} cannot be read: its encoding is neither UTF-8 nor a damaged "
                f"{encoding or 'UTF-16'} text; save it as UTF-8 ({error})."
            ) from error
    try:
        decoded = DecodedText(content.decode("cp1252"), "cp1252", b"")
    except UnicodeDecodeError:  # five bytes have no letter there
        decoded = DecodedText(content.decode("latin-1"), "latin-1", b"")
    warnings.warn(
        f"{path} is not UTF-8: it was read as Windows-1252. Where letters look wrong, "
        "save it as UTF-8.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return decoded


def split_separator(text: str, label_column: str | None = None) -> tuple[str, str]:
    """Recognise what separates fields.

    Parameters
    ----------
    text : str
        Text of a file.
    label_column : str or None, default=None
        Column that the header has.

    Returns
    -------
    separator : str
        Comma, semicolon, tab or bar.
    table : str
        The text without a line that says so.
    """
    if text.startswith("sep=") and len(text) > 4:  # Excel says it in the first line
        line, _, rest = text.partition("\n")
        if line.rstrip("\r")[4:] in _SEPARATORS:
            return line.rstrip("\r")[4:], rest
    fits = [_fit(text, separator, label_column) for separator in _SEPARATORS]
    best = max(range(len(_SEPARATORS)), key=fits.__getitem__)  # the first of equals
    return _SEPARATORS[best], text


def _fit(text: str, separator: str, label_column: str | None) -> tuple[Any, ...]:
    """How well a separator fits, to be compared: the header, then how alike lines."""
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    counts: list[int] = []
    header: list[str] = []
    try:
        for record in records:
            if not record:
                continue
            header = header or [name.strip() for name in record]
            counts.append(len(record))
            if len(counts) > _N_LOOKED_AT:
                break
    except csv.Error:
        return False, False, 0.0, 0
    n_fields = len(header)
    share = counts.count(n_fields) / max(len(counts), 1)
    return n_fields > 1, label_column in header, share, n_fields
