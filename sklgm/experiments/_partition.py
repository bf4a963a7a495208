"""Which rows train networks and heads, which are targets, which become poisons."""

from collections.abc import Sequence
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
#: Share of a class that the largest number of poisons may be, unless shares are asked.
_MAX_SHARE = 0.1


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
    backbone_rows, refit_rows : ndarray of int
        Which training rows of the data set those are, counted from 0.
    """

    name: str
    class_names: tuple[str, ...]
    X_backbone: NDArray[np.float32]
    y_backbone: NDArray[Any]
    X_refit: NDArray[np.float32]
    y_refit: NDArray[Any]
    X_test: NDArray[np.float32]
    y_test: NDArray[Any]
    backbone_rows: NDArray[np.intp]
    refit_rows: NDArray[np.intp]

    @property
    def has_images(self) -> bool:
        """Whether instances are images, and changes of a pixel mean something."""
        return self.X_test.ndim == 4

    def share_counts(self, shares: Sequence[float]) -> dict[int, float]:
        """Numbers of poisons that make shares; see :func:`share_counts`."""
        return share_counts(shares, self.y_refit)


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
        backbone_rows,
        refit_rows,
    )


def _plain_labels(y: NDArray[Any]) -> NDArray[Any]:
    """Labels as tables hold them: whole numbers as int64, strings as they are."""
    return y.astype(np.int64) if y.dtype.kind in "fb" else y


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets drawn from the test rows, and the bases drawn for each.

    Attributes
    ----------
    rows : ndarray of shape (n_targets,)
        Rows of the test set.
    labels, base_labels : ndarray of shape (n_targets,)
        True label of each target, and the label its poisons claim.
    base_rows : ndarray of shape (n_targets, max_poisons)
        Training rows of the base class; the first n serve n poisons.
    n_counted : int
        Largest number of targets that count for a model.
    """

    rows: NDArray[np.int64]
    labels: NDArray[Any]
    base_labels: NDArray[Any]
    base_rows: NDArray[np.int64]
    n_counted: int


def draw_targets(
    is_right: NDArray[np.bool_],
    y_test: NDArray[Any],
    y_base: NDArray[Any],
    *,
    n_targets: int,
    n_bases: int,
    seed: int,
) -> Targets:
    """Draw test rows until every victim's control gets enough of them right.

    Parameters
    ----------
    is_right : ndarray of bool of shape (n_victims, n_test)
        Whether a victim's control arm classifies the test row correctly.
    y_test : ndarray of shape (n_test,)
        Labels of the test rows.
    y_base : ndarray of shape (n_rows,)
        Labels of the rows that bases are drawn from.
    n_targets : int
        How many each control has to get right.
    n_bases : int
        Bases to draw for each target.
    seed : int
        Seed of the draw.

    Returns
    -------
    Targets
        In the order drawn. Fewer count where the test rows run out.
    """
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(is_right.shape[1])
    n_right = np.cumsum(is_right[:, order], axis=1)
    enough = np.flatnonzero((n_right >= n_targets).all(axis=0))
    rows = order[: enough[0] + 1] if len(enough) else order
    classes = np.unique(y_base)
    labels = y_test[rows]
    base_labels = np.array(
        [rng.choice(classes[classes != label]) for label in labels], dtype=classes.dtype
    )
    base_rows = np.array(
        [
            rng.choice(np.flatnonzero(y_base == label), n_bases, replace=False)
            for label in base_labels
        ]
    )
    return Targets(rows, labels, base_labels, base_rows, n_targets)


def poison_counts(
    y_train: NDArray[Any],
    *,
    n_poisons: Sequence[int] = (),
    shares: Sequence[float] = (),
    n_bases: int | None = None,
) -> dict[int, float | None]:
    """Numbers of poisons per target.

    Parameters
    ----------
    y_train : ndarray of shape (n_train,)
        Labels of the rows that victims are trained on, class-balanced.
    n_poisons : sequence of int, default=()
        Numbers asked for, >= 1, scaled down where the largest is over 10 % of a class.
    shares : sequence of float in (0, 0.5), default=()
        Poisoned shares of the base class that are asked for instead.
    n_bases : int or None, default=None
        How many of the first rows can be bases; None: all.

    Returns
    -------
    dict of int to float or None
        The share that was asked for, by distinct counts >= 1, increasing; at most as
        many as there are bases of each class.

    Raises
    ------
    ValueError
        If a class has too few rows to have less than half of them poisoned.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.repeat([0, 1], 250)
    >>> poison_counts(y, n_poisons=(1, 5, 50))
    {1: None, 2: None, 25: None}
    >>> poison_counts(y, shares=(0.01, 0.1))
    {2: 0.01, 25: 0.1}
    """
    counts: dict[int, float | None] = {}
    if shares:
        counts |= share_counts(shares, y_train)
    else:
        factor = min(1.0, _MAX_SHARE * _smallest_class(y_train) / max(n_poisons))
        counts |= dict.fromkeys(sorted({max(1, round(factor * n)) for n in n_poisons}))
    most = _smallest_class(y_train[:n_bases])
    capped: dict[int, float | None] = {}
    for n, share in counts.items():
        capped.setdefault(min(n, most), share)
    return capped


def share_counts(shares: Sequence[float], y_train: NDArray[Any]) -> dict[int, float]:
    """Numbers of poisons that make shares of a class.

    Parameters
    ----------
    shares : sequence of float in (0, 0.5)
        Poisoned shares of the base class.
    y_train : ndarray of shape (n_train,)
        Labels of the rows that victims are trained on, class-balanced.

    Returns
    -------
    dict of int to float
        The share that was asked for by distinct counts >= 1, increasing; less than
        half of a class.

    Raises
    ------
    ValueError
        If a class has too few rows to have less than half of them poisoned.

    Examples
    --------
    >>> import numpy as np
    >>> share_counts((0.01, 0.05, 0.1), np.repeat([0, 1], 250))
    {2: 0.01, 12: 0.05, 25: 0.1}
    """
    n_of_class = _smallest_class(y_train)
    most = (n_of_class - 1) // 2
    if most < 1:
        raise ValueError(
            f"shares={tuple(shares)!r} of a class need at least 3 training rows of "
            f"each class, got {n_of_class}"
        )
    counts: dict[int, float] = {}
    for share in sorted(shares):
        counts.setdefault(min(most, max(1, round(share * n_of_class))), share)
    return counts


def _smallest_class(y: NDArray[Any]) -> int:
    return int(np.unique(y, return_counts=True)[1].min())
