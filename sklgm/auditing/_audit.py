"""Audit labelled rows: which of them claim an implausible label."""

import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

from sklgm._inputs import as_array, encode_labels, resolve_device, split_steps
from sklgm._random import RandomState, draw_seed
from sklgm._running import Progress, Runner, describe_environment, stage_key
from sklgm._sklearn_private import safe_indexing
from sklgm.auditing._decisions import CheckedRows, check_decisions
from sklgm.auditing._given import check_pred_probs
from sklgm.auditing._result import AuditResult
from sklgm.auditing._review import Review
from sklgm.auditing._rule import Rule
from sklgm.classifiers import LGMClassifier
from sklgm.outliers._calibration import (
    Calibration,
    FoldScores,
    RowScores,
    calibrate_claims,
    warn_if_doubtful,
)
from sklgm.outliers._checked import recalibrate
from sklgm.outliers._conformal import n_rows_for_level
from sklgm.outliers._decisions import discovery_rates, q_values
from sklgm.outliers._evidence import ask_folds, fitted_estimator, read_evidence
from sklgm.outliers._folds import Split, make_folds
from sklgm.outliers._lgm_detector import KINDS, claimed_density
from sklgm.outliers._right_claims import RightClaimModel
from sklgm.outliers._trusted import Trusted, check_rows, check_trusted

SCORE_KINDS = ("posterior", "likelihood")
_PROBABILITIES = ("predict_log_proba", "predict_proba")
_N_TYPICAL = 4
# Rows that are worth checking are looked for among as many.
_N_TO_CHECK, _MAX_TO_COMPARE = 20, 50_000
# Of the default estimator. Few rows make few steps an epoch.
_LR, _BATCH_SIZE = 0.003, 128
_N_EPOCHS, _N_STEPS, _MAX_EPOCHS = 8, 1000, 200


