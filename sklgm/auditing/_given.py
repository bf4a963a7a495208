"""Probabilities that a user brings: evidence without any model."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklgm._inputs import as_array, some_rows
from sklgm.outliers._transitions import CHUNK, log

# Largest sum of a row in multiples of the smallest: rounding makes far less.
_MOST_SPREAD = 1.1
# Rows that tell the order of columns, and the share of them that a better one predicts.
_MOST_ROWS, _CLEAR = 10_000, 0.5
# Rows per class from which on an order tells something.
_LEAST_ROWS = 10


def check_pred_probs(
    y: ArrayLike, pred_probs: ArrayLike, *, stacklevel: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Check claimed labels and given probabilities of the classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Claimed labels.
    pred_probs : array-like of shape (n_samples, n_classes)
        Probabilities, scaled to sum 1 here. Columns of a frame that are named after
        the labels may have any order.
    stacklevel : int
        Frames above this function to which warnings belong.

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
    proba = proba[:, _order_by_name(pred_probs, classes)]
    log_proba = np.empty(proba.shape)
    never_seen = 1.0 / (n_samples + n_classes)
    lowest, highest = np.inf, 0.0  # sums of rows
    are_votes = True
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
        are_votes = are_votes and bool((part == np.rint(part)).all())
        lowest, highest = min(lowest, totals.min()), max(highest, totals.max())
        part /= totals[:, None]
        if least == 0 or part.min() == 0:  # tiny ones may underflow
            part[part == 0] = never_seen
        log_proba[first : first + step] = log(part)
    if highest > _MOST_SPREAD * lowest and not are_votes:
        warnings.warn(
            f"rows of pred_probs sum to {lowest:.3g} up to {highest:.3g}, and are "
            "divided by their sums: logits or scores are not probabilities",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    _warn_of_other_order(claimed_labels, classes, log_proba, stacklevel + 1)
    return claimed_labels, classes, log_proba


def _order_by_name(pred_probs: Any, classes: NDArray[Any]) -> Any:
    """Columns of a frame whose names are the classes, in their order; else all."""
    names = [str(name) for name in getattr(pred_probs, "columns", ())]
    wanted = [str(label) for label in classes.tolist()]
    if sorted(names) != sorted(wanted) or names == wanted:
        return slice(None)
    return [names.index(label) for label in wanted]


def _warn_of_other_order(
    labels: NDArray[Any],
    classes: NDArray[Any],
    log_proba: NDArray[np.float64],
    stacklevel: int,
) -> None:
    """Warn where columns in another order would agree with far more labels."""
    rows = some_rows(len(labels), _MOST_ROWS)
    if len(rows) < _LEAST_ROWS * len(classes):
        return
    claimed = np.searchsorted(classes, labels[rows])
    predicted = log_proba[rows].argmax(axis=1)
    counts = coo_array(
        (np.ones(len(rows)), (claimed, predicted)), shape=(len(classes),) * 2
    ).toarray()
    best = counts[linear_sum_assignment(counts, maximize=True)].sum()
    agreeing = counts.trace()
    if best >= _CLEAR * len(rows) and agreeing < best / 2:
        warnings.warn(
            "the columns of pred_probs seem to be in another order than the sorted "
            f"labels of y: they predict {100 * agreeing / len(rows):.0f} % of the "
            f"labels, and would predict {100 * best / len(rows):.0f} % in the best "
            "order. Give a frame whose columns are named after the labels",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


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
