"""Votes of classifiers that are each trained on a part of the rows."""

import hashlib
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    clone,
    is_clusterer,
    is_regressor,
)
from sklearn.dummy import DummyClassifier
from sklearn.utils import Tags, assert_all_finite, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from sklgm._random import RandomState, draw_seed
from sklgm._running import interrupts_raised
from sklgm._sklearn_private import HasMethods, Interval, fit_context, safe_indexing
from sklgm.persistence import PersistenceMixin

_DIGEST_SIZE = 16


class PartitionedClassifier(
    MetaEstimatorMixin, ClassifierMixin, PersistenceMixin, BaseEstimator
):
    """Majority vote of clones that are trained on disjoint partitions of the rows.

    A poisoned row is in one partition and changes one vote, whatever it is. So each
    prediction is proved to withstand a number of inserted or removed rows, with
    nothing trusted: no backbone, no label (deep partition aggregation). More
    partitions withstand more rows and leave each clone fewer to learn from.

    Parameters
    ----------
    estimator : classifier
        Cloned and fitted on the rows of each partition.
    n_partitions : int >= 1, default=50
        Number of partitions, the most votes that there are.
    n_jobs : int or None, default=None
        Clones that are fitted at once, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Seed of every ``random_state`` parameter of the clones. A clone must be a
        function of its rows: its seed depends on its partition alone.

    Attributes
    ----------
    estimators_ : list of classifiers
        One per partition that has rows; a constant where they have one label.
    partitions_ : ndarray of int of shape (n_samples,)
        Partition of each row of ``fit``.
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``, sorted.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.

    See Also
    --------
    RobustGaussianClassifier : Certificates on features that are trusted.

    Notes
    -----
    A row goes to the partition that a hash of its values gives, and the rows of a
    partition are sorted by it: neither depends on other rows or on the order of X.
    With n_c votes for the predicted class c, ties going to the smaller index, r rows
    leave the prediction alone if for every other class b

        r <= (n_c - n_b - [b < c]) / 2,

    since each takes at most one vote from c and gives it to b. That holds for a label
    that no row has yet, too: it has no vote, and may come before c. A replaced row is
    one removed and one inserted: two rows, unless both are in one partition.

    Numbers of equal value have one hash, whatever their type: a row cannot move others
    by turning a column of integers into one of floats. What makes ``fit`` fail, such as
    a value that is not finite, changes no prediction and is not counted.

    References
    ----------
    A. Levine and S. Feizi, "Deep Partition Aggregation: Provable Defenses against
    General Poisoning Attacks", ICLR 2021, Theorem 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklgm import PartitionedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = PartitionedClassifier(GaussianNB(), n_partitions=9).fit(X, y)
    >>> print(clf.predict(X[:2]), clf.certified_poisons(X[:2]))
    [0 0] [3 3]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "n_partitions": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        n_partitions: int = 50,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.n_partitions = n_partitions
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit a clone on each partition.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Instances, as ``estimator`` takes them.
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If X and y differ in length, y is missing or continuous, or as
            ``estimator`` raises it.
        """
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None"
            )
        if is_regressor(self.estimator) or is_clusterer(self.estimator):
            raise ValueError(
                f"estimator must be a classifier, got {type(self.estimator).__name__}"
            )
        X = _indexable(self, X, reset=True)
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        check_consistent_length(X, labels)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)

        digests = _row_digests(X)
        partitions = np.array(
            [
                int.from_bytes(digest[:8], "big") % self.n_partitions
                for digest in digests
            ]
        )
        # Sorted by the hash, then the label: the order of X must not matter.
        order = sorted(range(len(digests)), key=lambda i: (digests[i], str(labels[i])))
        sorted_rows = np.array(order)
        seed = draw_seed(self.random_state)
        # A partition without rows has no vote: any that it had would be for a label of
        # other rows.
        members = {
            p: sorted_rows[partitions[sorted_rows] == p] for p in np.unique(partitions)
        }
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_clone)(
                self.estimator,
                safe_indexing(X, rows),
                labels[rows],
                int((seed + p) % np.iinfo(np.int32).max),
            )
            for p, rows in members.items()
        )
        self.classes_, self.partitions_ = np.unique(labels), partitions
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class with the most votes; of a tie the first in ``classes_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        votes = self._votes(X)
        labels: NDArray[Any] = self.classes_[votes.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Shares of the votes, which are not calibrated probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In [0, 1], rows sum to 1; columns in the order of ``classes_``.
        """
        return self._votes(X) / len(self.estimators_)

    def certified_poisons(self, X: ArrayLike) -> NDArray[np.int64]:
        """Count the inserted or removed rows that each prediction provably withstands.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Instances.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            The largest number of rows, of any kind, for which the prediction is proved
            to stay the same; a replaced row counts as two.
        """
        votes = self._votes(X)
        rows = np.arange(len(votes))
        first = votes.argmax(axis=1)
        most = votes[rows, first]
        # A class of a smaller index wins a tie: it needs one vote less.
        is_before = np.arange(votes.shape[1]) < first[:, None]
        rivals = votes + is_before
        rivals[rows, first] = 0
        # A label that no row has yet may come before all others.
        gap = most - np.maximum(rivals.max(axis=1), 1)
        counts: NDArray[np.int64] = gap // 2
        return counts

    def _votes(self, X: ArrayLike) -> NDArray[np.int64]:
        """Count the clones for each class, (n_samples, n_classes)."""
        check_is_fitted(self, "estimators_")
        X = _indexable(self, X, reset=False)
        predictions = Parallel(n_jobs=self.n_jobs)(
            delayed(_predicted)(estimator, X) for estimator in self.estimators_
        )
        votes = np.zeros((len(predictions[0]), len(self.classes_)), dtype=np.int64)
        rows = np.arange(len(votes))
        for predicted in predictions:
            if not np.isin(predicted, self.classes_).all():
                raise ValueError(
                    "estimator must predict labels of y, such as "
                    f"{self.classes_.tolist()[0]!r}, got {predicted.tolist()[0]!r} "
                    f"from a {type(self.estimator).__name__}"
                )
            votes[rows, np.searchsorted(self.classes_, predicted)] += 1
        return votes

    def __sklearn_tags__(self) -> Tags:
        """Tags: the inputs of the estimator."""
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        return tags


def _indexable(estimator: PartitionedClassifier, X: Any, *, reset: bool) -> Any:
    """X with its number of columns checked; lists become arrays, frames stay."""
    if not (hasattr(X, "shape") or hasattr(X, "columns")):
        made = np.asarray(X)
        # One text among numbers must not make texts of all the others.
        X = np.asarray(X, dtype=object) if made.dtype.kind in "US" else made
    for n, what in zip(X.shape, ("sample(s)", "feature(s)"), strict=False):
        if n == 0:
            raise ValueError(
                f"Found array with 0 {what} (shape={X.shape}) while a minimum of 1 is "
                "required."
            )
    n_dims = len(X.shape)
    if n_dims != 2 and not sparse.issparse(X):
        if n_dims < 2:
            raise ValueError(
                f"Expected 2D array, got {n_dims}D array instead. Reshape your data "
                "either using X.reshape(-1, 1) if it has a single feature or "
                "X.reshape(1, -1) if it contains a single sample."
            )
        flat = X[:1].reshape(1, -1)  # one instance tells the number of values
        validate_data(estimator, flat, reset=reset, skip_check_array=True)
        return X
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    return X.tocsr() if sparse.issparse(X) else X


def _row_digests(X: Any) -> list[bytes]:
    """Hash of the values of each row, the same in every process, order and type.

    Numbers are hashed as float64: which type holds them is decided by all rows.
    """
    if sparse.issparse(X):
        X = X.copy()
        X.sum_duplicates()
        X.eliminate_zeros()
        values = X.data.astype(np.float64)
        parts = [
            (X.indices[a:b].astype(np.int64).tobytes(), values[a:b].tobytes())
            for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)
        ]
        return [_digest(b"".join(part)) for part in parts]
    rows = np.asarray(X)
    if rows.dtype.kind in "biuf":
        # Adding 0 makes 0 of -0.
        return [_digest((row.astype(np.float64) + 0.0).tobytes()) for row in rows]
    return [_digest(_content(row)) for row in rows.astype(object)]


def _content(row: NDArray[Any]) -> bytes:
    """Bytes of a row of objects: as of a row of numbers, where it holds no other."""
    values = [
        float(value) if isinstance(value, Real | np.bool_) else value
        for value in row.ravel().tolist()
    ]
    if all(isinstance(value, float) for value in values):
        return (np.array(values, dtype=np.float64) + 0.0).tobytes()
    return repr(values).encode()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def _fit_clone(estimator: Any, X: Any, y: NDArray[Any], seed: int) -> Any:
    """Fit a clone; a constant where there is nothing to tell apart."""
    if len(np.unique(y)) < 2:
        constant = DummyClassifier(strategy="constant", constant=y[:1])
        return constant.fit(np.zeros((1, 1)), y[:1])
    made = clone(estimator)
    seeds = {
        name: seed
        for name in made.get_params()
        if name == "random_state" or name.endswith("__random_state")
    }
    with interrupts_raised():
        return made.set_params(**seeds).fit(X, y)


def _predicted(estimator: Any, X: Any) -> NDArray[Any]:
    if isinstance(estimator, DummyClassifier):
        X = np.zeros((X.shape[0], 1))
    predicted: NDArray[Any] = estimator.predict(X)
    return predicted