def audit(
    X: ArrayLike | None,
    y: ArrayLike,
    *,
    estimator: Any = None,
    pred_probs: ArrayLike | None = None,
    features: ArrayLike | None = None,
    trusted: tuple[ArrayLike, ArrayLike] | None = None,
    decisions: Mapping[int, str] | None = None,
    score_kind: str = "posterior",
    fdr: float = 0.1,
    false_alarm_rate: float | None = None,
    contamination: float | None = None,
    cv: Any = 5,
    backbone: str = "auto",
    max_epochs: int | None = None,
    device: str | torch.device = "auto",
    random_state: RandomState = None,
    progress: Progress | None = None,
    resume_from: str | os.PathLike[str] | None = None,
) -> AuditResult:
    """Find rows whose label is wrong, with the probability that it is.

    Every row is judged by a classifier that was not trained on it, one per fold, or by
    probabilities that you have. Use it on labels that others made; what `sklgm audit`
    does, as a function.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape) or None
        Instances, images in [0, 1]. None where ``pred_probs`` or ``features`` are
        given.
    y : array-like of shape (n_samples,)
        Claimed labels, of at least two classes.
    estimator : classifier or None, default=None
        Cloned and fitted in every fold: anything with probabilities, and class
        Gaussians for ``score_kind="likelihood"``. A ``FrozenEstimator`` judges all
        rows as it is; it should not be trained on them. None is an
        :class:`~sklgm.LGMClassifier` with one-cycle learning rate; after a
        ``StandardScaler`` where X has rows of numbers.
    pred_probs : array-like of shape (n_samples, n_classes) or None, default=None
        Probabilities of the classes, in the order of the sorted labels (or of
        0 to n_classes - 1, where y holds such numbers), by models that were not
        trained on the row, such as those of ``cross_val_predict``. Nothing is then
        trained, and ``estimator`` must be None. Rows are scaled to sum 1.
    features : array-like of shape (n_samples, feature_dim) or None, default=None
        Precomputed features, which models are then trained on instead of X; beside
        ``pred_probs`` for typical rows and the map only.
    trusted : tuple of (X_trusted, y_trusted) or None, default=None
        Rows whose labels are known to be right, and which are none of X. p-values
        are then the split-conformal ones against these rows; None takes them from a
        model of right claims. See Notes.
    decisions : dict of int to str or None, default=None
        What a person decided on rows, counted from 0: "keep", "relabel", "drop" or
        "unsure"; :func:`~sklgm.auditing.read_decisions` reads them from a file. Rows
        may be drawn at random or be suspects. They correct the probabilities of all.
    score_kind : {"posterior", "likelihood"}, default="posterior"
        ``"posterior"``: log odds that the claim is right, by the probabilities of the
        classes; finds rows that look like another class. ``"likelihood"``: log density
        of the features under the claimed class, standardised by the trusted rows; finds
        rows that look like no class as well, and needs ``trusted``.
    fdr : float in (0, 1), default=0.1
        False discovery rate: share of right labels among the flagged ones, expected.
        Rows with ``q <= fdr`` are flagged.
    false_alarm_rate : float in (0, 1) or None, default=None
        Share of right claims that may be flagged; replaces ``fdr``.
    contamination : float in (0, 0.5] or None, default=None
        Share of the rows that is flagged; replaces ``fdr``.
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
        Probabilities, p-values, q-values, scores and likely labels of all rows, the
        share of wrong labels with an interval, and which rows to check.

    Raises
    ------
    ValueError
        If y has one class, if ``cv`` cannot split the rows; if parameters are out of
        range or exclude each other; if a trusted label is none of y's, or
        ``score_kind="likelihood"`` misses a class among the trusted rows; or if the
        estimator gives no probabilities.
    TypeError
        If ``trusted`` is no pair, or ``decisions`` no dict.

    Warns
    -----
    UserWarning
        If the estimator is certain of hardly any row, or the model of right and wrong
        labels does not fit.

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

    *Without* a model of the claims says both how probable each class is and which label
    people give to its rows, by a noise matrix T; see the user guide for its derivation.
    With q the classifier's probabilities, calibrated by one temperature,

        P(right | x, z) = q_z T[z, z] / sum_y q_y T[y, z],

    and a set of rows is expected to hold the mean of that as its share of right labels.
    A classifier that is unsure and one that has learnt how often people are wrong may
    give the same probabilities. Where they cannot be told apart, decisions keep the
    promise, so that little is flagged, and ``noise_share_interval`` is wide; checking
    ``rows_to_check`` and giving the ``decisions`` settles it. Wrong labels that are
    more frequent somewhere than right ones, such as all rows of one subclass, pass for
    right.

    References
    ----------
    "Preventing Clean Label Poisoning using Gaussian Mixture Loss",
    arXiv 2003.00798, 2020.

    Y. Benjamini, Y. Hochberg, "Controlling the False Discovery Rate", Journal of the
    Royal Statistical Society B 57, 1995.

    J. Goldberger, E. Ben-Reuven, "Training Deep Neural-Networks Using a Noise
    Adaptation Layer", ICLR 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklgm import audit
    >>> X, y = load_iris(return_X_y=True)
    >>> y[:3] = 2  # three setosas claim to be virginicas
    >>> classifier = LogisticRegression(max_iter=1000)
    >>> result = audit(X, y, estimator=classifier, random_state=0)
    >>> sorted(result.suspects[:3].tolist())
    [0, 1, 2]
    >>> result.likely_labels[:3]
    array([0, 0, 0])
    """
    rule = Rule.of(fdr, false_alarm_rate, contamination)
    _check_settings(score_kind, max_epochs, trusted is not None)
    seed = draw_seed(random_state)
    settings: dict[str, Any] = {
        "score_kind": score_kind,
        **rule.settings(),
        "seed": seed,
    }
    device_name = _device_name(device)
    known = None
    if pred_probs is not None:
        _check_without_models(estimator, trusted, score_kind, resume_from)
        claimed_labels, classes, log_proba = check_pred_probs(y, pred_probs)
        answers = [_given_answer(log_proba, features)]
        settings["pred_probs"] = "given"
        claimed = encode_labels(claimed_labels, classes, name="y")
    else:
        rows, claimed_labels = _rows_and_labels(X, features, y)
        classes = np.unique(claimed_labels)
        if len(classes) < 2:
            raise ValueError(
                f"y must have at least 2 classes to audit, got {classes.tolist()}"
            )
        if trusted is not None:
            known = check_trusted(trusted, rows, classes, stacklevel=2)
            _check_enough_trusted(known, classes, score_kind, rule)
        splits = make_folds(claimed_labels, len(claimed_labels), cv=cv, seed=seed)
        if estimator is None:
            if features is not None:
                backbone = "identity"
            estimator = _default_estimator(
                rows, splits, backbone, max_epochs, device, seed
            )
        if not any(map(partial(hasattr, estimator), _PROBABILITIES)):
            raise ValueError(
                f"estimator must have {' or '.join(_PROBABILITIES)}, "
                f"{type(estimator).__name__} has none"
            )
        settings["estimator"] = _without_addresses(estimator)
        settings["cv"] = int(cv) if isinstance(cv, Integral) else _without_addresses(cv)
        key = None
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
    checked = None
    if decisions is not None:
        checked = check_decisions(decisions, len(claimed))
    calibration = calibrate_claims(
        [answer.scores for answer in answers],
        claimed,
        len(classes),
        KINDS[score_kind],
        calibration="auto",
        trusted=None if known is None else known[1],
    )
    if calibration.right_claims is not None:
        warn_if_doubtful(calibration.right_claims, stacklevel=2)
    return _result(
        claimed_labels,
        claimed,
        classes,
        answers,
        calibration,
        checked,
        rule,
        score_kind=score_kind,
        n_trusted=0 if known is None else len(known[1]),
        settings=settings,
        environment={
            **describe_environment(),
            "device": device_name,
            "n_threads": torch.get_num_threads(),
        },
    )


