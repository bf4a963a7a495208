"""Folds: which rows train a model, and which are held out of its training."""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import (
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils.multiclass import check_classification_targets

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


def make_folds(
    y: NDArray[Any] | None,
    n_samples: int,
    *,
    cv: Any,
    seed: int,
    groups: NDArray[Any] | None = None,
    trains_all_classes: bool = True,
) -> list[Split]:
    """Split rows into folds that hold out each of them once.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or None
        Labels.
    n_samples : int
        Number of rows.
    cv : int, splitter or iterable of splits
        A number of folds: shuffled, and stratified by y; fewer where there are not as
        many rows of any class. A class of one row cannot be held out: the row trains
        every model, and the first judges it.
    seed : int
        Seed of the shuffling.
    groups : ndarray of shape (n_samples,) or None, default=None
        Rows of one group are held out together.
    trains_all_classes : bool, default=True
        Whether each fold must train on rows of every class. Without it a row is always
        held out of the training of the model that judges it, the only one of its class
        too.

    Returns
    -------
    list of (train_rows, held_out_rows)
        Indices, one pair for each fold; the same for the same y, cv and
        ``seed``.

    Raises
    ------
    ValueError
        If the rows cannot be split so, if a row is not held out exactly once or
        trains a model that it is held out of, or if a fold trains without a class.
    """
    if y is not None:
        check_classification_targets(y)
    if isinstance(cv, Integral):
        if cv < 2:
            raise ValueError(f"cv must be at least 2 folds, got cv={cv!r}")
        if groups is not None:
            return _grouped_folds(y, groups, int(cv), seed)
        splits = _shuffled_folds(y, n_samples, int(cv), seed)
        if trains_all_classes:
            return splits
        return [(np.setdiff1d(train, rows), rows) for train, rows in splits]
    try:
        splitter = check_cv(cv, y, classifier=y is not None)
        splits = list(splitter.split(np.zeros((n_samples, 1)), y, groups))
    except ValueError as error:
        raise ValueError(
            f"cv={cv!r} cannot split n_samples={n_samples}: {error}"
        ) from error
    held_out = np.concatenate([held_out_rows for _, held_out_rows in splits])
    if not np.array_equal(np.sort(held_out), np.arange(n_samples)):
        raise ValueError(
            f"cv={cv!r} must hold out every row exactly once, as KFold does"
        )
    for train_rows, held_out_rows in splits:
        shared = np.intersect1d(train_rows, held_out_rows)
        if len(shared) > 0:
            raise ValueError(
                f"cv trains a model on {len(shared)} of the rows that it holds out of "
                f"its training, row {shared[0]} among them"
            )
    if y is not None and trains_all_classes:
        for train_rows, _ in splits:
            missing = np.setdiff1d(y, y[train_rows])
            if len(missing) > 0:
                raise ValueError(
                    f"cv={cv!r} trains a model without any row of class "
                    f"{missing.tolist()[0]!r}: give more rows of it, or folds that are "
                    "stratified"
                )
    return splits


def _shuffled_folds(
    y: NDArray[Any] | None, n_samples: int, n_folds: int, seed: int
) -> list[Split]:
    if n_samples < 2:
        raise ValueError(
            f"n_samples={n_samples}: cv={n_folds} holds rows of X out of training, "
            "which needs at least 2"
        )
    if y is None:
        return list(
            KFold(min(n_folds, n_samples), shuffle=True, random_state=seed).split(
                np.zeros((n_samples, 1))
            )
        )
    _, y_encoded, counts = np.unique(y, return_inverse=True, return_counts=True)
    is_single = counts[y_encoded] == 1
    n_folds = min(n_folds, int(counts.max()))
    if n_folds < 2:
        raise ValueError(
            "cv holds rows of each class out of training, but every class "
            "has only 1 row: give more rows"
        )
    several, single = np.flatnonzero(~is_single), np.flatnonzero(is_single)
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class of fewer rows is in fewer folds
        warnings.filterwarnings("ignore", "The least populated class in y")
        of_several = list(splitter.split(several, y_encoded[several]))
    splits = []
    for i, (train, held_out) in enumerate(of_several):
        train_rows = np.union1d(several[train], single)
        held_out_rows = several[held_out]
        splits.append(
            (train_rows, np.union1d(held_out_rows, single) if i == 0 else held_out_rows)
        )
    return splits


def _grouped_folds(
    y: NDArray[Any] | None, groups: NDArray[Any], n_folds: int, seed: int
) -> list[Split]:
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise ValueError(
            f"groups must hold at least 2 groups, got {n_groups}: rows of one group "
            "are held out together, and nothing would be left to train on"
        )
    labels = (
        np.zeros(len(groups)) if y is None else np.unique(y, return_inverse=True)[1]
    )
    splitter = StratifiedGroupKFold(
        min(n_folds, n_groups), shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class in y")
        try:
            splits = list(splitter.split(labels, labels, groups))
        except ValueError as error:
            raise ValueError(
                f"cv={n_folds!r} cannot split by groups: {error}"
            ) from error
    return [(train, rows) for train, rows in splits if len(rows) > 0]
