"""Audit labelled rows: which of them claim an implausible label."""

import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import log_softmax
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from torch.utils.data import Dataset

from sklgm._inputs import (
    StreamedInstances,
    as_array,
    encode_labels,
    resolve_device,
    split_steps,
    warn_of_telling_columns,
)
from sklgm._random import RandomState, draw_seed
from sklgm._running import (
    Progress,
    Runner,
    count_workers,
    describe_environment,
    divided_threads,
    stage_key,
)
from sklgm.auditing._decisions import CheckedRows, check_decisions
from sklgm.auditing._duplicates import Duplicates, find_duplicates, row_hashes
from sklgm.auditing._given import check_pred_probs
from sklgm.auditing._outliers import outlier_p_values
from sklgm.auditing._overlap import class_overlap
from sklgm.auditing._preparation import (
    Table,
    as_table,
    describe,
    make_preparation,
    make_sparse_preparation,
)
from sklgm.auditing._rare import describe_rare, is_rare, similar_names
from sklgm.auditing._result import AuditResult
from sklgm.auditing._review import Review
from sklgm.auditing._rows import parted_rows, taken_rows
from sklgm.auditing._rule import Rule
from sklgm.classifiers import LGMClassifier
from sklgm.classifiers._fixed_part import FixedPart, FrozenNetwork
from sklgm.nn import automatic_backbone
from sklgm.outliers._calibration import (
    FoldScores,
    RowScores,
    calibrate_claims,
    claimed_log_posterior,
    warn_if_doubtful,
)
from sklgm.outliers._checked import recalibrate
from sklgm.outliers._conformal import n_rows_for_level
from sklgm.outliers._decisions import discovery_rates, q_values
from sklgm.outliers._evidence import (
    Evidence,
    ask_folds,
    fitted_estimator,
    read_evidence,
)
from sklgm.outliers._folds import Split, make_folds
from sklgm.outliers._lgm_detector import KINDS, claimed_density
from sklgm.outliers._right_claims import RightClaimModel
from sklgm.outliers._trusted import Trusted, check_trusted

SCORE_KINDS = ("posterior", "likelihood")
_PROBABILITIES = ("predict_log_proba", "predict_proba")
_N_TYPICAL = 6
# Rows that are worth checking are looked for among as many.
_N_TO_CHECK, _MAX_TO_COMPARE = 20, 50_000
# Of the default estimator. Few rows make few steps an epoch.
_PRESET = "natural_images_small"
_LR, _BATCH_SIZE = 0.003, 128
_N_EPOCHS, _N_STEPS, _MAX_EPOCHS = 8, 150, 200
# Near duplicates in other folds are warned of from this share of the rows, or number.
_CROSSING_SHARE, _N_CROSSING = 0.01, 3
# A table of fewer columns has equal rows by chance, if no column has values that are
# different in so many rows.
_LEAST_COLUMNS, _MOST_DISTINCT = 8, 0.4


