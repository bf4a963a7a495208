"""Training on rows of which some are poisons, and what is measured afterwards."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklgm.experiments._networks import Classifier
from sklgm.experiments._victims import Victim
from sklgm.metrics import auroc, tpr_at_fpr
from sklgm.outliers import LGMOutlierDetector
from sklgm.poisoning import compress_jpeg


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of the test rows.

    Attributes
    ----------
    labels : ndarray of shape (n_test,)
        Predicted labels.
    log_proba : ndarray of shape (n_test, n_classes)
        Log-probabilities, natural.
    classes : ndarray of shape (n_classes,)
        Label of each column, sorted.
    """

    labels: NDArray[Any]
    log_proba: NDArray[np.floating[Any]]
    classes: NDArray[Any]

    @classmethod
    def of(cls, model: Any, X_test: NDArray[np.floating[Any]]) -> Prediction:
        """Ask a fitted model.

        Parameters
        ----------
        model : fitted classifier
            Of rows, or of features.
        X_test : ndarray of shape (n_test, ...)
            The test rows, or their features.

        Returns
        -------
        Prediction
            Its answers.
        """
        log_proba = model.predict_log_proba(X_test)
        return cls(model.predict(X_test), log_proba, model.classes_)

    def margin(self, row: int, label: Any, base_label: Any) -> float:
        """How much more probable the true label of a target is than the base label.

        Parameters
        ----------
        row : int
            Test row of the target.
        label, base_label : label
            Its label, and the one that the attacker wants.

        Returns
        -------
        float
            log p(label) - log p(base_label), in nats.
        """
        true, base = np.searchsorted(self.classes, [label, base_label])
        return float(self.log_proba[row, true]) - float(self.log_proba[row, base])


def claim_scorer(model: Any, score: str) -> LGMOutlierDetector:
    """Make a detector of which only the scores are used.

    Parameters
    ----------
    model : fitted classifier or Pipeline
        Kept as it is.
    score : {"likelihood", "posterior", "combined"}
        See ``score_kind`` of :class:`sklgm.LGMOutlierDetector`.

    Returns
    -------
    LGMOutlierDetector
        Unfitted; its threshold, of which no use is made, asks for few rows.
    """
    return LGMOutlierDetector(
        FrozenEstimator(model),
        score_kind=score,
        calibration="marginal",  # by nothing but ranks: scores are the model's own
        false_alarm_rate=0.5,
    )


def claim_scores(
    model: Any, score: str, X: NDArray[np.floating[Any]], y: NDArray[Any]
) -> NDArray[np.float64]:
    """Score the labels that rows claim.

    Parameters
    ----------
    model : fitted classifier or Pipeline
        Kept as it is.
    score : {"likelihood", "posterior", "combined"}
        See :func:`claim_scorer`.
    X : ndarray of shape (n_samples, ...)
        The rows, or their features where the model takes those; they also set the
        scale of the likelihood.
    y : ndarray of shape (n_samples,)
        Claimed labels.

    Returns
    -------
    ndarray of shape (n_samples,)
        Higher is more plausible.
    """
    scores: NDArray[np.float64] = (
        claim_scorer(model, score).fit(X, y).score_samples(X, y)
    )
    return scores


def detection(
    outlier_score: NDArray[np.float64], is_poison: NDArray[np.bool_]
) -> tuple[float, float]:
    """Say how well scores tell poisons from the other rows.

    Parameters
    ----------
    outlier_score : ndarray of shape (n_samples,)
        Higher is more outlying.
    is_poison : ndarray of bool of shape (n_samples,)
        Which rows are poisons.

    Returns
    -------
    auroc, tpr_at_1pct_fpr : float
        In [0, 1].
    """
    return auroc(outlier_score, is_poison), tpr_at_fpr(outlier_score, is_poison)


