"""Finished stages of a run, kept without pickle for a run that continues it."""

import hashlib
import os
import shutil
import stat
import warnings
from pathlib import Path
from typing import Any

_MAX_BYTES = 64 * 2**30


class Checkpoints:
    """Results of finished stages in a folder of the user's own.

    Each is a file of the format of :func:`sklgm.save`, with a checksum, the stage and
    what decides its numbers. Nothing in it is executed. One that is damaged, altered or
    of something else is not taken, and a warning says so; where the folder is not the
    user's own, or cannot be written, nothing is kept.

    Parameters
    ----------
    folder : path-like or None
        Where; made if it is missing. None keeps nothing.
    key : str
        What decides the numbers: results of another key are not taken.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, key: str) -> None:
        self._key = key
        self._folder: Path | None = None
        if folder is not None:
            # One of its own, since that of the user may be open to others.
            own = Path(folder) / hashlib.sha256(key.encode()).hexdigest()[:16]
            try:
                own.mkdir(parents=True, exist_ok=True, mode=0o700)
                _check_own(own)
                self._folder = own
            except OSError as error:
                self._switch_off(error)

    def get(self, stage: str) -> tuple[bool, Any]:
        """Look up the result of a stage.

        Parameters
        ----------
        stage : str
            Its name.

        Returns
        -------
        is_found : bool
            Whether there is one.
        value : object
            What was kept; None if there is none.
        """
        # Imported when something is kept: scikit-learn takes a second.
        from sklgm.persistence import read_regular, unpack

        path = self._path(stage)
        if path is None or not path.exists():
            return False, None
        try:
            kept = unpack(read_regular(path, _MAX_BYTES), str(path))
            if not isinstance(kept, dict) or "value" not in kept:
                raise ValueError(f"{path} is not a stage of a run")
            if kept["stage"] != stage or kept["key"] != self._key:
                raise ValueError(f"{path} is of another stage")
        except (OSError, ValueError, TypeError, KeyError) as error:
            _warn(
                f"What was finished of {stage!r} is not taken, it is done again: ",
                error,
            )
            return False, None
        return True, kept["value"]

    def put(self, stage: str, value: Any) -> None:
        """Keep the result of a stage.

        Parameters
        ----------
        stage : str
            Its name.
        value : object
            Records and containers of arrays, or estimators.
        """
        from sklgm.persistence import UnstorableError, pack, write_atomically

        path = self._path(stage)
        if path is None:
            return
        try:
            content = pack(
                {"stage": stage, "key": self._key, "value": value}, is_complete=True
            )
        except UnstorableError as error:
            _warn(f"What was finished of {stage!r} cannot be kept: ", error)
            return
        try:
            write_atomically(path, content)
        except OSError as error:
            self._switch_off(error)

    def clear(self) -> None:
        """Delete all that was kept under this key."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, stage: str) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.sha256(stage.encode(errors="surrogateescape")).hexdigest()[:32]
        return self._folder / f"{name}.sklgm"

    def _switch_off(self, error: OSError) -> None:
        self._folder = None
        _warn("This run cannot be continued if it is interrupted: ", error)


def _check_own(folder: Path) -> None:
    """Refuse a folder that others could have filled."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(f"{folder} is not a folder")
    if not hasattr(os, "getuid"):  # Windows keeps owners elsewhere
        return
    if status.st_uid != os.getuid():
        raise OSError(f"{folder} belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(f"others may write to {folder}: chmod go-w, or delete it")


def _warn(what: str, error: Exception) -> None:
    warnings.warn(f"{what}{error}", UserWarning, stacklevel=4)
