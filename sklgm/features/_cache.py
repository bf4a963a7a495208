"""Features on disk, row by row."""

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sklgm.features._fingerprint import N_BYTES

# Rows of a file, so that an interrupted extraction loses no more.
_ROWS = 4096


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
        self.folder = folder / key
        self._waiting: list[tuple[NDArray[np.uint8], NDArray[np.floating]]] = []
        self._places: dict[bytes, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            for row, found in enumerate(_read(path, "keys")):
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
            found.append((positions, _read(path, "features")[rows]))
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
        if sum(len(keys) for keys, _ in self._waiting) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        keys, features = map(np.concatenate, zip(*self._waiting, strict=True))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        unfinished = path.with_suffix(".part")
        try:
            save_file({"keys": keys, "features": features}, unfinished)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        self._waiting.clear()
        for row, key in enumerate(keys):
            self._places[key.tobytes()] = path, row


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


def _read(path: Path, name: str) -> NDArray[Any]:
    try:
        with safe_open(path, framework="np") as file:
            values: NDArray[Any] = file.get_tensor(name)
    except SafetensorError as error:
        raise ValueError(
            f"cache: {path} is damaged ({error}); delete it, and its rows are computed "
            "again"
        ) from error
    return values
