"""What decisions on rows say of an audit: how often it was right, and when to stop."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sklgm.auditing._decisions import CheckedRows
from sklgm.metrics import Rate, wilson_rate

_WORTH_CHECKING = 0.5


@dataclass(frozen=True)
class Review:
    """How the rows that a person has checked compare with what was expected.

    Parameters
    ----------
    n_checked : int
        Rows with a decision other than unsure.
    n_wrong : int
        Rows of them whose label was relabelled or dropped.
    n_wrong_expected : float
        Wrong labels that were expected among them before they were checked.
    n_suspects_checked, n_suspects_wrong : int
        The same counts of those that were suspects before any was checked.
    n_worth_checking : int
        Unchecked rows whose label is rather wrong than right, by the corrected
        probabilities: the first so many of the ranking. Stop reviewing where it is 0.
    n_wrong_beyond : float
        Wrong labels that are expected among the rows that come after them.
    """

    n_checked: int
    n_wrong: int
    n_wrong_expected: float
    n_suspects_checked: int
    n_suspects_wrong: int
    n_worth_checking: int
    n_wrong_beyond: float

    @classmethod
    def of(
        cls,
        before: NDArray[np.float64],
        p_right: NDArray[np.float64],
        was_suspect: NDArray[np.bool_],
        checked: CheckedRows,
    ) -> Self:
        """Compare decisions with probabilities.

        Parameters
        ----------
        before, p_right : ndarray of shape (n_samples,)
            Probability that each label is right, before and after the decisions.
        was_suspect : ndarray of bool of shape (n_samples,)
            Which rows were suspects before the decisions.
        checked : CheckedRows
            The decisions.

        Returns
        -------
        Review
            The comparison.
        """
        unchecked = np.delete(p_right, checked.rows)
        is_worth = unchecked < _WORTH_CHECKING
        return cls(
            len(checked.rows),
            int(np.count_nonzero(~checked.is_right)),
            float(np.sum(1.0 - before[checked.rows])),
            int(np.count_nonzero(was_suspect[checked.rows])),
            int(np.count_nonzero(was_suspect[checked.rows] & ~checked.is_right)),
            int(np.count_nonzero(is_worth)),
            float(np.sum(1.0 - unchecked[~is_worth])),
        )

    @property
    def precision(self) -> Rate | None:
        """Share of wrong labels among the checked suspects; None if there are none."""
        if self.n_suspects_checked == 0:
            return None
        return wilson_rate(self.n_suspects_wrong, self.n_suspects_checked)
