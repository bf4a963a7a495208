"""Claims that a person has checked, and what they say of all others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

# Standard deviations of the shift and the slope of the log odds before any check.
_SHIFT_SPREAD, _SLOPE_SPREAD = 1.5, 0.3
_LEAST_SLOPE = 0.05
# Probabilities closer to 0 or 1 are no better known than this.
_LEAST = 1e-6
# Grid over the posterior, in standard deviations, and rows that tell a share.
_GRID = np.linspace(-3.5, 3.5, 15)
_MAX_ROWS = 20_000


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
    ``logit P(right) = a + b logit p_right`` with a ~ N(0, 1.5^2) and b ~ N(1, 0.3^2).
    The posterior of (a, b) given the checks is taken on a grid around its mode, and
    probabilities are its means. How rows were chosen does not matter, as long as it was
    by ``p_right`` or at random.

    References
    ----------
    J. Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to
    Regularized Likelihood Methods", Advances in Large Margin Classifiers, 1999.
    """
    odds = logit(np.clip(p_right, _LEAST, 1.0 - _LEAST))
    shifts, slopes, weights = _posterior(odds[rows], is_right)
    updated = np.zeros_like(odds)
    for shift, slope, weight in zip(shifts, slopes, weights, strict=True):
        updated += weight * expit(shift + slope * odds)
    updated[rows] = is_right
    is_checked = np.zeros(len(odds), dtype=bool)
    is_checked[rows] = True
    others = odds[~is_checked]
    some = others[:: -(-max(len(others), 1) // _MAX_ROWS)]
    n_wrong = float(np.count_nonzero(~is_right))
    shares = np.array(
        [
            (n_wrong + len(others) * _mean(expit(-shift - slope * some))) / len(odds)
            for shift, slope in zip(shifts, slopes, strict=True)
        ]
    )
    order = np.argsort(shares)
    below = np.cumsum(weights[order]) - 0.5 * weights[order]
    low, high = np.interp([0.025, 0.975], below, shares[order])
    return Recalibration(updated, float(weights @ shares), (float(low), float(high)))


def _posterior(
    odds: NDArray[np.float64], is_right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shifts, slopes and their probabilities, each of shape (n_nodes,)."""

    def loss(parameters: NDArray[np.float64]) -> float:
        shift, slope = parameters
        of_claims = np.where(is_right, 1.0, -1.0) * (shift + slope * odds)
        prior = (shift / _SHIFT_SPREAD) ** 2 + ((slope - 1.0) / _SLOPE_SPREAD) ** 2
        return float(np.logaddexp(0.0, -of_claims).sum() + 0.5 * prior)

    mode = minimize(loss, np.array([0.0, 1.0]), method="Nelder-Mead").x
    p = expit(mode[0] + mode[1] * odds)
    design = np.stack([np.ones_like(odds), odds])  # (2, n_checked)
    precision = (design * (p * (1.0 - p))) @ design.T
    precision += np.diag([_SHIFT_SPREAD**-2, _SLOPE_SPREAD**-2])
    root = np.linalg.cholesky(np.linalg.inv(precision))
    grid = np.stack(np.meshgrid(_GRID, _GRID), axis=-1).reshape(-1, 2)
    nodes = mode + grid @ root.T
    nodes[:, 1] = np.maximum(nodes[:, 1], _LEAST_SLOPE)
    losses = np.array([loss(node) for node in nodes])
    weights = np.exp(losses.min() - losses)
    is_kept = weights > 1e-4 * weights.max()
    nodes, weights = nodes[is_kept], weights[is_kept]
    return nodes[:, 0], nodes[:, 1], weights / weights.sum()


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) > 0 else 0.0