def audit(
    X: Any,
    y: ArrayLike | str | None = None,
    *,
    estimator: Any = None,
    pred_probs: ArrayLike | None = None,
    features: ArrayLike | None = None,
    groups: ArrayLike | str | None = None,
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
    n_jobs: int | None = None,
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
    X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape), \
            frame, sparse matrix, sequence of str, mapping of columns, data set or None
        Instances, images in [0, 1]. A frame is one of pandas or Polars; a data set is
        a map-style torch ``Dataset`` or a ``Dataset`` of the Hugging Face Hub. None
        where ``pred_probs`` or ``features`` are given.
    y : array-like of shape (n_samples,), str or None, default=None
        Claimed labels, of at least two classes; or the column of X that holds them.
        None takes the column label, labels, y, target or class, or the second element
        of the items of a torch ``Dataset``.
    estimator : classifier or None, default=None
        Cloned and fitted in every fold: anything with probabilities, and class
        Gaussians for ``score_kind="likelihood"``. It sees X as it is: of X only the
        number of rows is checked. A ``FrozenEstimator`` judges all rows as it is; it
        should not be trained on them. None is an :class:`~sklgm.LGMClassifier` with
        one-cycle learning rate; after a ``StandardScaler`` where X has rows of
        numbers, and after a preparation where it has text, categories, dates or
        missing values (see Notes).
    pred_probs : array-like of shape (n_samples, n_classes) or None, default=None
        Probabilities of the classes, in the order of the sorted labels (or of
        0 to n_classes - 1, where y holds such numbers), by models that were not
        trained on the row, such as those of ``cross_val_predict``. Nothing is then
        trained, and ``estimator`` must be None. Rows are scaled to sum 1.
    features : array-like of shape (n_samples, feature_dim) or None, default=None
        Precomputed features, which models are then trained on instead of X; beside
        ``pred_probs`` for typical rows and the map only.
    groups : array-like of shape (n_samples,), str or None, default=None
        Rows of one group are held out together, such as photos of one scene; or the
        column of X that says so. Not for splits given by ``cv``.
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
        where X holds precomputed features. ``"auto"`` trains colour images of at least
        32 x 32 pixels by the preset ``"natural_images_small"``, in bfloat16.
    max_epochs : int >= 1 or None, default=None
        Epochs of the default estimator. None is 8, or 20 for natural images, and where
        rows are few as many as make 150 steps, at most 200.
    device : str or torch.device, default="auto"
        Of the default estimator, as in :class:`~sklgm.LGMClassifier`.
    n_jobs : int or None, default=None
        Worker processes that train the folds, as in joblib: None is 1, or what a
        ``joblib.parallel_config`` says, and -1 one for each core. The threads of torch
        and BLAS are divided among them; results depend on the threads of each, to the
        last bits, and on nothing else.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default estimator.
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all: the folds, and
        the epochs of all of them where networks are trained. Epochs of worker
        processes are told from a thread. Where finished folds were taken from an
        interrupted audit, a stage whose name ends in "(finished before)" says how many.
    resume_from : path-like or None, default=None
        Folder where finished folds are kept. An audit that was interrupted, called
        again with the same data, settings, int ``random_state``, code and versions,
        takes them from there. They are arrays with checksums, and no pickles; what
        is damaged or not your own is done again, with a ``UserWarning``.

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
        If ``trusted`` is no pair, ``decisions`` no dict, or X holds no rows.

    Warns
    -----
    UserWarning
        Where a class has fewer rows than there are folds, and is too rare to judge;
        where names of classes look misspelt; where duplicates are in several folds; of
        columns that tell the label; where the estimator is certain of hardly any row,
        or the model of right and wrong labels does not fit.

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

    *Tables and texts* are prepared for the default estimator in every fold: numbers by
    the median where they are missing, with an indicator; dates as numbers; categories
    one-hot; texts by TF-IDF in 100 dimensions. ``notes`` of the result say which column
    is what.

    *Rare classes*: one of fewer rows than folds says nothing about what its rows look
    like. The others are judged as if it were not there; its rows are listed in
    ``too_rare``, with the p-value of a row whose claim is as improbable. A class of one
    row is unknown to the model that judges it.

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
    environment = {**describe_environment(), "device": _device_name(device)}
    preparation, known = _Preparation(), None
    seen: Any = None
    rows: Any = None
    said: list[str] = []
    rows_of_rare: list[NDArray[np.intp]] = []
    if pred_probs is not None:
        given = {
            "estimator": estimator is not None,
            "groups": groups is not None,
            "trusted": trusted is not None,
            "score_kind": score_kind != "posterior",
            "resume_from": resume_from is not None,
        }
        _check_without_models(given)
        if X is not None:
            rows, y, _ = parted_rows(X, y)
        if y is None or isinstance(y, str):
            raise ValueError(
                f"y={y!r}: give the labels, one for each row of pred_probs"
            )
        claimed_labels, classes, log_proba = check_pred_probs(y, pred_probs)
        claimed = encode_labels(claimed_labels, classes, name="y")
        folds = np.zeros(len(claimed), dtype=np.intp)
        answers = [_given_answer(log_proba, features)]
        seen = rows if features is None else answers[0].features
        rare = np.zeros(len(classes), dtype=bool)
        settings["pred_probs"] = "given"
        environment |= {"n_threads": torch.get_num_threads(), "n_workers": 1}
    else:
        if X is None and features is None:
            raise ValueError(
                "X=None: give the rows, or pred_probs, or features to train models on"
            )
        source = X if features is None else features
        name = "X" if features is None else "features"
        rows, claimed_labels, groups = parted_rows(source, y, groups, X_name=name)
        classes, claimed, counts = np.unique(
            claimed_labels, return_inverse=True, return_counts=True
        )
        if len(classes) < 2:
            raise ValueError(
                f"y must have at least 2 classes to audit, got {classes.tolist()}"
            )
        if estimator is None:
            rows, preparation = _prepared(rows, claimed_labels, seed)
        if trusted is not None:
            known = _checked_trusted(trusted, rows, classes, preparation.table)
            _check_enough_trusted(known, classes, score_kind, rule)
        splits = make_folds(
            claimed_labels,
            len(claimed),
            cv=cv,
            seed=seed,
            groups=groups,
            trains_all_classes=False,
        )
        folds = np.empty(len(claimed), dtype=np.intp)
        for number, (_, held_out) in enumerate(splits):
            folds[held_out] = number
        if estimator is None:
            estimator = _default_estimator(
                rows,
                splits,
                backbone if features is None else "identity",
                max_epochs,
                device,
                seed,
                preparation.step,
            )
        if not any(map(partial(hasattr, estimator), _PROBABILITIES)):
            raise ValueError(
                f"estimator must have {' or '.join(_PROBABILITIES)}, "
                f"{type(estimator).__name__} has none"
            )
        settings["estimator"] = _without_addresses(estimator)
        settings["cv"] = int(cv) if isinstance(cv, Integral) else _without_addresses(cv)
        n_workers = count_workers(n_jobs, len(splits))
        n_threads = divided_threads(n_workers)
        environment |= {"n_threads": n_threads, "n_workers": n_workers}
        key = ""
        if resume_from is not None:
            data = (rows, claimed_labels, splits, known, estimator)
            key = _stage_key((score_kind, n_threads), data, environment["device"])
        runner = Runner(progress, n_jobs=n_workers, folder=resume_from, key=key)
        seen = rows
        fixed = FixedPart.of(estimator)
        if fixed is not None:  # models of the folds differ in the rest alone
            estimator = fixed.trainable
            seen, known = runner.once(
                "fixed part", partial(_pass_once, fixed, rows, known, runner.progress)
            )
        ask = partial(
            _ask_fold,
            estimator=estimator,
            X=seen,
            y=claimed_labels,
            claimed=claimed,
            classes=classes,
            known=known,
            score_kind=score_kind,
        )
        answers = ask_folds(ask, splits, runner)
        log_proba = _in_order(answers, len(claimed), len(classes))
        rare = is_rare(claimed, len(classes), folds, groups)
        rows_of_rare = [np.flatnonzero(claimed == k) for k in np.flatnonzero(rare)]
        said = describe_rare(
            classes[rare].tolist(),
            rows_of_rare,
            len(splits),
            similar_names(classes.tolist(), counts),
        )
    checked = None
    if decisions is not None:
        checked = check_decisions(decisions, len(claimed))
    judged = _judged(
        [answer.scores for answer in answers],
        claimed,
        log_proba,
        np.zeros_like(rare) if known is not None else rare,
        KINDS[score_kind],
        None if known is None else known[1],
    )
    if judged.model is not None:
        warn_if_doubtful(judged.model, stacklevel=2)
    duplicates = _duplicates(rows)
    unlike = _numbers(seen, preparation.table)
    if rows is not None and not _are_equal_by_chance(rows):
        said += _crossing(duplicates, folds)
    for sentence in said:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    result = _result(
        claimed_labels,
        claimed,
        classes,
        answers[0],
        log_proba,
        judged,
        checked,
        rule,
        folds=folds,
        score_kind=score_kind,
        n_trusted=0 if known is None else len(known[1]),
        settings=settings,
        environment=environment,
        too_rare=np.sort(np.concatenate([*rows_of_rare, np.empty(0, dtype=np.intp)])),
        duplicate_pairs=duplicates.pairs,
        is_exact_pair=duplicates.is_exact,
        outlier_p_values=None if unlike is None else outlier_p_values(unlike, seed),
    )
    notes = (*preparation.notes, *said, *result.describe_findings())
    return replace(result, notes=notes)


