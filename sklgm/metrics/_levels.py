"""Which p-values are at most a level, and which scores are a share of all."""

import numpy as np
from numpy.typing import NDArray


def is_flagged(p_values: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Which p-values are at most the level.

    Parameters
    ----------
    p_values : ndarray of shape (n_samples,)
        In [0, 1].
    level : float in (0, 1)
        Share of right rows that may be flagged.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        A level of exactly m / n is not lost to rounding.
    """
    flags: NDArray[np.bool_] = p_values <= level * (1 + 1e-12)
    return flags


def share_threshold(scores: NDArray[np.float64], share: float) -> float:
    """Score below which a share of the scores lies, as nearly as ties allow.

    The percentile, with fewer scores below it where some tie with it. Where these are
    less than half of what was asked, the tied scores are put below as well, unless
    more than half of all scores would be.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Scores.
    share : float in (0, 0.5]
        Share that should lie below.

    Returns
    -------
    float
        The threshold; minus infinity where there are no scores.
    """
    if len(scores) == 0:
        return -np.inf
    n_asked = share * len(scores)
    percentile = float(np.percentile(scores, 100.0 * share))
    if np.sum(scores < percentile) >= 0.5 * n_asked:
        return percentile
    is_tied_or_below = scores <= percentile
    if is_tied_or_below.sum() > 0.5 * len(scores):
        return percentile
    # Half way to the next score: one computed again may be off by rounding.
    tied, above = scores[is_tied_or_below].max(), scores[~is_tied_or_below].min()
    return float(max(0.5 * tied + 0.5 * above, np.nextafter(tied, above)))
