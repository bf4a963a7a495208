"""Evidence: what models say of rows that they were not trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklgm._inputs import split_steps
from sklgm._running import Runner, interrupts_raised
from sklgm.outliers._folds import Split
from sklgm.outliers._log_posteriors import LOWEST, precise_log_softmax

NO_DENSITY = (
    "estimator {name} has no class Gaussians: use an LGMClassifier, or fit Gaussians "
    "on its features with make_pipeline(FrozenEstimator(fitted), "
    "RobustGaussianClassifier()), or give labels and score_kind='posterior'"
)
ONE_CLASS = (
    "the posterior of a claim compares classes, but there is one: give rows of "
    "two classes at least, or score_kind='likelihood', or no labels"
)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one model says of rows, whatever labels they claim.

    Attributes
    ----------
    log_proba : ndarray of shape (n_samples, n_classes) or None
        Log posteriors ``log p(k | x)``, natural log, finite; None where the model
        gives no probabilities.
    log_densities : ndarray of shape (n_samples, n_classes) or None
        ``log N_k(f)``; None where the model has no class Gaussians.
    log_mixture : ndarray of shape (n_samples,) or None
        ``log sum_k pi_k N_k(f)``; None likewise.
    features : ndarray of shape (n_samples, feature_dim) or None
        What the class Gaussians see, or the features that were asked for.
    """

    log_proba: NDArray[np.float64] | None = None
    log_densities: NDArray[np.float64] | None = None
    log_mixture: NDArray[np.float64] | None = None
    features: NDArray[Any] | None = None


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained on some rows.

    Attributes
    ----------
    estimator : object or None
        Fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        Labels, or ``[0]`` where there were none.
    n_train : int
        Number of rows that it was trained on; of a frozen one the rows of ``fit``.
    """

    estimator: Any
    classes_: NDArray[Any]
    n_train: int


def read_evidence(
    model: Any,
    X: Any,
    n_train: int,
    *,
    wants_features: bool = False,
    wants_proba: bool = True,
) -> Evidence:
    """Ask a model about rows, in one pass through it.

    The steps of a Pipeline before the last are applied once. The features of a
    classifier of sklgm are computed once, and its ``head_`` tells all else from them.

    Parameters
    ----------
    model : fitted classifier
        Any, or a Pipeline or FrozenEstimator of one.
    X : ndarray or DataFrame of shape (n_samples, ...)
        Rows that it was not trained on.
    n_train : int
        Number of rows that it was trained on.
    wants_features : bool, default=False
        Whether features are asked for, of a model that has ``transform``.
    wants_proba : bool, default=True
        Whether probabilities are asked for, if they take a pass of their own.

    Returns
    -------
    Evidence
        What it says.

    Raises
    ------
    ValueError
        If it gives probabilities of a wrong shape, or that are NaN.

    Notes
    -----
    A probability of 0 is an estimate from counts, of a tree or of neighbours: no
    temperature could soften it. It is taken for ``1 / (n_train + n_classes)``, which
    is a property of the model and the same for whatever rows it is asked about.
    """
    last, inputs = _last_step(model, X)
    features = None
    has_head = hasattr(last, "head_") and hasattr(last, "transform")
    if has_head:
        features = np.asarray(last.transform(inputs))
        last, inputs = last.head_, features
    elif wants_features and hasattr(last, "transform"):
        features = np.asarray(last.transform(inputs))
    if features is not None:
        features = features.reshape(len(features), -1)
    priors: Any = getattr(last, "priors_", getattr(last, "class_prior_", None))
    has_joint = hasattr(last, "predict_joint_log_proba") and priors is not None
    if has_joint and (wants_proba or has_head):
        joint = np.asarray(last.predict_joint_log_proba(inputs), dtype=np.float64)
        _check_log_proba(joint, model, len(joint), len(priors))
        log_mixture = logsumexp(joint, axis=1)
        # Of a row that is infinitely far from every class no label is likely.
        is_possible = log_mixture > -np.inf
        log_proba = np.full_like(joint, LOWEST)
        log_proba[is_possible] = np.maximum(
            precise_log_softmax(np.maximum(joint[is_possible], LOWEST)), LOWEST
        )
        return Evidence(log_proba, joint - np.log(priors), log_mixture, features)
    if not wants_proba and not has_head:
        return Evidence(features=features)
    return Evidence(_log_proba(last, inputs, n_train), features=features)


def fitted_estimator(estimator: Any, X: Any, y: NDArray[Any] | None) -> Any:
    """Clone an estimator and fit it, unless it is frozen.

    Parameters
    ----------
    estimator : classifier or FrozenEstimator
        What to ask; not changed.
    X : ndarray or DataFrame of shape (n_train, ...)
        Rows to train on.
    y : ndarray of shape (n_train,) or None
        Their claimed labels.

    Returns
    -------
    classifier or FrozenEstimator
        Fitted.

    Raises
    ------
    ValueError
        If it must be fitted and y is None, or has no ``classes_`` once it is fitted.
    NotFittedError
        If it is frozen, but was not fitted.
    """
    if isinstance(estimator, FrozenEstimator):
        check_is_fitted(estimator)
        return estimator
    if y is None:
        raise ValueError(
            "y=None: claimed labels are needed to fit estimator="
            f"{type(estimator).__name__}; give y, a FrozenEstimator, or estimator=None"
        )
    with interrupts_raised():
        model = clone(estimator).fit(X, y)
    if not hasattr(model, "classes_"):
        raise ValueError(
            f"estimator={type(model).__name__} has no classes_ once it is fitted: "
            "claimed labels need a classifier"
        )
    return model


def ask_folds(
    ask: Callable[[int, Split], _Answer], splits: list[Split], runner: Runner
) -> list[_Answer]:
    """Train and ask the model of each fold, side by side, and again if interrupted.

    Parameters
    ----------
    ask : callable
        Given the number of a fold and its ``(train_rows, held_out_rows)``: trains a
        model on the first, and says what it says of the others. It and its answers can
        be pickled if the runner has several workers.
    splits : list of (train_rows, held_out_rows)
        The folds.
    runner : Runner
        Its workers share the folds, and its threads are divided among them; it shows
        progress and keeps what finished folds said.

    Returns
    -------
    list
        What each fold said.
    """
    stage = "train and score folds"
    return runner.map(
        stage,
        ask,
        enumerate(splits),
        len(splits),
        n_threads=None,
        is_kept=True,
        epochs="epochs of all folds",
    )


def flat_features(features: ArrayLike) -> NDArray[np.float64]:
    """Features or columns as rows in float64.

    Parameters
    ----------
    features : array-like of shape (n_samples, ...)
        Features, rows or images.

    Returns
    -------
    ndarray of shape (n_samples, feature_dim)
        A copy.
    """
    rows = np.array(features, dtype=np.float64)
    return rows.reshape(len(rows), -1)


def _last_step(model: Any, X: Any) -> tuple[Any, Any]:
    """Last step of a Pipeline and its input; any other model and X.

    Steps of imbalanced-learn that sample rows have no part in it.
    """
    while isinstance(model, FrozenEstimator | Pipeline):
        if isinstance(model, FrozenEstimator):
            model = model.estimator
            continue
        for _, step in model.steps[:-1]:
            if hasattr(step, "transform"):
                X = step.transform(X)
        model = model.steps[-1][1]
    return model, X


def _log_proba(last: Any, inputs: Any, n_train: int) -> NDArray[np.float64] | None:
    """Log posteriors, finite; None of a model that has none."""
    with np.errstate(divide="ignore"):  # a tree takes the logarithm of 0
        if hasattr(last, "predict_log_proba"):
            log_proba = last.predict_log_proba(inputs)
        elif hasattr(last, "predict_proba"):
            log_proba = np.log(last.predict_proba(inputs))
        else:
            return None
    log_proba = np.array(log_proba, dtype=np.float64)
    n_classes = len(last.classes_)
    n_samples = inputs.shape[0] if hasattr(inputs, "shape") else len(inputs)
    _check_log_proba(log_proba, last, n_samples, n_classes)
    log_proba[np.isneginf(log_proba)] = -np.log(n_train + n_classes)
    return log_proba


def _check_log_proba(
    log_proba: NDArray[np.float64], model: Any, n_samples: int, n_classes: int
) -> None:
    if log_proba.shape != (n_samples, n_classes) or np.isnan(log_proba).any():
        raise ValueError(
            f"estimator must give probabilities of shape {(n_samples, n_classes)}, not "
            f"NaN; {type(split_steps(model)[1]).__name__} gave shape "
            f"{log_proba.shape} with {np.isnan(log_proba).sum()} NaN. Did its training "
            "diverge?"
        )