@dataclass(frozen=True, eq=False)
class _FoldAnswer:
    """What the model of one fold says of the rows that it was not trained on."""

    scores: FoldScores
    features: NDArray[np.floating[Any]]  # (n_held_out, feature_dim), or no columns


@dataclass(frozen=True, eq=False)
class _Preparation:
    """How rows were prepared for the default estimator."""

    step: Any = None
    table: Table | None = None
    notes: tuple[str, ...] = ()


def _prepared(
    rows: Any, claimed_labels: NDArray[Any], seed: int
) -> tuple[Any, _Preparation]:
    """Rows that the default estimator takes, after the step of the preparation."""
    if isinstance(rows, Dataset):
        return rows, _Preparation()
    if sparse.issparse(rows):
        step = make_sparse_preparation(rows, seed)
        return rows, _Preparation(step, notes=("Sparse rows were projected.",))
    if isinstance(rows, np.ndarray) and rows.dtype.kind in "biuf" and rows.ndim > 1:
        if rows.ndim > 2 or not np.isnan(rows).any():
            return check_array(rows, allow_nd=True, input_name="X"), _Preparation()
    elif isinstance(rows, np.ndarray) and rows.ndim == 1 and rows.dtype.kind in "biuf":
        check_array(rows, input_name="X")  # tells how to give one column
    table = as_table(rows)
    if len(table.names) == 0:
        raise ValueError("X must have at least one column beside the labels")
    if hasattr(rows, "columns"):
        warn_of_telling_columns(
            ((name, table.values[:, j]) for j, name in enumerate(table.names)),
            claimed_labels,
            stacklevel=3,
        )
    if set(table.kinds) == {"number"} and hasattr(rows, "columns"):
        numbers = table.values.astype(np.float64)
        if np.isfinite(numbers).all():
            return rows, _Preparation()
    step = make_preparation(table, seed)
    return table.values, _Preparation(step, table, (describe(table),))


