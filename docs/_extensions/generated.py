"""Pages that are written from a file of measurements, and their tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError


def write_page(
    source: Path, page: Path, render: Callable[[dict[str, Any] | None], str]
) -> None:
    """Write a page for what a JSON file holds, or for None where there is none.

    Raises
    ------
    ExtensionError
        If the file is damaged; the message names it.
    """
    try:
        text = render(json.loads(source.read_text()) if source.exists() else None)
    except (ValueError, KeyError, TypeError) as error:
        raise ExtensionError(f"{source}: {error!r}") from error
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
