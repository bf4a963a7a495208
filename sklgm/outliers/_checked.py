"""Claims that a person has checked, and what they say of all others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats.qmc import MultivariateNormalQMC

# Standard deviations, before any check, of the shift of the log odds and of the logs of
# the slopes of each law.
_SHIFT_SPREAD = 1.5
_LAWS = ((0.3,), (0.7, 0.7))
# What a check counts for: the laws are only roughly true.
_CHECK_WEIGHT = 0.85
# Probabilities closer to 0 or 1 are no better known than this.
_LEAST = 1e-6
# Points of a posterior, how much farther than a Gaussian they reach, and the least
# weight that counts, of the greatest.
_N_NODES, _REACH, _LEAST_WEIGHT = 1024, 1.3, 1e-3
_STEP = 1e-2  # of the differences that give the curvature at the mode
_N_ODDS = 4_001  # between which is interpolated


@dataclass(frozen=True, eq=False)
class Recalibration:
    """Probabilities that claims are right, once some of them were checked.

    Attributes
    ----------
    p_right : ndarray of shape (n_samples,)
        Of all rows; 0 or 1 of those that were checked.
    noise_share : float
        Expected share of wrong claims.
    noise_share_interval : tuple of float
        95 % credible interval of it.
    """

    p_right: NDArray[np.float64]
    noise_share: float
    noise_share_interval: tuple[float, float]


def recalibrate(
    p_right: NDArray[np.float64],
    rows: NDArray[np.intp],
    is_right: NDArray[np.bool_],
) -> Recalibration:
    """Let checked claims correct the probabilities of all.

    Parameters
    ----------
    p_right : ndarray of shape (n_samples,)
        Probability that each claim is right, without any check.
    rows : ndarray of int of shape (n_checked,)
        Rows that were checked: drawn at random, or chosen by ``p_right``.
    is_right : ndarray of bool of shape (n_checked,)
        Whether their claims are right.

    Returns
    -------
    Recalibration
        Corrected probabilities, and the share of wrong claims.

    Notes
    -----
    Two laws are read from the checks:

        logit P(right) = a + b logit p_right,
        logit P(right) = a + b_1 max(logit p_right, 0) + b_2 min(logit p_right, 0),

    with a ~ N(0, 1.5^2), log b ~ N(0, 0.3^2) and log b_1, log b_2 ~ N(0, 0.7^2). The
    second knows that a classifier may be wrong about claims that it finds right, as
    where it learnt the errors of people, and yet right about those that it finds wrong.
    Points of each posterior are a quasi-random sample of the Gaussian at its mode, with
    weights. Probabilities and the share are means over both laws; the interval covers
    both. As the laws are only roughly true a check counts for 0.85 of one, which widens
    the interval. How rows were chosen does not matter, as long as it was by ``p_right``
    or at random.

    References
    ----------
    J. Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to
    Regularized Likelihood Methods", Advances in Large Margin Classifiers, 1999.
    """
    odds = logit(np.clip(p_right, _LEAST, 1.0 - _LEAST))
    is_checked = np.zeros(len(odds), dtype=bool)
    is_checked[rows] = True
    n_wrong = float(np.count_nonzero(~is_right))
    table = np.linspace(odds.min(), odds.max(), _N_ODDS)
    places = np.searchsorted(0.5 * (table[1:] + table[:-1]), odds[~is_checked])
    counts = np.bincount(places, minlength=_N_ODDS)  # of the others
    of_table, shares, ends = np.zeros(_N_ODDS), [], []
    for spreads in _LAWS:
        laws, weights = _posterior(odds[rows], is_right, spreads)
        of_laws = np.array([expit(_log_odds(law, table)) for law in laws])
        of_table += weights @ of_laws / len(_LAWS)
        share = (n_wrong + (1.0 - of_laws) @ counts) / len(odds)
        order = np.argsort(share)
        below = np.cumsum(weights[order]) - 0.5 * weights[order]
        ends.append(np.interp([0.025, 0.975], below, share[order]))
        shares.append(float(weights @ share))
    updated = np.interp(odds, table, of_table)
    updated[rows] = is_right
    low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
    return Recalibration(updated, float(np.mean(shares)), (float(low), float(high)))


def _log_odds(
    law: NDArray[np.float64], odds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log odds by a law: its shift, then the logarithms of its slopes."""
    shift, *slopes = law
    slope = np.exp(np.where(odds > 0, slopes[0], slopes[-1]))
    corrected: NDArray[np.float64] = shift + slope * odds
    return corrected


def _posterior(
    odds: NDArray[np.float64], is_right: NDArray[np.bool_], spreads: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Laws (n_nodes, n_parameters) and their probabilities (n_nodes,)."""
    prior = np.array([_SHIFT_SPREAD, *spreads])
    signs = np.where(is_right, 1.0, -1.0)

    def loss(law: NDArray[np.float64]) -> float:
        misses = np.logaddexp(0.0, -signs * _log_odds(law, odds)).sum()
        return float(_CHECK_WEIGHT * misses + 0.5 * np.square(law / prior).sum())

    mode = minimize(loss, np.zeros(len(prior)), method="Nelder-Mead").x
    steps = _STEP * np.eye(len(prior))
    curvature = [
        [
            loss(mode + u + v)
            - loss(mode + u - v)
            - loss(mode - u + v)
            + loss(mode - u - v)
            for v in steps
        ]
        for u in steps
    ]
    values, vectors = np.linalg.eigh(np.array(curvature) / (4.0 * _STEP**2))
    # No direction is wider than the prior.
    values = np.maximum(values, prior.max() ** -2)
    normal = MultivariateNormalQMC(np.zeros(len(prior)), seed=0).random(_N_NODES)
    nodes = mode + _REACH * normal @ (vectors / np.sqrt(values)).T
    losses = np.array([loss(node) for node in nodes])
    losses -= 0.5 * np.square(normal).sum(axis=1)
    weights = np.exp(losses.min() - losses)
    is_kept = weights > _LEAST_WEIGHT * weights.max()
    return nodes[is_kept], weights[is_kept] / weights[is_kept].sum()
