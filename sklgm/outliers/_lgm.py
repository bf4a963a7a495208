"""How unlikely a row is, given the label it claims."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sklgm._sklearn_private import StrOptions
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._claims import (
    ColumnGaussians,
    claimed_log_density,
    claimed_log_density_and_posterior,
    claimed_log_posterior,
    claimed_squared_mahalanobis,
    gaussian_dimensions,
    has_mixture_density,
    mixture_log_density,
)
from sklgm.outliers._conformal import ChiSquareLaw


class LGMOutlierDetector(ClaimedLabelDetector):
    """Outlier detector that judges a row by the label it claims.

    A classifier says how probable the claimed label is given the features of a row,
    or, if it has class Gaussians, how likely these features are under the claimed
    class; rows held out of its training say how low such a score may fall by chance.
    Use it to rank or drop rows whose label or features were tampered with. Without
    labels it is a plain density-based detector.

    Parameters
    ----------
    estimator : classifier or None, default=None
        An :class:`~sklgm.LGMClassifier`, or a Pipeline that ends in one; cloned
        and fitted. ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one:
        all rows of ``fit`` then calibrate, and should not be those it was trained
        on. None: trimmed diagonal Gaussians on the input columns. With
        ``score_kind="posterior"`` any classifier with ``predict_proba``.
    score_kind : {"likelihood", "posterior", "combined"}, default="posterior"
        ``"posterior"``: log probability of the claimed class; ``"likelihood"``:
        standardised log density of the claimed class; ``"combined"``: both. See
        Notes.
    contamination : float in (0, 0.5] or None, default=None
        Share of the rows of ``fit`` to flag (of each class, where ``calibration`` is
        ``"per_class"``); replaces ``false_alarm_rate``. Rows whose scores tie are
        flagged together or not at all; ``fit`` warns where that makes less than half
        or more than 3/2 of this share.
    false_alarm_rate : float in (0, 1), default=0.01
        Share of clean rows that may be flagged, set on held-out rows.
    calibration : {"marginal", "per_class", "chi2"}, default="marginal"
        What p-values of claimed labels are taken against. ``"marginal"``: all
        held-out rows. ``"per_class"``: those of the claimed class, so that the rate
        of false alarms holds in each class; ``label_offset_`` then has a threshold a
        class. ``"chi2"``: the chi-square law that squared Mahalanobis distances have
        if features follow the fitted Gaussians (``score_kind="likelihood"`` only).
        Without labels p-values are always marginal.
    calibration_fraction : float in (0, 1), default=0.2
        Share of the rows of ``fit`` held out of training, stratified by label.
        Where ``false_alarm_rate`` needs more rows than that
        (``1 / false_alarm_rate - 1``, of each class if ``"per_class"``), so many are
        held out, up to half.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-fitting. None: one split by ``calibration_fraction``. A number of folds
        (shuffled, stratified by label) or a splitter that holds out every row once:
        a model is trained for each fold without its rows, and calibrated by them.
        See Notes.
    random_state : int, RandomState instance or None, default=None
        Seed of the split.

    Attributes
    ----------
    estimator_ : object
        The fitted model; only where ``cv`` is None.
    estimators_ : list of object
        The fitted model of each fold; only with ``cv``.
    train_p_values_ : ndarray of shape (n_samples,)
        p-value of each row of ``fit`` (of its claimed label, where y was given), by
        the model that did not train on it; only with ``cv``.
    train_scores_ : ndarray of shape (n_samples,)
        Score of each row of ``fit`` by that model, above the threshold of its fold
        (the lowest score there, if no p-value can reach the level; or as it is, with
        ``contamination``); only with ``cv``.
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``; only where y was given.
    offset_ : float
        Threshold of label-free scores; not where the model has no density. With
        ``cv`` scores are counted from the thresholds of the folds, and it is 0
        (minus infinity where half of the folds cannot reach the level).
    label_offset_ : float, or ndarray of shape (n_classes,) if ``"per_class"``
        Threshold of claimed-label scores, likewise; only where y was given.
    medians_, scales_ : ndarray of shape (n_classes,)
        Median and ``1.4826`` MAD of each class's held-out log densities (of few rows
        see Notes); only with y, and not for ``score_kind="posterior"``, ``"chi2"`` or
        with ``cv``.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Label-free scores of the held-out rows, sorted; not where the model has no
        density, nor with ``cv``.
    label_calibration_scores_ : ndarray of shape (n_calibration,), or list of them
        Claimed-label scores of the held-out rows, sorted; only with y; one array a
        class if ``"per_class"``. For ``"marginal"`` likelihoods each is standardised
        by the other held-out rows of its class, as a new row is. Not with ``cv``.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.
    input_shape_ : tuple of int
        Shape of one instance.

    See Also
    --------
    LGMClassifier : The classifier whose features are judged.

    Notes
    -----
    For claimed class z, ``"posterior"`` is ``log p(z | f)``, and ``"likelihood"`` is
    ``(log N_z(f) - median_z) / (1.4826 MAD_z)`` over the held-out rows of class z.
    Of fewer than eight rows a MAD says little: such a class takes the scale of all
    classes; two or three rows are centred by their mean, fewer by the median of all
    rows. The posterior mostly ranks mislabelled and poisoned rows lower (measured in
    the user guide), also where they moved the means. It needs two classes, and may be
    sure of a row that is far from all of them, which the other kinds and label-free
    scores find. It is computed by the odds against the claim: rows tie at 0 only where
    these are below ``exp(-745)``.
    ``"combined"`` is low where either is: it adds their logarithms as Fisher's method
    adds those of p-values, ``log F(s) + log p(z | f)`` for the standardised log density
    s and the logistic law F with a standard Gaussian's quartiles, whose tail is
    exponential.
    With ``calibration="chi2"`` the log density is standardised by its mean and
    deviation under the law instead: ``(d - D_z) / sqrt(2 d)`` for d feature
    dimensions and the squared Mahalanobis distance D_z. Columns that are constant in
    every class of the training rows do not count in d for ``estimator=None`` and
    ``GaussianNB``; dimensions of an ``LGMClassifier`` all do.
    Without labels all kinds use the mixture's log density; a classifier that has
    none (nor ``score_samples``) judges claimed labels only.

    A row is flagged where its p-value is at most ``false_alarm_rate``. Split-conformal
    p-values hold if the rows to judge and the held-out rows are exchangeable: clean
    rows are then flagged at that rate on average, over all classes (``"marginal"``)
    or in each (``"per_class"``; exact, while marginal likelihoods and ``"combined"``
    scores are standardised per class and come close). Poisoned rows among the
    held-out ones make the threshold lower, so fewer rows are flagged. The law of
    ``"chi2"`` needs no clean held-out rows and has no smallest p-value, but real
    features are no Gaussians: its rates can be far off (the user guide measures them
    on the digits).

    With ``cv`` the detector is a committee of split-conformal detectors, one a fold;
    no model is fitted on all rows. A new row has the median of their scores, counted
    from the threshold of each, and the median of their p-values (of an even number
    the greater middle one): it is flagged where more than half of the folds flag it,
    and a fold that is too small for the level never does.
    As each flags a clean row with probability a at most, at least half of them do so
    with probability 2 a at most, by Markov's inequality; the rates that the user
    guide measures are below a. A training row is judged by the fold that held it out,
    against the other rows of this fold. If rows are exchangeable, that p-value keeps
    level a, not only 2 a. This differs from the cross-conformal predictor of Vovk
    (2015), which pools the ranks of all folds: its bound is 2 a and a correction that
    vanishes with many rows a fold.

    p-values of training rows (but those of ``"chi2"``) are ranks among themselves: a
    share a of the rows has ``p <= a`` even if none is bad, or if more are. They rank
    rows honestly; that some are bad they cannot prove. Use clean held-out rows for
    that.

    References
    ----------
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020.

    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World",
    Springer 2005 (split-conformal and Mondrian p-values).

    V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
    Intelligence 74, 2015. M. Gasparin, A. Ramdas, "Merging uncertainty sets via
    majority vote", arXiv 2401.09379, 2024 (the bound for the median).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import LGMOutlierDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:3] = 2  # three setosas claim to be virginicas
    >>> detector = LGMOutlierDetector(contamination=0.02, random_state=0)
    >>> np.flatnonzero(detector.fit_predict(X, claimed) == -1)
    array([0, 1, 2])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ClaimedLabelDetector._parameter_constraints,
        "score_kind": [StrOptions({"likelihood", "posterior", "combined"})],
        "calibration": [StrOptions({"marginal", "per_class", "chi2"})],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        score_kind: str = "posterior",
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
        self.score_kind = score_kind

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
        if self.score_kind == "posterior":
            return claimed_log_posterior(model, X, claimed)
        if self.calibration == "chi2":
            law = ChiSquareLaw(self._n_dimensions(model))
            return law.scores(claimed_squared_mahalanobis(model, X, claimed))
        return claimed_log_density(model, X, claimed)

    def _claimed_evidence(
        self, model: Any, X: Any, claimed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        if self.score_kind == "combined":
            return claimed_log_density_and_posterior(model, X, claimed)
        return super()._claimed_evidence(model, X, claimed)

    def _label_free_scores(self, model: Any, X: Any) -> NDArray[np.float64]:
        return mixture_log_density(model, X)

    def _has_label_free_scores(self, model: Any) -> bool:
        return has_mixture_density(model)

    def _needs_training(self) -> bool:
        return not isinstance(self.estimator, FrozenEstimator)

    def _is_standardised(self) -> bool:
        return self.score_kind != "posterior" and self.calibration != "chi2"

    def _n_dimensions(self, model: Any) -> int:
        return gaussian_dimensions(model)

    def _check_settings(self) -> None:
        if self.calibration == "chi2" and self.score_kind != "likelihood":
            raise ValueError(
                "calibration='chi2' is the law of squared distances: it needs "
                f"score_kind='likelihood', got score_kind={self.score_kind!r}"
            )
