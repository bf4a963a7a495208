"""Rows placed in feature space to move a robust location: what no bound excludes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklgm._inputs import encode_labels
from sklgm._random import RandomState
from sklgm.classifiers import RobustGaussianClassifier
from sklgm.gaussian import Change, LocationBounds, Threat

FloatArray = NDArray[np.float64]

# Values that are held at once: targets times rows of a class times columns.
_CHUNK_VALUES = 2**21
# Halvings that find where poisons of a trimmed mean have to lie.
_N_HALVINGS = 60


#: Label of a class, its rows that are replaced, and what they become.
Move = tuple[Any, NDArray[np.int64], FloatArray]


@dataclass(frozen=True, eq=False)
class LocationAttack:
    """Predictions that so many poisoned rows were found to change.

    Parameters
    ----------
    n_poisons : int
        Rows of a class that were replaced or inserted.
    is_changed : ndarray of bool of shape (n_samples,)
        Whether poisons were found with which the prediction is another one.
    claimed_labels : ndarray of shape (n_samples,)
        Label of the class whose rows change the prediction; where it stays, the
        predicted one.
    X_train, y_train : ndarray of shape (n_train, n_features) and (n_train,)
        Training rows without poisons, and their labels.
    threat : {"one_class", "any"}
        Whether the poisons are of one class, or of each.
    change : {"replace", "insert"}
        What is done to the training rows.
    moves : mapping of int to tuple
        By the rows whose predictions change: for each class that is poisoned its
        label, the training rows that are replaced and the poisons.
    """

    n_poisons: int
    is_changed: NDArray[np.bool_]
    claimed_labels: NDArray[Any]
    X_train: FloatArray = field(repr=False)
    y_train: NDArray[Any] = field(repr=False)
    threat: str = field(repr=False)
    change: str = field(repr=False)
    moves: Mapping[int, tuple[Move, ...]] = field(repr=False)

    def poison(self, index: int) -> tuple[FloatArray, NDArray[Any]]:
        """Poison the training rows so that one prediction changes.

        Parameters
        ----------
        index : int
            Row of X whose prediction is to change.

        Returns
        -------
        X_poisoned : ndarray of shape (n_train, n_features)
            Training rows; inserted ones come last.
        y_poisoned : ndarray of shape (n_train,)
            Their labels.

        Raises
        ------
        ValueError
            If no poisons were found for the row.
        """
        if index not in self.moves:
            raise ValueError(f"index={index!r}: no poisons were found for this row")
        X, y = self.X_train.copy(), self.y_train
        for label, replaced, poisons in self.moves[index]:
            if self.change == "insert":
                X = np.concatenate([X, poisons])
                y = np.concatenate([y, np.full(len(poisons), label, y.dtype)])
            else:
                X[replaced] = poisons
        return X, y


def attack_locations(
    classifier: RobustGaussianClassifier,
    X_train: ArrayLike,
    y_train: ArrayLike,
    X: ArrayLike,
    n_poisons: int,
    *,
    threat: Threat = "one_class",
    change: Change = "replace",
    n_iter: int = 8,
    random_state: RandomState = None,
) -> LocationAttack:
    """Search for poisons in feature space that change predictions.

    What stands beside a certificate: ``certified_poisons`` says which predictions no
    poisons can change, this says which some poisons do change. The truth lies between
    them. The attacker chooses for each row of X anew which training rows of a class
    to replace and where in feature space to put the new ones; no image need have such
    features, so that it is stronger than any attack through a network.

    Parameters
    ----------
    classifier : RobustGaussianClassifier
        Fitted with ``location="median"`` or ``"trimmed_mean"`` on the training rows,
        with settings that can be certified.
    X_train : array-like of shape (n_train, n_features)
        The rows it was fitted on.
    y_train : array-like of shape (n_train,)
        Their labels.
    X : array-like of shape (n_samples, n_features)
        Rows whose predictions are attacked.
    n_poisons : int >= 0
        Poisons of one class, or of each class for ``threat="any"``.
    threat : {"one_class", "any"}, default="one_class"
        As in ``certified_poisons``.
    change : {"replace", "insert"}, default="replace"
        As in ``certified_poisons``.
    n_iter : int >= 1, default=8
        Choices of the replaced rows that are tried for each row and class. Inserted
        rows leave no such choice.
    random_state : int, RandomState instance or None, default=None
        Seed of the later choices, which are perturbed.

    Returns
    -------
    LocationAttack
        Which predictions change; it makes the poisoned training rows.

    Raises
    ------
    ValueError
        If the classifier has no bound (as ``certified_poisons``), was fitted on other
        rows, or a parameter is out of its range.

    See Also
    --------
    sklgm.RobustGaussianClassifier.certified_poisons : The bound from the other side.

    Notes
    -----
    Once the replaced rows S of class k are chosen, columns are independent: the poisons
    may take the location of each anywhere between what it is with all of them below and
    all of them above the other rows, and both are computed exactly. The location of
    another class is taken as close to the row as that box allows, that of the predicted
    class to its farthest corner. Only S is searched for: removing row i costs the
    location of column j about ``clip(x_hi - x_ij, 0, x_hi - x_lo)`` on its way down,
    with [x_lo, x_hi] what the certificate leaves; costs are weighted by the slope of
    the squared distance at the columns' locations, the rows of least cost are
    taken, and slopes are averaged over the locations that were reached so far.
    With inserted rows there is no S: the attack is exact, and so is the certificate
    (but for ties).

    Examples
    --------
    >>> import numpy as np
    >>> from sklgm import RobustGaussianClassifier
    >>> from sklgm.poisoning import attack_locations
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [8.0], [9.0], [10.0], [11.0]])
    >>> y = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    >>> clf = RobustGaussianClassifier(location="median", variance=1.0, priors=[1, 1])
    >>> clf = clf.fit(X, y)
    >>> clf.certified_poisons([[4.0], [5.4]])
    array([1, 0])
    >>> attack = attack_locations(clf, X, y, [[4.0], [5.4]], n_poisons=1)
    >>> attack.is_changed
    array([False,  True])
    >>> clf.predict([[5.4]]), clf.fit(*attack.poison(1)).predict([[5.4]])
    (array([0]), array([1]))
    """
    if not isinstance(n_poisons, Integral) or n_poisons < 0:
        raise ValueError(f"n_poisons must be an int >= 0, got {n_poisons!r}")
    if not isinstance(n_iter, Integral) or n_iter < 1:
        raise ValueError(f"n_iter must be an int >= 1, got {n_iter!r}")
    bounds = _checked_bounds(classifier, threat, change)
    X_train, X = (
        check_array(rows, dtype=np.float64, allow_nd=True, input_name=name)
        for name, rows in (("X_train", X_train), ("X", X))
    )
    X_train, X = X_train.reshape(len(X_train), -1), X.reshape(len(X), -1)
    for name, rows in (("X_train", X_train), ("X", X)):
        if rows.shape[1] != classifier.means_.shape[1]:
            raise ValueError(
                f"{name} must have the {classifier.means_.shape[1]} columns that "
                f"classifier was fitted on, got {rows.shape[1]}"
            )
    y_train = np.asarray(y_train)
    check_consistent_length(X_train, y_train)
    y_encoded = encode_labels(y_train, classifier.classes_, name="y_train")
    of_classes = [X_train[y_encoded == k] for k in range(len(classifier.classes_))]
    for rows, bound in zip(of_classes, bounds, strict=True):
        is_same = rows.shape == bound.ordered.shape and np.allclose(
            np.sort(rows, axis=0), bound.ordered, rtol=1e-6, atol=0.0
        )
        if not is_same:
            raise ValueError(
                "X_train and y_train must be the rows that classifier was fitted on"
            )
    # In squared units of the features, as certificates count: a variance of any size
    # leaves them alone where priors are equal.
    log_priors, variance = np.log(classifier.priors_), float(classifier.covariances_)
    offsets = variance * (log_priors.max() - log_priors)
    distances = np.stack(
        [np.square(X - mean).sum(axis=1) for mean in classifier.means_], axis=1
    )
    scores = 0.5 * distances + offsets  # (n_samples, n_classes)
    spread = np.square(X - classifier.means_.mean(axis=0)).sum(axis=1)
    # Its own, also where rounding decides a tie.
    predicted = encode_labels(
        classifier.predict(X), classifier.classes_, name="predictions"
    )
    is_changed = np.zeros(len(X), dtype=bool)
    claimed = predicted.copy()
    moves: dict[int, tuple[Move, ...]] = {}
    if n_poisons == 0 or len(bounds) < 2:
        n_iter = 0
    rng = check_random_state(random_state)
    classes = [
        _AttackedClass(rows, bound, int(n_poisons), change, n_iter, rng)
        for rows, bound in zip(of_classes, bounds, strict=True)
    ]

    def score(k: int, squares: FloatArray) -> FloatArray:
        return 0.5 * squares + offsets[k]

    every = np.arange(len(X))
    reached = scores.copy()  # by each class at its best, from the attacker's side
    found: dict[tuple[int, int], tuple[NDArray[np.int64], FloatArray]] = {}
    for k, attacked in enumerate(classes if n_iter > 0 else ()):
        for is_own in (False, True):
            # Where even the box of the certificate leaves the prediction, search none.
            rows = np.flatnonzero((predicted == k) == is_own)
            limit = score(k, attacked.box_distance(X[rows], is_own))
            others = np.where(np.arange(len(classes)) == k, np.inf, scores[rows])
            rival = scores[rows, predicted[rows]]
            if threat == "any":
                rows_needed = np.ones(len(rows), dtype=bool)
            elif is_own:
                rows_needed = limit > others.min(axis=1)
            else:
                rows_needed = limit < rival
            rows = rows[rows_needed]
            removed, locations = attacked.search(X[rows], is_own)
            squares = np.square(X[rows] - locations).sum(axis=1)
            reached[rows, k] = score(k, squares)
            for row, gone, location in zip(rows, removed, locations, strict=True):
                found[row, k] = gone, location

    own, others = reached[every, predicted], reached.copy()
    others[every, predicted] = np.inf
    plain = scores.copy()
    plain[every, predicted] = np.inf
    if threat == "any":
        winner = others.argmin(axis=1)
        is_changed = _is_clearly_below(others.min(axis=1), own, spread)
    else:
        before = scores[every, predicted]
        by_other = _is_clearly_below(others.min(axis=1), before, spread)
        winner = np.where(by_other, others.argmin(axis=1), predicted)
        is_changed = by_other | _is_clearly_below(plain.min(axis=1), own, spread)
    for row in np.flatnonzero(is_changed):
        claimed[row] = winner[row]
        of_row = {int(predicted[row]), int(winner[row])}
        used = of_row if threat == "any" else {int(winner[row])}
        moves[int(row)] = tuple(
            (
                classifier.classes_[k],
                np.flatnonzero(y_encoded == k)[found[row, k][0]],
                classes[k].poisons(*found[row, k]),
            )
            for k in sorted(used)
            if (row, k) in found
        )
    return LocationAttack(
        int(n_poisons),
        is_changed,
        classifier.classes_[claimed],
        X_train,
        y_train,
        threat,
        change,
        moves,
    )


def _is_clearly_below(
    lower: FloatArray, upper: FloatArray, spread: FloatArray
) -> NDArray[np.bool_]:
    """Whether it is below by more than the rounding of the model's own scores.

    ``spread`` is the squared distance of each row from the middle of the class means,
    whose products the model computes.
    """
    return np.asarray(lower * (1.0 + 1e-7) + 1e-12 * spread < upper)


def _checked_bounds(
    classifier: Any, threat: Threat, change: Change
) -> Sequence[LocationBounds]:
    if not isinstance(classifier, RobustGaussianClassifier):
        raise TypeError(
            "classifier must be a RobustGaussianClassifier of features, such as "
            f"head_ of an LGMClassifier; got {type(classifier).__name__}"
        )
    check_is_fitted(classifier, "means_")
    return classifier.location_bounds(threat=threat, change=change)


class _AttackedClass:
    """The rows of one class, and where poisons can take its location."""

    def __init__(
        self,
        rows: FloatArray,
        bounds: LocationBounds,
        n_poisons: int,
        change: Change,
        n_iter: int,
        rng: np.random.RandomState,
    ) -> None:
        self.rows = rows
        self.change = change
        # At most the whole class can be replaced.
        n_poisons = min(n_poisons, len(rows)) if change == "replace" else n_poisons
        self.n_poisons = n_poisons
        self.n_removed = n_poisons if change == "replace" else 0
        self.n_iter = n_iter if self.n_removed > 0 else min(n_iter, 1)
        self.rng = rng
        self.order = np.argsort(rows, axis=0)
        ordered = np.take_along_axis(rows, self.order, axis=0)
        self.bounds = LocationBounds(ordered, bounds.trim)
        total = len(rows) + (n_poisons if change == "insert" else 0)
        if bounds.trim is None:
            self.end = float(-(-total // 2))
            self.start = self.end - 1.0
        else:
            self.start = bounds.trim * total
            self.end = (1.0 - bounds.trim) * total
        self.location = self.bounds.interval(0, change)[0]
        self.low, self.high = self.bounds.interval(n_poisons, change)
        # Infinite where poisons alone decide, in all columns alike.
        self.is_free_down = bool(np.isinf(self.low).any())
        self.is_free_up = bool(np.isinf(self.high).any())

    def box_distance(self, X: FloatArray, is_own: bool) -> FloatArray:
        """Squared distance that the certificate leaves: greatest for its own class."""
        if is_own:
            far = np.maximum(np.abs(X - self.low), np.abs(X - self.high))
            squares: FloatArray = np.square(far).sum(axis=1)
        else:
            squares = np.square(X - np.clip(X, self.low, self.high)).sum(axis=1)
        return squares

    def search(
        self, X: FloatArray, is_own: bool
    ) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows to remove (n, n_removed) and the location to reach (n, n_features)."""
        n, d = X.shape
        if is_own and (self.is_free_down or self.is_free_up):
            far = 4.0 * len(self.rows) * (1.0 + np.abs(self.rows).max() + np.abs(X))
            removed = np.tile(np.arange(self.n_removed), (n, 1))
            return removed, X + far if self.is_free_up else X - far
        parts = [
            self._search_chunk(X[start : start + step], is_own)
            for step in [max(1, _CHUNK_VALUES // self.rows.size)]
            for start in range(0, n, step)
        ]
        if not parts:
            return np.empty((0, self.n_removed), np.int64), np.empty((0, d))
        removed, locations = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        return removed, locations

    def _search_chunk(
        self, X: FloatArray, is_own: bool
    ) -> tuple[NDArray[np.int64], FloatArray]:
        if is_own:  # to the farther corner
            goes_down = np.abs(X - self.low) > np.abs(X - self.high)
        else:
            goes_down = self.location > X
        is_free = np.where(goes_down, self.is_free_down, self.is_free_up)
        low = np.maximum(self.low, self.rows.min(axis=0))
        high = np.minimum(self.high, self.rows.max(axis=0))
        cost_down = np.clip(high - self.rows, 0.0, high - low)  # (n_rows, d)
        cost_up = np.clip(self.rows - low, 0.0, high - low)
        best_squares: FloatArray | None = None
        # Half the gain is made half way: the slopes to begin with are those there.
        halfway = 0.5 * (self.location + np.where(goes_down, low, high))
        slopes = np.where(is_free, 0.0, np.abs(X - halfway))
        for iteration in range(self.n_iter):
            weights = slopes
            if iteration > 1:
                weights = slopes * self.rng.gamma(4.0, 0.25, size=slopes.shape)
            cost = (weights * goes_down) @ cost_down.T + (weights * ~goes_down) @ (
                cost_up.T
            )  # (n, n_rows)
            removed = np.argpartition(cost, max(self.n_removed - 1, 0), axis=1)
            removed = np.sort(removed[:, : self.n_removed], axis=1)
            edge = self._reached(removed, goes_down)
            location = edge
            if not is_own:  # no farther than the row itself
                short = np.where(goes_down, np.maximum(edge, X), np.minimum(edge, X))
                location = np.where(is_free, X, short)
            squares = np.square(X - location).sum(axis=1)
            if best_squares is None:
                best, best_location, best_squares = removed, location, squares
            else:
                is_better = squares > best_squares if is_own else squares < best_squares
                best[is_better] = removed[is_better]
                best_location[is_better] = location[is_better]
                best_squares[is_better] = squares[is_better]
            share = 1.0 / (iteration + 2.0)
            slopes = (1.0 - share) * slopes + share * np.abs(X - location)
            slopes[is_free] = 0.0
        return best, best_location

    def _reached(
        self, removed: NDArray[np.int64], goes_down: NDArray[np.bool_]
    ) -> FloatArray:
        """Location of each column with all poisons below, or above, the other rows."""
        n = len(removed)
        is_kept = np.ones((n, len(self.rows)), dtype=bool)
        np.put_along_axis(is_kept, removed, False, axis=1)
        kept = is_kept[:, self.order]  # (n, n_rows, d)
        ranks = np.cumsum(kept, axis=1, dtype=np.float64)
        shift = np.where(goes_down, self.n_poisons, 0)[:, None, :]
        overlap = np.minimum(ranks, self.end - shift)
        overlap -= np.maximum(ranks - 1.0, self.start - shift)
        np.clip(overlap, 0.0, 1.0, out=overlap)
        overlap *= kept
        means: FloatArray = np.einsum("ijk,jk->ik", overlap, self.bounds.ordered)
        # Where a window leaves the rows, poisons decide, and this is not used.
        means /= np.maximum(overlap.sum(axis=1), 1e-9)
        return means

    def poisons(self, removed: NDArray[np.int64], location: FloatArray) -> FloatArray:
        """Rows that take the location where it is to go, (n_poisons, d)."""
        kept = np.delete(self.rows, removed, axis=0)
        if self.bounds.trim is None:  # they are the median, or it is among them
            return np.tile(location, (self.n_poisons, 1))
        # The trimmed mean grows with the value of the poisons: find it by halving.
        span = np.ptp(self.rows, axis=0) + 1.0
        if self.is_free_up:  # those of them that are not cut off take it all the way
            weight = (self.n_poisons - self.start) / (self.end - self.start)
            span = (span + np.abs(location - self.location)) / min(weight, 1.0)
        low, high = self.rows.min(axis=0) - span, self.rows.max(axis=0) + span
        for _ in range(_N_HALVINGS):
            middle = 0.5 * (low + high)
            together = np.concatenate([kept, np.tile(middle, (self.n_poisons, 1))])
            bounds = LocationBounds(np.sort(together, axis=0), self.bounds.trim)
            is_above = bounds.interval(0, self.change)[0] > location
            high = np.where(is_above, middle, high)
            low = np.where(is_above, low, middle)
        values = np.where(location <= self.location, low, high)
        return np.tile(values, (self.n_poisons, 1))
