"""Which rows train the networks, which refit the heads, which are targets."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.datasets import (
    LabelledSplits,
    fetch_cifar10,
    fetch_mnist,
    load_digits_images,
    load_path,
)
from sklgm.experiments._settings import RunSettings

# Rows held out of training in place of the test set, as a share and at most.
_VALIDATION_SHARE = 1 / 6
_MAX_VALIDATION = 10_000


@dataclass(frozen=True, eq=False)
class Partition:
    """Disjoint rows of a data set.

    Attributes
    ----------
    name : str
        Display name of the data set.
    class_names : tuple of str
        Name of each class, in sorted order of labels.
    X_backbone, y_backbone : ndarray
        Rows that train the networks.
    X_refit, y_refit : ndarray
        Rows that refit the heads, class-balanced; bases come from here.
    X_test, y_test : ndarray
        Rows that give targets and clean accuracy.
    """

    name: str
    class_names: tuple[str, ...]
    X_backbone: NDArray[np.float32]
    y_backbone: NDArray[Any]
    X_refit: NDArray[np.float32]
    y_refit: NDArray[Any]
    X_test: NDArray[np.float32]
    y_test: NDArray[Any]

    @property
    def has_images(self) -> bool:
        """Whether instances are images, and changes of a pixel mean something."""
        return self.X_test.ndim == 4


def load_splits(settings: RunSettings) -> LabelledSplits:
    """Load the data set of a run.

    Parameters
    ----------
    settings : RunSettings
        ``dataset`` and ``data_home``.

    Returns
    -------
    LabelledSplits
        Training and test rows.
    """
    if settings.dataset == "digits":
        return load_digits_images()
    if settings.dataset == "mnist":
        return fetch_mnist(data_home=settings.data_home)
    if settings.dataset == "cifar10":
        return fetch_cifar10(data_home=settings.data_home)
    return load_path(settings.dataset)


def make_partition(settings: RunSettings, splits: LabelledSplits) -> Partition:
    """Draw disjoint rows for networks, heads and targets.

    Parameters
    ----------
    settings : RunSettings
        ``n_refit``, ``n_backbone``, ``evaluation``, ``seed``.
    splits : LabelledSplits
        The data set.

    Returns
    -------
    Partition
        The rows.

    Raises
    ------
    ValueError
        If a class has too few training rows for the refit, or images hold values
        outside [0, 1].
    """
    rng = np.random.default_rng(settings.seed)
    X, y = splits.X_train, _plain_labels(splits.y_train)
    order = rng.permutation(len(X))
    X_test, y_test = splits.X_test, _plain_labels(splits.y_test)
    if X.ndim == 4:
        low, high = min(X.min(), X_test.min()), max(X.max(), X_test.max())
        if low < 0.0 or high > 1.0:
            raise ValueError(
                f"images of {splits.name} must hold values in [0, 1], got values from "
                f"{low:g} to {high:g}; scale them, or store them as uint8"
            )
    if settings.evaluation == "validation":
        n_test = min(_MAX_VALIDATION, int(len(X) * _VALIDATION_SHARE))
        test_rows, order = np.sort(order[:n_test]), order[n_test:]
        X_test, y_test = X[test_rows], y[test_rows]

    classes = np.unique(y)
    n_per_class = min(settings.n_refit, len(order) // 3) // len(classes)
    of_class = [order[y[order] == label] for label in classes]
    scarce = min(range(len(classes)), key=lambda k: len(of_class[k]))
    if n_per_class < 1 or len(of_class[scarce]) <= n_per_class:
        raise ValueError(
            f"n_refit={settings.n_refit} takes {n_per_class} rows of each class, but "
            f"class {classes.tolist()[scarce]!r} has {len(of_class[scarce])} training "
            f"rows of {len(order)} in all"
        )
    refit_rows = np.concatenate([rows[:n_per_class] for rows in of_class])
    backbone_rows = np.setdiff1d(order, refit_rows)
    if settings.n_backbone is not None:
        backbone_rows = rng.permutation(backbone_rows)[: settings.n_backbone]
    backbone_rows, refit_rows = np.sort(backbone_rows), np.sort(refit_rows)
    return Partition(
        splits.name,
        tuple(splits.class_names),
        X[backbone_rows],
        y[backbone_rows],
        X[refit_rows],
        y[refit_rows],
        X_test,
        y_test,
    )


def _plain_labels(y: NDArray[Any]) -> NDArray[Any]:
    """Labels as tables hold them: whole numbers as int64, strings as they are."""
    return y.astype(np.int64) if y.dtype.kind in "fb" else y
