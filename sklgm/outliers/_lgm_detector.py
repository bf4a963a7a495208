"""How unlikely a row is, given the label it claims."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from sklgm._inputs import split_steps
from sklgm._sklearn_private import StrOptions
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._calibration import ScoreKind
from sklgm.outliers._distance_law import DistanceLaw
from sklgm.outliers._evidence import (
    NO_DENSITY,
    Evidence,
    TrainedModel,
    read_evidence,
)
from sklgm.outliers._trained import check_posterior, train

KINDS = {
    "posterior": ScoreKind(is_posterior=True),
    "likelihood": ScoreKind(has_units=True, is_standardised=True),
    "combined": ScoreKind(has_units=True, is_standardised=True, is_combined=True),
}


def claimed_density(
    evidence: Evidence, claimed: NDArray[np.int64], name: str
) -> NDArray[np.float64]:
    """Log density of each row's features under the class it claims.

    Parameters
    ----------
    evidence : Evidence
        What a model says of the rows.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.
    name : str
        Name of the estimator, for the error.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``log N_z(f)``, natural log.

    Raises
    ------
    ValueError
        If the model has no class Gaussians.
    """
    if evidence.log_densities is None:
        raise ValueError(NO_DENSITY.format(name=name))
    density: NDArray[np.float64] = evidence.log_densities[
        np.arange(len(claimed)), claimed
    ]
    return density


@dataclass(frozen=True)
class _ModelWithLaw(TrainedModel):
    """A model, and the law of distances to its Gaussians."""

    law: DistanceLaw | None


class LGMOutlierDetector(ClaimedLabelDetector):
    """Outlier detector that judges a row by the label it claims.

    A classifier says how probable the claimed label is given the features of a row,
    or, if it has class Gaussians, how likely these features are under the claimed
    class. A model of right claims says how low such a score may fall by chance, also
    where some of the rows that it learns from claim wrong labels.
    Use it to rank or drop rows whose label or features were tampered with. Without
    labels it is a plain density-based detector.

    Parameters
    ----------
    estimator : classifier or None, default=None
        An :class:`~sklgm.LGMClassifier`, or a Pipeline that ends in one; cloned
        and fitted in each fold. ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted
        one, which judges all rows of ``fit``; it should not be trained on them. None:
        ``RobustGaussianClassifier(covariance_type="diag")`` on the input columns. With
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
    LGMClassifier : The classifier whose features are judged.

    Notes
    -----
    *Evidence.* The rows are split into folds, and each is judged by a model that was
    trained on the others: a model that has seen a wrong label may have learnt it. For
    claimed class z, ``"posterior"`` is ``log p(z | f)``. ``"likelihood"`` is
    ``(log N_z(f) - median_z) / (1.4826 MAD_z)`` over the rows of class z (of all folds,
    or the trusted ones). Of fewer than eight rows a MAD says little: such a class takes
    the scale of all classes; two or three rows are centred by their mean, fewer by the
    median of all rows. ``"combined"`` is low where either is: it adds their logarithms
    as Fisher's method adds those of p-values, ``log F(s) + log p(z | f)`` for the
    standardised log density s and the logistic law F with a standard Gaussian's
    quartiles, whose tail is exponential. The posterior mostly ranks mislabelled and
    poisoned rows lower (measured in the user guide), also where they moved the means.
    It needs two classes, and may be sure of a row that is far from all of them, which
    the other kinds and label-free scores notice. Without labels all kinds use the
    mixture's log density; a classifier that has none judges claimed labels only. Log
    densities of the folds are shifted and scaled to one median and spread.

    *Law of right claims.* Wrong claims among the rows must not set their own threshold.
    With ``"auto"`` posteriors are calibrated by a temperature tau and a power beta,
    estimated together with the noise matrix T, T[y, z] the probability that a row of
    class y claims z, by maximum likelihood: ``P(z | x) = sum_y q_y(x) T[y, z]``, ``q``
    the softmax of ``-d^beta / tau``, d the differences of ``log p(. | x)`` from the
    greatest (beta is 1 unless their tails are long). The score is the log odds that the
    claim is right, ``log q_z T[z, z] - log sum_(y != z) q_y T[y, z]``, and its p-value
    the probability that a right claim has one as low. For the other kinds each row has
    the probability that its claim is right as a weight w, and with the weight W(s) of
    the rows that score s or less ``p = (1 + W(s)) / (1 + W)``, each row of ``fit``
    against the others. The rate of false alarms is as good as that model; the user
    guide says what it assumes. Systematic errors, wrong labels that are more frequent
    somewhere than right ones, are learnt and therefore missed.

    With trusted rows (or ``"marginal"``, ``"per_class"`` and rows of ``fit`` that are
    all clean) p-values are split-conformal: ``(1 + #{scores <= s}) / (n + 1)``. Nothing
    is assumed of the classifier: right rows that are exchangeable with the trusted ones
    have P(p <= a) <= a, over all classes, or in each with ``"per_class"`` (exact, while
    marginal likelihoods and combined scores are standardised per class and come close).

    With ``"chi2"`` the score is ``(d - D_z) / sqrt(2 d)`` for d feature dimensions,
    without those that never vary, and the squared Mahalanobis distance D_z. Class means
    and variances that come from few rows make distances of new rows longer than the
    chi-square law has them: their law is a scaled F law (exact for one full covariance,
    else matched by mean and variance, which are simulated where rows are trimmed). It
    has no smallest p-value, but real features are not Gaussian: its rates can be far
    off. It is at hand for :class:`~sklgm.RobustGaussianClassifier` and ``GaussianNB``;
    Gaussians that were trained by gradient are taken for exact, and a warning says so.

    *Decisions.* A row is flagged where its p-value is at most ``false_alarm_rate``, or
    its score among the ``contamination`` lowest. A new row is judged by the models of
    all folds: it has the median of their scores and of their p-values (of an even
    number the greater middle one), and is flagged where more than half of them flag
    it. As each flags a right row with probability a at most, at least half of them do
    so with probability 2 a at most, by Markov's inequality; the rates that were
    measured are below a.

    References
    ----------
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020.

    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World",
    Springer 2005 (split-conformal and Mondrian p-values).

    M. Gasparin, A. Ramdas, "Merging uncertainty sets via majority vote", arXiv
    2401.09379, 2024 (the bound for the median).

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural
    Networks", ICML 2017 (temperature scaling).

    J. Hardin, D. M. Rocke, "The Distribution of Robust Distances", Journal of
    Computational and Graphical Statistics 14, 2005.

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
        "calibration": [StrOptions({"auto", "marginal", "per_class", "chi2"})],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        score_kind: str = "posterior",
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
        self.score_kind = score_kind

    def _fit_model(
        self, estimator: Any, X: Any, y: NDArray[Any] | None
    ) -> _ModelWithLaw:
        model = train(estimator, X, y)
        law = None
        if self.calibration == "chi2" and y is not None:
            last = split_steps(model.estimator)[1]
            if not hasattr(last, "predict_joint_log_proba"):
                raise ValueError(NO_DENSITY.format(name=type(last).__name__))
            law = DistanceLaw.of_classifier(last)
        return _ModelWithLaw(model.estimator, model.classes_, model.n_train, law)

    def _read(self, model: _ModelWithLaw, X: Any) -> Evidence:
        return read_evidence(model.estimator, X, model.n_train)

    def _claimed_scores(
        self, model: _ModelWithLaw, evidence: Evidence, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        name = type(split_steps(model.estimator)[1]).__name__
        if self.score_kind == "posterior":
            check_posterior(evidence, name)
            return None
        density = claimed_density(evidence, claimed, name)
        if model.law is not None:
            return model.law.density_scores(density, claimed)
        return density

    def _label_free_scores(
        self, model: _ModelWithLaw, evidence: Evidence
    ) -> NDArray[np.float64] | None:
        return evidence.log_mixture

    def _score_kind(self) -> ScoreKind:
        return KINDS[self.score_kind] if self.calibration != "chi2" else ScoreKind()

    def _distance_law(self, model: _ModelWithLaw) -> DistanceLaw:
        assert model.law is not None
        return model.law

    def _published(self, model: _ModelWithLaw) -> Any:
        return model.estimator

    def _needs_training(self) -> bool:
        return not isinstance(self.estimator, FrozenEstimator)

    def _check_settings(self) -> None:
        if self.calibration == "chi2" and self.score_kind != "likelihood":
            raise ValueError(
                "calibration='chi2' is the law of squared distances: it needs "
                f"score_kind='likelihood', got score_kind={self.score_kind!r}"
            )