def _checked_trusted(
    trusted: Any, rows: Any, classes: NDArray[Any], table: Table | None
) -> Trusted:
    """Check trusted rows, in whatever container rows are."""
    is_plain = isinstance(rows, np.ndarray) and rows.dtype.kind in "biuf"
    if not isinstance(trusted, tuple) or len(trusted) != 2 or is_plain:
        return check_trusted(trusted, rows, classes, stacklevel=3)
    X, labels, _ = parted_rows(*trusted, X_name="X_trusted", y_name="y_trusted")
    if table is not None:
        X = as_table(X, like=table).values
    shapes = [getattr(each, "shape", (0,))[1:] for each in (rows, X)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"trusted rows must have the shape of those of X, {shapes[0]}, got "
            f"{shapes[1]}"
        )
    if not isinstance(rows, Dataset) and not isinstance(X, Dataset):
        own = set(row_hashes(_comparable(rows)))
        n_shared = sum(value in own for value in row_hashes(_comparable(X)))
        if n_shared > 0:
            warnings.warn(
                f"{n_shared} trusted rows are rows of X too: models are trained on "
                "them, so that they score too well and too many others are flagged. "
                "Leave them out of X",
                UserWarning,
                stacklevel=3,
            )
    return X, encode_labels(labels, classes, name="y_trusted")


def _comparable(rows: Any) -> Any:
    """Rows one after the other; a frame is iterated by its columns."""
    return as_table(rows).values if hasattr(rows, "columns") else rows


def _duplicates(rows: Any) -> Duplicates:
    # A data set is read a batch at a time: not again for this.
    if rows is None or isinstance(rows, Dataset):
        return Duplicates(np.empty((0, 2), dtype=np.intp), np.empty(0, dtype=bool))
    return find_duplicates(_comparable(rows))


def _numbers(rows: Any, table: Table | None) -> NDArray[Any] | None:
    """Rows as an array of numbers; None of anything else."""
    if hasattr(rows, "columns"):
        table = as_table(rows)
        rows = table.values
    if table is not None and set(table.kinds) == {"number"}:
        rows = np.asarray(rows, dtype=np.float64)
    is_array = isinstance(rows, np.ndarray) and rows.ndim > 1 and rows.shape[1] > 0
    return rows if is_array and rows.dtype.kind in "biuf" else None


def _are_equal_by_chance(rows: Any) -> bool:
    """Whether rows may be equal by chance: they have few columns of few values."""
    shape: tuple[int, ...] = getattr(rows, "shape", ())
    if len(shape) != 2 or shape[1] >= _LEAST_COLUMNS or sparse.issparse(rows):
        return False
    values = np.asarray(_comparable(rows))
    n_values = [len({*column.tolist()}) for column in values.T]
    return max(n_values, default=0) < _MOST_DISTINCT * shape[0]


