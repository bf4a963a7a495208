"""Law of right claims from scores of rows whose claims are right, or weighted so."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class ScoreLaw(Protocol):
    """Law of the scores of right claims: what low scores mean, in each group."""

    def p_values(
        self, scores: NDArray[np.float64], groups: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """p-values of scores, given the group of each."""

    def thresholds(self, level: float) -> NDArray[np.float64]:
        """Score of each group below which the p-value is at most ``level``."""

    def smallest_p_values(self) -> NDArray[np.float64]:
        """Smallest p-value that a row of each group may have."""


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


@dataclass(frozen=True, eq=False)
class ConformalLaw:
    """Scores of calibration rows, in groups that are calibrated apart.

    With weights of 1 its p-values are the split-conformal ones. Where some claims of
    the calibration rows are wrong, each row has the probability that its claim is
    right as a weight, so that wrong claims do not set the threshold.

    Attributes
    ----------
    scores : tuple of ndarray of shape (n_of_group,)
        Sorted scores of each group: one group for all rows (marginal calibration),
        or one per class (Mondrian calibration). A group may be empty.
    cumulative : tuple of ndarray of shape (n_of_group + 1,)
        Weight of the rows below each of these scores, and of all.

    References
    ----------
    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World",
    Springer 2005, sections 2.1 and 4.5.

    R. Tibshirani, R. Foygel Barber, E. Candes, A. Ramdas, "Conformal Prediction Under
    Covariate Shift", NeurIPS 2019 (weighted ranks).
    """

    scores: tuple[NDArray[np.float64], ...]
    cumulative: tuple[NDArray[np.float64], ...]

    @classmethod
    def from_rows(
        cls,
        scores: NDArray[np.float64],
        groups: NDArray[np.int64],
        n_groups: int,
        weights: NDArray[np.float64] | None = None,
    ) -> Self:
        """Group the scores of calibration rows.

        Parameters
        ----------
        scores : ndarray of shape (n_calibration,)
            Scores of calibration rows; low ones are outlying.
        groups : ndarray of shape (n_calibration,)
            Index of the group of each row.
        n_groups : int
            Number of groups.
        weights : ndarray of shape (n_calibration,) or None, default=None
            Probability that the claim of each row is right, in [0, 1]. None: 1.

        Returns
        -------
        ConformalLaw
            The scores, sorted in each group.
        """
        if weights is None:
            weights = np.ones(len(scores))
        of_groups = [np.flatnonzero(groups == g) for g in range(n_groups)]
        ordered = [rows[np.argsort(scores[rows])] for rows in of_groups]
        return cls(
            tuple(scores[rows] for rows in ordered),
            tuple(np.append(0.0, np.cumsum(weights[rows])) for rows in ordered),
        )

    def p_values(
        self, scores: NDArray[np.float64], groups: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """p-values of new rows against the calibration rows of their own group.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Scores to judge.
        groups : ndarray of shape (n_samples,)
            Index of the group of each row.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(1 + W(s)) / (1 + W)`` with the weight W(s) of the calibration rows that
            score s or less, and W of all, in (0, 1]; with weights of 1
            ``(1 + #{scores <= s}) / (n_calibration + 1)``.
        """
        return self._p_values(scores, groups, None)

    def own_p_values(
        self,
        scores: NDArray[np.float64],
        groups: NDArray[np.int64],
        weights: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """p-values of the calibration rows, each against the others of its group.

        Parameters
        ----------
        scores : ndarray of shape (n_calibration,)
            The scores that were grouped.
        groups : ndarray of shape (n_calibration,)
            Index of the group of each row.
        weights : ndarray of shape (n_calibration,) or None, default=None
            Their weights. None: 1.

        Returns
        -------
        ndarray of shape (n_calibration,)
            As :meth:`p_values`, by the weights of the other rows. With weights of 1
            the rank of the row in its group, over the size of the group.
        """
        own = np.ones(len(scores)) if weights is None else weights
        return self._p_values(scores, groups, own)

    def _p_values(
        self,
        scores: NDArray[np.float64],
        groups: NDArray[np.int64],
        own: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        p_values = np.ones(len(scores))
        for g, (ordered, cumulative) in enumerate(
            zip(self.scores, self.cumulative, strict=True)
        ):
            rows = np.flatnonzero(groups == g)
            n_lower = np.searchsorted(ordered, scores[rows], side="right")
            lower, total = cumulative[n_lower], cumulative[-1]
            if own is not None:
                lower, total = lower - own[rows], total - own[rows]
            p_values[rows] = np.minimum((1.0 + lower) / (1.0 + total), 1.0)
        return p_values

    def thresholds(self, level: float) -> NDArray[np.float64]:
        """Score of each group below which the p-value is at most ``level``.

        Parameters
        ----------
        level : float in (0, 1)
            Level of the p-values.

        Returns
        -------
        ndarray of shape (n_groups,)
            The thresholds; minus infinity where the level is below
            ``1 / (W + 1)``, which no p-value can reach.
        """
        return np.array(
            [
                _threshold(ordered, cumulative, level)
                for ordered, cumulative in zip(
                    self.scores, self.cumulative, strict=True
                )
            ]
        )

    def smallest_p_values(self) -> NDArray[np.float64]:
        """Smallest p-value that a row may have.

        Returns
        -------
        ndarray of shape (n_groups,)
            ``1 / (1 + W)``.
        """
        return np.array([1.0 / (1.0 + weights[-1]) for weights in self.cumulative])


def _threshold(
    ordered: NDArray[np.float64], cumulative: NDArray[np.float64], level: float
) -> float:
    # A level of exactly m / (n + 1) must not be lost to rounding.
    allowed = level * (1.0 + cumulative[-1]) * (1 + 1e-12) - 1.0
    if allowed < 0.0 or len(ordered) == 0:
        return -np.inf
    # The first score of which the weight up to and with it is more than is allowed.
    index = int(np.searchsorted(cumulative[1:], allowed, side="right"))
    return float(ordered[min(index, len(ordered) - 1)])
