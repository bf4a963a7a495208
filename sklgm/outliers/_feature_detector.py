"""Detectors that judge the features of a classifier, or the input columns."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm._sklearn_private import HasMethods
from sklgm.classifiers import RobustGaussianClassifier
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._calibration import ScoreKind
from sklgm.outliers._evidence import (
    Evidence,
    TrainedModel,
    fitted_estimator,
    flat_features,
    read_evidence,
)
from sklgm.outliers._trained import column_gaussians


@dataclass(frozen=True)
class FeatureModel(TrainedModel):
    """What a detector of features keeps of its training rows.

    ``estimator`` is the fitted classifier whose ``transform`` gives the features;
    None: the features are the input columns.

    Attributes
    ----------
    statistics : object
        What the detector computed from the features.
    gaussians : RobustGaussianClassifier or None
        Of the features: gives posteriors, for the model of right claims, where the
        estimator gives none.
    """

    statistics: Any
    gaussians: RobustGaussianClassifier | None


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

    def _fit_model(
        self, estimator: Any, X: Any, y: NDArray[Any] | None
    ) -> FeatureModel:
        as_given = np.asarray(X)
        if estimator is not None:
            estimator = fitted_estimator(estimator, X, y)
            as_given = np.asarray(estimator.transform(X))
        rounding, features = relative_rounding(as_given), flat_features(as_given)
        labels = np.zeros(len(features), dtype=np.int64) if y is None else y
        classes, y_encoded = np.unique(labels, return_inverse=True)
        statistics = self._fit_features(features, y_encoded, len(classes), rounding)
        gaussians = None
        if self._asks_for_posteriors() and len(classes) > 1:
            if not _has_posterior(estimator, classes):
                gaussians = column_gaussians(features, labels)
        return FeatureModel(estimator, classes, len(features), statistics, gaussians)

    def _read(self, model: FeatureModel, X: Any) -> Evidence:
        if model.estimator is None:
            features = flat_features(X)
            log_proba = None
        else:
            evidence = read_evidence(
                model.estimator,
                X,
                model.n_train,
                wants_features=True,
                wants_proba=model.gaussians is None and self._asks_for_posteriors(),
            )
            assert evidence.features is not None
            features = flat_features(evidence.features)
            log_proba = evidence.log_proba
        if model.gaussians is not None:
            of_gaussians = read_evidence(model.gaussians, features, model.n_train)
            log_proba = of_gaussians.log_proba
        return Evidence(log_proba, features=features)

    def _claimed_scores(
        self, model: FeatureModel, evidence: Evidence, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        assert evidence.features is not None
        return self._score_features(model.statistics, evidence.features, claimed)

    def _label_free_scores(
        self, model: FeatureModel, evidence: Evidence
    ) -> NDArray[np.float64]:
        assert evidence.features is not None
        return self._best_scores(model, evidence.features)

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

    def _score_kind(self) -> ScoreKind:
        return ScoreKind()

    def _label_free_has_units(self) -> bool:
        return False

    def _asks_for_posteriors(self) -> bool:
        """Whether the model of right claims may be asked for."""
        return self.calibration == "auto"


def _has_posterior(estimator: Any, classes: NDArray[Any]) -> bool:
    has_proba = hasattr(estimator, "predict_proba")
    return has_proba and np.array_equal(getattr(estimator, "classes_", []), classes)


def relative_rounding(values: ArrayLike) -> float:
    """Relative rounding error of values.

    Parameters
    ----------
    values : array-like
        Values.

    Returns
    -------
    float
        Machine epsilon of a floating type, else that of float64.
    """
    dtype = np.asarray(values).dtype
    is_floating = np.issubdtype(dtype, np.floating)
    return float(np.finfo(dtype if is_floating else np.float64).eps)


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