@dataclass(frozen=True, eq=False)
class Trained:
    """What one victim became.

    Attributes
    ----------
    head : fitted classifier
        Of features.
    features : ndarray of shape (n_train, feature_dim)
        Of the rows it was trained on.
    test_features : ndarray of shape (n_test, feature_dim)
        Of the test rows.
    is_kept : ndarray of bool of shape (n_train,) or None
        Which rows trimming, or a filter, kept; None where there is none.
    """

    head: Any
    features: NDArray[np.floating[Any]]
    test_features: NDArray[np.floating[Any]]
    is_kept: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained on rows of which some may be poisons.

    Attributes
    ----------
    victims : tuple of Victim
        Measured after it, all on one network.
    model : fitted classifier or None, default=None
        A network that goes on training, by its parameters; not changed. None: rows are
        features, and heads are fitted to them.
    row_filter : RobustGaussianClassifier or None, default=None
        Unfitted trimmed Gaussians. If given, they are fitted to the features that the
        network starts with, and it is trained on the rows that they keep.
    jpeg_quality : int or None, default=None
        Quality at which the images that a network is trained on are re-encoded.
    """

    victims: tuple[Victim, ...]
    model: Classifier | None = None
    row_filter: Any = None
    jpeg_quality: int | None = None

    @property
    def network(self) -> str:
        """Name of the network whose features are attacked."""
        return self.victims[0].network

    @property
    def label(self) -> str:
        """Name of the first victim, with its variant."""
        return " ".join(filter(None, self.victims[0].columns.values()))

    def counts(self, counts: Collection[int]) -> list[int]:
        """Choose the numbers of poisons that its victims meet."""
        meets = self.victims[0].meets
        if meets == "most":
            return [max(counts)]
        return [n for n in counts if meets in ("all", n)]

    def fit(
        self,
        X: NDArray[np.floating[Any]],
        y: NDArray[Any],
        X_test: NDArray[np.floating[Any]],
    ) -> list[Trained]:
        """Train on rows.

        Parameters
        ----------
        X : ndarray of shape (n_train, ...)
            Training rows, or features where there is no network to train.
        y : ndarray of shape (n_train,)
            Claimed labels.
        X_test : ndarray of shape (n_test, ...)
            Test rows, or their features.

        Returns
        -------
        list of Trained
            One per victim.
        """
        if self.jpeg_quality is not None:
            X = compress_jpeg(X, self.jpeg_quality)
        features, test_features, own_head, passed = X, X_test, None, None
        if self.model is not None:
            rows: Any = slice(None)
            if self.row_filter is not None:
                start = self.model.transform(X)
                rows = passed = clone(self.row_filter).fit(start, y).is_kept_
            clf = copy.deepcopy(self.model).fit(X[rows], y[rows])
            features, test_features = clf.transform(X), clf.transform(X_test)
            own_head = clf.head_
            if getattr(clf, "trim", 0.0) != 0.0:
                passed = clf.is_kept_
        trained = []
        for victim in self.victims:
            head, is_kept = own_head, passed
            if victim.head is not None:
                head = clone(victim.head).fit(features, y)
                # Of a trimmed mean of columns, trim leaves out no whole rows.
                drops_rows = getattr(head, "location", None) == "kept_mean"
                if drops_rows and head.trim != 0.0:
                    is_kept = head.is_kept_
            trained.append(Trained(head, features, test_features, is_kept))
        return trained


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one victim, trained for one target, says.

    Attributes
    ----------
    label : label
        What it takes the target for.
    margin : float
        log p(target label) - log p(base label) of the target.
    accuracy : float or None
        On the test rows; None where the training is not measured in detail.
    detection : dict of str to (float, float)
        AUROC and true positives at 1 % false ones by score; empty likewise.
    kept_share : float or None
        Share of the poisons that trimming, or a filter, kept; None without.
    """

    label: Any
    margin: float
    accuracy: float | None
    detection: dict[str, tuple[float, float]]
    kept_share: float | None


#: Test row of a target, its label, and the label that the attacker wants.
Target = tuple[int, Any, Any]
#: Training rows, the labels they claim, and which of them are poisons.
Rows = tuple[NDArray[np.floating[Any]], NDArray[Any], NDArray[np.bool_]]


def measure(
    training: Training,
    rows: Rows,
    X_test: NDArray[np.floating[Any]],
    y_test: NDArray[Any],
    target: Target,
    in_detail: bool,
) -> list[Measurement]:
    """Train for one target, and ask about it, the test rows and the poisons."""
    X, y, is_poison = rows
    measured = []
    for victim, trained in zip(
        training.victims, training.fit(X, y, X_test), strict=True
    ):
        said = Prediction.of(trained.head, trained.test_features)
        accuracy, kept_share, detected = None, None, {}
        if in_detail:
            accuracy = float(np.mean(said.labels == y_test))
            for score in victim.scores:
                scores = claim_scores(trained.head, score, trained.features, y)
                detected[score] = detection(-scores, is_poison)
            if trained.is_kept is not None:
                kept_share = float(trained.is_kept[is_poison].mean())
        measured.append(
            Measurement(
                said.labels[target[0]],
                said.margin(*target),
                accuracy,
                detected,
                kept_share,
            )
        )
    return measured


def predict_unpoisoned(
    training: Training,
    X: NDArray[np.floating[Any]],
    y: NDArray[Any],
    X_test: NDArray[np.floating[Any]],
) -> list[Prediction]:
    """Train on clean rows: the control arm."""
    trained = training.fit(X, y, X_test)
    return [Prediction.of(t.head, t.test_features) for t in trained]
