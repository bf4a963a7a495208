"""Label noise: random labels are wrong, and an audit is asked which."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from scipy.stats import bootstrap

from sklgm._inputs import resolve_device
from sklgm._running import import_extra, limited_threads
from sklgm.auditing import AuditResult, audit
from sklgm.experiments._protocol import Context, Protocol, rate
from sklgm.experiments._settings import Count, Distinct, Presets, Settings, Some
from sklgm.experiments._table_specs import AUROC
from sklgm.metrics import auroc_interval
from sklgm.poisoning import flip_labels
from sklgm.results import ColumnSpec, ProtocolDescription, Row, TableSpec

NAME = "label-noise"
#: False discovery rate whose realised share is recorded.
_FALSE_DISCOVERY_RATE = 0.1
_FALSE_ALARM_RATE = 0.01
_N_RESAMPLES = 5000
_FOUND = "flipped_among_most_suspect"


class LabelNoiseSettings(Settings):
    """Settings of the label-noise protocol.

    Parameters
    ----------
    shares : tuple of float in [0, 1), default=(0.0, 0.01, 0.05)
        Shares of the training labels that are flipped.
    rivals : tuple of str, default=()
        Libraries that rank the same labels by the same probabilities: ``"cleanlab"``,
        which the extra ``bench`` brings.
    cv : int >= 2, default=5
        Folds of the audits.
    max_epochs : int or None, default=None
        Epochs of each fold; None as in :func:`sklgm.audit`.
    """

    shares: Annotated[
        tuple[Annotated[float, pydantic.Field(ge=0, lt=1)], ...], Some, Distinct
    ] = (0.0, 0.01, 0.05)
    rivals: Annotated[tuple[Literal["cleanlab"], ...], Distinct] = ()
    cv: Annotated[int, pydantic.Field(ge=2)] = 5
    max_epochs: Count | None = None

    presets: ClassVar[Presets] = {
        # Enough: three audits of 60,000 rows took 24 minutes beside other work.
        ("mnist", "*"): {"cv": 3, "max_epochs": 5}
    }


def measure(context: Context, settings: LabelNoiseSettings) -> Iterator[Row]:
    """Flip shares of the training labels and audit all training rows.

    Parameters
    ----------
    context : Context
        Rows for networks and refit are audited.
    settings : LabelNoiseSettings
        Settings of the protocol.

    Yields
    ------
    Row
        Of the audit and of each rival, for every share.
    """
    run, rows = context.settings, context.partition
    X = np.concatenate([rows.X_backbone, rows.X_refit])
    y = np.concatenate([rows.y_backbone, rows.y_refit])
    n_shares = len(settings.shares)
    n_workers = context.runner.n_workers(settings.cv, resolve_device(run.device))
    context.runner.progress("audit label noise", 0, n_shares)
    for number, share in enumerate(settings.shares):
        claimed = flip_labels(y, share, random_state=run.seed)
        audit_rows = partial(
            audit,
            X,
            claimed,
            false_alarm_rate=_FALSE_ALARM_RATE,
            cv=settings.cv,
            max_epochs=settings.max_epochs,
            backbone=run.backbone,
            device=run.device,
            n_jobs=n_workers,
            random_state=run.seed,
        )
        with limited_threads(1):  # of each worker: numbers do not depend on n_jobs
            result = context.runner.once(f"{NAME}, {share:g}", audit_rows)
        row = partial(
            Row,
            **context.columns(NAME),
            victim="lgm",
            attack="flip_labels" if share > 0 else None,
            share=share,
            n_poisons=int(np.count_nonzero(claimed != y)),
        )
        for metric, columns in _audit_metrics(y, result):
            yield row(detector="audit", metric=metric, **columns)
        for rival in settings.rivals if share > 0 else ():
            for metric, columns in _rival_metrics(y, result, run.seed):
                yield row(detector=rival, metric=metric, **columns)
        context.runner.progress("audit label noise", number + 1, n_shares)


def _audit_metrics(
    y: NDArray[np.generic], result: AuditResult
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare an audit with the labels before they were flipped."""
    is_wrong = result.claimed_labels != y
    n_wrong = int(np.count_nonzero(is_wrong))
    is_discovered = result.q_values <= _FALSE_DISCOVERY_RATE
    counts = {
        "clean_flagged": (result.is_suspect & ~is_wrong, len(y) - n_wrong),
        "flipped_flagged": (result.is_suspect & is_wrong, n_wrong),
        _FOUND: (is_wrong[result.ranking[:n_wrong]], n_wrong),
        "false_discoveries": (is_discovered & ~is_wrong, int(is_discovered.sum())),
        "cross_validated_accuracy": (result.likely_labels == y, len(y)),
    }
    for metric, (cases, n) in counts.items():
        if n > 0:
            yield metric, rate(int(np.count_nonzero(cases)), n)
    if n_wrong > 0:
        outlier_score = np.empty(len(y))
        outlier_score[result.ranking] = np.arange(len(y))[::-1]
        value, low, high = auroc_interval(outlier_score, is_wrong)
        yield "auroc", {"value": value, "low": low, "high": high, "n": n_wrong}
    yield "estimated_noise_share", {"value": result.noise_share, "n": len(y)}


