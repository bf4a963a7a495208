"""Models that are calibrated by rows they did not see: one, or one a fold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.outliers._conformal import ScoreLaw


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out rows, and the thresholds that follow.

    Attributes
    ----------
    scores : ndarray of shape (n_held_out,)
        In the order of the held-out rows.
    groups : ndarray of shape (n_held_out,)
        Index of the group in which each is calibrated.
    law : ScoreLaw
        What low scores mean.
    thresholds : ndarray of shape (n_groups,)
        Scores below are flagged.
    references : ndarray of shape (n_groups,)
        Subtracted from scores before members are compared: their thresholds (the
        lowest held-out score where there is none), so that thresholds meet at 0. They
        are 0 where there is one member, or one threshold for all.
    """

    scores: NDArray[np.float64]
    groups: NDArray[np.int64]
    law: ScoreLaw
    thresholds: NDArray[np.float64]
    references: NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """A model, and what the rows held out of its training say of low scores.

    Attributes
    ----------
    model : object
        The fitted model.
    held_out_rows : ndarray of shape (n_held_out,)
        Indices among the rows of ``fit``.
    free : Calibration or None
        Of label-free scores; None where the model has none.
    claims : Calibration or None
        Of the scores of claimed labels; None where ``fit`` had none.
    medians, scales : ndarray of shape (n_classes,) or None
        By which scores of claims are standardised, if they are.
    """

    model: Any
    held_out_rows: NDArray[np.intp]
    free: Calibration | None
    claims: Calibration | None = None
    medians: NDArray[np.float64] | None = None
    scales: NDArray[np.float64] | None = None


def calibration_of(member: Member, claimed: NDArray[np.int64] | None) -> Calibration:
    """Look up the calibration of the scores that were asked for.

    Parameters
    ----------
    member : Member
        Which has it; scoring has raised otherwise.
    claimed : ndarray of shape (n_samples,) or None
        Indices of claimed classes; None for label-free scores.

    Returns
    -------
    Calibration
        That of claims, or of label-free scores.
    """
    calibration = member.free if claimed is None else member.claims
    assert calibration is not None
    return calibration


def upper_median(of_members: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Median over members; the greater middle one of an even number.

    Parameters
    ----------
    of_members : list of ndarray of shape (n_samples,)
        Values by each member.

    Returns
    -------
    ndarray of shape (n_samples,)
        Values that are low only where those of more than half of the members are.
    """
    if len(of_members) == 1:
        return of_members[0]
    ordered = np.sort(of_members, axis=0)  # (n_members, n_samples)
    median: NDArray[np.float64] = ordered[len(of_members) // 2]
    return median


def contamination_threshold(scores: NDArray[np.float64], contamination: float) -> float:
    """Score below which a share of the scores lies, as nearly as ties allow.

    The percentile, with fewer scores below it where some tie with it. Where these are
    less than half of what was asked, the tied scores are put below as well, unless
    more than half of all scores would be.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Scores.
    contamination : float in (0, 0.5]
        Share that should lie below.

    Returns
    -------
    float
        The threshold; minus infinity where there are no scores.
    """
    if len(scores) == 0:
        return -np.inf
    n_asked = contamination * len(scores)
    percentile = float(np.percentile(scores, 100.0 * contamination))
    if np.sum(scores < percentile) >= 0.5 * n_asked:
        return percentile
    is_tied_or_below = scores <= percentile
    if is_tied_or_below.sum() > 0.5 * len(scores):
        return percentile
    # Half way to the next score: one computed again may be off by rounding.
    tied, above = scores[is_tied_or_below].max(), scores[~is_tied_or_below].min()
    return float(max(0.5 * tied + 0.5 * above, np.nextafter(tied, above)))
