"""Probability that a classifier gives to the label a row claims."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sklgm._sklearn_private import HasMethods
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._claims import (
    ColumnGaussians,
    claimed_log_posterior,
    mixture_log_density,
)


class SelfConfidenceDetector(ClaimedLabelDetector):
    """Outlier detector by the probability that a classifier gives to the claim.

    The score of a claim is the log probability of the claimed class, from a
    classifier that was not trained on the row. Use it with any classifier, against
    wrong labels; it asks whether another class fits better, not whether this one fits.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Any classifier with ``predict_proba``; cloned and fitted on the rows that are
        not held out. ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one: all
        rows of ``fit`` then calibrate, and should not be those it was trained on.
        None: trimmed diagonal Gaussians on the columns of X.
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
    LGMOutlierDetector : The same score by default, and two others.

    Notes
    -----
    The score is ``log p(z | x)`` for claimed class z, the logarithm of what Northcutt
    et al. (2021) call self-confidence: the order is the same. They take probabilities
    from cross-validation; so does ``cv`` here. With ``cv=None`` training rows are
    judged by a model that saw them. They compare it with a threshold a class that the
    average confidence gives; here a p-value or ``contamination`` sets the threshold.

    Without labels the score is the log probability of the most probable class; for
    ``estimator=None`` it is the log density of the mixture.

    References
    ----------
    C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import SelfConfidenceDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:3] = 2  # three setosas claim to be virginicas
    >>> detector = SelfConfidenceDetector(contamination=0.02, cv=5, random_state=0)
    >>> flags = detector.fit_predict(X, claimed)
    >>> np.flatnonzero(flags == -1)
    array([0, 1, 2])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ClaimedLabelDetector._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
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

    def _fit_model(self, X: Any, y: NDArray[Any] | None) -> Any:
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator)
            return self.estimator
        if self.estimator is None:
            return ColumnGaussians.from_rows(X, y)
        if y is None:
            raise ValueError(
                "y=None: claimed labels are needed to fit estimator="
                f"{type(self.estimator).__name__}; give y, a FrozenEstimator, or "
                "estimator=None"
            )
        return clone(self.estimator).fit(X, y)

    def _claimed_scores(
        self, model: Any, X: Any, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return claimed_log_posterior(model, X, claimed)

    def _label_free_scores(self, model: Any, X: Any) -> NDArray[np.float64]:
        if isinstance(model, ColumnGaussians):
            return mixture_log_density(model, X)
        proba = np.asarray(model.predict_proba(X), dtype=np.float64)
        # Of a row that is given to no class the score is low, and finite.
        highest = np.maximum(proba.max(axis=1), np.finfo(np.float64).tiny)
        log_highest: NDArray[np.float64] = np.log(highest)
        return log_highest

    def _needs_training(self) -> bool:
        return not isinstance(self.estimator, FrozenEstimator)
