"""Scores of different classes on one scale: standard deviations from the median."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

# Makes the median absolute deviation of a Gaussian its standard deviation.
_MAD_TO_SCALE = 1.4826
# The logistic law 1 / (1 + exp(-s)) has its quartiles at +- log 3.
_LOGISTIC_SLOPE = math.log(3.0) * _MAD_TO_SCALE
# A class of fewer held-out rows has the scale of all classes: of two rows the MAD is
# often close to 0, and new rows of such a class had p <= 0.01 fifteen times in 100.
_ROWS_FOR_SCALE = 8
# The median of three is less central than the mean of the two others, which would let
# new rows score lower than held-out ones. One row alone says nothing.
_ROWS_FOR_MEDIAN = 4
_ROWS_FOR_CENTRE = 2


class Standardisation(NamedTuple):
    """Centre and scale of the log densities of each class.

    Attributes
    ----------
    medians : ndarray of shape (n_classes,)
        Median of each class; the mean of two or three rows; the median of all rows
        for a class of fewer.
    scales : ndarray of shape (n_classes,)
        ``1.4826`` times the median absolute deviation from it, > 0; that of all
        classes for a class of fewer than eight rows, or without spread.
    left_out : ndarray of shape (n_samples,)
        Each held-out row, standardised by the others of its class, as a new row is
        by all of them.
    """

    medians: NDArray[np.float64]
    scales: NDArray[np.float64]
    left_out: NDArray[np.float64]


def standardise(
    density: NDArray[np.float64], claimed: NDArray[np.int64], n_classes: int
) -> Standardisation:
    """Standardise log densities by those of the same class.

    A held-out row that helped to choose its own scale would look more normal than a
    new one: with ten held-out rows per class, 14 % of new rows had p-values of at most
    0.1. So it is left out. The number of rows of its class, counting itself, decides
    by which rule a class is centred and scaled: the same for held-out and new rows.

    Parameters
    ----------
    density : ndarray of shape (n_samples,)
        Log densities of held-out rows under the class that each claims.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.
    n_classes : int
        Number of classes.

    Returns
    -------
    Standardisation
        Centres and scales for new rows, and the standardised held-out rows.
    """
    medians = np.full(n_classes, np.median(density))
    scales = np.zeros(n_classes)
    medians_of_others = np.full_like(density, np.median(density))
    scales_of_others = np.zeros_like(density)
    for k in np.unique(claimed):
        rows = np.flatnonzero(claimed == k)
        of_class, n_rows = density[rows], len(rows)
        if n_rows >= _ROWS_FOR_MEDIAN:
            medians[k] = np.median(of_class)
            medians_of_others[rows] = _medians_of_others(of_class)
        elif n_rows >= _ROWS_FOR_CENTRE:
            medians[k] = np.mean(of_class)
            medians_of_others[rows] = (of_class.sum() - of_class) / (n_rows - 1)
        if n_rows >= _ROWS_FOR_SCALE:
            scales[k] = _MAD_TO_SCALE * np.median(np.abs(of_class - medians[k]))
            for median in np.unique(medians_of_others[rows]):  # at most three
                mads = _medians_of_others(np.abs(of_class - median))
                is_its = medians_of_others[rows] == median
                scales_of_others[rows[is_its]] = _MAD_TO_SCALE * mads[is_its]
    residuals = density - medians_of_others
    pooled = _MAD_TO_SCALE * float(np.median(np.abs(residuals))) or 1.0
    return Standardisation(
        medians,
        np.where(scales > 0, scales, pooled),
        residuals / np.where(scales_of_others > 0, scales_of_others, pooled),
    )


def combine(
    standardised: NDArray[np.float64], log_probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Combine standardised scores with log probabilities, as Fisher's method does.

    Each is taken for the logarithm of a p-value: the score as one that follows the
    logistic law with the quartiles of the standard Gaussian. The tail of that is
    exponential, as that of a log density is: a Gaussian's would let the density alone
    decide. What the sum means is for held-out rows to say: neither has to be a
    p-value, nor are they independent.

    Parameters
    ----------
    standardised : ndarray of shape (n_samples,)
        Scores in deviations from the median; higher is more normal.
    log_probabilities : ndarray of shape (n_samples,)
        Natural logarithms, <= 0.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``log F(s) + log p``, <= 0, finite, with ``F(s) = 1 / (1 + exp(-1.63 s))``;
        Fisher's statistic is -2 times that.

    References
    ----------
    R. A. Fisher, "Statistical Methods for Research Workers", 4th edition, Oliver and
    Boyd 1932, Section 21.1.
    """
    with np.errstate(over="ignore"):  # two of them may be the lowest number
        total: NDArray[np.float64] = log_expit(_LOGISTIC_SLOPE * standardised)
        total += log_probabilities
    return np.maximum(total, np.finfo(np.float64).min)


def _medians_of_others(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the other values, for each of n >= 2 values."""
    order = np.argsort(values)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(values))
    ordered = values[order]
    # Without rank r, position p of the order holds what stood at p + (p >= r).
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2
    medians: NDArray[np.float64] = 0.5 * (
        ordered[low + (low >= ranks)] + ordered[high + (high >= ranks)]
    )
    return medians


def align(
    scores: NDArray[np.float64], folds: NDArray[np.intp], n_folds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and spread by which the scores of each fold come to one scale.

    The scores of different models may have different units. They are shifted and
    scaled so that each fold has the median, and the median absolute deviation from it,
    of a typical fold. One fold stays as it is.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Scores of held-out rows, each by the model of its fold.
    folds : ndarray of int of shape (n_samples,)
        Fold of each row.
    n_folds : int
        Number of folds.

    Returns
    -------
    centres, spreads : ndarray of shape (n_folds,)
        ``(score - centre) / spread`` is the aligned score.
    """
    medians, mads = np.zeros(n_folds), np.zeros(n_folds)
    for i in range(n_folds):
        of_fold = scores[folds == i]
        if len(of_fold) > 0:
            medians[i] = np.median(of_fold)
            mads[i] = np.median(np.abs(of_fold - medians[i]))
    if n_folds == 1 or not (mads > 0).all():
        return np.zeros(n_folds), np.ones(n_folds)
    spreads = mads / np.median(mads)
    return medians - np.median(medians) * spreads, spreads