def _rival_metrics(
    y: NDArray[np.generic], result: AuditResult, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rank the labels by cleanlab, from the probabilities of the same models.

    References
    ----------
    C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating
    Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70,
    2021.
    """
    rank = import_extra("cleanlab.rank", "bench")
    assert result.log_proba is not None
    quality = rank.get_label_quality_scores(
        np.searchsorted(result.classes, result.claimed_labels), np.exp(result.log_proba)
    )
    is_wrong = result.claimed_labels != y
    n_wrong = int(np.count_nonzero(is_wrong))

    def is_among_first(ranking: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(np.flatnonzero(is_wrong), ranking[:n_wrong])

    of_rival = is_among_first(np.argsort(quality, kind="stable"))
    yield _FOUND, rate(int(of_rival.sum()), n_wrong)
    difference = is_among_first(result.ranking).astype(float) - of_rival
    interval = bootstrap(
        (difference,),
        np.mean,
        n_resamples=_N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    yield (
        f"{_FOUND}_difference",
        {
            "value": difference.mean(),
            "low": interval.low,
            "high": interval.high,
            "n": n_wrong,
        },
    )


def _check(context: Context, settings: LabelNoiseSettings) -> None:
    """Raise where a rival is missing."""
    for rival in settings.rivals:
        import_extra(rival, "bench")


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="Can wrong labels be found?",
    question="A share of all training labels is replaced by random other ones. An "
    "audit, whose models never saw the rows that they judge, is asked which; it has no "
    "rows that it may trust. The labels as they came count as right. The same numbers "
    "stand here for labels of people, by probabilities that others computed: there a "
    "label is wrong if it differs from that of the data set, and the interval of the "
    "estimated share is what data and model leave open.",
    tables=(
        TableSpec(
            title="{dataset}: wrong labels",
            split=("dataset",),
            index=("n_poisons", "victim", "detector"),
            details=("{detector}", "{n_poisons}"),
            noun="wrong label",
            columns=(
                ColumnSpec("clean_flagged", "Right labels flagged", "share"),
                ColumnSpec("flipped_flagged", "Wrong labels flagged", "share"),
                ColumnSpec(
                    "flipped_among_most_suspect",
                    "Wrong among as many most suspect",
                    "share",
                ),
                ColumnSpec(
                    "flipped_among_most_suspect_difference",
                    "The audit's share minus this",
                    "share",
                ),
                AUROC,
                ColumnSpec(
                    "false_discoveries",
                    "Right among those with q of at most 0.1, or among the flagged",
                    "share",
                ),
                ColumnSpec(
                    "estimated_noise_share", "Estimated share of wrong labels", "share"
                ),
                ColumnSpec(
                    "cross_validated_accuracy", "Cross-validated accuracy", "share"
                ),
            ),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, LabelNoiseSettings, measure, _check)
