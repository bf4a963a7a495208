"""Audit labelled rows: which of them claim an implausible label."""

import os
import pickle
import re
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm._inputs import encode_labels, resolve_device, split_steps
from sklgm._random import RandomState, draw_seed
from sklgm._running import Progress, Runner, describe_environment, stage_key
from sklgm._sklearn_private import safe_indexing
from sklgm.auditing._result import AuditResult
from sklgm.classifiers import LGMClassifier
from sklgm.metrics._levels import is_flagged
from sklgm.outliers._calibration import (
    FoldScores,
    RowScores,
    calibrate_claims,
    warn_if_uninformative,
)
from sklgm.outliers._conformal import n_rows_for_level
from sklgm.outliers._decisions import Thresholds, q_values
from sklgm.outliers._evidence import ask_folds, fitted_estimator, read_evidence
from sklgm.outliers._folds import Split, make_folds
from sklgm.outliers._lgm_detector import KINDS, claimed_density
from sklgm.outliers._trusted import Trusted, check_rows, check_trusted

SCORE_KINDS = ("posterior", "likelihood")
_PROBABILITIES = ("predict_log_proba", "predict_proba")
_N_TYPICAL = 4
# Of the default estimator. Few rows make few steps an epoch.
_LR, _BATCH_SIZE = 0.003, 128
_N_EPOCHS, _N_STEPS, _MAX_EPOCHS = 8, 1000, 200


