"""Pages that are written from a file of measurements, and their tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sphinx.errors import ExtensionError


def write_page(
    source: Path, page: Path, render: Callable[..., str], *further: Path
) -> None:
    """Write a page for what JSON files hold, or for None where there is none.

    Raises
    ------
    ExtensionError
        If a file is damaged; the message names them.
    """
    sources = (source, *further)
    try:
        records = [
            json.loads(each.read_text()) if each.exists() else None for each in sources
        ]
        text = render(*records)
    except (ValueError, KeyError, TypeError) as error:
        named = " or ".join(map(str, sources))
        raise ExtensionError(f"{named}: {error!r}") from error
    # Untouched where nothing changed, so that Sphinx does not read it again.
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a list-table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for cells in (header, *rows):
        marks = ["   * -", *["     -"] * (len(cells) - 1)]
        lines += [f"{mark} {c}".rstrip() for mark, c in zip(marks, cells, strict=True)]
    return lines
