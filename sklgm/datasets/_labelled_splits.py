"""What every loader returns, and how rows are split when the data bring no test set."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from sklgm._running import scratch_array


@dataclass(frozen=True, eq=False, repr=False)
class LabelledSplits:
    """Labelled training rows and test rows of one data set.

    Parameters
    ----------
    name : str
        Name of the data set, as tables and figures print it.
    X_train : ndarray of float32, or of float64 where that would lose a column
        Training rows. Images have the shape
        (n_samples, n_channels, height, width), and values in [0, 1] unless they
        came from a file of floats; plain features have (n_samples, n_features).
    y_train : ndarray of shape (n_samples,)
        Labels of the training rows.
    X_test : ndarray of the type of X_train
        Test rows, shaped like those of `X_train`.
    y_test : ndarray of shape (n_test_samples,)
        Labels of the test rows; each occurs in `y_train`.
    class_names : tuple of str
        One name per class, in the order of the sorted labels.

    Examples
    --------
    >>> from sklgm.datasets import load_digits_images
    >>> load_digits_images()
    LabelledSplits(name='digits', X_train=float32 (1347, 1, 8, 8), X_test=float32 (450, 1, 8, 8), 10 classes)
    """  # noqa: E501

    name: str
    X_train: NDArray[np.floating[Any]]
    y_train: NDArray[Any]
    X_test: NDArray[np.floating[Any]]
    y_test: NDArray[Any]
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"LabelledSplits(name={self.name!r}, "
            f"X_train={self.X_train.dtype} {self.X_train.shape}, "
            f"X_test={self.X_test.dtype} {self.X_test.shape}, "
            f"{len(self.class_names)} classes)"
        )


def scale_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map 8-bit pixels to float32 in [0, 1], with no copy in between.

    Many are a file that vanishes with them, as of :func:`scratch_array`.
    """
    scaled: NDArray[np.float32] = scratch_array(pixels.shape, np.float32)
    np.divide(pixels, 255, out=scaled, dtype=np.float32)
    return scaled


def check_test_size(test_size: float) -> None:
    """Raise unless `test_size` is a share strictly between 0 and 1."""
    if not isinstance(test_size, Real) or isinstance(test_size, bool):
        raise TypeError(
            f"test_size must be a float in the open interval (0, 1), "
            f"got {test_size!r} of type {type(test_size).__name__}."
        )
    if not 0 < test_size < 1:
        raise ValueError(
            f"test_size must be a float in the open interval (0, 1), got {test_size!r}."
        )


def stratified_split(
    y: NDArray[Any],
    *,
    test_size: float,
    random_state: int | np.random.RandomState | None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw test rows so that every class keeps its share.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels.
    test_size : float
        Share of the rows that become test rows, in (0, 1).
    random_state : int, RandomState instance or None
        Decides which rows are drawn.

    Returns
    -------
    train_indices : ndarray of shape (n_train,)
        Rows to train on, ascending: the order of the rows is kept.
    test_indices : ndarray of shape (n_test,)
        Rows to test on, ascending.

    Raises
    ------
    ValueError
        If a class has fewer than two rows, or if either side would have fewer
        rows than there are classes.
    """
    check_test_size(test_size)
    labels, counts = np.unique(y, return_counts=True)
    n_test = int(np.ceil(test_size * len(y)))
    if counts.min() < 2:
        raise ValueError(
            f"class {labels[counts.argmin()].item()!r} has a single row, and a "
            f"stratified split needs two rows of every class; add rows or a test set."
        )
    if n_test < len(labels) or len(y) - n_test < len(labels):
        raise ValueError(
            f"test_size={test_size!r} leaves {len(y) - n_test} training rows and "
            f"{n_test} test rows for {len(labels)} classes; each side needs at least "
            f"one row a class."
        )
    train_indices, test_indices = train_test_split(
        np.arange(len(y)), test_size=n_test, stratify=y, random_state=random_state
    )
    return np.sort(train_indices), np.sort(test_indices)
