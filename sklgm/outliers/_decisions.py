"""Decisions: which rows are flagged, by share or by q-value; ties; folds."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from sklgm.outliers._order import ascending


def q_values(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest false discovery rate at which each row would be flagged.

    Parameters
    ----------
    p_values : ndarray of shape (n_samples,)
        In [0, 1], of the whole set of rows.

    Returns
    -------
    ndarray of shape (n_samples,)
        p-values adjusted by Benjamini and Hochberg, in [0, 1].
    """
    adjusted: NDArray[np.float64] = false_discovery_control(p_values, method="bh")
    return adjusted


def discovery_rates(p_right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest expected share of right claims at which each row would be flagged.

    Parameters
    ----------
    p_right : ndarray of shape (n_samples,)
        Probability that the claim of each row is right, in [0, 1].

    Returns
    -------
    ndarray of shape (n_samples,)
        Mean ``p_right`` of the row and of all rows with a lower or the same one. Rows
        where it is at most a are the largest set whose expected share of right claims
        is at most a.

    References
    ----------
    B. Efron, "Large-Scale Inference", Cambridge University Press 2010, equation 5.6
    (the false discovery rate of a set is the mean of the local ones).
    """
    order = ascending(p_right)
    ordered = p_right[order]
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    is_last = np.append(ordered[1:] != ordered[:-1], True)
    if not is_last.all():  # ties stay together
        last = np.flatnonzero(is_last)
        means = np.repeat(means[last], np.diff(last, prepend=-1))
    rates = np.empty_like(means)
    rates[order] = means
    return rates


def upper_median(of_folds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Median over the models of the folds; the greater middle one of an even number.

    Parameters
    ----------
    of_folds : sequence of ndarray of shape (n_samples,)
        Values by each model.

    Returns
    -------
    ndarray of shape (n_samples,)
        Values that are low only where those of more than half of the models are.
    """
    if len(of_folds) == 1:
        return of_folds[0]
    ordered = np.sort(of_folds, axis=0)  # (n_folds, n_samples)
    median: NDArray[np.float64] = ordered[len(of_folds) // 2]
    return median


def warn_of_ties(
    of_groups: list[NDArray[np.float64]],
    thresholds: NDArray[np.float64],
    contamination: float,
    classes: Sequence[Any],
    *,
    stacklevel: int,
) -> None:
    """Warn where ties flag under 1/2, or over 3/2, of ``contamination``.

    Parameters
    ----------
    of_groups : list of ndarray of shape (n_of_group,)
        Scores of each group that has a threshold of its own.
    thresholds : ndarray of shape (n_groups,)
        Scores below are flagged.
    contamination : float in (0, 0.5]
        Share that was asked for.
    classes : sequence of length n_groups
        Labels of the groups; not used where there is one.
    stacklevel : int
        Frames above this function to which the warning belongs.
    """
    differences = []
    for g, (scores, threshold) in enumerate(zip(of_groups, thresholds, strict=True)):
        n_asked = contamination * len(scores)
        n_flagged = int(np.sum(scores < threshold))
        is_short = n_asked >= 1 and n_flagged < 0.5 * n_asked
        if n_flagged > max(np.ceil(n_asked), 1.5 * n_asked) or is_short:
            of_class = f" of class {classes[g]!r}" if len(of_groups) > 1 else ""
            differences.append(f"{n_flagged} of {len(scores)} rows{of_class}")
    if differences:
        named = ", ".join(differences[:5]) + ", ..." * (len(differences) > 5)
        warnings.warn(
            f"contamination={contamination!r} cannot be met, as scores tie: "
            f"{named} are flagged. Take a score with more values (an estimator "
            "that gives finer probabilities, more neighbours), or another "
            "contamination",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Scores below which rows are flagged.

    Attributes
    ----------
    offsets : ndarray of shape (n_groups,)
        Threshold of each group of rows; minus infinity flags none.
    shifts : ndarray of shape (n_folds, n_groups)
        By which the threshold of each fold is above the offset of the group: it is
        subtracted from the scores of the fold before the folds are compared.
    """

    offsets: NDArray[np.float64]
    shifts: NDArray[np.float64]

    @classmethod
    def of_folds(cls, thresholds: NDArray[np.float64]) -> Self:
        """Combine thresholds of the folds, shape (n_folds, n_groups).

        Parameters
        ----------
        thresholds : ndarray of shape (n_folds, n_groups)
            Threshold by the law of each fold.

        Returns
        -------
        Thresholds
            Offsets are the (lower) medians over folds.
        """
        ordered = np.sort(thresholds, axis=0)
        offsets = ordered[(len(thresholds) - 1) // 2]
        is_finite = np.isfinite(thresholds) & np.isfinite(offsets)
        shifts = np.zeros_like(thresholds)
        np.subtract(thresholds, offsets, out=shifts, where=is_finite)
        return cls(offsets, shifts)

    def decisions(
        self, scores: Sequence[NDArray[np.float64]], groups: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Scores of new rows above their threshold, negative where they are flagged.

        Parameters
        ----------
        scores : sequence of ndarray of shape (n_samples,)
            By the model of each fold.
        groups : ndarray of shape (n_samples,)
            Group of each row.

        Returns
        -------
        ndarray of shape (n_samples,)
            Median over folds.
        """
        return self.levelled(scores, groups) - self.offsets[groups]

    def levelled(
        self, scores: Sequence[NDArray[np.float64]], groups: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Median over folds of scores whose thresholds were brought together.

        Parameters
        ----------
        scores : sequence of ndarray of shape (n_samples,)
            By the model of each fold.
        groups : ndarray of shape (n_samples,)
            Group of each row.

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows below ``offsets`` are flagged.
        """
        return upper_median(
            [
                of_fold - shift[groups]
                for of_fold, shift in zip(scores, self.shifts, strict=True)
            ]
        )