def audit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    estimator: Any = None,
    trusted: tuple[ArrayLike, ArrayLike] | None = None,
    score_kind: str = "posterior",
    false_alarm_rate: float = 0.01,
    cv: Any = 5,
    backbone: str = "auto",
    max_epochs: int | None = None,
    device: str | torch.device = "auto",
    random_state: RandomState = None,
    progress: Progress | None = None,
    resume_from: str | os.PathLike[str] | None = None,
) -> AuditResult:
    """Find rows whose claimed label is implausible, with p-values and q-values.

    Every row is judged by a classifier that was not trained on it, one per fold. Use it
    on labels that others made; what `sklgm audit` does, as a function.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
        Instances, images in [0, 1].
    y : array-like of shape (n_samples,)
        Claimed labels, of at least two classes.
    estimator : classifier or None, default=None
        Cloned and fitted in every fold: anything with probabilities, and class
        Gaussians for ``score_kind="likelihood"``. A ``FrozenEstimator`` judges all
        rows as it is; it should not be trained on them. None is an
        :class:`~sklgm.LGMClassifier` with one-cycle learning rate; after a
        ``StandardScaler`` where X has rows of numbers.
    trusted : tuple of (X_trusted, y_trusted) or None, default=None
        Rows whose labels are known to be right, and which are none of X. p-values
        are then the split-conformal ones against these rows; None takes them from a
        model of right claims. See Notes.
    score_kind : {"posterior", "likelihood"}, default="posterior"
        ``"posterior"``: log probability of the claimed class; finds rows that look
        like another class. ``"likelihood"``: log density of the features under the
        claimed class, standardised by the trusted rows; finds rows that look like no
        class as well, and needs ``trusted``.
    false_alarm_rate : float in (0, 1), default=0.01
        Share of right claims that may be flagged.
    cv : int, splitter or iterable of splits, default=5
        Folds, shuffled and stratified, or a splitter that holds out every row once.
    backbone : str, default="auto"
        Of the default estimator, as in :class:`~sklgm.LGMClassifier`; ``"identity"``
        where X holds precomputed features.
    max_epochs : int >= 1 or None, default=None
        Epochs of the default estimator. None is 8, and where rows are few as many as
        make 1,000 steps of 128 rows, at most 200.
    device : str or torch.device, default="auto"
        Of the default estimator, as in :class:`~sklgm.LGMClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default estimator.
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.
    resume_from : path-like or None, default=None
        Folder where finished folds are kept. An audit that was interrupted, called
        again with the same data, settings, int ``random_state``, code and versions,
        takes them from there. They are arrays with checksums, and no pickles; what
        is damaged or not your own is done again, with a ``UserWarning``.

    Returns
    -------
    AuditResult
        The p-values, q-values, scores and likely labels of all rows.

    Raises
    ------
    ValueError
        If y has one class, if ``cv`` cannot split the rows; if parameters are out of
        range or exclude each other; if a trusted label is none of y's, or
        ``score_kind="likelihood"`` misses a class among the trusted rows; or if the
        estimator gives no probabilities.
    TypeError
        If ``trusted`` is no pair.

    See Also
    --------
    LGMOutlierDetector : Detector for use in pipelines.
    PoisonFilter : Drops rows inside a pipeline.

    Notes
    -----
    p-values never come from the rank of a row among the audited ones: a share a of
    these has a rank of at most a whether none of them is wrong, or half.

    *With trusted rows* each model scores them too: ``p = (1 + #{trusted scores <= s})
    / (n_trusted + 1)``. Clean rows are flagged at most at ``false_alarm_rate`` on
    average, for any estimator, if they are exchangeable with the trusted ones; for
    ``"likelihood"``, which is standardised by the trusted rows of each class, about.

    *Without* the p-value of a claim is the probability that a right label is as
    improbable, by the classifier's own probabilities: without what it has learnt of
    wrong labels, which is read off the rows it is most certain of, and calibrated by
    one temperature, estimated together with the share of wrong claims
    (``noise_share``). It is as good as that calibration. Wrong labels that follow a
    pattern which the classifier can learn, such as all rows of one subclass, pass for
    right ones.

    References
    ----------
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020.

    Y. Benjamini, Y. Hochberg, "Controlling the False Discovery Rate", Journal of the
    Royal Statistical Society B 57, 1995.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklgm import audit
    >>> X, y = load_iris(return_X_y=True)
    >>> y[:3] = 2  # three setosas claim to be virginicas
    >>> classifier = LogisticRegression(max_iter=1000)
    >>> result = audit(X, y, estimator=classifier, random_state=0)
    >>> result.suspects[:3]
    array([0, 1, 2])
    >>> result.likely_labels[:3]
    array([0, 0, 0])
    """
    _check_settings(score_kind, false_alarm_rate, max_epochs, trusted is not None)
    seed = draw_seed(random_state)
    rows, claimed_labels = check_rows(X, y, "X", "y")
    classes = np.unique(claimed_labels)
    if len(classes) < 2:
        raise ValueError(
            f"y must have at least 2 classes to audit, got {classes.tolist()}"
        )
    known = None
    if trusted is not None:
        known = check_trusted(trusted, rows, classes, stacklevel=2)
        _check_enough_trusted(known, classes, score_kind, false_alarm_rate)
    splits = make_folds(claimed_labels, len(claimed_labels), cv=cv, seed=seed)
    if estimator is None:
        estimator = _default_estimator(rows, splits, backbone, max_epochs, device, seed)

    if not any(map(partial(hasattr, estimator), _PROBABILITIES)):
        raise ValueError(
            f"estimator must have {' or '.join(_PROBABILITIES)}, "
            f"{type(estimator).__name__} has none"
        )

    settings = {
        "estimator": _without_addresses(estimator),
        "score_kind": score_kind,
        "false_alarm_rate": float(false_alarm_rate),
        "cv": int(cv) if isinstance(cv, Integral) else _without_addresses(cv),
        "seed": seed,
    }
    device_name = _device_name(device)
    key = ""
    if resume_from is not None:
        data = (rows, claimed_labels, splits, known, estimator)
        key = _stage_key(score_kind, data, device_name)
    runner = Runner(progress, folder=resume_from, key=key)
    claimed = encode_labels(claimed_labels, classes, name="y")
    ask = partial(
        _ask_fold,
        estimator=estimator,
        X=rows,
        y=claimed_labels,
        claimed=claimed,
        classes=classes,
        known=known,
        score_kind=score_kind,
    )
    answers = ask_folds(ask, splits, runner)
    calibration = calibrate_claims(
        [answer.scores for answer in answers],
        claimed,
        len(classes),
        KINDS[score_kind],
        calibration="auto",
        trusted=None if known is None else known[1],
    )
    model = calibration.right_claims
    if model is not None:
        warn_if_uninformative(model, stacklevel=2)
    log_proba = np.empty((len(claimed), len(classes)))
    folds = np.empty(len(claimed), dtype=np.intp)
    for number, answer in enumerate(answers):
        assert answer.scores.held_out.log_proba is not None
        log_proba[answer.scores.rows] = answer.scores.held_out.log_proba
        folds[answer.scores.rows] = number
    likely = np.argmax(log_proba, axis=1)
    scores, p_values = calibration.scores, calibration.p_values
    thresholds = Thresholds.of_folds(
        np.array([law.thresholds(false_alarm_rate) for law in calibration.laws])
    )
    map_rows = np.asarray(splits[0][1], dtype=np.intp)
    is_typical = (likely == claimed) & ~is_flagged(p_values, false_alarm_rate)
    return AuditResult(
        claimed_labels=claimed_labels,
        likely_labels=classes[likely],
        scores=scores,
        p_values=p_values,
        q_values=q_values(p_values),
        folds=folds,
        classes=classes,
        false_alarm_rate=float(false_alarm_rate),
        threshold=float(thresholds.offsets[0]),
        score_kind=score_kind,
        n_trusted=0 if known is None else len(known[1]),
        noise_share=None if model is None else model.noise_share,
        temperature=None if model is None else model.temperature,
        map_rows=map_rows,
        map_features=answers[0].features,
        typical_rows=_typical_rows(
            map_rows,
            answers[0].features,
            np.where(is_typical, claimed, -1)[map_rows],
            scores[map_rows],
            len(classes),
        ),
        settings=settings,
        environment={
            **describe_environment(),
            "device": device_name,
            "n_threads": torch.get_num_threads(),
        },
        log_proba=log_proba,
    )


