"""Detectors that judge the features of a classifier, or the input columns."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sklgm._sklearn_private import HasMethods
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._claims import relative_rounding


@dataclass(frozen=True)
class FeatureModel:
    """What a detector of features keeps of its training rows.

    Attributes
    ----------
    estimator : object or None
        Fitted classifier whose ``transform`` gives the features; None: the features
        are the input columns.
    classes_ : ndarray of shape (n_classes,)
        Labels, or ``[0]`` where there were none.
    statistics : object
        What the detector computed from the features.
    """

    estimator: Any
    classes_: NDArray[Any]
    statistics: Any


class FeatureDetector(ClaimedLabelDetector):
    """Base of detectors that compare features with those of training rows.

    A detector writes ``_fit_features`` and ``_score_features``. Features come from the
    ``transform`` of a classifier, cloned and fitted on the training rows; a frozen one
    keeps its fit, and training rows are used by the detector alone.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ClaimedLabelDetector._parameter_constraints,
        "estimator": [HasMethods(["fit", "transform"]), None],
    }

    @abstractmethod
    def _fit_features(
        self,
        features: NDArray[np.float64],
        y_encoded: NDArray[np.int64],
        n_classes: int,
        rounding: float,
    ) -> Any:
        """Statistics of the features (n_train, feature_dim) of training rows.

        ``rounding`` is the relative rounding error they were computed with.
        """

    @abstractmethod
    def _score_features(
        self,
        statistics: Any,
        features: NDArray[np.float64],
        claimed: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Score of features under the classes they claim; higher is more normal."""

    def _fit_model(self, X: Any, y: NDArray[Any] | None) -> FeatureModel:
        estimator = self.estimator
        if isinstance(estimator, FrozenEstimator):
            check_is_fitted(estimator)
        elif estimator is not None:
            if y is None:
                raise ValueError(
                    "y=None: claimed labels are needed to fit estimator="
                    f"{type(estimator).__name__}; give y, a FrozenEstimator, or "
                    "estimator=None"
                )
            estimator = clone(estimator).fit(X, y)
        as_given = X if estimator is None else estimator.transform(X)
        rounding, features = relative_rounding(as_given), _flat(as_given)
        labels = np.zeros(len(features), dtype=np.int64) if y is None else y
        classes, y_encoded = np.unique(labels, return_inverse=True)
        statistics = self._fit_features(features, y_encoded, len(classes), rounding)
        return FeatureModel(estimator, classes, statistics)

    def _claimed_scores(
        self, model: FeatureModel, X: Any, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        features = _features(model.estimator, X)
        return self._score_features(model.statistics, features, claimed)

    def _label_free_scores(self, model: FeatureModel, X: Any) -> NDArray[np.float64]:
        features = _features(model.estimator, X)
        return self._best_scores(model, features)

    def _best_scores(
        self, model: FeatureModel, features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Score of the class that fits best, whatever the label."""
        scores = np.full(len(features), -np.inf)
        for k in range(len(model.classes_)):
            claimed = np.full(len(features), k, dtype=np.int64)
            of_class = self._score_features(model.statistics, features, claimed)
            np.maximum(scores, of_class, out=scores)
        return scores


def negligible_deviation(features: NDArray[np.float64], rounding: float) -> float:
    """Singular value that rounding alone may give to features about their mean.

    Parameters
    ----------
    features : ndarray of shape (n_samples, feature_dim)
        Features, not centred: they were rounded as they are.
    rounding : float
        Relative rounding error of the type they were computed in.

    Returns
    -------
    float
        ``10 rounding sqrt(max(n, d))`` times their Frobenius norm. Independent errors
        grow with the square root; by ``max(n, d)`` itself directions of float32
        features that carry variance would be lost.
    """
    scale = rounding * float(np.sqrt(max(features.shape)))
    return 10.0 * scale * float(np.linalg.norm(features))


def _features(estimator: Any, X: Any) -> NDArray[np.float64]:
    """Features (n_samples, feature_dim) in float64."""
    return _flat(X if estimator is None else estimator.transform(X))


def _flat(features: Any) -> NDArray[np.float64]:
    features = np.asarray(features)
    flat: NDArray[np.float64] = features.reshape(len(features), -1).astype(np.float64)
    return flat
