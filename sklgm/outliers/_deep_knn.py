"""Share of nearest neighbours in feature space that agree with a claim."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sklgm._sklearn_private import Interval
from sklgm.outliers._feature_detector import FeatureDetector, FeatureModel

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors


@dataclass(frozen=True)
class _Neighbours:
    index: NearestNeighbors
    y_encoded: NDArray[np.int64]  # (n_train,)
    n_neighbors: int
    n_attainable: NDArray[np.int64]  # (n_classes,): neighbours that may agree


class DeepKNNDetector(FeatureDetector):
    """Outlier detector that asks the nearest neighbours of a row for their labels.

    The score of a claim is the share of the k nearest training rows, in feature
    space, that have the claimed label: the deep k-NN defence. Of a class of fewer
    than k training rows, the share of these that are among the nearest. Use it
    against poisons whose features lie among those of another class.

    Parameters
    ----------
    estimator : classifier with ``transform``, or None, default=None
        Its ``transform`` gives the features: an :class:`~sklgm.LGMClassifier`, a
        :class:`~sklgm.SoftmaxClassifier` or a Pipeline that ends in one; cloned and
        fitted in each fold.
        ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one, with whatever it
        has learnt from these rows; they are held out only of what the detector learns
        from the features. None: the features are the columns of X.
    n_neighbors : int, default=20
        Number k of neighbours, at least 1; all training rows where there are fewer.
    contamination : float in (0, 0.5] or None, default=None
        Share of the rows of ``fit`` to flag (of each class, where ``calibration`` is
        ``"per_class"``); replaces ``false_alarm_rate``. Rows whose scores tie are
        flagged together or not at all; ``fit`` warns where that makes less than half
        or more than 3/2 of this share.
    false_alarm_rate : float in (0, 1), default=0.01
        Share of right rows that may be flagged.
    calibration : {"auto", "marginal", "per_class"}, default="auto"
        Law of right claims, which gives p-values of claimed labels. ``"auto"``: a
        model of right claims, which allows for wrong ones among the rows of ``fit``;
        or, where ``trusted`` rows are given to ``fit``, their scores. ``"marginal"``:
        ranks among the trusted rows, or, without these, among the rows of ``fit``,
        which should then be clean. ``"per_class"``: the same among rows of the claimed
        class, so that the rate of false alarms holds in each class.
        Without labels ranks among all rows, trusted ones where there are any.
    cv : int, splitter or iterable of splits, default=5
        Folds: each row of ``fit`` is judged by a model that was trained without it. A
        number of folds is shuffled and stratified by label; a splitter must hold out
        every row once. Not used for a model that is not trained.
    n_jobs : int or None, default=None
        Worker processes that train and ask the models of the folds, as in joblib: None
        is 1, or what a ``joblib.parallel_config`` says, and -1 one for each core. The
        threads of torch and BLAS are divided among them.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds.

    Attributes
    ----------
    estimators_ : list of object
        The fitted model of each fold; one of a ``FrozenEstimator``.
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``; only where y was given.
    train_scores_ : ndarray of shape (n_samples,)
        Score of each row of ``fit`` (of its claimed label, where y was given) by the
        model that was not trained on it.
    train_p_values_ : ndarray of shape (n_samples,)
        p-value of each row of ``fit``, likewise; in [0, 1].
    noise_share_ : float
        Estimated share of wrong claims among the rows of ``fit``, in [0, 1]; only
        where p-values come from the model of right claims.
    offset_ : float
        Threshold of label-free scores; not where the model has none.
    label_offset_ : float, or ndarray of shape (n_classes,) if it differs by class
        Threshold of claimed-label scores; only where y was given.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.
    input_shape_ : tuple of int
        Shape of one instance.

    See Also
    --------
    LGMOutlierDetector : Judges by class Gaussians.

    Notes
    -----
    Peri et al. (2020) look up the neighbours of each training row among all training
    rows and drop the row if the most frequent label is not its own. Here the rows of
    a fold are compared with the others, the share replaces the vote, and a p-value or
    ``contamination`` sets the threshold. The number of neighbours that agree is divided
    by ``min(k, n_z)`` for n_z training rows of the claimed class z: a class of fewer
    than k rows could not reach a share of 1, and the vote drops all of it. The default
    of k is ours; choose it well above the number of poisons that one target may have.

    Scores have few values, so that many tie; p-values are then larger than they
    could be, and ``contamination`` is met less closely. A row of ``fit`` that is asked
    about again is its own nearest neighbour: ``train_scores_`` has its score without
    it. Without labels the score is minus the distance to the k-th neighbour.

    References
    ----------
    N. Peri et al., "Deep k-NN Defense against Clean-label Data Poisoning Attacks",
    ECCV Workshops 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import DeepKNNDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:3] = 2  # three setosas claim to be virginicas
    >>> detector = DeepKNNDetector(contamination=0.02, cv=5, random_state=0)
    >>> flags = detector.fit_predict(X, claimed)
    >>> np.flatnonzero(flags == -1)
    array([0, 1, 2])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **FeatureDetector._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_neighbors: int = 20,
        contamination: float | None = None,
        false_alarm_rate: float = 0.01,
        calibration: str = "auto",
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            estimator,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            calibration=calibration,
            cv=cv,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        self.n_neighbors = n_neighbors

    def _fit_features(
        self,
        features: NDArray[np.float64],
        y_encoded: NDArray[np.int64],
        n_classes: int,
        rounding: float,
    ) -> _Neighbours:
        from sklearn.neighbors import NearestNeighbors  # it imports much

        index = NearestNeighbors().fit(features)
        n_neighbors = min(self.n_neighbors, len(features))
        sizes = np.bincount(y_encoded, minlength=n_classes)
        return _Neighbours(
            index, y_encoded, n_neighbors, np.minimum(sizes, n_neighbors)
        )

    def _score_features(
        self,
        statistics: _Neighbours,
        features: NDArray[np.float64],
        claimed: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        neighbours = statistics.index.kneighbors(
            features, statistics.n_neighbors, return_distance=False
        )  # (n_samples, n_neighbors)
        agrees = statistics.y_encoded[neighbours] == claimed[:, None]
        n_agree = agrees.sum(axis=1)
        share: NDArray[np.float64] = n_agree / statistics.n_attainable[claimed]
        return share

    def _best_scores(
        self, model: FeatureModel, features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        statistics = model.statistics
        distances, _ = statistics.index.kneighbors(features, statistics.n_neighbors)
        farthest: NDArray[np.float64] = -distances[:, -1]
        return farthest

    def _label_free_has_units(self) -> bool:
        return True
