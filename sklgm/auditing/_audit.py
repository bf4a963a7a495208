"""Audit labelled rows: which of them claim an implausible label."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_array
from torch.utils.data import Dataset

from sklgm._inputs import (
    encode_labels,
    warn_of_telling_columns,
)
from sklgm._random import RandomState, draw_seed
from sklgm._running import (
    Progress,
    Runner,
    count_workers,
    describe_environment,
    divided_threads,
    row_chunks,
)
from sklgm.auditing._dask_frames import is_of_dask, numbers_of_frame
from sklgm.auditing._decisions import check_decisions
from sklgm.auditing._duplicates import Duplicates, find_duplicates, row_hashes
from sklgm.auditing._fold_models import (
    ask_fold,
    averaged,
    default_estimator,
    device_name,
    fold_key,
    given_answer,
    in_order,
    pass_once,
    resolve_n_repeats,
    without_addresses,
)
from sklgm.auditing._given import check_pred_probs
from sklgm.auditing._judgement import audit_result, judge
from sklgm.auditing._number_columns import (
    NumberColumns,
    check_columns,
    check_names,
)
from sklgm.auditing._outliers import outlier_p_values
from sklgm.auditing._preparation import (
    describe,
    make_preparation,
    make_sparse_preparation,
)
from sklgm.auditing._rare import describe_rare, is_rare, similar_names
from sklgm.auditing._result import AuditResult
from sklgm.auditing._rows import check_no_series, parted_rows
from sklgm.auditing._rule import Rule
from sklgm.auditing._table import Table, as_table
from sklgm.classifiers._fixed_part import FixedPart
from sklgm.outliers._calibration import (
    warn_if_doubtful,
)
from sklgm.outliers._conformal import n_rows_for_level
from sklgm.outliers._evidence import (
    ask_folds,
)
from sklgm.outliers._folds import make_folds
from sklgm.outliers._lgm_detector import KINDS
from sklgm.outliers._trusted import Trusted, check_trusted

SCORE_KINDS = ("posterior", "likelihood")
_PROBABILITIES = ("predict_log_proba", "predict_proba")
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
    n_repeats: int | str = "auto",
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
        Instances, images in [0, 1]. A frame is one of pandas, Polars or Dask, the last
        of numbers alone, which need not fit into memory (see Notes); a data set is
        a map-style torch ``Dataset`` or a ``Dataset`` of the Hugging Face Hub. None
        where ``pred_probs`` or ``features`` are given.
    y : array-like of shape (n_samples,), str or None, default=None
        Claimed labels, of at least two classes; or the column of X that holds them,
        as it must be where X is a frame of Dask.
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
        trained, and ``estimator`` must be None. Rows are scaled to sum 1. Columns of a
        frame that are named after the labels may have any order.
    features : array-like of shape (n_samples, feature_dim) or None, default=None
        Precomputed features, which models are then trained on instead of X; beside
        ``pred_probs`` for typical rows and the map only.
    groups : array-like of shape (n_samples,), str or None, default=None
        Rows of one group are held out together, such as photos of one scene; or the
        column of X that says so, as for ``y``. Not for splits given by ``cv``.
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
    n_repeats : int >= 1 or "auto", default="auto"
        Number of times that the rows are split into ``cv`` folds. A row has the
        geometric mean of the probabilities by all models that were not trained on it,
        where each class has at least 1e-6. ``"auto"`` is 5 where an ``estimator`` that
        is neither frozen nor a network of sklgm judges at most 1,000 rows, and 1
        otherwise. Only for ``cv`` as a number and without ``trusted`` rows.
    backbone : str, default="auto"
        Of the default estimator, as in :class:`~sklgm.LGMClassifier`; ``"identity"``
        where X holds precomputed features. ``"auto"`` trains colour images of at least
        32 x 32 pixels, and ``"airbench"`` and ``"airbench_narrow"`` any images, by
        the preset ``"natural_images_small"``: shifted and mirrored, in bfloat16 where
        the device has instructions for it.
    max_epochs : int >= 1 or None, default=None
        Epochs of the default estimator. None is 8, or 20 by that preset, and where
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
        If ``trusted`` is not a pair, ``decisions`` not a dict, X holds no rows, or a
        column of a frame of Dask is not given by its name.

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
    With q the classifier's probabilities, calibrated by a temperature and a power,

        P(right | x, z) = q_z T[z, z] / sum_y q_y T[y, z],

    and a set of rows is expected to hold the mean of that as its share of right labels.
    A classifier that is unsure and one that has learnt how often people are wrong may
    give the same probabilities. Where they cannot be told apart, decisions keep the
    promise, so that little is flagged, and ``noise_share_interval`` is wide; checking
    ``rows_to_check`` and giving the ``decisions`` settles it. Systematic
    errors, such as wrong labels of all rows of one subclass, are learnt and therefore
    missed.

    *Tables and texts* are prepared for the default estimator in every fold: numbers by
    the median where they are missing, with an indicator; dates as numbers; categories
    one-hot; texts by TF-IDF in 100 dimensions. ``notes`` of the result say which column
    is what.

    *Frames of Dask*: each partition is computed once, and its numbers, booleans or
    lists of numbers are stored in one array, a temporary file where it is large. Rows
    are numbered in the order of the partitions. Text, categories, dates, and missing
    numbers for the default estimator, are refused; an estimator of your own sees an
    array. For the same rows, results are those of the frame in memory.

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
    _check_settings(score_kind, max_epochs, n_repeats, trusted is not None)
    seed = draw_seed(random_state)
    settings: dict[str, Any] = {
        "score_kind": score_kind,
        **rule.settings(),
        "random_state": (
            int(random_state) if isinstance(random_state, Integral) else None
        ),
        "seed": seed,
    }
    environment = {**describe_environment(), "device": device_name(device)}
    preparation, known = _Preparation(), None
    seen: Any = None
    rows: Any = None
    columns: NumberColumns | None = None  # of a frame of Dask
    said: list[str] = []
    rows_of_rare: list[NDArray[np.intp]] = []
    if pred_probs is not None:
        given = {
            "estimator": estimator is not None,
            "groups": groups is not None,
            "trusted": trusted is not None,
            "score_kind": score_kind != "posterior",
            "resume_from": resume_from is not None,
            "n_repeats": n_repeats not in ("auto", 1),
        }
        _check_without_models(given)
        if X is not None:
            rows, y, _ = parted_rows(X, y)
            rows, columns = _unwrapped(rows)
        check_no_series("y", y)
        if y is None or isinstance(y, str):
            raise ValueError(
                f"y={y!r}: give the labels, one for each row of pred_probs"
            )
        claimed_labels, classes, log_proba = check_pred_probs(
            y, pred_probs, stacklevel=2
        )
        claimed = encode_labels(claimed_labels, classes, name="y")
        folds = np.zeros(len(claimed), dtype=np.intp)
        answers = [given_answer(log_proba, features)]
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
        rows, columns = _unwrapped(rows)
        classes, claimed, counts = np.unique(
            claimed_labels, return_inverse=True, return_counts=True
        )
        if len(classes) < 2:
            raise ValueError(
                f"y must have at least 2 classes to audit, got {classes.tolist()}"
            )
        if estimator is None:
            if columns is not None:
                check_columns(columns, claimed_labels, name, stacklevel=2)
            else:
                rows, preparation = _prepared(rows, claimed_labels, seed)
        elif columns is not None:
            check_names(estimator, columns)
        if trusted is not None:
            known = _checked_trusted(trusted, rows, classes, preparation.table, columns)
            _check_enough_trusted(known, classes, score_kind, rule)
        n_repeats = resolve_n_repeats(
            n_repeats, estimator, len(claimed), cv=cv, has_trusted=known is not None
        )
        repeats = [
            make_folds(
                claimed_labels,
                len(claimed),
                cv=cv,
                seed=seed + number,
                groups=groups,
                trains_all_classes=False,
            )
            for number in range(n_repeats)
        ]
        splits = [split for of_repeat in repeats for split in of_repeat]
        folds = np.empty(len(claimed), dtype=np.intp)
        for number, (_, held_out) in enumerate(repeats[0]):
            folds[held_out] = number
        if estimator is None:
            estimator = default_estimator(
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
        settings["estimator"] = without_addresses(estimator)
        settings["cv"] = int(cv) if isinstance(cv, Integral) else without_addresses(cv)
        settings["n_repeats"] = n_repeats
        n_workers = count_workers(n_jobs, len(splits))
        n_threads = divided_threads(n_workers)
        environment |= {"n_threads": n_threads, "n_workers": n_workers}
        key = ""
        if resume_from is not None:
            data = (rows, claimed_labels, splits, known, estimator)
            key = fold_key((score_kind, n_threads), data, environment["device"])
        runner = Runner(progress, n_jobs=n_workers, folder=resume_from, key=key)
        seen = rows
        fixed = FixedPart.of(estimator)
        if fixed is not None:  # models of the folds differ in the rest alone
            estimator = fixed.trainable
            seen, known = runner.once(
                "fixed part", partial(pass_once, fixed, rows, known, runner.progress)
            )
        ask = partial(
            ask_fold,
            estimator=estimator,
            X=seen,
            y=claimed_labels,
            claimed=claimed,
            classes=classes,
            known=known,
            score_kind=score_kind,
        )
        answers = averaged(
            ask_folds(ask, splits, runner), len(repeats[0]), len(claimed), len(classes)
        )
        log_proba = in_order(answers, len(claimed), len(classes))
        rare = is_rare(claimed, len(classes), folds, groups)
        rows_of_rare = [np.flatnonzero(claimed == k) for k in np.flatnonzero(rare)]
        said = describe_rare(
            classes[rare].tolist(),
            rows_of_rare,
            len(repeats[0]),
            similar_names(classes.tolist(), counts),
        )
    checked = None
    if decisions is not None:
        checked = check_decisions(decisions, len(claimed))
    judged = judge(
        [answer.scores for answer in answers],
        claimed,
        log_proba,
        np.zeros_like(rare) if known is not None else rare,
        KINDS[score_kind],
        None if known is None else known[1],
    )
    if judged.model is not None:
        warn_if_doubtful(judged.model, stacklevel=2)
    duplicates = _duplicates(rows, columns, preparation.table)
    unlike = _numbers(seen, preparation.table)
    if rows is not None and not _are_equal_by_chance(rows):
        said += _crossing(duplicates, folds)
    for sentence in said:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    result = audit_result(
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
    notes = [*preparation.notes, *said, *result.describe_findings()]
    if duplicates.note is not None:
        notes.append(f"Near duplicates were not looked for: {duplicates.note}.")
    return replace(result, notes=tuple(notes))


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
        if rows.ndim > 2 or not _has_nan(rows):
            return check_array(rows, allow_nd=True, input_name="X"), _Preparation()
    elif isinstance(rows, np.ndarray) and rows.ndim == 1 and rows.dtype.kind in "biuf":
        check_array(rows, input_name="X")  # tells how to give one column
    table = as_table(rows)
    if len(table.names) == 0:
        raise ValueError("X must have at least one column beside the labels")
    if hasattr(rows, "columns"):
        warn_of_telling_columns(
            zip(table.names, table.columns, strict=True), claimed_labels, stacklevel=3
        )
        has_lists = table.names != [str(name) for name in rows.columns]
        if table.is_of_numbers and not has_lists and np.isfinite(table.values).all():
            return rows, _Preparation()
    step = make_preparation(table, seed)
    return table.values, _Preparation(step, table, (describe(table),))


def _has_nan(rows: NDArray[Any]) -> bool:
    return any(bool(np.isnan(rows[part]).any()) for part in row_chunks(rows))


def _unwrapped(rows: Any) -> tuple[Any, NumberColumns | None]:
    """Rows, and their columns where they come from a frame of Dask."""
    return (rows.values, rows) if isinstance(rows, NumberColumns) else (rows, None)


def _checked_trusted(
    trusted: Any,
    rows: Any,
    classes: NDArray[Any],
    table: Table | None,
    columns: NumberColumns | None,
) -> Trusted:
    """Check trusted rows, in whatever container rows are."""
    is_plain = isinstance(rows, np.ndarray) and rows.dtype.kind in "biuf"
    is_plain &= columns is None and table is None
    if isinstance(trusted, tuple) and columns is None and any(map(is_of_dask, trusted)):
        raise TypeError(
            "trusted holds a frame of Dask, but X is none: give X_trusted.compute()"
        )
    if not isinstance(trusted, tuple) or len(trusted) != 2 or is_plain:
        return check_trusted(trusted, rows, classes, stacklevel=3)
    X, labels, _ = parted_rows(*trusted, X_name="X_trusted", y_name="y_trusted")
    if table is not None:
        X = as_table(X, like=table).values
    if columns is not None:
        if sparse.issparse(X):
            raise TypeError(
                "trusted holds a sparse matrix, but X is a frame of Dask: give "
                "X_trusted.toarray(), or a frame"
            )
        X = numbers_of_frame(X, "X_trusted") if hasattr(X, "columns") else X
        X = X.in_order_of(columns.names) if isinstance(X, NumberColumns) else X
    shapes = [getattr(each, "shape", (0,))[1:] for each in (rows, X)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"trusted rows must have the shape of those of X, {shapes[0]}, got "
            f"{shapes[1]}"
        )
    if not isinstance(rows, Dataset) and not isinstance(X, Dataset):
        own = set(row_hashes(_comparable(rows, columns is not None)))
        theirs = row_hashes(_comparable(X, columns is not None))
        n_shared = sum(value in own for value in theirs)
        if n_shared > 0:
            warnings.warn(
                f"{n_shared} trusted rows are rows of X too: models are trained on "
                "them, so that they score too well and too many others are flagged. "
                "Leave them out of X",
                UserWarning,
                stacklevel=3,
            )
    return X, encode_labels(labels, classes, name="y_trusted")


def _comparable(rows: Any, as_floats: bool = False) -> Any:
    """Rows one after the other; a frame is iterated by its columns."""
    if as_floats:
        parts = (rows[part].astype(np.float64) for part in row_chunks(rows))
        return (row for part in parts for row in part)
    if not hasattr(rows, "columns"):
        return rows
    table = _table_of(rows)
    if table is not None:
        return table.values
    if hasattr(rows, "iter_rows"):
        return list(rows.iter_rows())
    return list(rows.itertuples(index=False, name=None))


def _table_of(frame: Any) -> Table | None:
    """Read a frame; None where only an estimator of the user's own can."""
    try:
        return as_table(frame)
    except (TypeError, ValueError):
        return None


