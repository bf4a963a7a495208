"""Fitted estimators in one file, without pickle."""

from sklgm.persistence._classes import GivenError, UnstorableError
from sklgm.persistence._files import read_regular, write_atomically
from sklgm.persistence._models import PersistenceMixin, load, pack, save, unpack

__all__ = [
    "GivenError",
    "PersistenceMixin",
    "UnstorableError",
    "load",
    "pack",
    "read_regular",
    "save",
    "unpack",
    "write_atomically",
]
