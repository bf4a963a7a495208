"""Drop the rows of a training set whose claimed label a detector rejects."""

from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    OneToOneFeatureMixin,
    clone,
    is_outlier_detector,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils import (
    Bunch,
    InputTags,
    Tags,
    assert_all_finite,
    get_tags,
    indexable,
)
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from sklgm._inputs import split_steps, transform_by_steps, validate_instances
from sklgm._random import RandomState, draw_seed
from sklgm._running import interrupts_raised
from sklgm._sklearn_private import (
    HasMethods,
    check_method_params,
    fit_context,
    routing_enabled,
    safe_indexing,
)
from sklgm.outliers import LGMOutlierDetector
from sklgm.persistence import PersistenceMixin


@dataclass(slots=True)
class _SamplerTags:
    """imbalanced-learn's tags of a sampler."""

    sample_indices: bool = True


@dataclass(slots=True)
class _SamplerInputTags(InputTags):
    """scikit-learn's input tags and the one that imbalanced-learn adds."""

    dataframe: bool = True


@dataclass(slots=True)
class _TagsOfSampler(Tags):
    """scikit-learn's tags and those of imbalanced-learn."""

    sampler_tags: _SamplerTags = field(default_factory=_SamplerTags)


class PoisonFilter(OneToOneFeatureMixin, PersistenceMixin, BaseEstimator):
    """Sampler that drops training rows whose claimed label a detector rejects.

    A step of imbalanced-learn's ``Pipeline``: rows are dropped in ``fit`` only, and
    whatever is predicted later passes. Without imbalanced-learn use
    :class:`FilteredClassifier`.

    Parameters
    ----------
    detector : outlier detector or None, default=None
        Cloned, fitted on X and y, and asked which rows to drop, by the labels they
        claim: an :class:`~sklgm.LGMOutlierDetector` or another detector of sklgm, a
        Pipeline that ends in one, or any scikit-learn outlier detector (which ignores
        labels).
        ``sklearn.frozen.FrozenEstimator(detector)`` keeps a fitted one. None is
        ``LGMOutlierDetector()``, Gaussians on the input columns.
    random_state : int, RandomState instance or None, default=None
        Seed of the detector that stands for None.
    verbose : bool, default=False
        Print how many rows of which class were dropped.

    Attributes
    ----------
    detector_ : outlier detector
        The fitted detector.
    sample_indices_ : ndarray of int of shape (n_kept,)
        Rows that were kept, ascending.
    n_dropped_ : dict of label to int
        Number of dropped rows of each class.
    n_features_in_ : int
        Values of one instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them.
    input_shape_ : tuple of int
        Shape of one instance.

    See Also
    --------
    FilteredClassifier : The same for plain scikit-learn.
    LGMOutlierDetector : The detector.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import LGMOutlierDetector, PoisonFilter
    >>> X, y = load_iris(return_X_y=True)
    >>> y[:3] = 2  # three setosas claim to be virginicas
    >>> detector = LGMOutlierDetector(contamination=0.02, random_state=0)
    >>> poison_filter = PoisonFilter(detector)
    >>> X_kept, y_kept = poison_filter.fit_resample(X, y)
    >>> poison_filter.n_dropped_
    {0: 0, 1: 0, 2: 3}
    >>> poison_filter.sample_indices_[:3]
    array([3, 4, 5])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "detector": [HasMethods(["fit_predict"]), FrozenEstimator, None],
        "random_state": ["random_state"],
        "verbose": ["boolean"],
    }

    def __init__(
        self,
        detector: Any = None,
        *,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.detector = detector
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the detector and decide which rows to keep.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,)
            Claimed labels.

        Returns
        -------
        self : object
            The fitted filter.
        """
        self.fit_resample(X, y)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def fit_resample(self, X: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
        """Drop the rows that the detector rejects.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,), or (n_samples, n_classes) of 0 and 1
            Claimed labels of at least two classes; columns stand one against the
            rest.

        Returns
        -------
        X_kept : of the type of X
            The rows of X that were kept, in their order.
        y_kept : of the type of y
            Their labels.

        Raises
        ------
        ValueError
            If X or y is empty or not finite, y has one class or several labels per
            row, or every row of a class would be dropped.
        """
        X, y = indexable(X, y)
        claimed_labels = _single_labels(y)
        dense = _densified(X)
        instances = validate_instances(self, dense, reset=True)
        if len(np.unique(claimed_labels)) < 2:
            raise ValueError(
                "PoisonFilter needs at least 2 classes in y, got one class: "
                f"{claimed_labels.tolist()[0]!r}"
            )
        self.detector_, is_kept = _fit_and_judge(
            self.detector,
            dense if hasattr(dense, "columns") else instances,
            claimed_labels,
            self.random_state,
        )
        self.n_dropped_ = _count_dropped(self, claimed_labels, is_kept)
        self.sample_indices_ = np.flatnonzero(is_kept)
        return (
            safe_indexing(X, self.sample_indices_),
            safe_indexing(y, self.sample_indices_),
        )

    def __sklearn_tags__(self) -> Tags:
        """Tags: those of imbalanced-learn's samplers, and images are accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        fields = {name: getattr(tags, name) for name in tags.__dataclass_fields__}
        inputs = fields.pop("input_tags")
        kept = {name: getattr(inputs, name) for name in inputs.__dataclass_fields__}
        fields["target_tags"].required = True
        return _TagsOfSampler(input_tags=_SamplerInputTags(**kept), **fields)


def _estimator_has(method: str) -> Any:
    """Check for :func:`available_if`: the classifier must have the method too."""

    def check(filtered: "FilteredClassifier") -> bool:
        model = getattr(filtered, "estimator_", filtered.estimator)
        getattr(model, method)  # its own AttributeError says what is missing
        return True

    return check


class FilteredClassifier(
    MetaEstimatorMixin, ClassifierMixin, PersistenceMixin, BaseEstimator
):
    """Classifier trained on the rows that a detector lets pass.

    Rows are dropped inside ``fit``, so that cross-validation and searches see the
    filter as part of the model. The estimator is then any classifier.

    Parameters
    ----------
    estimator : classifier
        Cloned and fitted on the rows that were kept.
    detector : outlier detector or None, default=None
        As for :class:`PoisonFilter`; judges the same X. None is
        ``LGMOutlierDetector(estimator)``, the classifier's own probabilities of rows
        that it was not trained on, or without ``predict_proba`` what it is there.
    random_state : int, RandomState instance or None, default=None
        Seed of the detector that stands for None.
    verbose : bool, default=False
        Print how many rows of which class were dropped.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.
    detector_ : outlier detector
        The fitted detector.
    sample_indices_ : ndarray of int of shape (n_kept,)
        Rows of the training set that were kept, ascending.
    n_dropped_ : dict of label to int
        Number of dropped rows of each class.
    classes_ : ndarray of shape (n_classes,)
        Labels seen in ``fit``, sorted.
    n_features_in_ : int
        Values of one instance, if ``estimator_`` says so.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X has them and ``estimator_`` says so.

    See Also
    --------
    PoisonFilter : The same as a step of imbalanced-learn's Pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklgm import FilteredClassifier, LGMOutlierDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> claimed = y.copy()
    >>> claimed[:3] = 2  # three setosas claim to be virginicas
    >>> detector = LGMOutlierDetector(contamination=0.02, random_state=0)
    >>> clf = FilteredClassifier(LogisticRegression(max_iter=1000), detector)
    >>> clf.fit(X, claimed).n_dropped_
    {0: 0, 1: 0, 2: 3}
    >>> clf.predict(X[:3])
    array([0, 0, 0])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "detector": [HasMethods(["fit_predict"]), FrozenEstimator, None],
        "random_state": ["random_state"],
        "verbose": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        detector: Any = None,
        *,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.detector = detector
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> Self:
        """Fit the detector on all rows and the classifier on those it keeps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances, as detector and classifier take them.
        y : array-like of shape (n_samples,)
            Claimed labels.
        **fit_params : dict
            For the classifier's ``fit``, such as ``sample_weight``; what has one
            value per row is cut to the kept rows.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If every row of a class would be dropped, or as detector and classifier
            raise it.
        """
        if y is None:
            raise ValueError(
                "FilteredClassifier requires y to be passed, but the target y is None"
            )
        X, y = indexable(X, y)
        claimed_labels = column_or_1d(y, warn=True)
        assert_all_finite(claimed_labels, input_name="y")
        check_classification_targets(claimed_labels)
        if routing_enabled():
            of_estimator = process_routing(self, "fit", **fit_params).estimator.fit
        else:
            of_estimator = Bunch(**fit_params)
        detector = self.detector
        if detector is None and hasattr(self.estimator, "predict_proba"):
            seed = draw_seed(self.random_state)
            detector = LGMOutlierDetector(self.estimator, random_state=seed)
        self.detector_, is_kept = _fit_and_judge(
            detector, X, claimed_labels, self.random_state
        )
        self.n_dropped_ = _count_dropped(self, claimed_labels, is_kept)
        kept_rows = np.flatnonzero(is_kept)
        self.sample_indices_ = kept_rows
        with interrupts_raised():
            self.estimator_ = clone(self.estimator).fit(
                safe_indexing(X, kept_rows),
                claimed_labels[kept_rows],
                **check_method_params(X, params=of_estimator, indices=kept_rows),
            )
        self.classes_ = self.estimator_.classes_
        for name in ("n_features_in_", "feature_names_in_"):  # of a fit before
            self.__dict__.pop(name, None)
        if hasattr(self.estimator_, "n_features_in_"):
            self.n_features_in_ = self.estimator_.n_features_in_
        if hasattr(self.estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.estimator_.feature_names_in_
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row; no row is dropped.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        check_is_fitted(self)
        labels: NDArray[Any] = self.estimator_.predict(X)
        return labels

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Class probabilities, where the classifier has them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In [0, 1]; columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        proba: NDArray[np.floating] = self.estimator_.predict_proba(X)
        return proba

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Natural log of the class probabilities, where the classifier has them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Values <= 0; columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        log_proba: NDArray[np.floating] = self.estimator_.predict_log_proba(X)
        return log_proba

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: ArrayLike) -> NDArray[np.floating]:
        """Confidence scores, where the classifier has them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            As the classifier's own.
        """
        check_is_fitted(self)
        decision: NDArray[np.floating] = self.estimator_.decision_function(X)
        return decision

    def get_metadata_routing(self) -> MetadataRouter:
        """Route what ``fit`` is given to the classifier.

        Returns
        -------
        MetadataRouter
            See the user guide of scikit-learn on metadata routing.
        """
        router = MetadataRouter(owner=self)
        router.add_self_request(self)
        return router.add(
            estimator=self.estimator,
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def __sklearn_tags__(self) -> Tags:
        """Tags: the classifier's inputs; sparse only if the detector takes them."""
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        detector = LGMOutlierDetector() if self.detector is None else self.detector
        tags.input_tags.sparse &= get_tags(detector).input_tags.sparse
        tags.input_tags.allow_nan &= get_tags(detector).input_tags.allow_nan
        return tags


def _fit_and_judge(
    detector: Any, X: Any, claimed_labels: NDArray[Any], random_state: RandomState
) -> tuple[Any, NDArray[np.bool_]]:
    """Fit a detector, unless it is frozen, and ask it which rows to keep."""
    if detector is None:
        detector = LGMOutlierDetector(random_state=draw_seed(random_state))
    if not is_outlier_detector(detector):
        raise ValueError(
            "detector must be an outlier detector, or a Pipeline or FrozenEstimator of "
            f"one, got {detector!r}"
        )
    if isinstance(detector, FrozenEstimator):
        check_is_fitted(detector)
        fitted = detector.estimator
        # A Pipeline's own `predict` does not say whether its last step takes labels.
        steps_before, last_step = split_steps(fitted)
        X = transform_by_steps(steps_before, X)
        takes_labels = "labels" in signature(last_step.predict).parameters
        flags = (
            last_step.predict(X, labels=claimed_labels)
            if takes_labels  # a detector of features alone has no such parameter
            else last_step.predict(X)
        )
    else:
        fitted = clone(detector)
        with interrupts_raised():
            flags = fitted.fit_predict(X, claimed_labels)
    return fitted, np.asarray(flags) != -1


def _count_dropped(
    estimator: PoisonFilter | FilteredClassifier,
    claimed_labels: NDArray[Any],
    is_kept: NDArray[np.bool_],
) -> dict[Any, int]:
    """Count the dropped rows of each class; no class may lose them all."""
    classes, y_encoded = np.unique(claimed_labels, return_inverse=True)
    counts = np.bincount(y_encoded)
    dropped = np.bincount(y_encoded[~is_kept], minlength=len(classes))
    labels = classes.tolist()
    for k in np.flatnonzero(dropped == counts):
        raise ValueError(
            f"the detector rejects every row of class {labels[k]!r} ({counts[k]} "
            "rows); a filter must not remove a class: lower its false_alarm_rate or "
            "contamination, or look at the class"
        )
    n_dropped = dict(zip(labels, dropped.tolist(), strict=True))
    if estimator.verbose:
        print(
            f"{type(estimator).__name__}: dropped {dropped.sum()} of "
            f"{len(claimed_labels)} rows; by class: {n_dropped}"
        )
    return n_dropped


def _densified(X: Any) -> Any:
    """Dense frame of a pandas frame of sparse columns; anything else as it is."""
    is_sparse_frame = hasattr(X, "columns") and hasattr(X, "sparse")
    return X.sparse.to_dense() if is_sparse_frame else X


def _single_labels(y: ArrayLike) -> NDArray[Any]:
    """One label per row, from a column or from one-against-the-rest columns."""
    check_classification_targets(y)
    values = np.asarray(y)
    assert_all_finite(values, input_name="y")
    if values.ndim < 2 or values.shape[1] == 1:
        labels: NDArray[Any] = values.ravel()
        return labels
    is_one_of_all = type_of_target(y) == "multilabel-indicator" and bool(
        (values.sum(axis=1) == 1).all()
    )
    if not is_one_of_all:
        raise ValueError("Multilabel and multioutput targets are not supported.")
    indices: NDArray[Any] = values.argmax(axis=1)
    return indices