@dataclass(frozen=True, eq=False)
class _FoldAnswer:
    """What the model of one fold says of the rows that it was not trained on."""

    scores: FoldScores
    features: NDArray[np.floating[Any]]  # (n_held_out, feature_dim), or no columns


def _check_settings(
    score_kind: str,
    false_alarm_rate: float,
    max_epochs: int | None,
    has_trusted: bool,
) -> None:
    if score_kind not in SCORE_KINDS:
        raise ValueError(
            f"score_kind must be one of {', '.join(SCORE_KINDS)}, got {score_kind!r}"
        )
    is_number = isinstance(false_alarm_rate, Real) and false_alarm_rate is not True
    if not is_number or not 0 < false_alarm_rate < 1:
        raise ValueError(
            f"false_alarm_rate must be a float in (0, 1), got {false_alarm_rate!r}"
        )
    is_count = isinstance(max_epochs, Integral) and max_epochs is not True
    if max_epochs is not None and (not is_count or max_epochs < 1):
        raise ValueError(
            f"max_epochs must be an int of at least 1, or None, got {max_epochs!r}"
        )
    if score_kind == "likelihood" and not has_trusted:
        raise ValueError(
            "score_kind='likelihood' needs trusted rows: how low the densities of "
            "clean rows fall cannot be told from rows that may be wrong. Give "
            "trusted=(X_trusted, y_trusted), or set score_kind='posterior'"
        )


def _check_enough_trusted(
    known: Trusted,
    classes: NDArray[Any],
    score_kind: str,
    false_alarm_rate: float,
) -> None:
    n_needed = n_rows_for_level(false_alarm_rate)
    if len(known[1]) < n_needed:
        raise ValueError(
            f"false_alarm_rate={false_alarm_rate!r} needs at least {n_needed} trusted "
            f"rows, got {len(known[1])}: no p-value could be as low. Give more, or "
            "raise false_alarm_rate"
        )
    missing = np.setdiff1d(np.arange(len(classes)), known[1])
    if score_kind == "likelihood" and len(missing) > 0:
        raise ValueError(
            "score_kind='likelihood' standardises by the trusted rows of each class; "
            f"there are none of class {classes.tolist()[missing[0]]!r}"
        )


