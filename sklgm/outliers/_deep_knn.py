"""Share of nearest neighbours in feature space that agree with a claim."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklgm._sklearn_private import Interval
from sklgm.outliers._features import FeatureDetector, FeatureModel


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
        fitted on the rows that are not held out.
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
        Share of clean rows that may be flagged, set on held-out rows.
    calibration : {"marginal", "per_class"}, default="marginal"
        What p-values of claimed labels are taken against: all held-out rows, or those
        of the claimed class. Without labels always all held-out rows.
    calibration_fraction : float in (0, 1), default=0.2
        Share of the rows of ``fit`` held out of training, stratified by label; more,
        up to half, where ``false_alarm_rate`` needs them.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-fitting, as in :class:`~sklgm.LGMOutlierDetector`: every row of ``fit``
        is judged by a model that did not train on it. None: one split.
    random_state : int, RandomState instance or None, default=None
        Seed of the split.

    Attributes
    ----------
    estimator_ : object
        The fitted model; only where ``cv`` is None.
    estimators_ : list of object
        The fitted model of each fold; only with ``cv``.
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``; only where y was given.
    offset_ : float
        Threshold of label-free scores.
    label_offset_ : float, or ndarray of shape (n_classes,) if ``"per_class"``
        Threshold of claimed-label scores; only where y was given.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Label-free scores of the held-out rows, sorted; only where ``cv`` is None.
    label_calibration_scores_ : ndarray of shape (n_calibration,), or list of them
        Claimed-label scores of the held-out rows, sorted; only with y and where
        ``cv`` is None; one array a class if ``"per_class"``.
    train_p_values_, train_scores_ : ndarray of shape (n_samples,)
        p-value and score of each row of ``fit`` by the model that did not train on
        it; only with ``cv``.
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
    rows and drop the row if the most frequent label is not its own. Here rows are
    held out of the training rows, the share replaces the vote, and a p-value or
    ``contamination`` sets the threshold. The number of neighbours that agree is divided
    by ``min(k, n_z)`` for n_z training rows of the claimed class z: a class of fewer
    than k rows could not reach a share of 1, and the vote drops all of it. The default
    of k is ours; choose it well above the number of poisons that one target may have.

    Scores have few values, so that many tie; p-values are then larger than they
    could be, and ``contamination`` is met less closely. A training row that is judged
    again counts itself as a neighbour: use ``cv`` for these. Without labels the score
    is minus the distance to the k-th neighbour.

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
        calibration: str = "marginal",
        calibration_fraction: float = 0.2,
        cv: Any = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            estimator,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            calibration=calibration,
            calibration_fraction=calibration_fraction,
            cv=cv,
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