def _crossing(duplicates: Duplicates, folds: NDArray[np.intp]) -> list[str]:
    """Say where duplicates lie in several folds."""
    of_pairs = folds[duplicates.pairs]  # (n_pairs, 2)
    crossing = duplicates.pairs[of_pairs[:, 0] != of_pairs[:, 1]]
    n_crossing = len(np.unique(crossing))
    if n_crossing < max(_N_CROSSING, _CROSSING_SHARE * len(folds)):
        return []
    return [
        f"{n_crossing} of {len(folds)} rows have a duplicate or near duplicate in "
        f"another fold, such as rows {crossing[0, 0]} and {crossing[0, 1]}: a wrong "
        "label that both have is learnt from the other, and missed. Leave duplicates "
        "out, or give groups of rows that belong together"
    ]


@dataclass(frozen=True, eq=False)
class _Judged:
    """What the law of right claims says of all rows."""

    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    p_right: NDArray[np.float64] | None
    model: RightClaimModel | None
    rows: NDArray[np.intp]  # that the model is of, with their classes
    classes: NDArray[np.intp]


def _judged(
    folds: Sequence[FoldScores],
    claimed: NDArray[np.int64],
    log_proba: NDArray[np.float64],
    rare: NDArray[np.bool_],
    kind: Any,
    trusted: NDArray[np.int64] | None,
) -> _Judged:
    """Judge all rows; those of rare classes play no part in the law.

    They get what a row of the other classes has whose claim is as improbable.
    """
    n_classes = len(rare)
    classes = np.flatnonzero(~rare)
    if not rare.any():
        law = calibrate_claims(
            folds, claimed, n_classes, kind, calibration="auto", trusted=trusted
        )
        rows = np.arange(len(claimed))
        return _Judged(
            law.scores, law.p_values, law.p_right, law.right_claims, rows, classes
        )
    is_judged = ~rare[claimed]
    place = np.cumsum(is_judged) - 1  # of a judged row among the judged ones
    new_class = np.cumsum(~rare) - 1
    parts = []
    for fold in folds:
        of_fold = is_judged[fold.rows]
        if of_fold.any():
            rows = fold.rows[of_fold]
            own = RowScores(None, log_softmax(log_proba[rows][:, ~rare], axis=1))
            parts.append(FoldScores(place[rows], own))
    law = calibrate_claims(
        parts,
        new_class[claimed[is_judged]],
        len(classes),
        kind,
        calibration="auto",
    )
    posterior = claimed_log_posterior(log_proba, claimed)
    order = np.argsort(posterior[is_judged], kind="stable")
    known = posterior[is_judged][order]

    def of_all(of_judged: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.empty(len(claimed))
        values[is_judged] = of_judged
        values[~is_judged] = np.interp(posterior[~is_judged], known, of_judged[order])
        return values

    return _Judged(
        of_all(law.scores),
        of_all(law.p_values),
        None if law.p_right is None else of_all(law.p_right),
        law.right_claims,
        np.flatnonzero(is_judged),
        classes,
    )


def _of_all_classes(
    evidence: Evidence, columns: NDArray[np.intp], n_classes: int, n_train: int
) -> Evidence:
    """Evidence of a model that some classes were kept from, with columns for these.

    Their probability is that of a class that was never seen among the training rows.
    """
    if len(columns) == n_classes:
        return evidence
    log_densities = None
    if evidence.log_densities is not None:
        lowest = float(np.finfo(np.float64).min)
        log_densities = np.full((len(evidence.log_densities), n_classes), lowest)
        log_densities[:, columns] = evidence.log_densities
    log_proba = None
    if evidence.log_proba is not None:
        unseen = -np.log(n_train + n_classes)
        log_proba = np.full((len(evidence.log_proba), n_classes), unseen)
        log_proba[:, columns] = evidence.log_proba
        log_proba = log_softmax(log_proba, axis=1)
    return Evidence(log_proba, log_densities, evidence.log_mixture, evidence.features)


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
            "trusted rows, or set score_kind='posterior'"
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


def _check_without_models(given: Mapping[str, bool]) -> None:
    """Raise where a parameter asks for models, but probabilities are given."""
    for name, is_given in given.items():
        if is_given:
            raise ValueError(
                f"{name} needs models, but pred_probs are given, and none is trained: "
                f"leave {name} as it is, or pred_probs out"
                + (". Rows that were checked go into decisions" * (name == "trusted"))
            )


def _given_answer(
    log_proba: NDArray[np.float64], features: ArrayLike | None
) -> _FoldAnswer:
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
    return _FoldAnswer(FoldScores(rows, RowScores(log_proba=log_proba)), columns)


def _in_order(
    answers: Sequence[_FoldAnswer], n_samples: int, n_classes: int
) -> NDArray[np.float64]:
    """Log probabilities (n_samples, n_classes) by the models of all folds."""
    log_proba = np.empty((n_samples, n_classes))
    for answer in answers:
        assert answer.scores.held_out.log_proba is not None
        log_proba[answer.scores.rows] = answer.scores.held_out.log_proba
    return log_proba


def _result(
    claimed_labels: NDArray[Any],
    claimed: NDArray[np.int64],
    classes: NDArray[Any],
    of_map: _FoldAnswer,
    log_proba: NDArray[np.float64],
    judged: _Judged,
    checked: CheckedRows | None,
    rule: Rule,
    **told: Any,
) -> AuditResult:
    """Put everything that an audit says together."""
    model, p_values, p_right = judged.model, judged.p_values, judged.p_right
    noise_share = None if model is None else model.noise_share
    interval = None if model is None else model.noise_share_interval
    likely = np.argmax(log_proba, axis=1)
    review = None
    if p_right is None:
        q = q_values(p_values)
        flags = rule.flags(p_values, q, judged.scores)
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
    map_rows = np.asarray(of_map.scores.rows, dtype=np.intp)
    is_typical = (likely == claimed) & ~flags
    return AuditResult(
        claimed_labels=claimed_labels,
        likely_labels=classes[likely],
        scores=judged.scores,
        p_values=p_values,
        q_values=q,
        p_wrong=None if p_right is None else 1.0 - p_right,
        classes=classes,
        fdr=rule.fdr,
        false_alarm_rate=rule.false_alarm_rate,
        contamination=rule.contamination,
        threshold=_threshold(judged.scores, flags),
        noise_share=noise_share,
        noise_share_interval=interval,
        noise_matrix=_noise_matrix(judged, len(classes)),
        class_overlap=_class_overlap(judged, log_proba),
        classifier_error=None if model is None else model.classifier_error,
        misfit=None if model is None else model.misfit,
        temperature=None if model is None else model.temperature,
        rows_to_check=_rows_to_check(judged, log_proba, claimed, checked),
        review=review,
        map_rows=map_rows,
        map_features=of_map.features,
        typical_rows=_typical_rows(
            map_rows,
            of_map.features,
            np.where(is_typical, claimed, -1)[map_rows],
            judged.scores[map_rows],
            len(classes),
        ),
        log_proba=log_proba,
        **told,
    )


def _noise_matrix(judged: _Judged, n_classes: int) -> NDArray[np.float64] | None:
    """Noise matrix of all classes; NaN for those that are too rare."""
    if judged.model is None:
        return None
    matrix = np.full((n_classes, n_classes), np.nan)
    matrix[np.ix_(judged.classes, judged.classes)] = judged.model.noise_matrix
    return matrix


def _class_overlap(
    judged: _Judged, log_proba: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Overlap of all classes; NaN for those that are too rare."""
    if judged.model is None:
        return None
    n_classes = log_proba.shape[1]
    if len(judged.classes) == n_classes:
        return class_overlap(judged.model, log_proba)
    known = log_softmax(log_proba[judged.rows][:, judged.classes], axis=1)
    overlap = np.full((n_classes, n_classes), np.nan)
    overlap[np.ix_(judged.classes, judged.classes)] = class_overlap(judged.model, known)
    return overlap


def _threshold(scores: NDArray[np.float64], is_suspect: NDArray[np.bool_]) -> float:
    """Score that as many rows are below of as there are suspects."""
    n_suspects = int(np.count_nonzero(is_suspect))
    if n_suspects == 0:
        return -np.inf
    if n_suspects == len(scores):
        return np.inf
    return float(np.partition(scores, n_suspects)[n_suspects])


def _rows_to_check(
    judged: _Judged,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
    checked: CheckedRows | None,
) -> NDArray[np.intp] | None:
    """Rows on which the readings of the model differ, spread over all of these."""
    if judged.model is None:
        return None
    some = judged.rows[:: -(-len(judged.rows) // _MAX_TO_COMPARE)]
    if checked is not None:
        some = np.setdiff1d(some, checked.rows)
    of_classes = log_proba[some][:, judged.classes]
    claims = np.searchsorted(judged.classes, claimed[some])
    difference = judged.model.disputed(log_softmax(of_classes, axis=1), claims)
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
    preparation: Any,
) -> Any:
    """L-GM classifier that fits images, or rows of anything after a preparation."""
    shape = StreamedInstances(rows).shape if isinstance(rows, Dataset) else rows.shape
    is_prepared = preparation is not None
    is_natural = not is_prepared and automatic_backbone(shape[1:]) == "airbench"
    if backbone == "auto" and is_natural:
        classifier = LGMClassifier.from_preset(_PRESET)
    else:
        classifier = LGMClassifier(
            backbone, max_epochs=_N_EPOCHS, lr=_LR, batch_size=_BATCH_SIZE
        )
    if max_epochs is None:
        n_train = min(len(train_rows) for train_rows, _ in splits)
        n_steps = -(-n_train // int(classifier.batch_size))
        at_least = min(-(-_N_STEPS // n_steps), _MAX_EPOCHS)
        max_epochs = max(classifier.max_epochs, at_least)
    classifier.set_params(max_epochs=max_epochs, device=device, random_state=seed)
    if is_prepared:
        return make_pipeline(preparation, classifier)
    if len(shape) > 2 or isinstance(rows, Dataset):
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


def _stage_key(settings: Any, data: Any, device: str) -> str:
    try:
        return stage_key(settings, data, device)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "resume_from needs an estimator and a cv that can be pickled, so that "
            f"they are known again: {error}. Give functions of a module instead of "
            "lambdas, or resume_from=None"
        ) from error


def _pass_once(
    fixed: FixedPart | FrozenNetwork,
    rows: Any,
    known: Trusted | None,
    progress: Progress,
) -> tuple[Any, Trusted | None]:
    """Rows and trusted rows after the part that no fold trains."""
    passed = fixed.fit_transform(rows, progress)
    return passed, known and (fixed.transform(known[0]), known[1])


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
    model = fitted_estimator(estimator, taken_rows(X, train_rows), y[train_rows])
    is_frozen = isinstance(estimator, FrozenEstimator)
    expected = classes if is_frozen else np.unique(y[train_rows])
    if not np.array_equal(model.classes_, expected):
        raise ValueError(
            f"estimator knows the classes {list(model.classes_)}, but y holds "
            f"{expected.tolist()}"
        )
    columns = np.searchsorted(classes, expected)
    n_train = len(y) if is_frozen else len(train_rows)
    name = type(split_steps(model)[1]).__name__

    def scores_of(
        rows: Any, claims: NDArray[np.int64], wants_features: bool
    ) -> tuple[RowScores, Any]:
        evidence = _of_all_classes(
            read_evidence(model, rows, n_train, wants_features=wants_features),
            columns,
            len(classes),
            n_train,
        )
        own = (
            None
            if KINDS[score_kind].is_posterior
            else claimed_density(evidence, claims, name)
        )
        return RowScores(own, evidence.log_proba), evidence.features

    held_out, features = scores_of(
        taken_rows(X, held_out_rows), claimed[held_out_rows], number == 0
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
    """Rows that are typical of each class, and unlike each other; -1 for none.

    The first is closest to the mean features of its class; each further one is, within
    the closer half of the class, the one farthest from those before. Without features,
    those of the best scores.
    """
    typical = np.full((n_classes, _N_TYPICAL), -1, dtype=np.intp)
    for k in range(n_classes):
        own = np.flatnonzero(groups == k)
        if len(own) == 0:
            continue
        if features.shape[1] == 0:
            chosen = own[np.argsort(-scores[own], kind="stable")[:_N_TYPICAL]]
        else:
            of_class = features[own].astype(np.float64)
            chosen = own[_spread_rows(of_class, _N_TYPICAL)]
        typical[k, : len(chosen)] = rows[chosen]
    return typical


def _spread_rows(features: NDArray[np.float64], n_rows: int) -> NDArray[np.intp]:
    """Rows close to the mean that lie far from each other, the closest first."""
    far = np.linalg.norm(features - features.mean(axis=0), axis=1)
    closest = np.argsort(far, kind="stable")
    near = closest[: max(n_rows, -(-len(closest) // 2))]
    chosen = [0]
    distance = np.full(len(near), np.inf)
    while len(chosen) < min(n_rows, len(near)):
        to_last = np.linalg.norm(features[near] - features[near[chosen[-1]]], axis=1)
        distance = np.minimum(distance, to_last)
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(distance)))
    return near[chosen]
