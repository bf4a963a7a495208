"""CIFAR-10, from its original batches."""

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.datasets._cache import ensure_files, get_data_home
from sklgm.datasets._labelled_splits import LabelledSplits, scale_pixels

SUBFOLDER = "cifar-10-batches-py"
_TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
# The published MD5 checksums; a test compares them with torchvision's.
CHECKSUMS = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}


def fetch_cifar10(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
) -> LabelledSplits:
    """Load CIFAR-10: 50,000 training and 10,000 test colour images in ten classes.

    Files that lie in the data home are used without a network, after their
    checksums have been compared. Otherwise torchvision downloads the archive,
    compares its checksum and unpacks it.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds, or will hold, ``cifar-10-batches-py``. With None, the one
        that :func:`get_data_home` returns.
    download_if_missing : bool, default=True
        Whether to download what is not there.

    Returns
    -------
    LabelledSplits
        Images of shape (n_samples, 3, 32, 32) in [0, 1] with integer labels 0 to 9.

    Raises
    ------
    FileNotFoundError
        If a file is missing and `download_if_missing` is False.
    OSError
        If the download failed, or a file's checksum is not the published one; the
        message names the file.

    Notes
    -----
    The batches are Python pickles. They are read by an unpickler that admits plain
    containers and numeric arrays only, so that a forged file cannot run code.

    References
    ----------
    A. Krizhevsky, "Learning multiple layers of features from tiny images", technical
    report, University of Toronto, 2009.
    """
    home = get_data_home(data_home)

    def download() -> None:
        from torchvision.datasets import CIFAR10
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(
            CIFAR10.url, home, filename=CIFAR10.filename, md5=CIFAR10.tgz_md5
        )

    folder = ensure_files(
        "CIFAR-10",
        home,
        SUBFOLDER,
        tuple(CHECKSUMS),
        download=download if download_if_missing else None,
    )
    for name, checksum in CHECKSUMS.items():
        _check_md5(folder / name, checksum)
    return _read_cifar10_batches(folder)


def _check_md5(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        # Detects damage; nothing relies on MD5 to resist forgery.
        digest = hashlib.file_digest(
            file, lambda: hashlib.md5(usedforsecurity=False)
        ).hexdigest()
    if digest != expected:
        raise OSError(
            f"{path} is truncated or damaged: its MD5 is {digest}, expected "
            f"{expected}. Delete it and fetch CIFAR-10 again."
        )


def _read_cifar10_batches(folder: Path) -> LabelledSplits:
    """Read the seven files of the Python version of CIFAR-10."""
    train_batches = [_read_batch(folder / name) for name in _TRAIN_FILES]
    test_pixels, y_test = _read_batch(folder / "test_batch")
    return LabelledSplits(
        name="CIFAR-10",
        X_train=scale_pixels(np.concatenate([pixels for pixels, _ in train_batches])),
        y_train=np.concatenate([labels for _, labels in train_batches]),
        X_test=scale_pixels(test_pixels),
        y_test=y_test,
        class_names=_read_class_names(folder / "batches.meta"),
    )


def _read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = _read_pickle(path)
    pixels = content.get("data")
    labels = content.get("labels")
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 2
        or pixels.shape[1] != 3 * 32 * 32
    ):
        raise OSError(
            f"{path}: 'data' is not an array of unsigned bytes of shape (n, 3072)."
        )
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(type(label) is int and 0 <= label <= 9 for label in labels)
    ):
        raise OSError(
            f"{path}: 'labels' is not a list of {len(pixels)} integers from 0 to 9, "
            "one for each image."
        )
    images = pixels.reshape(-1, 3, 32, 32)
    return images, np.array(labels, dtype=np.int64)


def _read_class_names(path: Path) -> tuple[str, ...]:
    names = _read_pickle(path).get("label_names")
    if (
        not isinstance(names, list)
        or len(names) != 10
        or not all(isinstance(name, str) for name in names)
    ):
        raise OSError(f"{path}: 'label_names' is not a list of ten names.")
    return tuple(names)


def _read_pickle(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            # The files were written by Python 2; latin1 maps its byte strings to str.
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise OSError(f"{path} cannot be read as a CIFAR-10 file: {error}") from error
    if not isinstance(content, dict):
        raise OSError(f"{path} cannot be read as a CIFAR-10 file: it holds no dict.")
    return content


# NumPy has moved this function from numpy.core to numpy._core; a pickle may name
# either.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler of plain containers, strings, numbers and numpy arrays."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ADMITTED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it refers to {module_name}.{global_name}, which is not admitted"
            ) from None
