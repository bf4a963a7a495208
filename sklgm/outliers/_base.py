"""What detectors that judge rows by their claimed labels have in common."""

import warnings
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, assert_all_finite
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from sklgm._inputs import encode_labels, validate_instances
from sklgm._sklearn_private import (
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    safe_indexing,
)
from sklgm.outliers._conformal import (
    ChiSquareLaw,
    HeldOutScores,
    ScoreLaw,
    n_rows_for_level,
)
from sklgm.outliers._members import (
    Calibration,
    Member,
    calibration_of,
    contamination_threshold,
    upper_median,
)
from sklgm.outliers._splits import folds, hold_out
from sklgm.outliers._standardisation import combine, standardise

_OPTIONAL_ATTRIBUTES = (
    "_members_",
    "calibration_scores_",
    "classes_",
    "estimator_",
    "estimators_",
    "label_calibration_scores_",
    "label_offset_",
    "medians_",
    "offset_",
    "scales_",
    "train_p_values_",
    "train_scores_",
)


class ClaimedLabelDetector(OutlierMixin, BaseEstimator, ABC):
    """Base of detectors that judge a row by the label it claims.

    It holds rows out, calibrates, and flags; its public methods are final. A detector
    writes how its model is fitted (``_fit_model``) and how normal it finds rows under
    the labels they claim (``_claimed_scores``). A model has ``classes_``. Optional:

    - ``_label_free_scores`` (default: the score of the class that fits best) and
      ``_has_label_free_scores``;
    - ``_needs_training``: False where every row of ``fit`` calibrates;
    - ``_is_standardised``: True where scores are standardised by the held-out rows of
      each class;
    - ``_claimed_evidence``: scores of claims together with log probabilities that they
      are combined with once they are standardised;
    - ``_n_dimensions``, where scores have a chi-square law.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "contamination": [Interval(Real, 0, 0.5, closed="right"), None],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "calibration": [StrOptions({"marginal", "per_class"})],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        contamination: float | None,
        false_alarm_rate: float,
        calibration: str,
        calibration_fraction: float,
        cv: Any,
        random_state: int | np.random.RandomState | None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.calibration_fraction = calibration_fraction
        self.cv = cv
        self.random_state = random_state

    @abstractmethod
    def _fit_model(self, X: Any, y: NDArray[Any] | None) -> Any:
        """Model of training rows; it has ``classes_`` where y is given."""

    @abstractmethod
    def _claimed_scores(
        self, model: Any, X: Any, claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Score of rows under the classes they claim; higher is more normal."""

    def _claimed_evidence(
        self, model: Any, X: Any, claimed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Scores of claims, and log probabilities to combine them with, if any."""
        return self._claimed_scores(model, X, claimed), None

    def _label_free_scores(self, model: Any, X: Any) -> NDArray[np.float64]:
        """Score whatever the label; higher is more normal."""
        n_samples, n_classes = len(X), len(model.classes_)
        scores = [
            self._claimed_scores(model, X, np.full(n_samples, k, dtype=np.int64))
            for k in range(n_classes)
        ]
        best: NDArray[np.float64] = np.max(scores, axis=0)
        return best

    def _has_label_free_scores(self, model: Any) -> bool:
        """Whether the model can; one that cannot still judges claims."""
        return True

    def _needs_training(self) -> bool:
        """Whether rows of ``fit`` train the model."""
        return True

    def _is_standardised(self) -> bool:
        """Whether claimed scores are standardised by the held-out rows of a class."""
        return False

    def _n_dimensions(self, model: Any) -> int:
        """Dimension d of the Gaussians, the degrees of freedom of squared distances."""
        raise NotImplementedError

    def _check_settings(self) -> None:
        """Raise where parameters exclude each other."""

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
            If X is empty or not finite, if y has missing labels, if a class has too
            few rows to be held out in part, if ``cv`` cannot split the rows, if
            ``estimator`` has not what the score needs, if it must be fitted and y is
            None, or if parameters exclude each other. The detector is then not
            fitted, even if it was before.
        """
        for name in _OPTIONAL_ATTRIBUTES:  # of a fit before this one
            if hasattr(self, name):
                delattr(self, name)
        instances = validate_instances(self, X, reset=True)
        X = _model_input(X, instances)
        y = None if y is None else _known_labels(y)
        check_consistent_length(instances, y)
        self._check_settings()

        members = [
            self._calibrate(X, y, train_rows, held_out_rows)
            for train_rows, held_out_rows in self._splits(y, len(instances))
        ]
        self._warn_of_few_rows(members)

        claimed = None
        if y is not None:
            self.classes_ = members[0].model.classes_
            claimed = encode_labels(y, self.classes_, name="y")
        if self.cv is None:
            self._publish_single(members[0])
        else:
            self._publish_cross_fitted(members, len(instances))
        if members[0].free is not None:
            self.offset_ = float(self._offsets(members, X, None)[0])
        if claimed is not None:
            offsets = self._offsets(members, X, claimed)
            per_class = self.calibration == "per_class"
            self.label_offset_ = offsets if per_class else float(offsets[0])
        self._members_ = members
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
        scores = self.score_samples(X, labels)
        if labels is None:
            return scores - self.offset_
        groups = self._groups(self._encoded_claims(labels))
        offsets: NDArray[np.float64] = np.atleast_1d(self.label_offset_)[groups]
        return scores - offsets

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
        check_is_fitted(self, "_members_")
        X = _model_input(X, validate_instances(self, X, reset=False))
        claimed = None if labels is None else self._encoded_claims(labels)
        check_consistent_length(X, claimed)
        groups = _one_group(X) if claimed is None else self._groups(claimed)
        scores, can_flag = [], []
        for member in self._members_:
            of_member = self._scores(member, X, claimed)
            calibration = calibration_of(member, claimed)
            scores.append(of_member - calibration.references[groups])
            can_flag.append(np.isfinite(calibration.thresholds)[groups])
        # A fold too small for the level votes to keep, where the others decide.
        is_decided = 2 * np.sum(can_flag, axis=0) > len(can_flag)  # (n_samples,)
        for i, can in enumerate(can_flag):
            is_abstention = is_decided & ~can
            scores[i] = np.where(is_abstention, np.maximum(scores[i], 0.0), scores[i])
        return upper_median(scores)

    def p_values(
        self, X: ArrayLike, labels: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """How often a clean row would score as low.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances; rows that the model was trained on score too well.
        labels : array-like of shape (n_samples,) or None, default=None
            Claimed labels; None judges the features whatever their label, against
            all held-out rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(1 + #{held-out scores <= s}) / (n_held_out + 1)``, in (0, 1], over the
            held-out rows, or over those of the claimed class (``"per_class"``). For
            rows exchangeable with these, P(p <= a) <= a (of standardised scores over
            all classes nearly so). Of claims with ``"chi2"`` the upper tail
            probability of the squared distance, in [0, 1]. With ``cv`` the median over
            the folds (the greater middle one of an even number), for which
            P(p <= a) <= 2 a.
        """
        check_is_fitted(self, "_members_")
        X = _model_input(X, validate_instances(self, X, reset=False))
        claimed = None if labels is None else self._encoded_claims(labels)
        check_consistent_length(X, claimed)
        groups = _one_group(X) if claimed is None else self._groups(claimed)
        p_values = []
        for member in self._members_:
            scores = self._scores(member, X, claimed)
            law = calibration_of(member, claimed).law
            p_values.append(law.p_values(scores, groups))
        return upper_median(p_values)

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
            ``q <= a`` are flagged, the expected share of clean ones among them is at
            most a. That holds for p-values that are positively dependent (PRDS), as
            split-conformal ones against the same held-out rows are: see Bates et al.,
            "Testing for outliers with conformal p-values", Annals of Statistics 51,
            2023. It is not proven for medians over folds (``cv``), nor for scores that
            the held-out rows standardise, unless they are nothing else and p-values are
            taken per class.
        """
        q_values: NDArray[np.float64] = false_discovery_control(
            self.p_values(X, labels), method="bh"
        )
        return q_values

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
            -1 for outliers, 1 for the rest. With ``cv`` each row is judged by the model
            that did not train on it: ``train_p_values_`` up to ``false_alarm_rate``
            are flagged, or the ``contamination`` of lowest ``train_scores_``.
        """
        self.fit(X, y)
        if self.cv is None:
            flags: NDArray[np.int64] = self.predict(X, labels=y)
            return flags
        if self.contamination is None:
            # A level of exactly m / n must not be lost to rounding.
            is_outlier = self.train_p_values_ <= self.false_alarm_rate * (1 + 1e-12)
        elif y is None:
            is_outlier = self.train_scores_ < self.offset_
        else:
            groups = self._groups(self._encoded_claims(y))
            is_outlier = self.train_scores_ < np.atleast_1d(self.label_offset_)[groups]
        return np.where(is_outlier, -1, 1)

    def _splits(
        self, y: NDArray[Any] | None, n_samples: int
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows to train on and rows held out, of each member."""
        rows = np.arange(n_samples)
        if not self._needs_training():
            if self.cv is not None:
                raise ValueError(
                    f"cv={self.cv!r} trains a model for each fold, but estimator is a "
                    "FrozenEstimator, which is not trained: all rows calibrate it "
                    "already. Set cv=None, or give the estimator unfrozen"
                )
            return [(rows[:0], rows)]
        if self.cv is None:
            n_held_out = self._n_held_out(y, n_samples)
            return [
                hold_out(
                    y,
                    n_samples,
                    n_held_out,
                    calibration_fraction=self.calibration_fraction,
                    random_state=self.random_state,
                )
            ]
        return folds(y, n_samples, cv=self.cv, random_state=self.random_state)

    def _n_held_out(self, y: NDArray[Any] | None, n_samples: int) -> int:
        n_held_out = int(np.ceil(self.calibration_fraction * n_samples))
        if self.contamination is None:
            n_needed = n_rows_for_level(self.false_alarm_rate)
            if y is not None and self.calibration == "per_class":
                n_needed *= len(np.unique(y))
            n_held_out = max(n_held_out, min(n_needed, n_samples // 2))
        return n_held_out

    def _calibrate(
        self,
        X: Any,
        y: NDArray[Any] | None,
        train_rows: NDArray[np.intp],
        held_out_rows: NDArray[np.intp],
    ) -> Member:
        """Fit on the training rows and score those held out."""
        y_train = None if y is None else y[train_rows]
        model = self._fit_model(safe_indexing(X, train_rows), y_train)
        if y is not None and not hasattr(model, "classes_"):
            raise ValueError(
                f"estimator={type(model).__name__} has no classes_ once it is fitted: "
                "claimed labels need a classifier"
            )
        X_held_out = safe_indexing(X, held_out_rows)
        free = None
        if y is None or self._has_label_free_scores(model):
            scores = self._label_free_scores(model, X_held_out)
            one_group = _one_group(scores)
            law: ScoreLaw = HeldOutScores.from_rows(scores, one_group, 1)
            free = self._calibration_by(scores, one_group, 1, law)
        if y is None:
            return Member(model, held_out_rows, free)
        claimed = encode_labels(y[held_out_rows], model.classes_, name="y")
        raw_scores, log_probabilities = self._claimed_evidence(
            model, X_held_out, claimed
        )
        n_classes = len(model.classes_)
        medians = scales = None
        claimed_scores = raw_scores
        if self._is_standardised():
            medians, scales, left_out = standardise(raw_scores, claimed, n_classes)
            # In one class a common scale changes no rank, so that p-values per class
            # are exact; over all classes, or beside something else that decides the
            # rank, each row must be scaled as a new one is.
            is_plain = self.calibration == "per_class" and log_probabilities is None
            claimed_scores = (
                (raw_scores - medians[claimed]) / scales[claimed]
                if is_plain
                else left_out
            )
        if log_probabilities is not None:
            claimed_scores = combine(claimed_scores, log_probabilities)
        n_groups = n_classes if self.calibration == "per_class" else 1
        groups = self._groups(claimed)
        if self.calibration == "chi2":
            law = ChiSquareLaw(self._n_dimensions(model))
        else:
            law = HeldOutScores.from_rows(claimed_scores, groups, n_groups)
        claims = self._calibration_by(claimed_scores, groups, n_groups, law)
        return Member(model, held_out_rows, free, claims, medians, scales)

    def _calibration_by(
        self,
        scores: NDArray[np.float64],
        groups: NDArray[np.int64],
        n_groups: int,
        law: ScoreLaw,
    ) -> Calibration:
        thresholds = law.thresholds(self.false_alarm_rate)
        references = np.zeros(n_groups)
        if self.cv is not None and self.contamination is None:
            lowest = [
                scores[groups == g].min(initial=np.inf, where=True)
                for g in range(n_groups)
            ]
            references = np.where(np.isfinite(thresholds), thresholds, lowest)
            references[~np.isfinite(references)] = 0.0  # a group without rows
        return Calibration(scores, groups, law, thresholds, references)

    def _publish_single(self, member: Member) -> None:
        """Attributes of the one model and of its held-out rows."""
        self.estimator_ = member.model
        if member.free is not None:
            self.calibration_scores_ = np.sort(member.free.scores)
        if member.claims is not None:
            law = member.claims.law
            per_class = self.calibration == "per_class"
            self.label_calibration_scores_ = (
                list(law.by_group)
                if per_class and isinstance(law, HeldOutScores)
                else np.sort(member.claims.scores)
            )
        if member.medians is not None:
            self.medians_, self.scales_ = member.medians, member.scales

    def _publish_cross_fitted(self, members: list[Member], n_samples: int) -> None:
        """Models of the folds, and what each says of the rows it did not see."""
        self.estimators_ = [member.model for member in members]
        self.train_scores_ = np.empty(n_samples)
        self.train_p_values_ = np.empty(n_samples)
        for member in members:
            own = member.free if member.claims is None else member.claims
            assert own is not None
            rows, groups = member.held_out_rows, own.groups
            self.train_scores_[rows] = own.scores - own.references[groups]
            self.train_p_values_[rows] = own.law.held_out_p_values(own.scores, groups)

    def _scores(
        self, member: Member, X: Any, claimed: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Scores by one member: label-free, or of claims on the scale of the class."""
        if claimed is None:
            return self._label_free_scores(member.model, X)
        scores, log_probabilities = self._claimed_evidence(member.model, X, claimed)
        if member.medians is not None and member.scales is not None:
            scores = (scores - member.medians[claimed]) / member.scales[claimed]
        if log_probabilities is not None:
            scores = combine(scores, log_probabilities)
        return scores

    def _groups(self, claimed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Group in which each claim is calibrated."""
        return claimed if self.calibration == "per_class" else _one_group(claimed)

    def _encoded_claims(self, labels: ArrayLike) -> NDArray[np.int64]:
        if not hasattr(self, "classes_"):
            raise ValueError("labels were given, but fit had no claimed labels y")
        return encode_labels(column_or_1d(labels, warn=True), self.classes_)

    def _offsets(
        self, members: list[Member], X: Any, claimed: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Threshold of each group of label-free scores, or of claims."""
        calibrations = [calibration_of(member, claimed) for member in members]
        if self.contamination is None:
            # Folds: 0, or minus infinity where half of them cannot reach the level.
            of_members = [each.thresholds - each.references for each in calibrations]
            return -upper_median([-offsets for offsets in of_members])
        groups = _one_group(X) if claimed is None else self._groups(claimed)
        if self.cv is None:
            scores = self._scores(members[0], X, claimed)
        else:
            scores = np.empty(len(groups))
            for member, calibration in zip(members, calibrations, strict=True):
                scores[member.held_out_rows] = calibration.scores
        of_groups = [
            scores[groups == g] for g in range(len(calibrations[0].references))
        ]
        thresholds = np.array(
            [contamination_threshold(each, self.contamination) for each in of_groups]
        )
        if claimed is not None or not hasattr(self, "classes_"):  # what was asked for
            self._warn_of_ties(of_groups, thresholds)
        return thresholds

    def _warn_of_ties(
        self, of_groups: list[NDArray[np.float64]], thresholds: NDArray[np.float64]
    ) -> None:
        """Warn where ties flag under 1/2, or over 3/2, of ``contamination``."""
        assert self.contamination is not None
        per_class = len(of_groups) > 1
        differences = []
        for g, (scores, threshold) in enumerate(
            zip(of_groups, thresholds, strict=True)
        ):
            n_asked = self.contamination * len(scores)
            n_flagged = int(np.sum(scores < threshold))
            is_short = n_asked >= 1 and n_flagged < 0.5 * n_asked
            if n_flagged > max(np.ceil(n_asked), 1.5 * n_asked) or is_short:
                of_class = f" of class {self.classes_.tolist()[g]!r}" * per_class
                differences.append(f"{n_flagged} of {len(scores)} rows{of_class}")
        if differences:
            named = ", ".join(differences[:5]) + ", ..." * (len(differences) > 5)
            warnings.warn(
                f"contamination={self.contamination!r} cannot be met, as scores tie: "
                f"{named} are flagged. Take a score with more values (an estimator "
                "that gives finer probabilities, more neighbours), or another "
                "contamination",
                UserWarning,
                stacklevel=5,  # of the decorated fit
            )

    def _warn_of_few_rows(self, members: list[Member]) -> None:
        """Warn where no p-value can reach the level."""
        if self.contamination is not None:
            return
        n_for_new = n_rows_for_level(self.false_alarm_rate)
        # A row of a fold is judged by the others.
        n_needed = n_for_new if self.cv is None else n_for_new + 1
        n_held_out = np.array([len(member.held_out_rows) for member in members])
        laws = [member.claims.law for member in members if member.claims is not None]
        rows = "held-out rows" if self.cv is None else "held-out rows in each fold"
        more = "raise calibration_fraction" if self.cv is None else "take fewer folds"
        needs = f"false_alarm_rate={self.false_alarm_rate!r} needs at least {n_needed} "
        advice = (
            f"Give more rows, {more} or raise false_alarm_rate, or set contamination"
        )
        message = None
        if n_held_out.min() < n_needed:
            consequence = "nothing is flagged"
            if np.any(n_held_out >= n_for_new) and self.cv is not None:
                are_new = 2 * np.sum(n_held_out >= n_for_new) > len(members)
                consequence = (
                    "no row of fit in a smaller fold is flagged; new rows are "
                    f"{'' if are_new else 'not '}judged by enough folds to be"
                )
            free = " without labels" if laws and self.calibration == "chi2" else ""
            message = (
                f"{needs}{rows}, got {n_held_out.min()}: {consequence}{free}. {advice}"
            )
        elif laws and self.calibration == "per_class":
            counts = np.min(
                [
                    [len(scores) for scores in law.by_group]
                    for law in laws
                    if isinstance(law, HeldOutScores)
                ],
                axis=0,
            )
            labels = members[0].model.classes_.tolist()
            short = [
                f"{label!r} ({count})"
                for label, count in zip(labels, counts.tolist(), strict=True)
                if count < n_needed
            ]
            if short:
                named = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
                some = "" if self.cv is None else "in some folds "
                message = (
                    f"{needs}{rows} of each class: {some}nothing is flagged among "
                    f"those that claim {named}. {advice}"
                )
        if message is not None:
            warnings.warn(message, UserWarning, stacklevel=4)  # of the decorated fit

    def __sklearn_tags__(self) -> Tags:
        """Tags: images are accepted besides rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags


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


def _one_group(rows: Any) -> NDArray[np.int64]:
    return np.zeros(len(rows), dtype=np.int64)
