"""The only place where matplotlib is imported."""

from __future__ import annotations

from typing import Any

from sklgm._extras import import_extra


def axes_or_new(ax: Any | None, **options: Any) -> Any:
    """Return `ax`, or the axes of a new pyplot figure.

    Parameters
    ----------
    ax : matplotlib Axes, default=None
        Returned as it is, unless None.
    **options : dict
        For ``matplotlib.pyplot.subplots``, where a figure is made.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    plt = import_extra("matplotlib.pyplot", "cli")
    if ax is not None:
        return ax
    return plt.subplots(layout="constrained", **options)[1]
