"""Log posteriors of rows: exact where they are sure, without what noise has left."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from sklgm.outliers._transitions import exp, log

#: Log probability of every class of a row that is infinitely far from all of them.
LOWEST = float(np.finfo(np.float64).min)
# Share of the rows, the most certain ones, that tell what a classifier has learnt of
# wrong labels.
_ANCHOR_SHARE = 0.05
# What is left of a probability at or below that of a wrong label alone.
_REMAINDER = 1e-3
# Log probabilities above it do not underflow, nor does what is left of them.
_LEAST_LOG = -690.0


def precise_log_softmax(log_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the softmax that keeps the order of probabilities close to 1.

    The greatest probability of a row is taken from the odds against it, so that sure
    rows do not tie at 0 before these odds underflow, at ``exp(-745)``.

    Parameters
    ----------
    log_scores : ndarray of shape (n_samples, n_classes)
        ``log p(k | x)`` plus any constant of each row, finite.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        ``log p(k | x)`` <= 0.
    """
    log_proba: NDArray[np.float64] = log_softmax(log_scores, axis=1)
    if log_scores.shape[1] < 2:
        return log_proba
    rows = np.arange(len(log_scores))
    likely = np.argmax(log_scores, axis=1)
    relative = log_scores - log_scores[rows, likely][:, None]
    relative[rows, likely] = -np.inf
    log_proba[rows, likely] = -np.logaddexp(0.0, logsumexp(relative, axis=1))
    return log_proba


def has_class(log_proba: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which rows have a class at all; see :data:`LOWEST`.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Log posteriors, natural log.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        False where every class has the lowest number.
    """
    if log_proba.min(initial=0.0) > LOWEST:
        return np.ones(len(log_proba), dtype=np.bool_)
    possible: NDArray[np.bool_] = log_proba.max(axis=1) > LOWEST
    return possible


def left_to_others(log_proba: NDArray[np.float64]) -> float:
    """Probability that the most certain rows leave to all other classes.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Log posteriors, natural log.

    Returns
    -------
    float
        The 0.05 quantile over rows of the least probability, times the number of
        other classes, in [0, 1].
    """
    lowest = torch.from_numpy(log_proba).amin(dim=1).numpy()
    n_others = log_proba.shape[1] - 1
    return float(np.quantile(exp(lowest), _ANCHOR_SHARE) * n_others)


def without_floor(log_proba: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Take out what was learnt of wrong labels.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Log posteriors, natural log.
    floor : float in [0, 1)
        Probability c that the classifier gives to a class it is sure to be wrong.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        ``log p_c``, with ``p_c`` in proportion to ``p - c``, at least ``0.001 p``; the
        same array where there is no floor.
    """
    if floor < np.finfo(np.float64).eps:
        return log_proba
    remainder = exp(log_proba.copy())
    excess = remainder - floor
    remainder *= _REMAINDER
    np.maximum(excess, remainder, out=excess)
    if log_proba.min(initial=0.0) > _LEAST_LOG:
        totals = np.einsum("ij->i", excess)
        sharpened: NDArray[np.float64] = log(excess)
        sharpened -= np.log(totals)[:, None]
        return sharpened
    # Some underflow: they keep their order.
    sharpened = log_softmax(
        np.maximum(log(excess), log_proba + np.log(_REMAINDER)), axis=1
    )
    return sharpened
