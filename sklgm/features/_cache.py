"""Features on disk, row by row."""

import contextlib
import os
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sklgm.features._fingerprint import N_BYTES

# Rows of a file and seconds between them, so that what ends at once loses no more.
_ROWS, _SECONDS = 4096, 60.0


class FeatureCache:
    """Features of rows, in files that are written at once or not at all.

    Parameters
    ----------
    folder : Path
        Of all caches.
    key : str
        What decides the features of a row, but the row.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.key, self.folder = key, folder / key
        self._is_written = True
        self._written_at = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._stop_writing(error)
        self._waiting: list[tuple[NDArray[np.uint8], NDArray[np.floating]]] = []
        self._places: dict[bytes, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            keys = _read(path, "keys")
            for row, found in enumerate(() if keys is None else keys):
                self._places[found.tobytes()] = path, row

    def find(
        self, keys: NDArray[np.uint8]
    ) -> list[tuple[NDArray[np.intp], NDArray[np.floating]]]:
        """Look up rows.

        Parameters
        ----------
        keys : ndarray of uint8 of shape (n_samples, 16)
            Fingerprints.

        Returns
        -------
        list of (rows, features)
            Positions of those that were found, and their features.
        """
        by_path: dict[Path, list[tuple[int, int]]] = {}
        for position, key in enumerate(keys):
            if key.tobytes() in self._places:
                path, row = self._places[key.tobytes()]
                by_path.setdefault(path, []).append((position, row))
        found = []
        for path, pairs in by_path.items():
            positions, rows = np.array(pairs).T
            features = _read(path, "features")
            if features is not None:
                found.append((positions, features[rows]))
        return found

    def add(self, keys: NDArray[np.uint8], features: NDArray[np.floating]) -> None:
        """Keep features of rows.

        Parameters
        ----------
        keys : ndarray of uint8 of shape (n_rows, 16)
            Fingerprints.
        features : ndarray of shape (n_rows, feature_dim)
            Their features.
        """
        self._waiting.append((keys, features.copy()))
        n_waiting = sum(len(keys) for keys, _ in self._waiting)
        if n_waiting >= _ROWS or time.monotonic() - self._written_at >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._written_at = time.monotonic()
        if not self._waiting:
            return
        if not self._is_written:
            self._waiting.clear()
            return
        keys, features = map(np.concatenate, zip(*self._waiting, strict=True))
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        unfinished = path.with_suffix(".part")
        try:
            save_file({"keys": keys, "features": features}, unfinished)
            os.replace(unfinished, path)
        except (OSError, SafetensorError) as error:
            self._waiting.clear()
            return self._stop_writing(error)
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        self._waiting.clear()
        for row, key in enumerate(keys):
            self._places[key.tobytes()] = path, row
        return None

    def _stop_writing(self, error: Exception) -> None:
        self._is_written = False
        warnings.warn(
            f"cache: {self.folder} cannot be written to ({error}): features are not "
            "kept",
            UserWarning,
            stacklevel=4,
        )


def as_keys(fingerprints: list[bytes]) -> NDArray[np.uint8]:
    """Fingerprints as an array.

    Parameters
    ----------
    fingerprints : list of bytes
        Of length 16 each.

    Returns
    -------
    ndarray of uint8 of shape (n_rows, 16)
        The same.
    """
    joined = np.frombuffer(b"".join(fingerprints), dtype=np.uint8)
    return joined.reshape(len(fingerprints), N_BYTES).copy()


def _read(path: Path, name: str) -> NDArray[Any] | None:
    """One array of a file; None if it is damaged."""
    try:
        with safe_open(path, framework="np") as file:
            values: NDArray[Any] = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        warnings.warn(
            f"cache: {path} is damaged ({error}): its rows are computed again",
            UserWarning,
            stacklevel=5,
        )
        return None
    return values
