"""From the answers of all folds to what an audit says of every row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from sklgm._inputs import some_rows
from sklgm.auditing._decisions import CheckedRows
from sklgm.auditing._fold_models import FoldAnswer
from sklgm.auditing._overlap import class_overlap
from sklgm.auditing._result import AuditResult
from sklgm.auditing._review import Review
from sklgm.auditing._rule import Rule
from sklgm.outliers._calibration import (
    FoldScores,
    RowScores,
    calibrate_claims,
    claimed_log_posterior,
)
from sklgm.outliers._checked import recalibrate
from sklgm.outliers._decisions import discovery_rates, q_values
from sklgm.outliers._right_claims import RightClaimModel

_N_TYPICAL = 6
# Rows that are worth checking are looked for among as many.
_N_TO_CHECK, _MAX_TO_COMPARE = 20, 50_000


@dataclass(frozen=True, eq=False)
class Judged:
    """What the law of right claims says of all rows."""

    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    p_right: NDArray[np.float64] | None
    model: RightClaimModel | None
    rows: NDArray[np.intp]  # that the model is of, with their classes
    classes: NDArray[np.intp]


def judge(
    folds: Sequence[FoldScores],
    claimed: NDArray[np.int64],
    log_proba: NDArray[np.float64],
    rare: NDArray[np.bool_],
    kind: Any,
    trusted: NDArray[np.int64] | None,
) -> Judged:
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
        return Judged(
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

    return Judged(
        of_all(law.scores),
        of_all(law.p_values),
        None if law.p_right is None else of_all(law.p_right),
        law.right_claims,
        np.flatnonzero(is_judged),
        classes,
    )


def audit_result(
    claimed_labels: NDArray[Any],
    claimed: NDArray[np.int64],
    classes: NDArray[Any],
    of_map: FoldAnswer,
    log_proba: NDArray[np.float64],
    judged: Judged,
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
        power=None if model is None else model.likely.power,
        rows_to_check=_rows_to_check(judged, log_proba, claimed, checked),
        review=review,
        map_rows=map_rows,
        map_features=of_map.features,
        typical_rows=typical_rows(
            map_rows,
            of_map.features,
            np.where(is_typical, claimed, -1)[map_rows],
            judged.scores[map_rows],
            len(classes),
        ),
        log_proba=log_proba,
        **told,
    )


def _noise_matrix(judged: Judged, n_classes: int) -> NDArray[np.float64] | None:
    """Noise matrix of all classes; NaN for those that are too rare."""
    if judged.model is None:
        return None
    matrix = np.full((n_classes, n_classes), np.nan)
    matrix[np.ix_(judged.classes, judged.classes)] = judged.model.noise_matrix
    return matrix


def _class_overlap(
    judged: Judged, log_proba: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Overlap of all classes; NaN for those that are too rare.

    None of models that know next to nothing: to them all classes are alike.
    """
    if judged.model is None or not judged.model.is_informative:
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
    judged: Judged,
    log_proba: NDArray[np.float64],
    claimed: NDArray[np.int64],
    checked: CheckedRows | None,
) -> NDArray[np.intp] | None:
    """Rows on which the readings of the model differ, spread over all of these."""
    if judged.model is None:
        return None
    some = judged.rows[some_rows(len(judged.rows), _MAX_TO_COMPARE)]
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


def typical_rows(
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
            chosen = own[_greatest(scores[own], _N_TYPICAL)]
        else:
            of_class = features[own].astype(np.float64)
            chosen = own[_spread_rows(of_class, _N_TYPICAL)]
        typical[k, : len(chosen)] = rows[chosen]
    return typical


def _greatest(values: NDArray[np.float64], n_values: int) -> NDArray[np.intp]:
    """Where the greatest values are, the greatest first; of ties the first ones."""
    places = np.arange(len(values))
    if len(values) > n_values:
        places = np.flatnonzero(values >= np.partition(values, -n_values)[-n_values])
    return places[np.argsort(-values[places], kind="stable")[:n_values]]


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
