"""Activation clustering: two clusters per class, of which the smaller is suspect."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklgm._random import draw_seed
from sklgm._sklearn_private import Interval
from sklgm.outliers._feature_detector import FeatureDetector, negligible_deviation

if TYPE_CHECKING:
    from sklearn.decomposition import PCA


class _TwoClusters(NamedTuple):
    reduction: PCA
    small_centre: NDArray[np.float64]  # (n_components,)
    large_centre: NDArray[np.float64]
    small_share: float


class ActivationClusteringDetector(FeatureDetector):
    """Outlier detector that splits each class in two and doubts the smaller part.

    The features of a class are reduced and clustered in two. The score of a claim
    says to which of the two the row is closer, and counts the more, the smaller the
    suspect cluster is. Use it against many poisons of one class that form a group of
    their own.

    Parameters
    ----------
    estimator : classifier with ``transform``, or None, default=None
        Its ``transform`` gives the features: an :class:`~sklgm.LGMClassifier`, a
        :class:`~sklgm.SoftmaxClassifier` or a Pipeline that ends in one; cloned and
        fitted in each fold.
        ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one, with whatever it
        has learnt from these rows; they are held out only of what the detector learns
        from the features. None: the features are the columns of X.
    n_components : int, default=10
        Dimensions that the features of a class are reduced to, at least 1; fewer
        where the class has fewer (rounding errors are none), or not as many rows.
    whiten : bool, default=True
        Whether all components of a class get variance 1.
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
        Seed of the folds and the clustering.

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
    SpectralSignatureDetector : One direction per class in place of two clusters.

    Notes
    -----
    With distances a and b to the centres of the smaller and the larger cluster,
    which lie c apart, and the share s <= 1/2 of training rows in the smaller one, the
    score is ``(1 - 2 s) (a - b) / c``, in [-1, 1]. Rows of a class that splits into
    halves score close to 0, whichever half they are in; a class that cannot be split
    scores 0. That score is ours. Chen et al. (2018) cluster all training rows, reduced
    by independent components, and drop or keep whole clusters, by their relative size
    among other criteria. Independent components are whitened principal components,
    rotated; clusters and distances do not see the rotation, so that it is left out.
    Here the rows of a fold are ranked by the clusters of the others, and a p-value or
    ``contamination`` sets the threshold. A few poisons make no cluster of their own; a
    class of two natural groups has one that is smaller and clean.

    References
    ----------
    B. Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation
    Clustering", arXiv 1811.03728, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import ActivationClusteringDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:10] = 2  # ten setosas claim to be virginicas
    >>> detector = ActivationClusteringDetector(contamination=0.07, random_state=0)
    >>> flags = detector.fit_predict(X, claimed)
    >>> np.flatnonzero(flags == -1)[:10]
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **FeatureDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "whiten": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_components: int = 10,
        whiten: bool = True,
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
        self.n_components = n_components
        self.whiten = whiten

    def _fit_features(
        self,
        features: NDArray[np.float64],
        y_encoded: NDArray[np.int64],
        n_classes: int,
        rounding: float,
    ) -> list[_TwoClusters | None]:
        seed = draw_seed(self.random_state)
        return [
            self._clusters(features[y_encoded == k], seed, rounding)
            for k in range(n_classes)
        ]

    def _score_features(
        self,
        statistics: list[_TwoClusters | None],
        features: NDArray[np.float64],
        claimed: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        scores = np.zeros(len(features))
        for k, clusters in enumerate(statistics):
            rows = np.flatnonzero(claimed == k)
            if clusters is None or len(rows) == 0:
                continue
            reduced = clusters.reduction.transform(features[rows])
            to_small = np.linalg.norm(reduced - clusters.small_centre, axis=1)
            to_large = np.linalg.norm(reduced - clusters.large_centre, axis=1)
            apart = np.linalg.norm(clusters.small_centre - clusters.large_centre)
            weight = 1.0 - 2.0 * clusters.small_share
            scores[rows] = weight * (to_small - to_large) / apart
        return scores

    def _clusters(
        self, of_class: NDArray[np.float64], seed: int, rounding: float
    ) -> _TwoClusters | None:
        """Two clusters of the rows of a class; None where all are alike."""
        from sklearn.cluster import KMeans  # these import much
        from sklearn.decomposition import PCA

        deviations = np.linalg.svd(of_class - of_class.mean(axis=0), compute_uv=False)
        # Whitened, directions of rounding errors alone would count like all others.
        rank = int(np.sum(deviations > negligible_deviation(of_class, rounding)))
        if rank == 0:
            return None
        n_components = min(self.n_components, rank)
        reduction = PCA(n_components, whiten=self.whiten, random_state=seed)
        reduced = reduction.fit_transform(of_class)
        clustering = KMeans(2, n_init=10, random_state=seed).fit(reduced)
        counts = np.bincount(clustering.labels_, minlength=2)
        small, large = np.argsort(counts, kind="stable")
        centres = clustering.cluster_centers_
        share = float(counts[small] / counts.sum())
        return _TwoClusters(reduction, centres[small], centres[large], share)
