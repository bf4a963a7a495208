"""Labels, weights and the validation split of the rows of a training set."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import assert_all_finite, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from sklgm._inputs._instances import Instances
from sklgm._inputs._streaming import StreamedInstances, as_array
from sklgm._sklearn_private import check_sample_weight


def validate_targets(
    estimator_name: str,
    instances: Instances,
    y: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Check labels and weights against the instances they belong to.

    Parameters
    ----------
    estimator_name : str
        For the error where labels are missing.
    instances : ndarray of shape (n_samples, *input_shape) or StreamedInstances
        Validated instances.
    y : array-like of shape (n_samples,) or None
        Labels; None takes those of a stream.
    sample_weight : array-like of shape (n_samples,) or None
        Weights >= 0; None stands for ones.

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        The labels.
    weight : ndarray of shape (n_samples,)
        The weights.

    Raises
    ------
    ValueError
        If labels are missing, not finite, continuous, or of another number than the
        instances, or a weight is negative.
    """
    if y is None and isinstance(instances, StreamedInstances):
        y = instances.labels()
    if y is None:
        raise ValueError(
            f"{estimator_name} requires y to be passed, but the target y is None"
        )
    labels: NDArray[Any] = column_or_1d(as_array(y), warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    check_consistent_length(instances, labels)
    weight = check_sample_weight(
        as_array(sample_weight), labels, dtype=np.float64, ensure_non_negative=True
    )
    return labels, weight


def weight_by_class(
    weight: NDArray[np.float64],
    y_encoded: NDArray[np.int64],
    classes: NDArray[Any],
    class_weight: Mapping[Any, float] | str | None,
) -> NDArray[np.float64]:
    """Multiply weights by those of their classes.

    Parameters
    ----------
    weight : ndarray of shape (n_samples,)
        Weights of the rows.
    y_encoded : ndarray of shape (n_samples,)
        Class indices.
    classes : ndarray of shape (n_classes,)
        Labels of the classes.
    class_weight : mapping, "balanced" or None
        Weight of each class, as in scikit-learn.

    Returns
    -------
    ndarray of shape (n_samples,)
        The products.
    """
    if class_weight is None:
        return weight
    per_class = compute_class_weight(
        class_weight, classes=classes, y=classes[y_encoded], sample_weight=weight
    )
    weighted: NDArray[np.float64] = weight * per_class[y_encoded]
    return weighted


def check_every_class_has_weight(
    weight: NDArray[np.float64], y_encoded: NDArray[np.int64], classes: NDArray[Any]
) -> None:
    """Refuse a class of which no row has a positive weight.

    Parameters
    ----------
    weight, y_encoded : ndarray of shape (n_samples,)
        Weights and class indices of the rows.
    classes : ndarray of shape (n_classes,)
        Labels of the classes.

    Raises
    ------
    ValueError
        If there is such a class; the error names it.
    """
    missing = np.setdiff1d(np.arange(len(classes)), y_encoded[weight > 0])
    if len(missing) > 0:
        raise ValueError(
            f"class {classes.tolist()[missing[0]]!r} has no row of positive "
            "sample_weight"
        )


def split_off_validation(
    rows: NDArray[np.int64],
    y_encoded: NDArray[np.int64],
    classes: NDArray[Any],
    *,
    validation_fraction: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows for early stopping, stratified by class.

    Parameters
    ----------
    rows : ndarray of int of shape (n_rows,)
        The rows to split.
    y_encoded : ndarray of shape (n_samples,)
        Class indices of all rows.
    classes : ndarray of shape (n_classes,)
        Labels of the classes.
    validation_fraction : float in (0, 1)
        Share of validation rows.
    seed : int
        Seed of the split.

    Returns
    -------
    train_rows, valid_rows : ndarray of int
        The two parts of ``rows``.

    Raises
    ------
    ValueError
        If a class has one row, or the share leaves a part without rows of a class.
    """
    y_encoded = y_encoded[rows]
    counts = np.bincount(y_encoded)
    if counts.min() < 2:
        raise ValueError(
            "early_stopping=True splits the rows of each class, but class "
            f"{classes.tolist()[counts.argmin()]!r} has only {counts.min()} row"
        )
    splitter = StratifiedShuffleSplit(
        n_splits=1, test_size=validation_fraction, random_state=seed
    )
    try:
        train_rows, valid_rows = next(splitter.split(y_encoded, y_encoded))
    except ValueError as error:
        raise ValueError(
            f"validation_fraction={validation_fraction!r} cannot split "
            f"{len(y_encoded)} rows of {len(classes)} classes: {error}"
        ) from error
    return rows[train_rows], rows[valid_rows]
