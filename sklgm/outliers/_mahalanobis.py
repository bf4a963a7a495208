"""Mahalanobis distance to class means under one covariance of the features."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import pinvh

from sklgm._sklearn_private import StrOptions
from sklgm.outliers._distance_law import DistanceLaw
from sklgm.outliers._feature_detector import (
    FeatureDetector,
    FeatureModel,
    negligible_deviation,
)


class _TiedGaussians(NamedTuple):
    means: NDArray[np.float64]  # (n_classes, feature_dim)
    precision: NDArray[np.float64]  # (feature_dim, feature_dim)
    rank: int
    counts: NDArray[np.int64]  # (n_classes,)
    shrinkage: float


class ClassMahalanobisDetector(FeatureDetector):
    """Outlier detector by the distance to the mean of the claimed class.

    Features of all classes share one full covariance, that of the training features
    about their class means. Use it as the plain Gaussian reference: nothing is
    trimmed, so that bad rows among the training rows move the means.

    Parameters
    ----------
    estimator : classifier with ``transform``, or None, default=None
        Its ``transform`` gives the features: an :class:`~sklgm.LGMClassifier`, a
        :class:`~sklgm.SoftmaxClassifier` or a Pipeline that ends in one; cloned and
        fitted in each fold.
        ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one, with whatever it
        has learnt from these rows; they are held out only of what the detector learns
        from the features. None: the features are the columns of X.
    covariance : {"ledoit_wolf", "empirical"}, default="ledoit_wolf"
        How the shared covariance is estimated: shrunk towards a multiple of the
        identity, or the maximum-likelihood estimate, inverted where features vary by
        more than rounding errors.
    contamination : float in (0, 0.5] or None, default=None
        Share of the rows of ``fit`` to flag (of each class, where ``calibration`` is
        ``"per_class"``); replaces ``false_alarm_rate``. Rows whose scores tie are
        flagged together or not at all; ``fit`` warns where that makes less than half
        or more than 3/2 of this share.
    false_alarm_rate : float in (0, 1), default=0.01
        Share of right rows that may be flagged.
    calibration : {"auto", "marginal", "per_class", "chi2"}, default="auto"
        Law of right claims, which gives p-values of claimed labels. ``"auto"``: a
        model of right claims, which allows for wrong ones among the rows of ``fit``;
        or, where ``trusted`` rows are given to ``fit``, their scores. ``"marginal"``:
        ranks among the trusted rows, or, without these, among the rows of ``fit``,
        which should then be clean. ``"per_class"``: the same among rows of the claimed
        class, so that the rate of false alarms holds in each class. ``"chi2"``: the law
        that squared Mahalanobis distances have if features follow the Gaussians,
        corrected for parameters that were estimated from few rows.
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
    LGMOutlierDetector : Diagonal Gaussians of each class, trimmed.

    Notes
    -----
    With the squared distance ``D_z = (f - mu_z)' inv(Sigma) (f - mu_z)`` of claimed
    class z and the rank d of the training features about their class means (their
    dimension, less constant and redundant ones), the score is
    ``(d - D_z) / sqrt(2 d)``, which has mean 0 and variance 1 for features drawn from
    the Gaussians. Without labels it is the score of the nearest class, the confidence
    score of Lee et al. (2018) at one layer; they perturb the input and combine
    layers, and use the empirical covariance.

    References
    ----------
    K. Lee, K. Lee, H. Lee, J. Shin, "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018.

    O. Ledoit, M. Wolf, "A Well-Conditioned Estimator for Large-Dimensional Covariance
    Matrices", Journal of Multivariate Analysis 88, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import ClassMahalanobisDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:3] = 2  # three setosas claim to be virginicas
    >>> detector = ClassMahalanobisDetector(contamination=0.02, random_state=0)
    >>> flags = detector.fit_predict(X, claimed)
    >>> np.flatnonzero(flags == -1)
    array([0, 1, 2])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **FeatureDetector._parameter_constraints,
        "covariance": [StrOptions({"ledoit_wolf", "empirical"})],
        "calibration": [StrOptions({"auto", "marginal", "per_class", "chi2"})],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        covariance: str = "ledoit_wolf",
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
        self.covariance = covariance

    def _fit_features(
        self,
        features: NDArray[np.float64],
        y_encoded: NDArray[np.int64],
        n_classes: int,
        rounding: float,
    ) -> _TiedGaussians:
        # Here, since it imports much.
        from sklearn.covariance import empirical_covariance, ledoit_wolf

        means = np.stack(
            [features[y_encoded == k].mean(axis=0) for k in range(n_classes)]
        )
        residuals = features - means[y_encoded]
        variances, axes = np.linalg.eigh(
            empirical_covariance(residuals, assume_centered=True)
        )
        # A covariance is itself rounded; so are the features it comes from.
        negligible = max(
            negligible_deviation(features, rounding) ** 2 / len(features),
            np.finfo(np.float64).eps * max(features.shape) * variances[-1],
        )
        varies = variances > negligible
        shrinkage = 0.0
        if not varies.any():
            precision = np.zeros_like(axes)  # every distance is 0
        elif self.covariance == "empirical":
            kept = axes[:, varies] / np.sqrt(variances[varies])
            precision = kept @ kept.T
        else:
            shrunk, shrinkage = ledoit_wolf(residuals, assume_centered=True)
            precision = pinvh(np.atleast_2d(shrunk))
        return _TiedGaussians(
            means,
            precision,
            max(int(varies.sum()), 1),
            np.bincount(y_encoded, minlength=n_classes),
            float(shrinkage),
        )

    def _score_features(
        self,
        statistics: _TiedGaussians,
        features: NDArray[np.float64],
        claimed: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        centred = features - statistics.means[claimed]
        squared = np.einsum("ij,ij->i", centred @ statistics.precision, centred)
        d = statistics.rank
        scores: NDArray[np.float64] = (d - squared) / np.sqrt(2.0 * d)
        return scores

    def _distance_law(self, model: FeatureModel) -> DistanceLaw:
        statistics = model.statistics
        return DistanceLaw.of_shared_covariance(
            statistics.rank, statistics.counts, statistics.shrinkage
        )
