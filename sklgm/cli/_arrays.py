"""Arrays that a user brings beside the rows: probabilities and features."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklgm.datasets._labelled_rows import LabelledRows


def read_array(name: str, path: Path, option: Path | None) -> NDArray[Any] | None:
    """Read an array from the file of an option, or from the audited archive.

    Parameters
    ----------
    name : str
        Key of the array in archives.
    path : Path
        What is audited.
    option : Path or None
        File that was named for this array.

    Returns
    -------
    ndarray or None
        The array; None where there is none.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is neither .npy nor .npz, or has no such key.
    """
    if option is None:
        return _from_archive(path, name) if name in _keys(path) else None
    if not option.exists():
        raise FileNotFoundError(f"{name}: {option} does not exist")
    if not stat.S_ISREG(option.stat().st_mode):
        raise ValueError(f"{name}: {option} is not a regular file")
    if option.suffix == ".npy":
        try:
            array: NDArray[Any] = np.load(option, allow_pickle=False)
        except Exception as error:  # a damaged file may raise anything
            raise ValueError(f"{name}: {option} cannot be read: {error}") from error
        return array
    if name not in _keys(option):
        raise ValueError(
            f"{name}: {option} must be a .npy file, or a .npz file with key {name}"
        )
    return _from_archive(option, name)


def has_no_X(path: Path) -> bool:
    """Whether an archive brings labels and probabilities or features, but no rows.

    Parameters
    ----------
    path : Path
        What is audited.

    Returns
    -------
    bool
        True where ``X`` is missing, and ``y`` and one of the others are there.
    """
    keys = _keys(path)
    return "X" not in keys and "y" in keys and bool(keys & {"pred_probs", "features"})


def load_without_X(path: Path) -> LabelledRows:
    """Load the labels of an archive that has no rows.

    Parameters
    ----------
    path : Path
        A .npz file with key ``y``.

    Returns
    -------
    LabelledRows
        Labels, and rows without columns.
    """
    from sklgm.datasets._labelled_rows import LabelledRows

    y = _from_archive(path, "y")
    return LabelledRows(path.stem, np.empty((len(y), 0), dtype=np.float32), y)


def _keys(path: Path) -> set[str]:
    if path.suffix != ".npz" or not path.is_file() or not zipfile.is_zipfile(path):
        return set()
    from sklgm.datasets._npz import check_members

    check_members(path)
    with zipfile.ZipFile(path) as archive:
        return {Path(name).stem for name in archive.namelist()}


def _from_archive(path: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive[name]
    except Exception as error:  # a damaged archive may raise anything
        raise ValueError(f"{path}: {name} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise ValueError(f"{path}: {name} is not an array of rows")
    return array
