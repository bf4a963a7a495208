"""What the pages of runs and audits share: templates, embedded images, settings."""

import base64
import importlib.resources
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklgm._running import import_extra
from sklgm.persistence import write_atomically

#: CSS pixels an inch of a matplotlib figure.
PIXELS_PER_INCH = 96


def page_template(name: str) -> Any:
    """Load a template of this package; what it is filled with is escaped.

    Parameters
    ----------
    name : str
        File name. It may include other files of the package.

    Returns
    -------
    jinja2.Template

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    jinja2 = import_extra("jinja2", "cli")
    folder = importlib.resources.files("sklgm.report")

    def read(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(read),
    )
    return environment.get_template(name)


def data_uri(mime: str, content: bytes) -> str:
    """Write a file into an address.

    Parameters
    ----------
    mime : str
        Its type, such as ``"image/png"``.
    content : bytes
        Its bytes.

    Returns
    -------
    str
        A ``data:`` URI.
    """
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def figure_png(figure: Any) -> bytes:
    """Draw a figure, of twice the resolution of the screen.

    Parameters
    ----------
    figure : matplotlib Figure
        Not closed.

    Returns
    -------
    bytes
        A PNG file, the same for equal figures.
    """
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=2 * PIXELS_PER_INCH,
        facecolor="white",
        # The version of matplotlib, which would make equal figures differ.
        metadata={"Software": None},
    )
    return buffer.getvalue()


def figure_width(figure: Any) -> int:
    """Width at which a figure is shown.

    Parameters
    ----------
    figure : matplotlib Figure
        The figure.

    Returns
    -------
    int
        CSS pixels.
    """
    return round(float(figure.get_figwidth()) * PIXELS_PER_INCH)


def flat_items(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested settings.

    Parameters
    ----------
    mapping : mapping
        Settings, as JSON has them.
    prefix : str, default=""
        What all names begin with.

    Returns
    -------
    list of (str, str)
        Dotted names and values as text.
    """
    items = []
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            items += flat_items(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            items.append((prefix + key, value))
        else:
            items.append((prefix + key, json.dumps(value)))
    return items


def write_page(path: str | os.PathLike[str], page: str) -> Path:
    """Write a page to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        File to write; its folder is made.
    page : str
        The HTML.

    Returns
    -------
    Path
        `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of files need not be Unicode.
    write_atomically(path, page.encode("utf-8", errors="backslashreplace"))
    return path
