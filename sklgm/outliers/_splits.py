"""Which rows train a model, and which are held out of its training."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    check_cv,
    train_test_split,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

from sklgm._random import RandomState

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


def hold_out(
    y: NDArray[Any] | None,
    n_samples: int,
    n_held_out: int,
    *,
    calibration_fraction: float,
    random_state: RandomState,
) -> Split:
    """Hold rows out once, stratified by label; a row of each class trains.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or None
        Labels; None holds out any rows.
    n_samples, n_held_out : int
        Number of all rows, and of those to hold out.
    calibration_fraction : float
        Named in errors.
    random_state : int, RandomState instance or None
        Seed of the split.

    Returns
    -------
    train_rows, held_out_rows : ndarray of int
        Indices, ascending.

    Raises
    ------
    ValueError
        If there are too few rows, in all or of a class.
    """
    if n_samples < 2:
        raise ValueError(
            f"n_samples={n_samples}: calibration_fraction holds out rows of X, "
            "which needs at least 2"
        )
    if y is not None:
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            raise ValueError(
                "calibration_fraction holds out rows of each class, but class "
                f"{classes.tolist()[counts.argmin()]!r} has only {counts.min()} row"
            )
    try:
        train_rows, held_out_rows = train_test_split(
            np.arange(n_samples),
            test_size=n_held_out,
            stratify=y,
            random_state=check_random_state(random_state),
        )
    except ValueError as error:
        raise ValueError(
            f"calibration_fraction={calibration_fraction!r} cannot split "
            f"n_samples={n_samples}: {error}"
        ) from error
    if y is not None:
        for label in np.setdiff1d(y, y[train_rows]):  # classes of a few rows
            of_class = held_out_rows[y[held_out_rows] == label]
            train_rows = np.append(train_rows, of_class[0])
            held_out_rows = np.setdiff1d(held_out_rows, of_class[:1])
    return np.sort(train_rows), np.sort(held_out_rows)


def folds(
    y: NDArray[Any] | None, n_samples: int, *, cv: Any, random_state: RandomState
) -> list[Split]:
    """Split rows into folds that hold out each of them once.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or None
        Labels.
    n_samples : int
        Number of rows.
    cv : int, splitter or iterable of splits
        A number of folds: shuffled, and stratified by y.
    random_state : int, RandomState instance or None
        Seed of the shuffling.

    Returns
    -------
    list of (train_rows, held_out_rows)
        Indices, one pair a fold.

    Raises
    ------
    ValueError
        If the rows cannot be split so, if a row is not held out exactly once or
        trains a model that it is held out of, or if a fold trains without a class.
    """
    if y is not None:
        check_classification_targets(y)
    try:
        if isinstance(cv, Integral):
            make = KFold if y is None else StratifiedKFold
            splitter = make(
                int(cv), shuffle=True, random_state=check_random_state(random_state)
            )
        else:
            splitter = check_cv(cv, y, classifier=y is not None)
        splits = list(splitter.split(np.zeros((n_samples, 1)), y))
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
    if y is not None:
        for train_rows, _ in splits:
            missing = np.setdiff1d(y, y[train_rows])
            if len(missing) > 0:
                raise ValueError(
                    f"cv={cv!r} trains a model without any row of class "
                    f"{missing.tolist()[0]!r}: give more rows of it, or folds that are "
                    "stratified"
                )
    return splits
