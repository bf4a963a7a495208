"""Spectral signatures: squared projection on a class's top singular vector."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklgm.outliers._calibration import ScoreKind
from sklgm.outliers._feature_detector import FeatureDetector, negligible_deviation


class _Signatures(NamedTuple):
    means: NDArray[np.float64]  # (n_classes, feature_dim)
    vectors: NDArray[np.float64]  # (n_classes, feature_dim), of length 1 or 0


class SpectralSignatureDetector(FeatureDetector):
    """Outlier detector that looks along the direction of most variance of a class.

    The score of a claim is minus the squared projection of the centred features on
    the top right singular vector of the claimed class: its spectral signature. Use it
    against many poisons of one class that share a direction, such as a backdoor.

    Parameters
    ----------
    estimator : classifier with ``transform``, or None, default=None
        Its ``transform`` gives the features: an :class:`~sklgm.LGMClassifier`, a
        :class:`~sklgm.SoftmaxClassifier` or a Pipeline that ends in one; cloned and
        fitted in each fold.
        ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one, with whatever it
        has learnt from these rows; they are held out only of what the detector learns
        from the features. None: the features are the columns of X.
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
    ClassMahalanobisDetector : All directions, by their variance.

    Notes
    -----
    For claimed class z with mean mu_z and top right singular vector v_z of its
    centred training features, the score is ``-((f - mu_z)' v_z)^2``. Tran et al.
    (2018) drop the rows of each class with the greatest such projections, half as
    many again as there may be poisons: ``calibration="per_class"`` with
    ``contamination`` 1.5 times that share. Here the rows of a fold are held out of the
    rows that the direction comes from, and p-values may set the threshold. The authors'
    code projects features that are not centred; here they are, as in the paper. A class
    of one training row, or of rows that are all alike, has no direction: its claims
    score 0.

    References
    ----------
    B. Tran, J. Li, A. Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import SpectralSignatureDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:3] = 2  # three setosas claim to be virginicas
    >>> detector = SpectralSignatureDetector(contamination=0.02, random_state=0)
    >>> flags = detector.fit_predict(X, claimed)
    >>> np.flatnonzero(flags == -1)
    array([0, 1, 2])
    """

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

    def _fit_features(
        self,
        features: NDArray[np.float64],
        y_encoded: NDArray[np.int64],
        n_classes: int,
        rounding: float,
    ) -> _Signatures:
        feature_dim = features.shape[1]
        means = np.empty((n_classes, feature_dim))
        vectors = np.zeros((n_classes, feature_dim))
        for k in range(n_classes):
            of_class = features[y_encoded == k]
            means[k] = of_class.mean(axis=0)
            _, deviations, right = np.linalg.svd(
                of_class - means[k], full_matrices=False
            )
            if deviations[0] > negligible_deviation(of_class, rounding):
                vectors[k] = right[0]
        return _Signatures(means, vectors)

    def _score_features(
        self,
        statistics: _Signatures,
        features: NDArray[np.float64],
        claimed: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        centred = features - statistics.means[claimed]
        projections = np.einsum("ij,ij->i", centred, statistics.vectors[claimed])
        scores: NDArray[np.float64] = -(projections**2)
        return scores

    def _score_kind(self) -> ScoreKind:
        return ScoreKind(has_units=True)

    def _label_free_has_units(self) -> bool:
        return True
