"""How unlikely a row is, given the label it claims."""

import warnings
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from sklgm._sklearn_private import (
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    safe_indexing,
)
from sklgm._validation import encode_labels, validate_instances
from sklgm.outliers._claims import (
    ColumnGaussians,
    claimed_log_density,
    claimed_log_posterior,
    has_mixture_density,
    mixture_log_density,
)
from sklgm.outliers._conformal import (
    conformal_p_values,
    conformal_threshold,
    n_rows_for_level,
)

# Makes the median absolute deviation of a Gaussian its standard deviation.
_MAD_TO_SCALE = 1.4826

_OPTIONAL_ATTRIBUTES = (
    "calibration_scores_",
    "classes_",
    "label_calibration_scores_",
    "label_offset_",
    "medians_",
    "offset_",
    "scales_",
)


class LGMOutlierDetector(OutlierMixin, BaseEstimator):
    """Outlier detector that judges a row by the label it claims.

    A classifier with class Gaussians says how likely the features of a row are
    under its claimed class; rows held out of its training say how low such a
    score may fall by chance. Use it to rank or drop rows whose label or features
    were tampered with. Without labels it is a plain density-based detector.

    Parameters
    ----------
    estimator : classifier or None, default=None
        An :class:`~sklgm.LGMClassifier`, or a Pipeline that ends in one; cloned
        and fitted. ``sklearn.frozen.FrozenEstimator(clf)`` keeps a fitted one:
        all rows of ``fit`` then calibrate, and should not be those it was trained
        on. None: trimmed diagonal Gaussians on the input columns. With
        ``score_kind="posterior"`` any classifier with probabilities.
    score_kind : {"likelihood", "posterior"}, default="likelihood"
        ``"likelihood"``: standardised log density of the claimed class;
        ``"posterior"``: log probability of the claimed class. See Notes.
    contamination : float in (0, 0.5] or None, default=None
        Share of the rows of ``fit`` to flag; replaces ``false_alarm_rate``.
    false_alarm_rate : float in (0, 1), default=0.01
        Share of clean rows that may be flagged, set on held-out rows.
    calibration_fraction : float in (0, 1), default=0.2
        Share of the rows of ``fit`` held out of training, stratified by label.
        Where ``false_alarm_rate`` needs more rows than that
        (``1 / false_alarm_rate - 1``), so many are held out, up to half.
    random_state : int, RandomState instance or None, default=None
        Seed of the split.

    Attributes
    ----------
    estimator_ : object
        The fitted model.
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``; only where y was given.
    offset_ : float
        Threshold of label-free scores; not where the model has no density.
    label_offset_ : float
        Threshold of claimed-label scores; only where y was given.
    medians_, scales_ : ndarray of shape (n_classes,)
        Median and ``1.4826`` MAD of each class's held-out log densities; only for
        ``score_kind="likelihood"`` with y.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Label-free scores of the held-out rows, sorted; not where the model has no
        density.
    label_calibration_scores_ : ndarray of shape (n_calibration,)
        Claimed-label scores of the held-out rows, sorted; only with y. For
        ``"likelihood"`` each is standardised by the other held-out rows of its
        class, as a new row is.
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
    For claimed class z, ``"likelihood"`` is
    ``(log N_z(f) - median_z) / (1.4826 MAD_z)`` over the held-out rows of class
    z, and ``"posterior"`` is ``log p(z | f)``. Both matter: where poisons moved the
    means, the posterior ranks better; the density is the better calibrated.
    Without labels both kinds use the mixture's log density; a classifier that has
    none (nor ``score_samples``) judges claimed labels only.

    A row is flagged where its split-conformal p-value is at most
    ``false_alarm_rate``. If the rows to judge and the held-out rows are
    exchangeable, clean rows are flagged at that rate on average. Poisoned rows
    among the held-out ones make the threshold lower, so fewer rows are flagged.

    References
    ----------
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020.

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
        "estimator": [HasMethods(["fit", "predict"]), None],
        "score_kind": [StrOptions({"likelihood", "posterior"})],
        "contamination": [Interval(Real, 0, 0.5, closed="right"), None],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        score_kind: str = "likelihood",
        contamination: float | None = None,
        false_alarm_rate: float = 0.01,
        calibration_fraction: float = 0.2,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.score_kind = score_kind
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the model and set the thresholds on held-out rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,) or None, default=None
            Claimed labels. None: label-free scores only.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X is empty or not finite, if a class has too few rows to be held out
            in part, if ``estimator`` has no class Gaussians where the score needs
            them, or if it is not frozen and y is None.
        """
        instances = validate_instances(self, X, reset=True)
        X = _model_input(X, instances)
        y = None if y is None else column_or_1d(y, warn=True)
        check_consistent_length(instances, y)
        for name in _OPTIONAL_ATTRIBUTES:  # of a fit before this one
            if hasattr(self, name):
                delattr(self, name)

        train_rows, held_out_rows = self._split(y, len(instances))
        self.estimator_ = self._fitted_model(X, y, train_rows)

        X_held_out = safe_indexing(X, held_out_rows)
        n_needed = n_rows_for_level(self.false_alarm_rate)
        if self.contamination is None and len(held_out_rows) < n_needed:
            warnings.warn(
                f"false_alarm_rate={self.false_alarm_rate!r} needs at least {n_needed} "
                f"held-out rows, got {len(held_out_rows)}: nothing is flagged. Give "
                "more rows, raise calibration_fraction or false_alarm_rate, or set "
                "contamination",
                UserWarning,
                stacklevel=3,  # the caller of the decorated fit
            )
        if y is None or has_mixture_density(self.estimator_):
            self.calibration_scores_ = np.sort(
                mixture_log_density(self.estimator_, X_held_out)
            )
            self.offset_ = self._threshold(
                self.calibration_scores_,
                lambda: mixture_log_density(self.estimator_, X),
            )
        if y is not None:
            self.classes_ = self.estimator_.classes_
            claimed = encode_labels(y[held_out_rows], self.classes_, name="y")
            if self.score_kind == "likelihood":
                density = claimed_log_density(self.estimator_, X_held_out, claimed)
                self.medians_, self.scales_ = _class_medians_and_scales(
                    density, claimed, len(self.classes_)
                )
                held_out_scores = _leave_one_out_scores(density, claimed)
            else:
                held_out_scores = self._claimed_scores(X_held_out, claimed)
            self.label_calibration_scores_ = np.sort(held_out_scores)
            y_encoded = encode_labels(y, self.classes_, name="y")
            self.label_offset_ = self._threshold(
                self.label_calibration_scores_,
                lambda: self._claimed_scores(X, y_encoded),
            )
        return self

    def predict(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Flag outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 for outliers, 1 for the rest.
        """
        is_outlier = self.decision_function(X, labels) < 0
        flags: NDArray[np.int64] = 1 - 2 * is_outlier.astype(np.int64)
        return flags

    def decision_function(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Score minus the threshold: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``score_samples - label_offset_`` with labels, else
            ``score_samples - offset_``.
        """
        scores = self.score_samples(X, labels)
        return scores - (self.offset_ if labels is None else self.label_offset_)

    def score_samples(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """How normal each row is; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None gives the log density of the mixture.

        Returns
        -------
        ndarray of shape (n_samples,)
            Standard deviations from the class's median log density
            (``"likelihood"``), or natural-log units.

        Raises
        ------
        ValueError
            If a claimed label was not seen in ``fit``, or ``fit`` had no labels.
        """
        check_is_fitted(self, "estimator_")
        X = _model_input(X, validate_instances(self, X, reset=False))
        if labels is None:
            return mixture_log_density(self.estimator_, X)
        return self._claimed_scores(X, self._encoded_claims(X, labels))

    def p_values(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Split-conformal p-values of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances; rows that the model was trained on score too well.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(1 + #{held-out scores <= s}) / (n_held_out + 1)``, in (0, 1]. For
            rows exchangeable with the held-out ones, P(p <= a) <= a.
        """
        scores = self.score_samples(X, labels)
        return conformal_p_values(
            self.calibration_scores_
            if labels is None
            else self.label_calibration_scores_,
            scores,
        )

    def fit_predict(
        self, X: ArrayLike, y: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Fit, then flag the same rows by the labels they claim.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,) or None, default=None
            Claimed labels.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 for outliers, 1 for the rest.
        """
        flags: NDArray[np.int64] = self.fit(X, y).predict(X, labels=y)
        return flags

    def _split(
        self, y: NDArray[Any] | None, n_samples: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows to train on and rows held out; a frozen model needs none to train."""
        rows = np.arange(n_samples)
        if isinstance(self.estimator, FrozenEstimator):
            return rows[:0], rows
        if n_samples < 2:
            raise ValueError(
                f"n_samples={n_samples}: calibration_fraction holds out rows of X, "
                "which needs at least 2"
            )
        if y is not None:
            classes, counts = np.unique(y, return_counts=True)
            if counts.min() < 2:
                raise ValueError(
                    "calibration_fraction holds out rows of each class, but class "
                    f"{classes.tolist()[counts.argmin()]!r} has only {counts.min()} row"
                )
        n_held_out = self._n_held_out(n_samples)
        try:
            train_rows, held_out_rows = train_test_split(
                rows,
                test_size=n_held_out,
                stratify=y,
                random_state=check_random_state(self.random_state),
            )
        except ValueError as error:
            raise ValueError(
                f"calibration_fraction={self.calibration_fraction!r} cannot split "
                f"n_samples={n_samples}: {error}"
            ) from error
        return np.sort(train_rows), np.sort(held_out_rows)

    def _n_held_out(self, n_samples: int) -> int:
        n_held_out = int(np.ceil(self.calibration_fraction * n_samples))
        if self.contamination is None:
            n_needed = n_rows_for_level(self.false_alarm_rate)
            n_held_out = max(n_held_out, min(n_needed, n_samples // 2))
        return n_held_out

    def _fitted_model(
        self, X: Any, y: NDArray[Any] | None, train_rows: NDArray[np.intp]
    ) -> Any:
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator)
            return self.estimator
        y_train = None if y is None else y[train_rows]
        if self.estimator is None:
            return ColumnGaussians.from_rows(safe_indexing(X, train_rows), y_train)
        if y_train is None:
            raise ValueError(
                "y=None: claimed labels are needed to fit estimator="
                f"{type(self.estimator).__name__}; give y, a FrozenEstimator, or "
                "estimator=None"
            )
        return clone(self.estimator).fit(safe_indexing(X, train_rows), y_train)

    def _claimed_scores(
        self, X: Any, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        if self.score_kind == "posterior":
            return claimed_log_posterior(self.estimator_, X, claimed)
        density = claimed_log_density(self.estimator_, X, claimed)
        scores: NDArray[np.float64] = density - self.medians_[claimed]
        return scores / self.scales_[claimed]

    def _encoded_claims(self, X: Any, labels: ArrayLike) -> NDArray[np.int64]:
        if not hasattr(self, "classes_"):
            raise ValueError("labels were given, but fit had no claimed labels y")
        labels = column_or_1d(labels, warn=True)
        check_consistent_length(X, labels)
        return encode_labels(labels, self.classes_, name="labels")

    def _threshold(
        self, held_out_scores: NDArray[np.float64], all_scores: Any
    ) -> float:
        if self.contamination is not None:
            return float(np.percentile(all_scores(), 100.0 * self.contamination))
        return conformal_threshold(held_out_scores, self.false_alarm_rate)

    def __sklearn_tags__(self) -> Tags:
        """Tags: images are accepted besides rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags


def _model_input(X: Any, instances: NDArray[Any]) -> Any:
    """Instances as the model takes them: with column names, if X has them."""
    return X if hasattr(X, "columns") else instances


def _class_medians_and_scales(
    density: NDArray[np.float64], claimed: NDArray[np.int64], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and scaled MAD of each class, pooled where a class has no spread."""
    medians = np.full(n_classes, np.median(density))
    scales = np.zeros(n_classes)
    for k in np.unique(claimed):
        of_class = density[claimed == k]
        medians[k] = np.median(of_class)
        scales[k] = _MAD_TO_SCALE * np.median(np.abs(of_class - medians[k]))
    return medians, np.where(
        scales > 0, scales, _pooled_scale(density - medians[claimed])
    )


def _leave_one_out_scores(
    density: NDArray[np.float64], claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Standardise each row by the median and MAD of the others of its class.

    A row that helps to choose its own scale looks more normal than a new one: with
    ten held-out rows a class, 14 % of new rows had p-values of at most 0.1.
    """
    medians = np.full_like(density, np.median(density))
    scales = np.zeros_like(density)
    for k in np.unique(claimed):
        rows = np.flatnonzero(claimed == k)
        if len(rows) > 1:
            of_class = density[rows]
            medians[rows] = _medians_of_others(of_class)
            for median in np.unique(medians[rows]):  # at most three
                mads = _medians_of_others(np.abs(of_class - median))
                is_its = medians[rows] == median
                scales[rows[is_its]] = _MAD_TO_SCALE * mads[is_its]
    residuals = density - medians
    scores: NDArray[np.float64] = residuals / np.where(
        scales > 0, scales, _pooled_scale(residuals)
    )
    return scores


def _medians_of_others(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the other values, for each of n >= 2 values."""
    order = np.argsort(values)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(values))
    ordered = values[order]
    # Without rank r, position p of the order holds what stood at p + (p >= r).
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2
    medians: NDArray[np.float64] = 0.5 * (
        ordered[low + (low >= ranks)] + ordered[high + (high >= ranks)]
    )
    return medians


def _pooled_scale(residuals: NDArray[np.float64]) -> float:
    """Scaled median of absolute residuals of all classes; 1 where that is 0."""
    scale = _MAD_TO_SCALE * float(np.median(np.abs(residuals)))
    return scale if scale > 0 else 1.0
