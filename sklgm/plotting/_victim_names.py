"""How the compared models are called, ordered and coloured."""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class _Style:
    """Name in figures and tables, colour, and marker as a second cue beside it."""

    name: str
    color: str
    marker: str


#: In the order of tables and legends. The colours are of the palette of Okabe and Ito,
#: which people with a colour vision deficiency can tell apart.
_STYLES = {
    "softmax": _Style("softmax", "#D55E00", "o"),
    "softmax_trimmed_gaussians": _Style("softmax + trimmed Gaussians", "#0072B2", "s"),
    "lgm": _Style("L-GM", "#CC79A7", "^"),
    "lgm_trim": _Style("L-GM + trim", "#009E73", "D"),
    "softmax_median": _Style("softmax, median", "#D55E00", "o"),
    "softmax_trimmed_mean": _Style("softmax, trimmed mean", "#D55E00", "o"),
    "smoothed_softmax_median": _Style(
        "softmax with label smoothing, median", "#0072B2", "s"
    ),
    "smoothed_softmax_trimmed_mean": _Style(
        "softmax with label smoothing, trimmed mean", "#0072B2", "s"
    ),
    "lgm_median": _Style("L-GM, median", "#009E73", "D"),
    "lgm_trimmed_mean": _Style("L-GM, trimmed mean", "#009E73", "D"),
}
#: Of victims that are not listed: the rest of the palette, and further markers.
_SPARE_COLORS = ("#E69F00", "#56B4E9", "#000000", "#F0E442")
_SPARE_MARKERS = ("v", "P", "X", "*", "<", ">")


def _style(victim: str) -> _Style:
    if victim in _STYLES:
        return _STYLES[victim]
    number = zlib.crc32(victim.encode())  # the same in every run and figure
    return _Style(
        victim.replace("_", " "),
        _SPARE_COLORS[number % len(_SPARE_COLORS)],
        _SPARE_MARKERS[number % len(_SPARE_MARKERS)],
    )


def victim_name(victim: str, variant: str | None = None) -> str:
    """Name a victim as prose does, with its variant in brackets.

    Parameters
    ----------
    victim : str
        As in :class:`sklgm.results.Row`. One that is not known is named by the words
        of its identifier.
    variant : str or None, default=None
        As in :class:`sklgm.results.Row`.

    Returns
    -------
    str

    Examples
    --------
    >>> from sklgm.plotting import victim_name
    >>> victim_name("lgm_trim", "diag")
    'L-GM + trim (diag)'
    >>> victim_name("jpeg_compressed")
    'jpeg compressed'
    """
    name = _style(victim).name
    return name if variant is None else f"{name} ({variant})"


def victim_color(victim: str) -> str:
    """Colour of a victim, the same in all figures and tables.

    Parameters
    ----------
    victim : str
        As in :class:`sklgm.results.Row`.

    Returns
    -------
    str
        Such as ``"#009E73"``.
    """
    return _style(victim).color


def victim_marker(victim: str) -> str:
    """Marker of a victim, a second cue beside its colour.

    Parameters
    ----------
    victim : str
        As in :class:`sklgm.results.Row`.

    Returns
    -------
    str
        As matplotlib names it.
    """
    return _style(victim).marker


def victim_rank(victim: str | None) -> tuple[int, str]:
    """Place of a victim in tables and legends: known ones first, then by name.

    Parameters
    ----------
    victim : str or None
        As in :class:`sklgm.results.Row`.

    Returns
    -------
    tuple of (int, str)
        A key to sort by.
    """
    if victim in _STYLES:
        return list(_STYLES).index(victim), ""
    return len(_STYLES), victim or ""
