"""Spectral signatures: squared projection on a class's top singular vector."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklgm.outliers._features import FeatureDetector, negligible_deviation


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
        fitted on the rows that are not held out.
        ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one, with whatever it
        has learnt from these rows; they are held out only of what the detector learns
        from the features. None: the features are the columns of X.
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
    ClassMahalanobisDetector : All directions, by their variance.

    Notes
    -----
    For claimed class z with mean mu_z and top right singular vector v_z of its
    centred training features, the score is ``-((f - mu_z)' v_z)^2``. Tran et al.
    (2018) drop the rows of each class with the greatest such projections, half as
    many again as there may be poisons: ``calibration="per_class"`` with
    ``contamination`` 1.5 times that share. Here rows may also be held out of the
    training rows, and p-values set the threshold. The authors' code projects features
    that are not centred; here they are, as in the paper. A class of one training row,
    or of rows that are all alike, has no direction: its claims score 0.

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
