"""Peers: every detector of poisons asked about, and filtering, the same rows."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklgm.experiments._comparison import Comparison, compare_heads
from sklgm.experiments._external_peers import EXTERNAL_PEERS, check_external_peers
from sklgm.experiments._protocol import Context, Protocol, mean, rate
from sklgm.experiments._settings import CountSettings, PlannedAttack, RefitSettings
from sklgm.experiments._table_specs import AUROC
from sklgm.metrics import auroc, tpr_at_fpr
from sklgm.outliers import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    DeepKNNDetector,
    LGMOutlierDetector,
    SelfConfidenceDetector,
    SpectralSignatureDetector,
)
from sklgm.results import (
    ColumnSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    TableSpec,
)

NAME = "peers"
#: Names of the detectors of other packages that take part.
EXTERNAL: tuple[str, ...] = tuple(EXTERNAL_PEERS)

_SHARES = ("auroc", "tpr_at_1pct_fpr", "clean_flagged", "poisons_flagged")


class PeersSettings(CountSettings, RefitSettings):
    """Settings of the protocol peers.

    Parameters
    ----------
    n_targets, n_poisons, attacks, bounds, reach, similarity_weight, max_iter, \
            watermark_opacity
        See :class:`CountSettings`.
    refit_epochs
        See :class:`RefitSettings`.
    """


@dataclass(frozen=True)
class _Retrained:
    """What a head says once it is trained on the rows that were kept."""

    label: Any
    accuracy: float


@dataclass(frozen=True)
class _Judgement:
    """What one detector made of the poisoned rows of one target."""

    auroc: float
    tpr_at_1pct_fpr: float
    clean_flagged: float
    poisons_flagged: float
    fit_seconds: float
    retrained: _Retrained


@dataclass(frozen=True, eq=False)
class _Retraining:
    """What is trained once rows are dropped, and asked then."""

    head: Any
    test_features: NDArray[np.floating[Any]]
    y_test: NDArray[Any]
    target_row: int

    def after(
        self,
        features: NDArray[np.floating[Any]],
        y: NDArray[Any],
        is_kept: NDArray[np.bool_],
    ) -> _Retrained:
        """Train on the rows that are kept, for as many steps as on all of them."""
        labels = np.unique(y[is_kept])
        if len(labels) < 2:  # nothing to be trained: a detector that lost the rest
            label = labels[0] if len(labels) == 1 else None
            return _Retrained(label, float(np.mean(self.y_test == label)))
        # As many steps as on all rows: fewer would protect by themselves.
        n_epochs = round(self.head.max_epochs * len(y) / np.count_nonzero(is_kept))
        head = clone(self.head).set_params(max_epochs=n_epochs)
        head.fit(features[is_kept], y[is_kept])
        predicted = head.predict(self.test_features)
        accuracy = float(np.mean(predicted == self.y_test))
        return _Retrained(predicted[self.target_row], accuracy)


def measure(context: Context, settings: PeersSettings) -> Iterator[Row]:
    """Ask every detector about the rows of which a few are poisons, and retrain.

    Poisons are those of the transfer protocol, on the frozen networks. For each target
    each detector is fitted to the features of all rows of the refit, poisons among
    them and nothing else, and judges these same rows by the labels they claim. The
    network's own head, softmax or L-GM without trim, is then refitted to the rows that
    the detector does not flag, as in transfer.

    Parameters
    ----------
    context : Context
        Rows, networks and runner.
    settings : PeersSettings
        Settings of the protocol.

    Yields
    ------
    Row
        For each attack, network (``victim``) and detector the fields of
        :class:`_Judgement`: means over targets, for seconds the median, and for the
        retrained head the share of targets that get the base label (of those that the
        control arm gets right) and its accuracy. Without a detector: the head trained
        on all rows.

    Notes
    -----
    Settings are the defaults of each package, thresholds among them; no detector
    knows the share of poisons. Detectors that cross-fit score each row by a model that
    did not see it, the others by one that did. cleanlab asks for cross-validated
    probabilities and gets them. See :mod:`sklgm.experiments._external_peers` for which
    layer ART reads.

    The seconds of one detector are measured while others run on the other cores.
    """
    comparison = compare_heads(context, NAME, settings, n_poisons=settings.n_poisons)
    for planned in settings.plan(has_images=comparison.has_images):
        for network in comparison.networks:
            crafted = comparison.craft(planned, network)
            poisons = comparison.inputs_of(network, crafted)
            for n in comparison.counts:
                yield from context.stage(
                    f"{NAME}, {n} poisons, {planned} on {network}",
                    partial(_ask_all, comparison, planned, network, poisons, n),
                )


def _make_detectors(head: Any, seed: int) -> dict[str, Any]:
    """Make every detector, with its defaults."""
    linear = LogisticRegression(max_iter=1000)
    return {
        **{
            f"lgm_{score}": LGMOutlierDetector(
                head, score_kind=score, random_state=seed
            )
            for score in ("likelihood", "posterior", "combined")
        },
        "deep_knn": DeepKNNDetector(random_state=seed),
        "spectral_signatures": SpectralSignatureDetector(random_state=seed),
        "activation_clustering": ActivationClusteringDetector(random_state=seed),
        "class_mahalanobis": ClassMahalanobisDetector(random_state=seed),
        "self_confidence": SelfConfidenceDetector(linear, random_state=seed),
        **{name: EXTERNAL_PEERS[name](linear, random_state=seed) for name in EXTERNAL},
    }


def _ask_detector(
    detector: Any, rows: tuple[Any, ...], retraining: _Retraining
) -> _Judgement:
    """Fit a detector to poisoned rows and compare what it says with the truth."""
    features, y, is_poison = rows
    detector = clone(detector)
    start = time.perf_counter()
    is_flagged = detector.fit_predict(features, y) == -1
    seconds = time.perf_counter() - start
    # Of models that did not see the row, where a detector has them.
    scores = getattr(detector, "train_scores_", None)
    if scores is None:
        scores = detector.score_samples(features, y)
    outlier_score = -scores
    return _Judgement(
        auroc(outlier_score, is_poison),
        tpr_at_fpr(outlier_score, is_poison),
        float(is_flagged[~is_poison].mean()),
        float(is_flagged[is_poison].mean()),
        seconds,
        retraining.after(features, y, ~is_flagged),
    )


def _ask_all(
    comparison: Comparison,
    planned: PlannedAttack,
    network: str,
    poisons: dict[int, NDArray[np.floating[Any]]],
    n: int,
) -> Iterator[Row]:
    """Ask every detector about the poisons of all targets for one network."""
    context, targets = comparison.context, comparison.targets
    detectors = _make_detectors(comparison.defences[network], context.settings.seed)
    position = next(i for i, v in enumerate(comparison.victims) if v.name == network)
    head, counted = comparison.victims[position].head, comparison.counted(position)
    every = range(len(targets.rows))
    which = {
        **context.columns(NAME),
        **planned.columns,
        "victim": network,
        "n_poisons": n,
    }

    def rows(t: int) -> tuple[Any, ...]:
        return comparison.poisoned_rows(network, poisons, n, t)

    def retraining(t: int) -> _Retraining:
        test_features = comparison.test_inputs[network]
        return _Retraining(head, test_features, comparison.y_test, int(targets.rows[t]))

    def retrained_rows(
        detector: str | None, retrained: Sequence[_Retrained]
    ) -> Iterator[Row]:
        labels = np.array([r.label for r in retrained])[counted]
        n_misled = int(np.sum(labels == targets.base_labels[counted]))
        # All heads are scored on the same test rows: these are the sample.
        n_test = len(comparison.y_test)
        n_right = round(float(np.mean([r.accuracy for r in retrained])) * n_test)
        for metric, n_cases, n_all in (
            ("success_after_filtering", n_misled, len(counted)),
            ("accuracy_after_filtering", n_right, n_test),
        ):
            yield Row(**which, detector=detector, metric=metric, **rate(n_cases, n_all))

    stage = f"{n} poisons, {planned} on {network}"
    unfiltered = context.runner.map(
        f"train on all rows, {stage}",
        _train_on_all,
        ((rows(t), retraining(t)) for t in every),
        len(every),
    )
    yield from retrained_rows(None, unfiltered)
    # All detectors of one target together: what else runs is then alike for each.
    judgements: list[_Judgement] = context.runner.map(
        f"ask detectors, {stage}",
        _ask_detector,
        (
            (detector, rows(t), retraining(t))
            for t in every
            for detector in detectors.values()
        ),
        len(detectors) * len(every),
    )
    for i, name in enumerate(detectors):
        own = judgements[i :: len(detectors)]
        row = partial(Row, **which, detector=name)
        for metric in _SHARES:
            values = [getattr(judgement, metric) for judgement in own]
            yield row(metric=metric, **mean(values, (0.0, 1.0)))
        seconds = median(judgement.fit_seconds for judgement in own)
        yield row(metric="fit_seconds", value=seconds, n=len(own))
        yield from retrained_rows(name, [judgement.retrained for judgement in own])


def _train_on_all(rows: tuple[Any, ...], retraining: _Retraining) -> _Retrained:
    features, y, _ = rows
    return retraining.after(features, y, np.ones(len(y), dtype=bool))


def _check(context: Context, settings: PeersSettings) -> None:
    """Raise where a package that takes part is missing."""
    if EXTERNAL:
        check_external_peers()


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="Which detector finds the poisons?",
    question="Every detector is fitted to the same rows, poisons among them and "
    "nothing else, and judges these rows by the labels they claim. Rows are flagged at "
    "each detector's own default settings; seconds are the median time from features "
    "to flags. What bears the name of another package is that package's own code.",
    headline=HeadlineSpec("auroc", "{dataset}, {attack}: detectors on the same rows"),
    tables=(
        TableSpec(
            title="{dataset}, {attack}: what detectors find, {n_poisons}",
            split=("dataset", "attack", "bound", "reach", "n_poisons"),
            index=("victim", "detector"),
            header="{detector}",
            header_title="Detector",
            details=("on features of {victim}",),
            columns=(
                AUROC,
                ColumnSpec(
                    "tpr_at_1pct_fpr", "Poisons found at 1 % false alarms", "share"
                ),
                ColumnSpec("clean_flagged", "Clean rows flagged", "share"),
                ColumnSpec("poisons_flagged", "Poisons flagged", "share"),
                ColumnSpec(
                    "success_after_filtering",
                    "Misled, retrained without flagged rows",
                    "share",
                ),
                ColumnSpec(
                    "accuracy_after_filtering",
                    "Accuracy, retrained without flagged rows",
                    "share",
                ),
                ColumnSpec("fit_seconds", "Seconds"),
            ),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, PeersSettings, measure, _check)
