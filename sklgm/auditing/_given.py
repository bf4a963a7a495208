"""Probabilities that a user brings: evidence without any model."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklgm._inputs import as_array


def check_pred_probs(
    y: ArrayLike, pred_probs: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Check claimed labels and given probabilities of the classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Claimed labels.
    pred_probs : array-like of shape (n_samples, n_classes)
        Probabilities, scaled to sum 1 here.

    Returns
    -------
    claimed_labels : ndarray of shape (n_samples,)
        Labels.
    classes : ndarray of shape (n_classes,)
        Labels, sorted; 0 to n_classes - 1 where y holds such whole numbers.
    log_proba : ndarray of shape (n_samples, n_classes)
        Log probabilities, natural log, finite: 0 is taken for
        ``1 / (n_samples + n_classes)``, as an estimate from counts.

    Raises
    ------
    ValueError
        If shapes do not fit, a probability is negative or no number, or a row sums
        to 0.
    """
    claimed_labels = column_or_1d(as_array(y), warn=True)
    check_classification_targets(claimed_labels)
    proba = check_array(as_array(pred_probs), dtype=None, input_name="pred_probs")
    n_samples, n_classes = proba.shape
    if n_samples != len(claimed_labels):
        raise ValueError(
            f"pred_probs must have a row for each of the {len(claimed_labels)} labels "
            f"of y, got {n_samples}"
        )
    classes = _classes_of_columns(claimed_labels, n_classes)
    log_proba = np.array(proba, dtype=np.float64)
    if log_proba.min() < 0:
        raise ValueError(
            f"pred_probs must be probabilities, got {log_proba.min():g}: give "
            "probabilities, not their logarithms or logits"
        )
    totals = log_proba.sum(axis=1)
    if totals.min() <= 0:
        raise ValueError(
            f"pred_probs must have a positive probability in every row; row "
            f"{int(np.argmin(totals))} sums to {totals.min():g}"
        )
    log_proba /= totals[:, None]
    log_proba[log_proba == 0] = 1.0 / (n_samples + n_classes)
    np.log(log_proba, out=log_proba)
    return claimed_labels, classes, log_proba


def _classes_of_columns(labels: NDArray[Any], n_classes: int) -> NDArray[Any]:
    classes = np.unique(labels)
    if len(classes) == n_classes and n_classes > 1:
        return classes
    is_index = np.issubdtype(classes.dtype, np.integer) and classes[0] >= 0
    if is_index and classes[-1] < n_classes and n_classes > 1:
        return np.arange(n_classes)
    raise ValueError(
        f"pred_probs must have a column for each class of y, at least 2: y has "
        f"{len(classes)} classes, pred_probs {n_classes} columns. Where some classes "
        "are claimed by no row, give y as column numbers from 0"
    )
