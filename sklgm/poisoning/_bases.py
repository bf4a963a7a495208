"""Which rows become poisons, and for which targets."""

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray


def labels_per_target(
    name: str, label: Any, n_targets: int, classes: NDArray[Any]
) -> NDArray[Any] | None:
    """Check labels and repeat a single one for every target.

    Parameters
    ----------
    name : str
        Parameter that errors name.
    label : label, array-like of shape (n_targets,) or None
        What the user gave; None stays None.
    n_targets : int
        Number of targets.
    classes : ndarray of shape (n_classes,)
        The classes of y.

    Returns
    -------
    ndarray of shape (n_targets,) or None
        Members of `classes`.

    Raises
    ------
    ValueError
        If a label is not among the classes, or their number is not that of the targets.
    """
    if label is None:
        return None
    labels = [label] * n_targets if np.ndim(label) == 0 else list(label)
    if len(labels) != n_targets:
        raise ValueError(
            f"{name} must be one label, or one for each of the {n_targets} targets; "
            f"got {len(labels)} labels"
        )
    known = classes.tolist()
    for one in labels:
        if one not in known:
            raise ValueError(
                f"{name}={one!r} is not among the classes of y, {known[:20]!r}"
            )
    return classes[[known.index(one) for one in labels]]


def other_labels(
    target_label: NDArray[Any], classes: NDArray[Any], rng: np.random.RandomState
) -> NDArray[Any]:
    """Draw a class other than the target's for each target.

    Parameters
    ----------
    target_label : ndarray of shape (n_targets,)
        True labels of the targets.
    classes : ndarray of shape (n_classes,)
        The classes of y.
    rng : RandomState
        Source of the draws.

    Returns
    -------
    ndarray of shape (n_targets,)
        Members of `classes`, equally likely.
    """
    return np.asarray(
        [rng.choice(classes[classes != label]) for label in target_label],
        dtype=classes.dtype,
    )


def check_bases(
    y: NDArray[Any],
    base_label: NDArray[Any] | None,
    target_label: NDArray[Any] | None,
    budget: int | float,
) -> None:
    """Check that the base classes can hold the attack, as far as labels are known.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels.
    base_label, target_label : ndarray of shape (n_targets,) or None
        Class of the poisons, and true class, of each target; None if not known yet.
    budget : int or float
        Number of poisons per target, or their share of the base class.

    Raises
    ------
    ValueError
        If the poisons of a target have its class, or a class has fewer rows than its
        targets ask for.
    """
    if base_label is None:
        return
    if target_label is not None:
        is_equal = base_label == target_label
        if is_equal.any():
            label = base_label[is_equal][:1].tolist()[0]
            raise ValueError(
                f"base_label={label!r} must differ from the label of its target, "
                f"target_label={label!r}: the attack is to give it another class"
            )
    labels, n_targets = np.unique(base_label, return_counts=True)
    for label, n in zip(labels.tolist(), n_targets.tolist(), strict=True):
        n_rows = int((y == label).sum())
        n_poisons = _n_poisons(budget, n_rows)
        if n_poisons * n > n_rows:
            raise ValueError(
                f"budget={budget!r} asks for {n_poisons} rows of class {label!r} for "
                f"each of {n} targets, but X has only {n_rows} rows of that class"
            )


def draw_bases(
    y: NDArray[Any],
    base_label: NDArray[Any],
    budget: int | float,
    rng: np.random.RandomState,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw rows of the base classes, each at most once.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels.
    base_label : ndarray of shape (n_targets,)
        Class of the bases of each target.
    budget : int or float
        Number of poisons per target, or their share of the base class.
    rng : RandomState
        Source of the draws.

    Returns
    -------
    indices : ndarray of int of shape (n_poisons,)
        Rows of the bases, those of the first target first.
    poison_target : ndarray of int of shape (n_poisons,)
        The target that each of them is for.

    Notes
    -----
    `check_bases` has made sure that there are enough rows.
    """
    indices: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(base_label)
    for label in np.unique(base_label):
        rows = rng.permutation(np.flatnonzero(y == label))
        targets = np.flatnonzero(base_label == label)
        n_poisons = _n_poisons(budget, len(rows))
        for position, target in enumerate(targets):
            start = position * n_poisons
            indices[target] = rows[start : start + n_poisons]
    poison_target = np.repeat(np.arange(len(indices)), [len(rows) for rows in indices])
    return np.concatenate(indices), poison_target


def _n_poisons(budget: int | float, n_rows: int) -> int:
    if isinstance(budget, Integral):
        return int(budget)
    # Rounding first: 0.1 * 30 is above 3 in floating point.
    return max(1, math.ceil(round(budget * n_rows, 9)))
