"""Models of the folds of an audit: which, how they are trained, and what they say."""

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from torch.utils.data import Dataset

from sklgm._inputs import (
    StreamedInstances,
    as_array,
    resolve_device,
    split_steps,
)
from sklgm._running import (
    Progress,
    is_large_file,
    stage_key,
)
from sklgm.auditing._large_scaler import LargeScaler
from sklgm.auditing._rows import taken_rows
from sklgm.classifiers import LGMClassifier
from sklgm.classifiers._fixed_part import FixedPart, FrozenNetwork
from sklgm.classifiers._network import NetworkClassifier
from sklgm.nn import automatic_backbone
from sklgm.outliers._calibration import (
    FoldScores,
    RowScores,
)
from sklgm.outliers._evidence import (
    Evidence,
    fitted_estimator,
    read_evidence,
)
from sklgm.outliers._folds import Split
from sklgm.outliers._lgm_detector import KINDS, claimed_density
from sklgm.outliers._log_posteriors import LOWEST
from sklgm.outliers._trusted import Trusted

# Of the default estimator. Few rows make few steps an epoch.
_PRESET = "natural_images_small"
#: Networks that the preset trains, where rows are images.
OF_PRESET = ("airbench", "airbench_narrow")
_LR, _BATCH_SIZE = 0.003, 128
_N_EPOCHS, _N_STEPS, _MAX_EPOCHS = 8, 150, 200
# Up to so many rows are split anew so many times, unless networks are trained.
_FEW_ROWS, _N_REPEATS = 1_000, 5
# What a class has at least then: else one model that excludes it outvotes all others.
_LEAST_LOG_PROBA = float(np.log(1e-6))
# Rows that a model is asked about at once, and bytes that those of an array take.
_JUDGED_ROWS, _JUDGED_BYTES = 65_536, 2**26


@dataclass(frozen=True, eq=False)
class FoldAnswer:
    """What the model of one fold says of the rows that it was not trained on."""

    scores: FoldScores
    features: NDArray[np.floating[Any]]  # (n_held_out, feature_dim), or no columns


def default_estimator(
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
    chosen = automatic_backbone(shape[1:]) if backbone == "auto" else backbone
    if not is_prepared and chosen in OF_PRESET and len(shape) == 4:
        classifier = LGMClassifier.from_preset(_PRESET, backbone=chosen)
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
    scaler = LargeScaler() if is_large_file(rows) else StandardScaler()
    return Pipeline([("standardscaler", scaler), ("lgmclassifier", classifier)])


def resolve_n_repeats(
    n_repeats: int | str,
    estimator: Any,
    n_samples: int,
    *,
    cv: Any,
    has_trusted: bool,
) -> int:
    """Decide how often the rows are split into folds."""
    if n_repeats == 1:
        return 1
    why_not = None
    if not isinstance(cv, Integral):
        why_not = "repeats need cv as a number"
    elif has_trusted:
        why_not = "trusted rows are compared with the rows of one split"
    if n_repeats != "auto":
        if why_not is not None:
            raise ValueError(f"n_repeats={n_repeats!r}, but {why_not}")
        return int(n_repeats)
    # Networks take longest; what no fold trains says the same each time.
    is_costly = (
        estimator is None
        or isinstance(estimator, FrozenEstimator)
        or isinstance(split_steps(estimator)[1], NetworkClassifier)
    )
    has_few = n_samples <= _FEW_ROWS
    return _N_REPEATS if has_few and not is_costly and why_not is None else 1


def averaged(
    answers: list[FoldAnswer], n_first: int, n_samples: int, n_classes: int
) -> list[FoldAnswer]:
    """Answers of the first splits, with the geometric mean of all probabilities.

    A row to which some model gives no class at all has none.
    """
    if len(answers) == n_first:
        return answers
    counts = np.zeros((n_samples, 1))
    is_lost = np.zeros(n_samples, dtype=bool)
    log_sums = np.zeros((n_samples, n_classes))
    for answer in answers:
        log_proba = answer.scores.held_out.log_proba
        assert log_proba is not None
        counts[answer.scores.rows] += 1
        is_lost[answer.scores.rows] |= (log_proba <= LOWEST).all(axis=1)
        log_sums[answer.scores.rows] += np.maximum(log_proba, _LEAST_LOG_PROBA)
    log_means = log_softmax(log_sums / counts, axis=1)
    log_means[is_lost] = LOWEST

    def with_means(answer: FoldAnswer) -> FoldAnswer:
        means = RowScores(log_proba=log_means[answer.scores.rows])
        return replace(answer, scores=replace(answer.scores, held_out=means))

    return [with_means(answer) for answer in answers[:n_first]]


def without_addresses(thing: Any) -> str:
    """Text of an object that is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))


def device_name(device: str | torch.device) -> str:
    """Name of the device that trains, with that of a GPU."""
    resolved = resolve_device(device)
    if resolved.type == "cuda":
        return f"{resolved} ({torch.cuda.get_device_name(resolved)})"
    return str(resolved)


def fold_key(settings: Any, data: Any, device: str) -> str:
    """Key of what decides the answers of folds; see :func:`stage_key`."""
    try:
        return stage_key(settings, data, device)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "resume_from needs an estimator and a cv that can be pickled, so that "
            f"they are known again: {error}. Give functions of a module instead of "
            "lambdas, or resume_from=None"
        ) from error


def pass_once(
    fixed: FixedPart | FrozenNetwork,
    rows: Any,
    known: Trusted | None,
    progress: Progress,
) -> tuple[Any, Trusted | None]:
    """Rows and trusted rows after the part that no fold trains."""
    passed = fixed.fit_transform(rows, progress)
    return passed, known and (fixed.transform(known[0]), known[1])


def ask_fold(
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

    parts = [
        scores_of(taken_rows(X, rows), claimed[rows], number == 0)
        for rows in _few_at_a_time(X, held_out_rows)
    ]
    held_out = RowScores(
        _joined([part.claims for part, _ in parts]),
        _joined([part.log_proba for part, _ in parts]),
    )
    features = _joined([of_part for _, of_part in parts])
    if features is None or number > 0:  # only features of one model can be compared
        features = np.empty((len(held_out_rows), 0), dtype=np.float32)
    of_trusted = None if known is None else scores_of(*known, False)[0]
    return FoldAnswer(FoldScores(held_out_rows, held_out, of_trusted), features)


def _few_at_a_time(X: Any, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Parts of some rows of X that are in memory at once."""
    n_rows = _JUDGED_ROWS
    if isinstance(X, np.ndarray):
        n_rows = min(n_rows, max(1, _JUDGED_BYTES // max(1, X[:1].nbytes)))
    return np.split(rows, range(n_rows, len(rows), n_rows))


def _joined(parts: list[Any]) -> Any:
    """Arrays of parts as one; None where a model does not tell."""
    return None if parts[0] is None else np.concatenate(parts)


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


def given_answer(
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


def in_order(
    answers: Sequence[FoldAnswer], n_samples: int, n_classes: int
) -> NDArray[np.float64]:
    """Log probabilities (n_samples, n_classes) by the models of all folds."""
    log_proba = np.empty((n_samples, n_classes))
    for answer in answers:
        assert answer.scores.held_out.log_proba is not None
        log_proba[answer.scores.rows] = answer.scores.held_out.log_proba
    return log_proba
