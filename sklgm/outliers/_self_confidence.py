"""Probability that a classifier gives to the label a row claims."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from sklgm._inputs import split_steps
from sklgm._sklearn_private import HasMethods
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._calibration import ScoreKind
from sklgm.outliers._evidence import Evidence, TrainedModel, read_evidence
from sklgm.outliers._trained import check_posterior, train


class SelfConfidenceDetector(ClaimedLabelDetector):
    """Outlier detector by the probability that a classifier gives to the claim.

    The score of a claim is the log probability of the claimed class, from a
    classifier that was not trained on the row. Use it with any classifier, against
    wrong labels; it asks whether another class fits better, not whether this one fits.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Any classifier with ``predict_proba``; cloned and fitted in each fold.
        ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one, which judges all
        rows of ``fit``; it should not be trained on them. None:
        ``RobustGaussianClassifier(covariance_type="diag")`` on the columns of X.
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
    LGMOutlierDetector : The same score by default, and two others.

    Notes
    -----
    The score is ``log p(z | x)`` for claimed class z (calibrated with
    ``calibration="auto"``, as in :class:`~sklgm.LGMOutlierDetector`), the logarithm of
    what Northcutt et al. (2021) call self-confidence. They take probabilities from
    cross-validation; so does ``cv`` here. They compare it with a threshold per class
    that the average confidence gives; here a p-value or ``contamination`` sets the
    threshold.

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

    def _fit_model(
        self, estimator: Any, X: Any, y: NDArray[Any] | None
    ) -> TrainedModel:
        return train(estimator, X, y)

    def _read(self, model: TrainedModel, X: Any) -> Evidence:
        return read_evidence(model.estimator, X, model.n_train)

    def _claimed_scores(
        self, model: TrainedModel, evidence: Evidence, claimed: NDArray[np.int64]
    ) -> None:
        check_posterior(evidence, type(split_steps(model.estimator)[1]).__name__)

    def _label_free_scores(
        self, model: TrainedModel, evidence: Evidence
    ) -> NDArray[np.float64] | None:
        if self.estimator is None:
            return evidence.log_mixture
        if evidence.log_proba is None:
            return None
        # Of a row that is given to no class the score is low, and finite.
        lowest = np.log(np.finfo(np.float64).tiny)
        highest: NDArray[np.float64] = evidence.log_proba.max(axis=1)
        return np.maximum(highest, lowest)

    def _score_kind(self) -> ScoreKind:
        return ScoreKind(is_posterior=True)

    def _label_free_has_units(self) -> bool:
        return self.estimator is None

    def _published(self, model: TrainedModel) -> Any:
        return model.estimator

    def _needs_training(self) -> bool:
        return not isinstance(self.estimator, FrozenEstimator)
