"""Split-conformal p-values and thresholds from held-out scores."""

import numpy as np
from numpy.typing import NDArray


def conformal_p_values(
    calibration_scores: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Split-conformal p-values of scores; low scores are outlying.

    Parameters
    ----------
    calibration_scores : ndarray of shape (n_calibration,)
        Scores of held-out rows, sorted in increasing order.
    scores : ndarray of shape (n_samples,)
        Scores to judge.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``(1 + #{calibration scores <= s}) / (n_calibration + 1)``, in (0, 1].

    References
    ----------
    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World",
    Springer 2005, section 2.1.
    """
    n_lower = np.searchsorted(calibration_scores, scores, side="right")
    p_values = (1.0 + n_lower) / (len(calibration_scores) + 1.0)
    return np.asarray(p_values, dtype=np.float64)


def conformal_threshold(
    calibration_scores: NDArray[np.float64], false_alarm_rate: float
) -> float:
    """Score below which the p-value is at most ``false_alarm_rate``.

    Parameters
    ----------
    calibration_scores : ndarray of shape (n_calibration,)
        Scores of held-out rows, sorted in increasing order.
    false_alarm_rate : float in (0, 1)
        Level of the p-values.

    Returns
    -------
    float
        The threshold; minus infinity where the level is below
        ``1 / (n_calibration + 1)``, which no p-value can reach.
    """
    n_calibration = len(calibration_scores)
    # A level of exactly m / (n + 1) must not be lost to rounding.
    rank = int(np.floor(false_alarm_rate * (n_calibration + 1) * (1 + 1e-12)))
    if rank < 1:
        return -np.inf
    return float(calibration_scores[min(rank, n_calibration) - 1])


def n_rows_for_level(level: float) -> int:
    """Fewest calibration rows with which a p-value can reach ``level``.

    Parameters
    ----------
    level : float in (0, 1)
        Level of the p-values.

    Returns
    -------
    int
        ``ceil(1 / level) - 1``.
    """
    return int(np.ceil(1.0 / level * (1 - 1e-12))) - 1