@dataclass(frozen=True, eq=False)
class FoldAnswer:
    """What the model of one fold says of the rows that it was not trained on."""

    scores: FoldScores
    features: NDArray[np.floating[Any]]  # (n_held_out, feature_dim), or no columns


def _check_settings(score_kind: str, max_epochs: int | None, has_trusted: bool) -> None:
    if score_kind not in SCORE_KINDS:
        raise ValueError(
            f"score_kind must be one of {', '.join(SCORE_KINDS)}, got {score_kind!r}"
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
    known: Trusted, classes: NDArray[Any], score_kind: str, rule: Rule
) -> None:
    level = rule.false_alarm_rate
    n_needed = 1 if level is None else n_rows_for_level(level)
    if len(known[1]) < n_needed:
        raise ValueError(
            f"false_alarm_rate={level!r} needs at least {n_needed} trusted "
            f"rows, got {len(known[1])}: no p-value could be as low. Give more, or "
            "raise false_alarm_rate"
        )
    missing = np.setdiff1d(np.arange(len(classes)), known[1])
    if score_kind == "likelihood" and len(missing) > 0:
        raise ValueError(
            "score_kind='likelihood' standardises by the trusted rows of each class; "
            f"there are none of class {classes.tolist()[missing[0]]!r}"
        )


