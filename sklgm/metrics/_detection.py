"""How well a score tells outliers from the other samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, norm, rankdata
from sklearn.metrics import roc_curve

from sklgm.metrics._rates import (
    Rate,
    check_confidence,
    wilson_rate,
)


def auroc(outlier_score: ArrayLike, is_outlier: ArrayLike) -> float:
    """Area under the ROC curve of an outlier score.

    It is the probability that a random outlier scores higher than a random inlier,
    ties counted as one half. 0.5 is chance, 1 is perfect separation.

    Parameters
    ----------
    outlier_score : array-like of shape (n_samples,)
        Finite, higher is more outlying.
    is_outlier : array-like of shape (n_samples,)
        True (or 1) where the sample is an outlier, False (or 0) elsewhere.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If an input is empty, not one-dimensional or of another length than the
        other; if a score is not finite; if `is_outlier` holds other values than
        true and false, or only one of the two.

    See Also
    --------
    auroc_interval : The same with a confidence interval.

    Examples
    --------
    >>> from sklgm.metrics import auroc
    >>> auroc([0.1, 0.4, 0.3, 0.9], [False, False, True, True])
    0.75
    """
    score, mask = _check_detection(outlier_score, is_outlier)
    win_share = _win_shares(score, mask)[0]
    return float(win_share.mean())


def auroc_interval(
    outlier_score: ArrayLike, is_outlier: ArrayLike, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Area under the ROC curve with a confidence interval.

    Parameters
    ----------
    outlier_score : array-like of shape (n_samples,)
        Finite, higher is more outlying.
    is_outlier : array-like of shape (n_samples,)
        True (or 1) where the sample is an outlier, False (or 0) elsewhere.
    confidence : float, default=0.95
        Coverage of the interval, in (0, 1).

    Returns
    -------
    value : float
        The area, in [0, 1].
    low : float
        Lower end of the interval, in [0, 1].
    high : float
        Upper end of the interval, in [0, 1].

    Raises
    ------
    ValueError
        As for `auroc`, and if `confidence` is not in (0, 1).

    Notes
    -----
    With m outliers x_i and n inliers y_j, and psi(x, y) equal to 1 where x > y, one
    half where x = y and 0 elsewhere, the variance of DeLong et al. (1988) is::

        V10(x_i) = mean_j psi(x_i, y_j)        S10 = var_i V10(x_i), divisor m - 1
        V01(y_j) = mean_i psi(x_i, y_j)        S01 = var_j V01(y_j), divisor n - 1
        var = S10 / m + S01 / n

    computed from ranks in O((m + n) log(m + n)), as Sun and Xu (2014) do. The
    interval is value -+ z sqrt(var), clipped to [0, 1].

    That variance is 0 under perfect separation, and undefined with a single outlier
    or inlier. There the interval is that of Clopper and Pearson for s = min(m, n)
    independent trials of which the share `value` succeeded: the variance of the
    area is at most value (1 - value) / s (van Dantzig, 1951), so it errs towards
    too wide. Five perfectly ranked poisons give (0.478, 1).

    Close to 1, and with fewer than about 20 outliers, the DeLong interval is too
    narrow, and the two rules do not meet. A score per poison is only as independent
    as the poisons are: several poisons of one target are not.

    References
    ----------
    E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under
    two or more correlated receiver operating characteristic curves: a nonparametric
    approach", Biometrics 44, 1988.

    X. Sun and W. Xu, "Fast implementation of DeLong's algorithm for comparing the
    areas under correlated receiver operating characteristic curves", IEEE Signal
    Processing Letters 21, 2014.

    D. van Dantzig, "On the consistency and the power of Wilcoxon's two sample test",
    Indagationes Mathematicae 13, 1951.

    Examples
    --------
    >>> from sklgm.metrics import auroc_interval
    >>> value, low, high = auroc_interval(
    ...     [0.1, 0.4, 0.3, 0.9, 0.2, 0.8], [0, 0, 1, 1, 0, 1]
    ... )
    >>> f"{value:.3f} [{low:.3f}, {high:.3f}]"
    '0.889 [0.581, 1.000]'
    """
    check_confidence(confidence)
    score, mask = _check_detection(outlier_score, is_outlier)
    outlier_wins, inlier_losses = _win_shares(score, mask)
    n_outliers, n_inliers = len(outlier_wins), len(inlier_losses)
    value = float(outlier_wins.mean())
    no_variance = np.ptp(outlier_wins) == 0 and np.ptp(inlier_losses) == 0
    if min(n_outliers, n_inliers) < 2 or no_variance:
        low, high = _clopper_pearson(value, min(n_outliers, n_inliers), confidence)
        return value, low, high
    variance = (
        outlier_wins.var(ddof=1) / n_outliers + inlier_losses.var(ddof=1) / n_inliers
    )
    half_width = float(norm.ppf(0.5 + confidence / 2) * np.sqrt(variance))
    return value, max(0.0, value - half_width), min(1.0, value + half_width)


