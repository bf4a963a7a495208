"""How far poisoned rows can move a coordinate-wise location, whatever they are.

A certificate needs no assumption about the attack: rows are bounded by how many they
are, not by what they hold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Threat = Literal["one_class", "any"]
Change = Literal["replace", "insert"]

# Values of differences that are held at once.
_CHUNK_VALUES = 2**22
# Relative rounding of sums of squares, far above that of float64: a prediction that is
# closer to a tie than this is not certified.
_SLACK = 1e-9
# Rounding of the distances by which is predicted: of products of centred rows and
# means, in units of their squares. It bounds sums of d terms several times over.
_ROUNDING = 16.0 * float(np.finfo(np.float64).eps)
#: A row that has no larger share of a window than this, in rows, has none: it is the
#: rounding of ``trim`` times the number of rows, and a poison can be of any size.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class LocationBounds:
    """Sorted training columns of one class, and what poisons can make of its location.

    Parameters
    ----------
    ordered : ndarray of shape (n_rows, n_features)
        Each column sorted in increasing order.
    trim : float in [0, 0.5) or None
        Share that the trimmed mean cuts off at either end; None is the median.
    """

    ordered: NDArray[np.floating]
    trim: float | None

    def __post_init__(self) -> None:
        ordered = self.ordered
        if ordered.ndim != 2 or (ordered[1:] < ordered[:-1]).any():
            raise ValueError(
                "ordered must have shape (n_rows, n_features), each column in "
                f"increasing order, got shape {ordered.shape}"
            )

    def greatest_count(self, change: Change) -> int:
        """Most poisons for which the location stays between rows of the class.

        Parameters
        ----------
        change : {"replace", "insert"}
            What is done to the rows of the class.

        Returns
        -------
        int
            The largest r for which both ends of :meth:`interval` are finite.
        """
        n = len(self.ordered)
        # Where both ends are rows for r poisons they are for fewer.
        return max(
            r for r in range(n + 1) if all(map(self._holds, self._windows(r, change)))
        )

    def interval(
        self, n_poisons: int, change: Change
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest location that any so many poisons can reach.

        Parameters
        ----------
        n_poisons : int
            Up to so many rows are replaced or inserted.
        change : {"replace", "insert"}
            What is done to the rows of the class.

        Returns
        -------
        low, high : ndarray of shape (n_features,)
            The interval of each column; infinite where there is no bound.

        Raises
        ------
        ValueError
            If ``n_poisons`` is negative, or there is no such ``change``.
        """
        _check_choice("change", change, Change)
        if n_poisons < 0:
            raise ValueError(f"n_poisons must be at least 0, got {n_poisons!r}")
        of_low, of_high = self._windows(n_poisons, change)
        unbounded = np.full(self.ordered.shape[1], np.inf)
        low = self._window_mean(*of_low) if self._holds(of_low) else -unbounded
        high = self._window_mean(*of_high) if self._holds(of_high) else unbounded
        return low, high

    def _windows(
        self, r: int, change: Change
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Parts of the quantile function, in rows, whose means bound the location."""
        n = len(self.ordered)
        if self.trim is None:
            # The lower median is row ceil(n / 2); windows of a row [i - 1, i].
            if change == "replace":
                first, last = math.ceil(n / 2) - r, math.ceil(n / 2) + r
            else:
                last = math.ceil((n + r) / 2)
                first = last - r
            return (first - 1.0, float(first)), (last - 1.0, float(last))
        total = n + r if change == "insert" else n
        start, end = self.trim * total, (1.0 - self.trim) * total
        if change == "replace":
            return (start - r, end - r), (start + r, end + r)
        return (start - r, end - r), (start, end)

    def _holds(self, window: tuple[float, float]) -> bool:
        """Whether a window lies within the rows; else poisons are in it."""
        start, end = window
        return start >= -1e-9 and end <= len(self.ordered) + 1e-9

    def _window_mean(self, start: float, end: float) -> NDArray[np.float64]:
        """Mean of the quantile function over rows [start, end]."""
        first, last = max(math.floor(start), 0), min(math.ceil(end), len(self.ordered))
        ranks = np.arange(first, last)
        overlap = np.minimum(ranks + 1.0, end) - np.maximum(ranks, start)
        overlap = np.clip(overlap, 0.0, 1.0)
        overlap[overlap < NEGLIGIBLE] = 0.0
        values = self.ordered[first:last].astype(np.float64)
        mean: NDArray[np.float64] = overlap @ values / overlap.sum()
        return mean


def certified_poisons(
    rows: NDArray[np.floating],
    means: NDArray[np.float64],
    bounds: Sequence[LocationBounds],
    log_priors: NDArray[np.float64],
    variance: float,
    *,
    threat: Threat = "one_class",
    change: Change = "replace",
) -> NDArray[np.int64]:
    """Count the poisons that each prediction withstands, whatever they are.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Rows to predict.
    means : ndarray of shape (n_classes, n_features)
        Locations of the classes.
    bounds : sequence of LocationBounds
        One per class.
    log_priors : ndarray of shape (n_classes,)
        Natural log of the priors; poisons do not change them.
    variance : float > 0
        Variance of every class and dimension; poisons do not change it.
    threat : {"one_class", "any"}, default="one_class"
        Whether the poisons claim one class, whichever, or each class has so many.
    change : {"replace", "insert"}, default="replace"
        Whether training rows are replaced or inserted.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        The largest number for which the prediction is proved to stay; at least 0.

    Raises
    ------
    ValueError
        If there is no such ``threat`` or ``change``.

    Notes
    -----
    Of class k with sorted values ``x_(1) <= ... <= x_(n)`` in some column, the median
    of the rows after r of them were replaced lies in ``[x_(m - r), x_(m + r)]``, with
    m = ceil(n / 2), and the mean of the quantile function over the rows
    ``[a, b] = [t n, (1 - t) n]`` (the trimmed mean) between its means over
    ``[a - r, b - r]`` and ``[a + r, b + r]``: among the new rows are n - r old ones, so
    that the i-th smallest is at least the old (i - r)-th and at most the (i + r)-th.
    With r rows inserted it is at least the old (i - r)-th and at most the i-th, of
    n + r rows. The box of all columns holds every location that poisons can reach.

    Let c be the predicted class and ``s_k = D_k / 2 - log pi_k`` its score, to be
    minimised; here times ``variance``, which is the same for all classes. Poisons that
    claim b != c leave the prediction alone if the least s_b over the box of b, where f
    is clipped to the box, is above s_c; those that claim c if the greatest s_c over the
    box of c, at its farthest corner, is below all others.
    ``"one_class"`` asks both for each class by itself, ``"any"`` asks that the greatest
    s_c is below the least of all others at once. The boxes grow with r: bisection
    finds the largest.
    """
    _check_choice("threat", threat, Threat)
    _check_choice("change", change, Change)
    # As `RobustGaussianClassifier.predict` decides: with equal priors all are 0, and a
    # variance that poisons inflate has no part in it.
    offsets = variance * (log_priors.max() - log_priors)
    centre = means.mean(axis=0)
    scores = _scores(rows, means, offsets)
    spreads = 2.0 * _scores(rows, centre[None], np.zeros(1))[:, 0]
    predicted = scores.argmin(axis=1)
    low = np.zeros(len(rows), dtype=np.int64)
    # More poisons than the smallest class withstands take its location anywhere.
    high = np.full(len(rows), min(bound.greatest_count(change) for bound in bounds))
    while (low < high).any():
        middle = (low + high + 1) // 2
        holds = np.zeros(len(rows), dtype=bool)
        for r in np.unique(middle[low < high]):
            chosen = np.flatnonzero((middle == r) & (low < high))
            holds[chosen] = _withstands(
                rows[chosen],
                scores[chosen],
                predicted[chosen],
                bounds,
                offsets,
                spreads[chosen],
                centre,
                int(r),
                threat,
                change,
            )
        is_open = low < high
        low = np.where(is_open & holds, middle, low)
        high = np.where(is_open & ~holds, middle - 1, high)
    return low


def _check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {get_args(choices)}, got {value!r}")


def _withstands(
    rows: NDArray[np.floating],
    scores: NDArray[np.float64],
    predicted: NDArray[np.intp],
    bounds: Sequence[LocationBounds],
    offsets: NDArray[np.float64],
    spreads: NDArray[np.float64],
    centre: NDArray[np.float64],
    r: int,
    threat: Threat,
    change: Change,
) -> NDArray[np.bool_]:
    """Whether r poisons leave each prediction alone."""
    n, n_classes = scores.shape
    least, greatest = np.empty((n, n_classes)), np.empty(n)
    reach = 0.0  # squared distance from the centre that a mean can have
    for k, bound in enumerate(bounds):
        own = np.flatnonzero(predicted == k)
        low, high = bound.interval(r, change)
        corner = np.maximum(np.abs(low - centre), np.abs(high - centre))
        reach = max(reach, float(corner @ corner))
        for chunk in _chunks(n, rows.shape[1]):
            outside = np.maximum(low - rows[chunk], rows[chunk] - high)
            np.maximum(outside, 0.0, out=outside)
            squares = np.einsum("ij,ij->i", outside, outside)
            least[chunk, k] = 0.5 * squares + offsets[k]
        for chunk in _chunks(len(own), rows.shape[1]):
            chosen = rows[own[chunk]]
            farthest = np.maximum(np.abs(chosen - low), np.abs(chosen - high))
            squares = np.einsum("ij,ij->i", farthest, farthest)
            greatest[own[chunk]] = 0.5 * squares + offsets[k]
    every = np.arange(n)
    own_score = scores[every, predicted]
    others, others_least = scores.copy(), least
    others[every, predicted] = others_least[every, predicted] = np.inf
    # Strictly, and by more than rounding: of a tie the smaller class index would win.
    rounding = _ROUNDING * (rows.shape[1] + 4) * (spreads + reach)
    if threat == "any":
        return _is_below(greatest, others_least.min(axis=1), rounding)
    return _is_below(own_score, others_least.min(axis=1), rounding) & _is_below(
        greatest, others.min(axis=1), rounding
    )


def _is_below(
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    rounding: NDArray[np.float64],
) -> NDArray[np.bool_]:
    return np.asarray(lower * (1.0 + _SLACK) + rounding < upper)


def _scores(
    rows: NDArray[np.floating],
    means: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Half squared distance plus offset, (n_samples, n_classes)."""
    scores = np.empty((len(rows), len(means)))
    for k, mean in enumerate(means):
        for chunk in _chunks(len(rows), rows.shape[1]):
            difference = rows[chunk] - mean
            scores[chunk, k] = np.einsum("ij,ij->i", difference, difference)
    return 0.5 * scores + offsets


def _chunks(n_rows: int, n_columns: int) -> list[slice]:
    step = max(1, _CHUNK_VALUES // max(n_columns, 1))
    return [slice(start, start + step) for start in range(0, n_rows, step)]
