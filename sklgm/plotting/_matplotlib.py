"""New axes, and what all axes have in common."""

from __future__ import annotations

from typing import Any

from sklgm._running import import_extra


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


def percent(value: float, position: int | None = None) -> str:
    """Write a share in percent, as the ticks of an axis do.

    Parameters
    ----------
    value : float
        The share.
    position : int, default=None
        Not used; matplotlib passes the index of the tick.

    Returns
    -------
    str
    """
    return f"{100 * value:.4g} %"


def open_frame(ax: Any) -> None:
    """Take the top and the right side off the frame of `ax`.

    Parameters
    ----------
    ax : matplotlib Axes
        Changed in place.
    """
    ax.spines[["top", "right"]].set_visible(False)
