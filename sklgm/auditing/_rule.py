"""By which rule rows are flagged: false discovery rate, level or share."""

from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklgm.metrics._levels import is_flagged, share_threshold


@dataclass(frozen=True)
class Rule:
    """Which rows are flagged; one of the three is not None.

    Attributes
    ----------
    fdr : float in (0, 1) or None
        Expected share of right labels among the flagged ones.
    false_alarm_rate : float in (0, 1) or None
        Share of right labels that may be flagged.
    contamination : float in (0, 0.5] or None
        Share of all rows that is flagged.
    """

    fdr: float | None
    false_alarm_rate: float | None
    contamination: float | None

    @classmethod
    def of(
        cls, fdr: Any, false_alarm_rate: Any = None, contamination: Any = None
    ) -> Self:
        """Rule that the parameters of an audit name.

        Parameters
        ----------
        fdr : float in (0, 1)
            Counts where both others are None.
        false_alarm_rate, contamination : float or None
            Replace ``fdr``; one at most is given.

        Returns
        -------
        Rule
            The rule.

        Raises
        ------
        ValueError
            If a number is out of its range, or both others are given.
        """
        _check_share("fdr", fdr, 1.0, "(0, 1)")
        if false_alarm_rate is not None and contamination is not None:
            raise ValueError(
                f"false_alarm_rate={false_alarm_rate!r} and "
                f"contamination={contamination!r} exclude each other: set one of them"
            )
        if false_alarm_rate is not None:
            _check_share("false_alarm_rate", false_alarm_rate, 1.0, "(0, 1)")
            return cls(None, float(false_alarm_rate), None)
        if contamination is not None:
            _check_share("contamination", contamination, 0.5, "(0, 0.5]")
            return cls(None, None, float(contamination))
        return cls(float(fdr), None, None)

    def settings(self) -> dict[str, float]:
        """Name and number of the rule.

        Returns
        -------
        dict of str to float
            One entry.
        """
        return {name: value for name, value in vars(self).items() if value is not None}

    def flags(
        self,
        p_values: NDArray[np.float64],
        q_values: NDArray[np.float64],
        order: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Which rows are flagged.

        Parameters
        ----------
        p_values, q_values : ndarray of shape (n_samples,)
            In [0, 1].
        order : ndarray of shape (n_samples,)
            Lower is more suspect; what a share is taken from.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
            The flags.
        """
        if self.fdr is not None:
            return is_flagged(q_values, self.fdr)
        if self.false_alarm_rate is not None:
            return is_flagged(p_values, self.false_alarm_rate)
        assert self.contamination is not None
        flags: NDArray[np.bool_] = order < share_threshold(order, self.contamination)
        return flags


def _check_share(name: str, value: Any, highest: float, interval: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    is_closed = interval.endswith("]")
    if not is_number or not (0 < value < highest or (is_closed and value == highest)):
        raise ValueError(f"{name} must be a float in {interval}, got {value!r}")