def _check_without_models(
    estimator: Any, trusted: Any, score_kind: str, resume_from: Any
) -> None:
    """Raise where a parameter asks for models, but probabilities are given."""
    given = {
        "estimator": estimator is not None,
        "trusted": trusted is not None,
        "score_kind": score_kind != "posterior",
        "resume_from": resume_from is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise ValueError(
                f"{name} needs models, but pred_probs are given, and none is trained: "
                f"leave {name} as it is, or pred_probs out"
                + (". Rows that were checked go into decisions" if trusted else "")
            )


def _rows_and_labels(
    X: ArrayLike | None, features: ArrayLike | None, y: ArrayLike
) -> tuple[Any, NDArray[Any]]:
    """Rows that models are trained on, and their labels."""
    if features is not None:
        return check_rows(features, y, "features", "y")
    if X is None:
        raise ValueError(
            "X=None: give the rows, or pred_probs, or features to train models on"
        )
    return check_rows(X, y, "X", "y")


def _given_answer(
    log_proba: NDArray[np.float64], features: ArrayLike | None
) -> FoldAnswer:
    """Given probabilities as the answer of one fold."""
    rows = np.arange(len(log_proba))
    columns = np.empty((len(rows), 0), dtype=np.float32)
    if features is not None:
        columns = check_array(as_array(features), allow_nd=True, input_name="features")
        if len(columns) != len(rows):
            raise ValueError(
                f"features must have a row for each of the {len(rows)} labels of y, "
                f"got {len(columns)}"
            )
        columns = columns.reshape(len(rows), -1)
    return FoldAnswer(FoldScores(rows, RowScores(log_proba=log_proba)), columns)


def _result(
    claimed_labels: NDArray[Any],
    claimed: NDArray[np.int64],
    classes: NDArray[Any],
    answers: list[FoldAnswer],
    calibration: Calibration,
    checked: CheckedRows | None,
    rule: Rule,
    **told: Any,
) -> AuditResult:
    """Put everything that an audit says together."""
    n_samples = len(claimed)
    if len(answers) == 1:
        log_proba = answers[0].scores.held_out.log_proba
        assert log_proba is not None
        folds = np.zeros(n_samples, dtype=np.intp)
    else:
        log_proba = np.empty((n_samples, len(classes)))
        folds = np.empty(n_samples, dtype=np.intp)
        for number, answer in enumerate(answers):
            assert answer.scores.held_out.log_proba is not None
            log_proba[answer.scores.rows] = answer.scores.held_out.log_proba
            folds[answer.scores.rows] = number
    scores, p_values, model = (
        calibration.scores,
        calibration.p_values,
        calibration.right_claims,
    )
    p_right = calibration.p_right
    noise_share = None if model is None else model.noise_share
    interval = None if model is None else model.noise_share_interval
    likely = np.argmax(log_proba, axis=1)
    review = None
    if p_right is None:
        q = q_values(p_values)
        flags = rule.flags(p_values, q, scores)
    else:
        before = p_right
        if checked is not None and len(checked.rows) > 0:
            corrected = recalibrate(p_right, checked.rows, checked.is_right)
            p_right = corrected.p_right
            noise_share = corrected.noise_share
            interval = corrected.noise_share_interval
        q = discovery_rates(p_right)
        flags = rule.flags(p_values, q, p_right)
        if checked is not None:
            was_suspect = rule.flags(p_values, discovery_rates(before), before)
            flags[checked.rows] = ~checked.is_right
            review = Review.of(before, p_right, was_suspect, checked)
    map_rows = np.asarray(answers[0].scores.rows, dtype=np.intp)
    is_typical = (likely == claimed) & ~flags
    return AuditResult(
        claimed_labels=claimed_labels,
        likely_labels=classes[likely],
        scores=scores,
        p_values=p_values,
        q_values=q,
        p_wrong=None if p_right is None else 1.0 - p_right,
        folds=folds,
        classes=classes,
        fdr=rule.fdr,
        false_alarm_rate=rule.false_alarm_rate,
        contamination=rule.contamination,
        threshold=_threshold(scores, flags),
        noise_share=noise_share,
        noise_share_interval=interval,
        noise_matrix=None if model is None else model.noise_matrix,
        classifier_error=None if model is None else model.classifier_error,
        misfit=None if model is None else model.misfit,
        temperature=None if model is None else model.temperature,
        rows_to_check=(
            None
            if model is None
            else _rows_to_check(model, log_proba, claimed, checked)
        ),
        review=review,
        map_rows=map_rows,
        map_features=answers[0].features,
        typical_rows=_typical_rows(
            map_rows,
            answers[0].features,
            np.where(is_typical, claimed, -1)[map_rows],
            scores[map_rows],
            len(classes),
        ),
        log_proba=log_proba,
        **told,
    )


def _threshold(scores: NDArray[np.float64], is_suspect: NDArray[np.bool_]) -> float:
    """Score that as many rows are below of as there are suspects."""
    n_suspects = int(np.count_nonzero(is_suspect))
    if n_suspects == 0:
        return -np.inf
    if n_suspects == len(scores):
        return np.inf
    return float(np.partition(scores, n_suspects)[n_suspects])


def _rows_to_check(
    model: RightClaimModel,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
    checked: CheckedRows | None,
) -> NDArray[np.intp]:
    """Rows on which the readings of the model differ, spread over all of these."""
    some = np.arange(0, len(claimed), -(-len(claimed) // _MAX_TO_COMPARE))
    if checked is not None:
        some = np.setdiff1d(some, checked.rows)
    difference = model.disputed(log_proba[some], claimed[some])
    if len(difference) == 0:
        return np.empty(0, dtype=np.intp)
    order = np.argsort(-difference, kind="stable")
    share = np.cumsum(difference[order])
    if share[-1] <= 0:
        return np.empty(0, dtype=np.intp)
    # The middles of twenty parts that are disputed equally.
    parts = (np.arange(_N_TO_CHECK) + 0.5) / _N_TO_CHECK * share[-1]
    rows: NDArray[np.intp] = some[np.unique(order[np.searchsorted(share, parts)])]
    return rows


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
) -> FoldAnswer:
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
    return FoldAnswer(FoldScores(held_out_rows, held_out, of_trusted), features)


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