def _duplicates(
    rows: Any, columns: NumberColumns | None, table: Table | None
) -> Duplicates:
    if rows is None or isinstance(rows, Dataset):
        return Duplicates(
            np.empty((0, 2), dtype=np.intp),
            np.empty(0, dtype=bool),
            None if rows is None else "a data set is read a batch at a time",
        )
    if table is not None and table.kinds == ["text"]:
        return find_duplicates(rows, table.columns[0])
    numbers = rows if columns is not None else _numbers(rows, table)
    return find_duplicates(_comparable(rows), numbers)


def _numbers(rows: Any, table: Table | None) -> NDArray[Any] | None:
    """Rows as an array of numbers; None of anything else."""
    if hasattr(rows, "columns"):
        table = _table_of(rows)
        rows = None
    if table is not None:
        rows = table.values if table.is_of_numbers else None
    is_array = isinstance(rows, np.ndarray) and rows.ndim > 1 and rows.shape[1] > 0
    return rows if is_array and rows.dtype.kind in "biuf" else None


def _are_equal_by_chance(rows: Any) -> bool:
    """Whether rows may be equal by chance: they have few columns of few values."""
    shape: tuple[int, ...] = getattr(rows, "shape", ())
    if len(shape) != 2 or shape[1] >= _LEAST_COLUMNS or sparse.issparse(rows):
        return False
    table = _table_of(rows) if hasattr(rows, "columns") else None
    if table is None and hasattr(rows, "columns"):
        return False
    values = np.asarray(rows) if table is None else table.values
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


def _check_settings(
    score_kind: str, max_epochs: int | None, n_repeats: int | str, has_trusted: bool
) -> None:
    if score_kind not in SCORE_KINDS:
        raise ValueError(
            f"score_kind must be one of {', '.join(SCORE_KINDS)}, got {score_kind!r}"
        )
    is_count = isinstance(max_epochs, Integral) and max_epochs is not True
    if max_epochs is not None and (not is_count or max_epochs < 1):
        raise ValueError(
            f"max_epochs must be an int of at least 1, or None, got {max_epochs!r}"
        )
    if isinstance(n_repeats, str):
        is_known = n_repeats == "auto"
    else:
        is_count = isinstance(n_repeats, Integral) and n_repeats is not True
        is_known = is_count and n_repeats >= 1
    if not is_known:
        raise ValueError(
            f"n_repeats must be 'auto' or an int of at least 1, got {n_repeats!r}"
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