def _default_estimator(
    rows: Any,
    splits: list[Split],
    backbone: str,
    max_epochs: int | None,
    device: str | torch.device,
    seed: int,
) -> Any:
    """L-GM classifier that fits images, or rows of numbers on any scales."""
    n_train = min(len(train_rows) for train_rows, _ in splits)
    if max_epochs is None:
        n_steps = -(-n_train // _BATCH_SIZE)
        max_epochs = max(_N_EPOCHS, min(-(-_N_STEPS // n_steps), _MAX_EPOCHS))
    classifier = LGMClassifier(
        backbone,
        max_epochs=max_epochs,
        lr=_LR,
        batch_size=_BATCH_SIZE,
        device=device,
        random_state=seed,
    )
    if rows.ndim > 2:
        return classifier
    return make_pipeline(StandardScaler(), classifier)


def _without_addresses(thing: Any) -> str:
    """Text of an object that is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))


def _device_name(device: str | torch.device) -> str:
    resolved = resolve_device(device)
    if resolved.type == "cuda":
        return f"{resolved} ({torch.cuda.get_device_name(resolved)})"
    return str(resolved)


def _stage_key(score_kind: str, data: Any, device: str) -> str:
    try:
        return stage_key(score_kind, data, device)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "resume_from needs an estimator and a cv that can be pickled, so that "
            f"they are known again: {error}. Give functions of a module instead of "
            "lambdas, or resume_from=None"
        ) from error


def _ask_fold(
    number: int,
    split: Split,
    *,
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    claimed: NDArray[np.int64],
    classes: NDArray[Any],
    known: Trusted | None,
    score_kind: str,
) -> _FoldAnswer:
    """Train the model of a fold, and ask it about the rows that did not train it."""
    train_rows, held_out_rows = split
    model = fitted_estimator(estimator, safe_indexing(X, train_rows), y[train_rows])
    if not np.array_equal(model.classes_, classes):
        raise ValueError(
            f"estimator knows the classes {list(model.classes_)}, but y holds "
            f"{classes.tolist()}"
        )
    is_frozen = isinstance(estimator, FrozenEstimator)
    n_train = len(y) if is_frozen else len(train_rows)
    name = type(split_steps(model)[1]).__name__

    def scores_of(
        rows: Any, claims: NDArray[np.int64], wants_features: bool
    ) -> tuple[RowScores, Any]:
        evidence = read_evidence(model, rows, n_train, wants_features=wants_features)
        own = (
            None
            if KINDS[score_kind].is_posterior
            else claimed_density(evidence, claims, name)
        )
        return RowScores(own, evidence.log_proba), evidence.features

    held_out, features = scores_of(
        safe_indexing(X, held_out_rows), claimed[held_out_rows], number == 0
    )
    if features is None or number > 0:  # only features of one model can be compared
        features = np.empty((len(held_out_rows), 0), dtype=np.float32)
    of_trusted = None if known is None else scores_of(*known, False)[0]
    return _FoldAnswer(FoldScores(held_out_rows, held_out, of_trusted), features)


def _typical_rows(
    rows: NDArray[np.intp],
    features: NDArray[np.floating[Any]],
    groups: NDArray[np.int64],
    scores: NDArray[np.float64],
    n_classes: int,
) -> NDArray[np.intp]:
    """Rows of each class closest to its mean features; -1 where there are no more.

    Without features, those of the best scores.
    """
    typical = np.full((n_classes, _N_TYPICAL), -1, dtype=np.intp)
    for k in range(n_classes):
        own = np.flatnonzero(groups == k)
        if len(own) == 0:
            continue
        far = -scores[own]
        if features.shape[1] > 0:
            of_class = features[own].astype(np.float64)
            far = np.linalg.norm(of_class - of_class.mean(axis=0), axis=1)
        nearest = own[np.argsort(far, kind="stable")[:_N_TYPICAL]]
        typical[k, : len(nearest)] = rows[nearest]
    return typical
