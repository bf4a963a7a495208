"""Labels that people gave to the training images of CIFAR-10."""

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sklgm.datasets._cache import get_data_home

_FILE = "cifar10n.npz"


def load_human_labels(
    kind: Literal["aggregate", "random1"] = "aggregate",
    data_home: str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Load CIFAR-10N: what people said that the images of CIFAR-10 show.

    Parameters
    ----------
    kind : {"aggregate", "random1"}, default="aggregate"
        ``"aggregate"``: the majority of three people, 9.0 % wrong; ``"random1"``: the
        first of the three, 17.2 % wrong.
    data_home : str or path-like, default=None
        See :func:`sklgm.datasets.get_data_home`.

    Returns
    -------
    claimed, true : ndarray of int64 of shape (50000,)
        What people said and what the data set says: index of the class in the
        alphabetical order of the names, in the sorted order of the paths
        ``train/<class>/NNNN.jpg`` of the CIFAR-10 images as a folder.

    Raises
    ------
    ValueError
        If `kind` is unknown, or the file is not as described.
    FileNotFoundError
        If ``human-labels/cifar10n.npz`` is not in the data home. It holds the arrays
        ``aggregate``, ``random1`` and ``true``; there is no download.

    References
    ----------
    J. Wei, Z. Zhu, H. Cheng, T. Liu, G. Niu, Y. Liu, "Learning with Noisy Labels
    Revisited: A Study Using Real-World Human Annotations", ICLR 2022.
    """
    if kind not in ("aggregate", "random1"):
        raise ValueError(f"kind must be 'aggregate' or 'random1', got {kind!r}")
    path = get_data_home(data_home) / "human-labels" / _FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: place the labels of CIFAR-10N there, or let the "
            "data_home parameter or the SKLGM_DATA environment variable name the "
            "folder that holds 'human-labels'"
        )
    with np.load(path, allow_pickle=False) as archive:
        claimed, true = (_checked(archive, name) for name in (kind, "true"))
    return claimed, true


def _checked(archive: Any, name: str) -> NDArray[np.int64]:
    if name not in archive:
        raise ValueError(f"{_FILE} has no array {name!r}")
    labels = archive[name]
    if labels.shape != (50_000,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name!r} of {_FILE} must hold 50000 whole numbers, got {labels.dtype} of "
            f"shape {labels.shape}"
        )
    return np.asarray(labels, dtype=np.int64)
