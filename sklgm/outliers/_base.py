"""What detectors that judge rows by their claimed labels have in common."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import is_dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, assert_all_finite
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from sklgm._inputs import encode_labels, split_steps, validate_instances
from sklgm._random import draw_seed
from sklgm._running import Runner, count_workers
from sklgm._sklearn_private import (
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    safe_indexing,
)
from sklgm.classifiers._fixed_part import FixedPart, FrozenNetwork
from sklgm.metrics._levels import is_flagged, share_threshold
from sklgm.outliers._calibration import (
    Calibration,
    FoldScores,
    RowScores,
    ScoreKind,
    calibrate_claims,
    calibrate_label_free,
    warn_if_doubtful,
)
from sklgm.outliers._conformal import n_rows_for_level
from sklgm.outliers._decisions import (
    Thresholds,
    q_values,
    upper_median,
    warn_of_ties,
)
from sklgm.outliers._distance_law import DistanceLaw
from sklgm.outliers._evidence import NO_DENSITY, Evidence, ask_folds
from sklgm.outliers._folds import Split, make_folds
from sklgm.outliers._trusted import Trusted, check_trusted
from sklgm.persistence import PersistenceMixin

# In a file, in place of the fixed part.
_IN_MODELS = "in models"
_OPTIONAL_ATTRIBUTES = (
    "_claims_",
    "_fixed_",
    "_is_train_outlier_",
    "_label_free_",
    "_models_",
    "classes_",
    "estimators_",
    "label_offset_",
    "noise_share_",
    "offset_",
    "train_p_values_",
    "train_scores_",
)


class ClaimedLabelDetector(OutlierMixin, PersistenceMixin, BaseEstimator, ABC):
    """Base of detectors that judge a row by the label it claims.

    It trains a model for each fold, asks it about the rows that did not train it, and
    decides; its public methods are final. A detector writes how its model is fitted
    (``_fit_model``) and asked (``_read``), how normal it then finds rows
    (``_claimed_scores``, ``_label_free_scores``), and what the scores of claims are
    (``_score_kind``). A model has ``classes_``. Optional:

    - ``_needs_training``: False where every row of ``fit`` is judged by one model;
    - ``_label_free_has_units``: False where label-free scores of different models
      can be compared as they are;
    - ``_distance_law``, where scores are squared distances.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "contamination": [Interval(Real, 0, 0.5, closed="right"), None],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "calibration": [StrOptions({"auto", "marginal", "per_class"})],
        "cv": [
            Interval(Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            Iterable,
        ],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        contamination: float | None,
        false_alarm_rate: float,
        calibration: str,
        cv: Any,
        n_jobs: int | None,
        random_state: int | np.random.RandomState | None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    @abstractmethod
    def _fit_model(self, estimator: Any, X: Any, y: NDArray[Any] | None) -> Any:
        """Model of training rows; it has ``classes_`` where y is given."""

    @abstractmethod
    def _read(self, model: Any, X: Any) -> Evidence:
        """Ask a model about rows, in one pass through it."""

    @abstractmethod
    def _claimed_scores(
        self, model: Any, evidence: Evidence, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """Score of claims, higher is more normal; None where the posterior is all."""

    @abstractmethod
    def _label_free_scores(
        self, model: Any, evidence: Evidence
    ) -> NDArray[np.float64] | None:
        """Score whatever the label; None where the model has none."""

    @abstractmethod
    def _score_kind(self) -> ScoreKind:
        """Say what the scores of claims are."""

    def _needs_training(self) -> bool:
        """Whether rows of ``fit`` train the model."""
        return True

    def _label_free_has_units(self) -> bool:
        """Whether label-free scores have the unit of the features."""
        return True

    def _distance_law(self, model: Any) -> DistanceLaw:
        """Law of the squared distances that scores of claims are."""
        raise NotImplementedError

    def _check_settings(self) -> None:
        """Raise where parameters exclude each other."""

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        trusted: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Train a model for each fold and judge the rows that did not train it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,) or None, default=None
            Claimed labels. None: label-free scores only.
        trusted : tuple of (X_trusted, y_trusted) or None, default=None
            Rows whose labels are known to be right, and which are none of X; p-values
            are then taken against them.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X is empty or not finite, if y has missing labels, if ``cv`` cannot
            split the rows, if ``estimator`` has not what the score needs, if it must
            be fitted and y is None, if a trusted label is none of y's, or if
            parameters exclude each other. The detector is then not fitted, even if it
            was before.
        TypeError
            If ``trusted`` is not a pair, or labels have types without an order.
        """
        for name in _OPTIONAL_ATTRIBUTES:  # of a fit before this one
            if hasattr(self, name):
                delattr(self, name)
        instances = validate_instances(self, X, reset=True)
        X = _model_input(X, instances)
        y = None if y is None else _known_labels(y)
        check_consistent_length(instances, y)
        self._check_settings()

        splits = self._splits(y, len(instances))
        classes, claimed = self._encoded(y)
        known = self._trusted_rows(trusted, X, classes)
        estimator, fixed = self.estimator, FixedPart.of(self.estimator)
        if fixed is not None:  # models differ in the rest alone
            estimator, X = fixed.trainable, fixed.fit_transform(X)
            known = known and (fixed.transform(known[0]), known[1])
        models, folds = self._ask(estimator, X, y, claimed, classes, splits, known)
        self._fixed_ = fixed
        self.estimators_ = [self._published(_joined(model, fixed)) for model in models]

        label_free = calibrate_label_free(folds, self._label_free_has_units())
        if label_free is not None:
            thresholds = self._thresholds(label_free, None, is_asked_for=y is None)
            self._label_free_ = label_free, thresholds
            self.offset_ = float(thresholds.offsets[0])
        if claimed is None:
            if label_free is None:
                raise ValueError(NO_DENSITY.format(name=_name(models[0])))
            judged = label_free
        else:
            assert classes is not None
            self.classes_ = classes
            judged = calibrate_claims(
                folds,
                claimed,
                len(classes),
                self._score_kind(),
                calibration=self.calibration,
                trusted=None if known is None else known[1],
            )
            thresholds = self._thresholds(judged, claimed, is_asked_for=True)
            self._claims_ = judged, thresholds
            is_one = len(thresholds.offsets) == 1
            self.label_offset_ = (
                float(thresholds.offsets[0]) if is_one else thresholds.offsets
            )
            if judged.right_claims is not None:
                self.noise_share_ = judged.right_claims.noise_share
                if judged.kind.is_posterior and self.contamination is None:
                    warn_if_doubtful(judged.right_claims, stacklevel=3)
        self.train_scores_, self.train_p_values_ = judged.scores, judged.p_values
        if self.contamination is None:
            self._is_train_outlier_ = is_flagged(judged.p_values, self.false_alarm_rate)
        else:
            nothing = np.zeros(len(judged.scores), dtype=np.int64)
            groups = nothing if claimed is None else _groups(thresholds, claimed)
            self._is_train_outlier_ = judged.scores < thresholds.offsets[groups]
        self._models_ = models
        self._warn_of_few_rows(judged, is_ranked=known is None)
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
            ``score_samples - label_offset_`` with labels (that of the claimed class,
            where thresholds are set per class), else ``score_samples - offset_``.
        """
        _, thresholds, claimed, scores = self._scores_of_folds(X, labels)
        return thresholds.decisions(scores, _groups(thresholds, claimed))

    def score_samples(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """How normal each row is; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label.

        Returns
        -------
        ndarray of shape (n_samples,)
            Scores in the unit that the class docstring states.

        Raises
        ------
        ValueError
            If a claimed label was not seen in ``fit``, or ``fit`` had no labels.
        """
        _, thresholds, claimed, scores = self._scores_of_folds(X, labels)
        return thresholds.levelled(scores, _groups(thresholds, claimed))

    def p_values(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """How often a right row would score as low.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances; rows of ``fit`` score too well, as most models were trained on
            them: see ``train_p_values_``.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label.

        Returns
        -------
        ndarray of shape (n_samples,)
            In [0, 1]; by the law that ``calibration`` names, see the class docstring.
            Over several folds the median (the greater middle one of an even number),
            for which P(p <= a) <= 2 a if that of each is at most a.
        """
        calibration, _, claimed, scores = self._scores_of_folds(X, labels)
        groups = calibration.groups(claimed)
        return upper_median(
            [
                law.p_values(of_fold, groups)
                for law, of_fold in zip(calibration.laws, scores, strict=True)
            ]
        )

    def q_values(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Smallest false discovery rate at which each row would be flagged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            The whole set of rows to judge; a q-value depends on all of them.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label.

        Returns
        -------
        ndarray of shape (n_samples,)
            p-values adjusted by Benjamini and Hochberg, in [0, 1]. Where rows with
            ``q <= a`` are flagged, the expected share of right ones among them is at
            most a. That holds for p-values that are positively dependent (PRDS), as
            split-conformal ones against the same rows are: see Bates et al., "Testing
            for outliers with conformal p-values", Annals of Statistics 51, 2023. It is
            not proven for medians over folds, nor for the model of right claims.
        """
        return q_values(self.p_values(X, labels))

    def fit_predict(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        trusted: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> NDArray[np.int64]:
        """Fit, and flag the same rows by the labels they claim.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        y : array-like of shape (n_samples,) or None, default=None
            Claimed labels.
        trusted : tuple of (X_trusted, y_trusted) or None, default=None
            As for ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,)
            -1 for outliers, 1 for the rest. Each row is judged by the model that was
            not trained on it: ``train_p_values_`` up to ``false_alarm_rate`` are
            flagged, or the ``contamination`` of lowest ``train_scores_``.
        """
        self.fit(X, y, trusted=trusted)
        return np.where(self._is_train_outlier_, -1, 1)

    def _splits(self, y: NDArray[Any] | None, n_samples: int) -> list[Split]:
        """Rows to train on and rows held out, of each fold; all, of a frozen model."""
        if self._needs_training():
            seed = draw_seed(self.random_state)
            return make_folds(y, n_samples, cv=self.cv, seed=seed)
        rows = np.arange(n_samples)
        return [(rows, rows)]

    def _encoded(
        self, y: NDArray[Any] | None
    ) -> tuple[NDArray[Any] | None, NDArray[np.int64] | None]:
        """Classes that the models know, and the index of each claim among them."""
        if y is None:
            return None, None
        classes = np.unique(y)
        if not self._needs_training():
            check_is_fitted(self.estimator)
            if not hasattr(self.estimator, "classes_"):
                raise ValueError(
                    f"estimator={_name(self.estimator)} has no classes_: claimed "
                    "labels need a classifier"
                )
            classes = np.asarray(self.estimator.classes_)
        return classes, encode_labels(y, classes, name="y")

    def _trusted_rows(
        self, trusted: Any, X: Any, classes: NDArray[Any] | None
    ) -> Trusted | None:
        if trusted is None:
            return None
        if classes is None:
            raise ValueError(
                "trusted rows have labels to compare claims with: give the claimed "
                "labels y too"
            )
        if self.calibration == "chi2":
            raise ValueError(
                "calibration='chi2' takes p-values from a law and not from trusted "
                "rows: set calibration='auto', or trusted=None"
            )
        X_trusted, labels = check_trusted(trusted, X, classes, stacklevel=4)
        if not hasattr(X_trusted, "columns"):
            X_trusted = X_trusted.reshape(len(X_trusted), *np.shape(X)[1:])
        return X_trusted, labels

    def _ask(
        self,
        estimator: Any,
        X: Any,
        y: NDArray[Any] | None,
        claimed: NDArray[np.int64] | None,
        classes: NDArray[Any] | None,
        splits: list[Split],
        known: Trusted | None,
    ) -> tuple[list[Any], list[FoldScores]]:
        """Model of each fold, and what it says of the rows that did not train it."""
        ask = partial(
            self._ask_fold,
            estimator=estimator,
            X=X,
            y=y,
            claimed=claimed,
            classes=classes,
            known=known,
        )
        runner = Runner(n_jobs=count_workers(self.n_jobs, len(splits)))
        answers = ask_folds(ask, splits, runner)
        return [model for model, _ in answers], [scores for _, scores in answers]

    def _ask_fold(
        self,
        number: int,
        split: Split,
        *,
        estimator: Any,
        X: Any,
        y: NDArray[Any] | None,
        claimed: NDArray[np.int64] | None,
        classes: NDArray[Any] | None,
        known: Trusted | None,
    ) -> tuple[Any, FoldScores]:
        train, rows = split
        of_train = None if y is None else y[train]
        model = self._fit_model(estimator, safe_indexing(X, train), of_train)
        if classes is not None and not np.array_equal(model.classes_, classes):
            raise ValueError(
                f"estimator knows the classes {list(model.classes_)}, but y holds "
                f"{classes.tolist()}"
            )
        of_claims = None if claimed is None else claimed[rows]
        held_out = self._score_rows(model, safe_indexing(X, rows), of_claims)
        has_law = self.calibration == "chi2" and claimed is not None
        return model, FoldScores(
            rows,
            held_out,
            None if known is None else self._score_rows(model, *known),
            self._distance_law(model) if has_law else None,
        )

    def _score_rows(
        self, model: Any, X: Any, claimed: NDArray[np.int64] | None
    ) -> RowScores:
        """All scores of rows, from one pass through the model."""
        evidence = self._read(model, X)
        of_claims = (
            None if claimed is None else self._claimed_scores(model, evidence, claimed)
        )
        return RowScores(
            of_claims, evidence.log_proba, self._label_free_scores(model, evidence)
        )

    def _stored_state(self) -> dict[str, Any]:
        """Attributes by which it is saved; its models have what is fixed, too."""
        state = dict(vars(self))
        if isinstance(state.get("_fixed_"), FixedPart):
            state["_fixed_"] = _IN_MODELS
        return state

    def _restore_state(self, state: dict[str, Any], device: Any) -> None:
        """Take attributes that were saved."""
        self.__dict__.update(state)
        if state.get("_fixed_") == _IN_MODELS:
            fitted: Any = self.estimators_[0]
            if is_dataclass(fitted):  # features, and what they are of
                fitted = getattr(fitted, "estimator", None)
            self._fixed_ = FixedPart.of_fitted(self.estimator, fitted)

    def _published(self, model: Any) -> Any:
        """Model as ``estimators_`` holds it."""
        return model

    def _thresholds(
        self,
        calibration: Calibration,
        claimed: NDArray[np.int64] | None,
        *,
        is_asked_for: bool,
    ) -> Thresholds:
        """Scores below which rows are flagged."""
        if self.contamination is None:
            return Thresholds.of_folds(
                np.array(
                    [law.thresholds(self.false_alarm_rate) for law in calibration.laws]
                )
            )
        is_per_class = claimed is not None and self.calibration == "per_class"
        groups = claimed if claimed is not None and is_per_class else None
        scores = calibration.scores
        of_groups = (
            [scores]
            if groups is None
            else [scores[groups == k] for k in range(calibration.n_groups)]
        )
        offsets = np.array(
            [share_threshold(each, self.contamination) for each in of_groups]
        )
        if is_asked_for:
            classes = self.classes_.tolist() if is_per_class else []
            warn_of_ties(of_groups, offsets, self.contamination, classes, stacklevel=4)
        return Thresholds(offsets, np.zeros((len(calibration.laws), len(offsets))))

    def _scores_of_folds(
        self, X: ArrayLike, labels: ArrayLike | None
    ) -> tuple[Calibration, Thresholds, NDArray[np.int64], list[NDArray[np.float64]]]:
        """Score new rows by each fold; with the laws, thresholds and claims."""
        check_is_fitted(self, "_models_")
        rows = _model_input(X, validate_instances(self, X, reset=False))
        if self._fixed_ is not None:
            rows = self._fixed_.transform(rows)
        if labels is None:
            if not hasattr(self, "_label_free_"):
                raise ValueError(NO_DENSITY.format(name=_name(self._models_[0])))
            calibration, thresholds = self._label_free_
            nothing = np.zeros(len(rows), dtype=np.int64)
            scores = [
                calibration.fold_scores(
                    i,
                    RowScores(self._label_free_scores(model, self._read(model, rows))),
                    nothing,
                )
                for i, model in enumerate(self._models_)
            ]
            return calibration, thresholds, nothing, scores
        claimed = self._encoded_claims(labels)
        check_consistent_length(rows, claimed)
        calibration, thresholds = self._claims_
        evidences = [self._read(model, rows) for model in self._models_]
        scores = [
            calibration.fold_scores(
                i,
                RowScores(
                    self._claimed_scores(model, evidence, claimed), evidence.log_proba
                ),
                claimed,
            )
            for i, (model, evidence) in enumerate(
                zip(self._models_, evidences, strict=True)
            )
        ]
        return calibration, thresholds, claimed, scores

    def _encoded_claims(self, labels: ArrayLike) -> NDArray[np.int64]:
        if not hasattr(self, "classes_"):
            raise ValueError("labels were given, but fit had no claimed labels y")
        return encode_labels(column_or_1d(labels, warn=True), self.classes_)

    def _warn_of_few_rows(self, judged: Calibration, *, is_ranked: bool) -> None:
        """Warn where no p-value can reach the level."""
        if self.contamination is not None:
            return
        # A row of `fit` that is ranked among the others has one fewer to be below.
        n_needed = n_rows_for_level(self.false_alarm_rate) + is_ranked
        smallest = np.max([law.smallest_p_values() for law in judged.laws], axis=0)
        with np.errstate(divide="ignore"):
            n_rows = np.where(smallest > 0, np.round(1.0 / smallest - 1.0), np.inf)
        is_short = n_rows < n_needed
        if not is_short.any():
            return
        rows = "rows" if is_ranked else "trusted rows"
        needs = f"false_alarm_rate={self.false_alarm_rate!r} needs at least {n_needed} "
        advice = "Give more rows or raise false_alarm_rate, or set contamination"
        if len(n_rows) == 1:
            message = f"{needs}{rows}, got {n_rows[0]:.0f}: no row of fit is flagged"
        else:
            labels = self.classes_.tolist()
            short = [
                f"{labels[k]!r} ({n_rows[k]:.0f})" for k in np.flatnonzero(is_short)
            ]
            named = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
            message = (
                f"{needs}{rows} of each class: nothing is flagged among those that "
                f"claim {named}"
            )
        warnings.warn(f"{message}. {advice}", UserWarning, stacklevel=4)

    def __sklearn_tags__(self) -> Tags:
        """Tags: images are accepted besides rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags


def _joined(model: Any, fixed: FixedPart | FrozenNetwork | None) -> Any:
    """Model that takes rows as they were given, of one that takes features."""
    if fixed is None:
        return model
    return replace(model, estimator=fixed.joined(model.estimator))


def _model_input(X: Any, instances: NDArray[Any]) -> Any:
    """Instances as the model takes them: with column names, if X has them."""
    return X if hasattr(X, "columns") else instances


def _known_labels(y: ArrayLike) -> NDArray[Any]:
    """Labels as a vector; none of them missing."""
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    if labels.dtype != object:
        assert_all_finite(labels, input_name="y")
        return labels
    missing = [i for i, z in enumerate(labels) if z is None or z != z]
    if missing:
        raise ValueError(
            f"y holds {labels[missing[0]]!r} in {len(missing)} rows, row {missing[0]} "
            "the first of them: every row must claim a label"
        )
    types = sorted({type(label).__name__ for label in labels})
    if len(types) > 1 and "str" in types:
        raise TypeError(f"y holds labels of types {types}, which have no order")
    return labels


def _groups(thresholds: Thresholds, claimed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group whose threshold each claim has."""
    return claimed if len(thresholds.offsets) > 1 else np.zeros_like(claimed)


def _name(model: Any) -> str:
    if isinstance(model, FrozenEstimator):
        model = model.estimator
    model = getattr(model, "estimator", model)
    return type(split_steps(model)[1]).__name__
