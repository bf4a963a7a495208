"""Experiments of the paper: protocols by name, one run, one tidy table."""

from sklgm._running import stages_folder
from sklgm.experiments._protocol import PROTOCOLS, Protocol, get_protocol
from sklgm.experiments._run import run
from sklgm.experiments._settings import RunSettings, Settings

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "RunSettings",
    "Settings",
    "get_protocol",
    "run",
    "stages_folder",
]
