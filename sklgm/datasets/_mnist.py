"""MNIST, from its original IDX files."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sklgm.datasets._cache import ensure_files, get_data_home
from sklgm.datasets._labelled_splits import LabelledSplits, scale_pixels

SUBFOLDER = os.path.join("MNIST", "raw")  # where torchvision keeps it
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def fetch_mnist(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
) -> LabelledSplits:
    """Load the MNIST digits: 60,000 training and 10,000 test images.

    Files that lie in the data home are used as they are, without a network.
    Otherwise torchvision downloads them and checks their checksums.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds, or will hold, ``MNIST/raw``. With None, the one that
        :func:`get_data_home` returns.
    download_if_missing : bool, default=True
        Whether to download what is not there.

    Returns
    -------
    LabelledSplits
        Images of shape (n_samples, 1, 28, 28) in [0, 1] with integer labels 0 to 9.

    Raises
    ------
    FileNotFoundError
        If a file is missing and `download_if_missing` is False.
    OSError
        If the download failed, or a file is truncated or is not an IDX file; the
        message names the file.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied
    to document recognition", Proceedings of the IEEE, 1998.
    """
    home = get_data_home(data_home)

    def download() -> None:
        from torchvision.datasets import MNIST

        MNIST(home, download=True)

    folder = ensure_files(
        "MNIST",
        home,
        SUBFOLDER,
        FILES,
        download=download if download_if_missing else None,
    )
    X_train, y_train = _read_split(folder, "train")
    X_test, y_test = _read_split(folder, "t10k")
    return LabelledSplits(
        name="MNIST",
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        class_names=tuple(str(digit) for digit in range(10)),
    )


def _read_split(
    folder: Path, prefix: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    image_path = folder / f"{prefix}-images-idx3-ubyte"
    label_path = folder / f"{prefix}-labels-idx1-ubyte"
    images = _read_idx(image_path, n_axes=3)
    labels = _read_idx(label_path, n_axes=1)
    if len(images) != len(labels):
        raise OSError(
            f"{image_path} holds {len(images)} images but {label_path} holds "
            f"{len(labels)} labels. Delete both files and fetch MNIST again."
        )
    if images.shape[1:] != (28, 28):
        raise OSError(
            f"{image_path} holds images of {images.shape[1]} x {images.shape[2]} "
            f"pixels, expected 28 x 28."
        )
    if labels.max(initial=0) > 9:
        raise OSError(
            f"{label_path} holds the label {labels.max()}, expected labels 0 to 9. "
            f"Delete it and fetch MNIST again."
        )
    X = scale_pixels(images[:, np.newaxis])  # (n_samples, 1, height, width)
    return X, labels.astype(np.int64)


def _read_idx(path: Path, *, n_axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    The header is two zero bytes, 0x08 for unsigned bytes and the number of axes,
    then each axis's length as a big-endian 32-bit integer.
    """
    content = path.read_bytes()
    n_header = 4 + 4 * n_axes
    if len(content) < n_header or content[:4] != bytes([0, 0, 8, n_axes]):
        raise OSError(
            f"{path} is not an IDX file of unsigned bytes with {n_axes} axes. Delete "
            "it and fetch MNIST again."
        )
    shape = [int(n) for n in np.frombuffer(content, ">u4", count=n_axes, offset=4)]
    n_expected = n_header + int(np.prod(shape, dtype=object))
    if len(content) != n_expected:
        raise OSError(
            f"{path} has {len(content)} bytes, but its header announces {n_expected}: "
            f"it is truncated or damaged. Delete it and fetch MNIST again."
        )
    return np.frombuffer(content, np.uint8, offset=n_header).reshape(shape)
