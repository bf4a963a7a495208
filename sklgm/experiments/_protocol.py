"""What a protocol is, and the registry of all of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklgm.experiments._context import Context
    from sklgm.experiments._settings import Settings
    from sklgm.results import FigureArrays, ProtocolDescription, Row, Trial

#: By name, in the order in which they run and are reported: the module whose
#: ``PROTOCOL`` it is, imported when it is asked for.
PROTOCOLS: Mapping[str, str] = {
    "white-box": "sklgm.experiments.white_box",
    "transfer": "sklgm.experiments.transfer",
    "end-to-end": "sklgm.experiments.end_to_end",
    "frontier": "sklgm.experiments.frontier",
    "contamination": "sklgm.experiments.contamination",
    "label-noise": "sklgm.experiments.label_noise",
    "peers": "sklgm.experiments.peers",
    "search": "sklgm.experiments.search",
}


@dataclass(frozen=True)
class Protocol:
    """One way to measure how victims fare.

    Parameters
    ----------
    description : ProtocolDescription
        Its name, what it asks, and which tables and figures its rows fill.
    settings : type of Settings
        Its own settings, with the presets of its own.
    measure : callable
        ``measure(context, settings)`` yields rows of the tidy table, single trials,
        and arrays that figures are drawn from.
    check : callable or None, default=None
        ``check(context, settings)`` raises where data or an extra will not do; called
        before any protocol of a run starts.
    """

    description: ProtocolDescription
    settings: type[Settings]
    measure: Callable[[Context, Any], Iterator[Row | Trial | FigureArrays]]
    check: Callable[[Context, Any], None] | None = None


def get_protocol(name: str) -> Protocol:
    """Find a protocol by its name.

    Parameters
    ----------
    name : str
        A key of :data:`PROTOCOLS`.

    Returns
    -------
    Protocol
        The protocol.

    Raises
    ------
    ValueError
        If there is none of this name.
    ImportError
        If the extra ``cli`` is not installed.

    Examples
    --------
    >>> from sklgm.experiments import get_protocol
    >>> get_protocol("transfer").settings(n_targets=10).n_poisons
    (1, 5, 25)
    """
    if name not in PROTOCOLS:
        raise ValueError(
            f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}"
        )
    protocol: Protocol = importlib.import_module(PROTOCOLS[name]).PROTOCOL
    return protocol
