"""Probabilities that a user brings: evidence without any model."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklgm._inputs import as_array
from sklgm.outliers._transitions import CHUNK, log


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
    if claimed_labels.dtype.kind not in "biu":  # such are always labels
        check_classification_targets(claimed_labels)
    proba = check_array(as_array(pred_probs), dtype=None, input_name="pred_probs")
    n_samples, n_classes = proba.shape
    if n_samples != len(claimed_labels):
        raise ValueError(
            f"pred_probs must have a row for each of the {len(claimed_labels)} labels "
            f"of y, got {n_samples}"
        )
    classes = _classes_of_columns(claimed_labels, n_classes)
    log_proba = np.empty(proba.shape)
    never_seen = 1.0 / (n_samples + n_classes)
    step = max(CHUNK // n_classes, 1)
    for first in range(0, n_samples, step):
        part = np.array(proba[first : first + step], dtype=np.float64)
        least = part.min()
        if least < 0:
            raise ValueError(
                f"pred_probs must be probabilities, got {least:g}: give "
                "probabilities, not their logarithms or logits"
            )
        totals = np.einsum("ij->i", part)
        if totals.min() <= 0:
            row = int(np.argmin(totals))
            raise ValueError(
                f"pred_probs must have a positive probability in every row; row "
                f"{first + row} sums to {totals[row]:g}"
            )
        part /= totals[:, None]
        if least == 0 or part.min() == 0:  # tiny ones may underflow
            part[part == 0] = never_seen
        log_proba[first : first + step] = log(part)
    return claimed_labels, classes, log_proba


def _classes_of_columns(labels: NDArray[Any], n_classes: int) -> NDArray[Any]:
    classes = _sorted_labels(labels)
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


def _sorted_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Find the labels that there are; numbers of columns by counting them."""
    if labels.dtype.kind in "iu" and len(labels) > 0:
        low, high = int(labels.min()), int(labels.max())
        if 0 <= low and high < len(labels):
            return np.flatnonzero(np.bincount(labels)).astype(labels.dtype)
    return np.unique(labels)