def tpr_at_fpr(
    outlier_score: ArrayLike, is_outlier: ArrayLike, *, max_fpr: float = 0.01
) -> float:
    """Share of outliers found by the best threshold within a false-alarm budget.

    A threshold flags every sample that scores at least as high, so samples with
    tied scores are flagged together. Among all thresholds that flag at most
    `max_fpr` of the inliers the best one counts; nothing is interpolated. With
    fewer than ``1 / max_fpr`` inliers no false alarm at all is allowed.

    Parameters
    ----------
    outlier_score : array-like of shape (n_samples,)
        Finite, higher is more outlying.
    is_outlier : array-like of shape (n_samples,)
        True (or 1) where the sample is an outlier, False (or 0) elsewhere.
    max_fpr : float, default=0.01
        Largest share of inliers that may be flagged, in [0, 1].

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        As for `auroc`, and if `max_fpr` is not in [0, 1].

    See Also
    --------
    tpr_at_fpr_rate : The same with its counts and an interval.

    Examples
    --------
    >>> from sklgm.metrics import tpr_at_fpr
    >>> tpr_at_fpr([1.0, 2.0, 3.0, 3.0, 4.0], [0, 0, 0, 1, 1], max_fpr=0.01)
    0.5
    """
    n_found, n_outliers = _count_found(outlier_score, is_outlier, max_fpr)
    return n_found / n_outliers


def tpr_at_fpr_rate(
    outlier_score: ArrayLike,
    is_outlier: ArrayLike,
    *,
    max_fpr: float = 0.01,
    confidence: float = 0.95,
) -> Rate:
    """`tpr_at_fpr` with its counts and a Wilson interval.

    Parameters
    ----------
    outlier_score : array-like of shape (n_samples,)
        Finite, higher is more outlying.
    is_outlier : array-like of shape (n_samples,)
        True (or 1) where the sample is an outlier, False (or 0) elsewhere.
    max_fpr : float, default=0.01
        Largest share of inliers that may be flagged, in [0, 1].
    confidence : float, default=0.95
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Rate
        ``n_success`` outliers found among ``n_targets`` outliers.

    Raises
    ------
    ValueError
        As for `tpr_at_fpr`, and if `confidence` is not in (0, 1).

    Notes
    -----
    The interval is conditional on the threshold: it leaves out that the threshold
    itself was chosen from a finite number of inliers.

    Examples
    --------
    >>> from sklgm.metrics import tpr_at_fpr_rate
    >>> rate = tpr_at_fpr_rate([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])
    >>> rate.n_success, rate.n_targets
    (2, 2)
    """
    n_found, n_outliers = _count_found(outlier_score, is_outlier, max_fpr)
    return wilson_rate(n_found, n_outliers, confidence=confidence)


def _check_detection(
    outlier_score: ArrayLike, is_outlier: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Finite scores and a mask that holds both classes."""
    score = np.asarray(outlier_score, dtype=np.float64)
    mask = np.asarray(is_outlier)
    if score.ndim != 1 or score.size == 0:
        raise ValueError(
            f"outlier_score of shape {score.shape} must be one-dimensional and not "
            "empty."
        )
    if mask.shape != score.shape:
        raise ValueError(
            f"is_outlier of shape {mask.shape} must have the shape of outlier_score, "
            f"{score.shape}."
        )
    if not np.all(np.isfinite(score)):
        index = int(np.flatnonzero(~np.isfinite(score))[0])
        raise ValueError(f"outlier_score[{index}]={score[index]} must be finite.")
    values = np.unique(mask)
    if mask.dtype.kind not in "biuf" or not np.all((values == 0) | (values == 1)):
        raise ValueError(
            f"is_outlier must hold true and false (or 1 and 0), got {values[:5]}."
        )
    mask = mask.astype(bool)
    if mask.all() or not mask.any():
        raise ValueError(
            f"is_outlier marks {int(mask.sum())} of {mask.size} samples: both "
            "outliers and inliers are needed."
        )
    return score, mask


def _win_shares(
    score: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """DeLong's V10, one an outlier, and V01, one an inlier."""
    n_outliers = int(np.count_nonzero(mask))
    n_inliers = len(mask) - n_outliers
    ranks = rankdata(score)
    # A rank among all minus the rank in the own group counts the other group below.
    outlier_wins = (ranks[mask] - rankdata(score[mask])) / n_inliers
    inlier_wins = (ranks[~mask] - rankdata(score[~mask])) / n_outliers
    return outlier_wins, 1.0 - inlier_wins


def _count_found(
    outlier_score: ArrayLike, is_outlier: ArrayLike, max_fpr: float
) -> tuple[int, int]:
    """Outliers found by the best threshold within `max_fpr`, and all outliers."""
    if not 0 <= max_fpr <= 1:
        raise ValueError(f"max_fpr={max_fpr!r} must be in [0, 1].")
    score, mask = _check_detection(outlier_score, is_outlier)
    fpr, tpr, _ = roc_curve(mask, score, drop_intermediate=False)
    n_outliers = int(np.count_nonzero(mask))
    # The first threshold flags nothing: one is always allowed.
    return round(float(tpr[fpr <= max_fpr].max()) * n_outliers), n_outliers


def _clopper_pearson(
    value: float, n_trials: int, confidence: float
) -> tuple[float, float]:
    """Interval for a share of `n_trials`; `value * n_trials` may not be an integer."""
    tail = (1 - confidence) / 2
    n_success = value * n_trials
    n_failure = n_trials - n_success
    low = beta.ppf(tail, n_success, n_failure + 1) if n_success > 0 else 0.0
    high = beta.ppf(1 - tail, n_success + 1, n_failure) if n_failure > 0 else 1.0
    return float(low), float(high)
