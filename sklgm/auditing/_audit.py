"""Audit labelled rows: which of them claim an implausible label."""

import hashlib
import os
import pickle
import re
import warnings
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklgm._inputs import as_array, encode_labels, resolve_device
from sklgm._random import RandomState, draw_seed
from sklgm._running import Progress, Runner, describe_environment, stage_key
from sklgm._sklearn_private import safe_indexing
from sklgm.auditing._result import AuditResult, is_flagged
from sklgm.classifiers import LGMClassifier
from sklgm.outliers._claims import claimed_log_density
from sklgm.outliers._conformal import (
    conformal_p_values,
    conformal_threshold,
    n_rows_for_level,
)
from sklgm.outliers._posterior_null import PosteriorNull
from sklgm.outliers._splits import folds
from sklgm.outliers._standardisation import standardise

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

    Every row is judged by a classifier that was not trained on it: one a fold. Use it
    on labels that others made; what `sklgm audit` does, as a function.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
        Instances, images in [0, 1].
    y : array-like of shape (n_samples,)
        Claimed labels, of at least two classes with at least ``cv`` rows each.
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
        takes them from there. Read by unpickling: take a folder of your own.

    Returns
    -------
    AuditResult
        The p-values, q-values, scores and likely labels of all rows.

    Raises
    ------
    ValueError
        If y has one class, or a class with fewer rows than folds; if parameters are
        out of range or exclude each other; if a trusted label is none of y's, or
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
    rows, claimed_labels = _checked_rows(X, y, "X", "y")
    classes = np.unique(claimed_labels)
    if len(classes) < 2:
        raise ValueError(
            f"y must have at least 2 classes to audit, got {classes.tolist()}"
        )
    known = None if trusted is None else _trusted_rows(trusted, rows, classes)
    if known is not None:
        _check_trusted(known, classes, score_kind, false_alarm_rate)
    splits = _splits(claimed_labels, cv, seed)
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
    key = None
    if resume_from is not None:
        data = (rows, claimed_labels, splits, known, estimator)
        key = _stage_key(score_kind, data, device_name)
    runner = Runner(progress, folder=resume_from, key=key)
    judgements = _judge_folds(
        estimator, rows, claimed_labels, splits, known, classes, score_kind, runner
    )

    claimed = encode_labels(claimed_labels, classes, name="y")
    log_proba = _in_order([fold.log_proba for fold in judgements], splits)
    likely = np.argmax(log_proba, axis=1)
    null = None
    if known is None:
        null = PosteriorNull.fit(log_proba, claimed)
        scores = null.scores(log_proba, claimed)
        p_values = null.p_values(scores)
        threshold = null.threshold(false_alarm_rate)
        if not null.is_informative:
            warnings.warn(
                "The estimator is certain of hardly any row: p-values and noise_share "
                "mean little. Train it longer, give another estimator, or trusted rows",
                UserWarning,
                stacklevel=2,
            )
    else:
        scores = _in_order([fold.scores for fold in judgements], splits)
        p_values, threshold = _conformal(judgements, splits, false_alarm_rate)
    folds_of_rows = [np.full(len(rows), i) for i, (_, rows) in enumerate(splits)]
    map_rows = np.asarray(splits[0][1], dtype=np.intp)
    is_typical = (likely == claimed) & ~is_flagged(p_values, false_alarm_rate)
    return AuditResult(
        claimed_labels=claimed_labels,
        likely_labels=classes[likely],
        scores=scores,
        p_values=p_values,
        q_values=false_discovery_control(p_values, method="bh"),
        folds=_in_order(folds_of_rows, splits),
        classes=classes,
        false_alarm_rate=float(false_alarm_rate),
        threshold=threshold,
        score_kind=score_kind,
        n_trusted=0 if known is None else len(known[1]),
        noise_share=None if null is None else null.noise_share,
        temperature=None if null is None else null.temperature,
        map_rows=map_rows,
        map_features=judgements[0].features,
        typical_rows=_typical_rows(
            map_rows,
            judgements[0].features,
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


Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]
Known = tuple[Any, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class _FoldJudgement:
    """What the model of one fold says of the rows it did not see."""

    log_proba: NDArray[np.float64]  # (n_held_out, n_classes)
    features: NDArray[np.floating[Any]]  # (n_held_out, feature_dim), or no columns
    scores: NDArray[np.float64]  # (n_held_out,); none where no rows are trusted
    trusted_scores: NDArray[np.float64]  # (n_trusted,)


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


def _checked_rows(
    X: ArrayLike, y: ArrayLike, X_name: str, y_name: str
) -> tuple[Any, NDArray[Any]]:
    """Rows as an estimator takes them, with column names if there are any."""
    instances = check_array(as_array(X), allow_nd=True, input_name=X_name)
    labels = column_or_1d(as_array(y), warn=True)
    if len(labels) != len(instances):
        raise ValueError(
            f"{y_name} must have a label for each of the {len(instances)} rows of "
            f"{X_name}, got {len(labels)}"
        )
    check_classification_targets(labels)
    return X if hasattr(X, "columns") else instances, labels


def _trusted_rows(trusted: Any, rows: Any, classes: NDArray[Any]) -> Known:
    """Trusted instances, shaped like the audited ones, and their encoded labels."""
    if not isinstance(trusted, tuple) or len(trusted) != 2:
        raise TypeError(
            "trusted must be a tuple (X_trusted, y_trusted), got "
            f"{type(trusted).__name__}"
        )
    X, labels = _checked_rows(*trusted, "X_trusted", "y_trusted")
    if X.shape[1:] != rows.shape[1:]:
        raise ValueError(
            f"trusted rows must have the shape of those of X, {rows.shape[1:]}, "
            f"got {X.shape[1:]}"
        )
    audited = _row_hashes(rows)
    n_shared = len(audited & _row_hashes(X))
    if n_shared > 0:
        warnings.warn(
            f"{n_shared} trusted rows are rows of X too: models are trained on them, "
            "so that they score too well and too many others are flagged. Leave them "
            "out of X",
            UserWarning,
            stacklevel=3,
        )
    return X, encode_labels(labels, classes, name="y_trusted")


def _row_hashes(X: Any) -> set[bytes]:
    rows = np.ascontiguousarray(as_array(X))
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows}


def _check_trusted(
    known: Known,
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


def _splits(y: NDArray[Any], cv: Any, seed: int) -> Splits:
    if isinstance(cv, Integral):
        classes, counts = np.unique(y, return_counts=True)
        if cv < 2:
            raise ValueError(f"cv must be at least 2 folds, got cv={cv!r}")
        if counts.min() < cv:
            raise ValueError(
                f"cv={cv!r} needs at least {cv} rows of each class, but class "
                f"{classes.tolist()[counts.argmin()]!r} has {counts.min()}"
            )
    return folds(y, len(y), cv=cv, random_state=seed)


def _default_estimator(
    rows: Any,
    splits: Splits,
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


def _judge_folds(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    splits: Splits,
    known: Known | None,
    classes: NDArray[Any],
    score_kind: str,
    runner: Runner,
) -> list[_FoldJudgement]:
    """Train a model a fold, and let it judge the rows it did not see."""
    stage = "train and score folds"
    judgements = []
    runner.progress(stage, 0, len(splits))
    for number, (train_rows, held_out_rows) in enumerate(splits):

        def judge(
            train_rows: NDArray[np.intp] = train_rows,
            held_out_rows: NDArray[np.intp] = held_out_rows,
            keeps_features: bool = number == 0,
        ) -> _FoldJudgement:
            model = _fitted(estimator, X, y, train_rows, classes)
            held_out = safe_indexing(X, held_out_rows)
            claimed = encode_labels(y[held_out_rows], classes, name="y")
            log_proba = _log_proba(model, held_out)
            features = np.empty((len(claimed), 0), dtype=np.float32)
            if keeps_features and hasattr(model, "transform"):
                features = np.asarray(model.transform(held_out))
                features = features.reshape(len(features), -1)
            scores = trusted_scores = np.empty(0)
            if known is not None and score_kind == "posterior":
                scores = log_proba[np.arange(len(claimed)), claimed]
                of_trusted = _log_proba(model, known[0])
                trusted_scores = of_trusted[np.arange(len(known[1])), known[1]]
            elif known is not None:
                scores, trusted_scores = _densities(model, held_out, claimed, known)
            return _FoldJudgement(log_proba, features, scores, trusted_scores)

        judgements.append(runner.once(f"fold {number}", judge))
        runner.progress(stage, number + 1, len(splits))
    return judgements


def _fitted(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    train_rows: NDArray[np.intp],
    classes: NDArray[Any],
) -> Any:
    model = estimator
    if not isinstance(estimator, FrozenEstimator):
        model = clone(estimator).fit(safe_indexing(X, train_rows), y[train_rows])
    if not np.array_equal(model.classes_, classes):
        raise ValueError(
            f"estimator knows the classes {list(model.classes_)}, but y holds "
            f"{classes.tolist()}"
        )
    return model


def _densities(
    model: Any, X: Any, claimed: NDArray[np.int64], known: Known
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log densities of claims and of trusted rows, standardised by the latter."""
    X_trusted, trusted = known
    density = claimed_log_density(model, X_trusted, trusted)
    scale = standardise(density, trusted, len(model.classes_))
    own = claimed_log_density(model, X, claimed)
    if np.isnan(own).any() or np.isnan(density).any():
        raise ValueError("estimator gave densities that are NaN: its training diverged")
    return (own - scale.medians[claimed]) / scale.scales[claimed], scale.left_out


def _in_order(of_folds: list[NDArray[Any]], splits: Splits) -> NDArray[Any]:
    """Put what was said of the rows of each fold into the order of the rows."""
    values = np.concatenate(of_folds)
    in_order = np.empty_like(values)
    in_order[np.concatenate([rows for _, rows in splits])] = values
    return in_order


def _conformal(
    judgements: list[_FoldJudgement], splits: Splits, false_alarm_rate: float
) -> tuple[NDArray[np.float64], float]:
    """p-values against the trusted rows, and the median threshold of the folds."""
    of_trusted = [np.sort(fold.trusted_scores) for fold in judgements]
    p_values = [
        conformal_p_values(calibration, fold.scores)
        for calibration, fold in zip(of_trusted, judgements, strict=True)
    ]
    thresholds = [conformal_threshold(each, false_alarm_rate) for each in of_trusted]
    return _in_order(p_values, splits), float(np.median(thresholds))


def _log_proba(model: Any, X: Any) -> NDArray[np.float64]:
    """Log posteriors, finite; shape (n_samples, n_classes)."""
    with np.errstate(divide="ignore"):  # a tree takes the logarithm of 0
        log_proba = (
            model.predict_log_proba(X)
            if hasattr(model, "predict_log_proba")
            else np.log(model.predict_proba(X))
        )
    log_proba = np.array(log_proba, dtype=np.float64)
    n_samples, n_classes = len(X), len(model.classes_)
    if log_proba.shape != (n_samples, n_classes) or np.isnan(log_proba).any():
        raise ValueError(
            f"estimator must give probabilities of shape {(n_samples, n_classes)}, not "
            f"NaN; {type(model).__name__} gave shape {log_proba.shape} with "
            f"{np.isnan(log_proba).sum()} NaN. Did its training diverge?"
        )
    # A probability of 0, of a tree say, is an estimate from counts: no temperature
    # could soften it.
    log_proba[np.isneginf(log_proba)] = -np.log(n_samples + n_classes)
    return log_proba


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
