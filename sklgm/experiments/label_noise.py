"""Label noise: some labels are wrong, and an audit is asked which."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from scipy.stats import bootstrap

from sklgm._inputs import resolve_device
from sklgm._running import import_extra, limited_threads
from sklgm.auditing import AuditResult, audit
from sklgm.datasets import load_human_labels
from sklgm.experiments._partition import Partition
from sklgm.experiments._protocol import Context, Protocol, rate
from sklgm.experiments._settings import (
    Count,
    Distinct,
    Presets,
    RunSettings,
    Settings,
    Some,
)
from sklgm.experiments._table_specs import AUROC
from sklgm.metrics import auroc_interval
from sklgm.poisoning import flip_labels
from sklgm.results import (
    ColumnSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    TableSpec,
)

NAME = "label-noise"
_FALSE_DISCOVERY_RATE = 0.1
_FALSE_ALARM_RATE = 0.01
_N_RESAMPLES = 5000
_FOUND = "flipped_among_most_suspect"

LabelKind = Literal["symmetric", "pair", "human", "human-single"]
#: What the table calls labels that were not flipped at random.
_SAID = {
    "pair": "flips to the next class",
    "human": "labels of people (majority of three)",
    "human-single": "labels of people (one each)",
}
_KINDS_OF_PEOPLE: Mapping[str, Literal["aggregate", "random1"]] = {
    "human": "aggregate",
    "human-single": "random1",
}


class LabelNoiseSettings(Settings):
    """Settings of the label-noise protocol.

    Parameters
    ----------
    labels : tuple of str, default=("symmetric",)
        Where wrong labels come from. ``"symmetric"`` and ``"pair"``: flips, as in
        :func:`sklgm.poisoning.flip_labels`. ``"human"`` and ``"human-single"``: people
        made them, as :func:`sklgm.datasets.load_human_labels` has them (``aggregate``
        and ``random1``); for CIFAR-10 as an image folder.
    shares : tuple of float in [0, 1), default=(0.0, 0.01, 0.05)
        Shares of the training labels that are flipped.
    rivals : tuple of str, default=()
        Libraries that judge the same labels by the same probabilities: ``"cleanlab"``,
        which the extra ``bench`` brings.
    cv : int >= 2, default=5
        Folds of the audits.
    max_epochs : int or None, default=None
        Epochs of each fold; None as in :func:`sklgm.audit`.
    """

    labels: Annotated[tuple[LabelKind, ...], Some, Distinct] = ("symmetric",)
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

    @property
    def plan(self) -> list[tuple[LabelKind, float | None]]:
        """Kinds of labels, each with its shares; None where people made them."""
        return [
            (kind, share)
            for kind in self.labels
            for share in ((None,) if kind in _KINDS_OF_PEOPLE else self.shares)
        ]


def measure(context: Context, settings: LabelNoiseSettings) -> Iterator[Row]:
    """Replace training labels and audit all training rows.

    Parameters
    ----------
    context : Context
        Rows for networks and refit are audited.
    settings : LabelNoiseSettings
        Settings of the protocol.

    Yields
    ------
    Row
        Of the audit and of each rival, for all labels of the plan.
    """
    run, rows = context.settings, context.partition
    X = np.concatenate([rows.X_backbone, rows.X_refit])
    y = np.concatenate([rows.y_backbone, rows.y_refit])
    plan = settings.plan
    n_workers = context.runner.n_workers(settings.cv, resolve_device(run.device))
    context.runner.progress("audit label noise", 0, len(plan))
    for number, (kind, share) in enumerate(plan):
        claimed = _claimed(kind, share, y, rows, run)
        audit_rows = partial(
            _timed_audit,
            X,
            claimed,
            fdr=_FALSE_DISCOVERY_RATE,
            cv=settings.cv,
            max_epochs=settings.max_epochs,
            backbone=run.backbone,
            device=run.device,
            n_jobs=n_workers,
            random_state=run.seed,
        )
        stage = f"{NAME}, {kind}" if share is None else f"{NAME}, {kind}, {share:g}"
        with limited_threads(1):  # of each worker: numbers do not depend on n_jobs
            result, seconds = context.runner.once(stage, audit_rows)
        columns = context.columns(NAME)
        if kind in _SAID:
            columns["dataset"] += f", {_SAID[kind]}"
        n_wrong = int(np.count_nonzero(claimed != y))
        is_flipped = n_wrong > 0 and kind not in _KINDS_OF_PEOPLE
        row = partial(
            Row,
            **columns,
            victim="lgm",
            attack="flip_labels" if is_flipped else None,
            share=share,
            n_poisons=n_wrong,
        )
        yield row(
            detector="audit", metric="audit_seconds", value=seconds, n=len(claimed)
        )
        for detector, metric, numbers in _metrics(
            y, result, settings.rivals if n_wrong > 0 else (), run.seed
        ):
            yield row(detector=detector, metric=metric, **numbers)
        context.runner.progress("audit label noise", number + 1, len(plan))


def _timed_audit(*args: Any, **settings: Any) -> tuple[AuditResult, float]:
    started = perf_counter()
    return audit(*args, **settings), perf_counter() - started


def _claimed(
    kind: LabelKind,
    share: float | None,
    y: NDArray[np.generic],
    rows: Partition,
    run: RunSettings,
) -> NDArray[np.generic]:
    """Make the labels that are audited, of the rows for networks and refit."""
    if kind == "symmetric" or kind == "pair":
        assert share is not None
        return flip_labels(y, share, random_state=run.seed, noise=kind)
    claimed, true = load_human_labels(
        "aggregate" if kind == "human" else "random1", run.data_home
    )
    positions = np.concatenate([rows.backbone_rows, rows.refit_rows])
    classes, y_encoded = np.unique(y, return_inverse=True)
    if (
        positions.max() >= len(true)
        or len(classes) <= max(claimed.max(), true.max())
        or not np.array_equal(true[positions], y_encoded)
    ):
        raise ValueError(
            f"labels={kind!r} are those of the training images of CIFAR-10 in an image "
            f"folder, in the order of their sorted paths; {rows.name} has other labels"
        )
    of_people: NDArray[np.generic] = classes[claimed[positions]]
    return of_people


def _metrics(
    y: NDArray[np.generic], result: AuditResult, rivals: tuple[str, ...], seed: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Compare an audit, and rivals, with the labels that count as right."""
    is_wrong = result.claimed_labels != y
    n_wrong = int(np.count_nonzero(is_wrong))
    by_level = replace(result, fdr=None, false_alarm_rate=_FALSE_ALARM_RATE)
    audits = (
        ("audit", result.is_suspect),
        (f"audit, level {_FALSE_ALARM_RATE:g}", by_level.is_suspect),
    )
    for detector, flags in audits:
        for metric, numbers in _rates_of_flags(flags, is_wrong):
            yield detector, metric, numbers
    most_suspect = is_wrong[result.ranking[:n_wrong]]
    if n_wrong > 0:
        yield "audit", _FOUND, rate(int(most_suspect.sum()), n_wrong)
        outlier_score = np.empty(len(y))
        outlier_score[result.ranking] = np.arange(len(y))[::-1]
        value, low, high = auroc_interval(outlier_score, is_wrong)
        yield "audit", "auroc", {"value": value, "low": low, "high": high, "n": n_wrong}
    n_right = int(np.count_nonzero(result.likely_labels == y))
    yield "audit", "cross_validated_accuracy", rate(n_right, len(y))
    estimate: dict[str, Any] = {"value": result.noise_share, "n": len(y)}
    if result.noise_share_interval is not None:
        estimate["low"], estimate["high"] = result.noise_share_interval
    yield "audit", "estimated_noise_share", estimate
    for rival in rivals:
        for metric, numbers in _rival_metrics(is_wrong, result, seed):
            yield rival, metric, numbers


def _rates_of_flags(
    flags: NDArray[np.bool_], is_wrong: NDArray[np.bool_]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rates of a decision: of right labels, of wrong ones, and among the flagged."""
    n_wrong, n_false = int(is_wrong.sum()), int(np.count_nonzero(flags & ~is_wrong))
    counts = {
        "clean_flagged": (n_false, len(flags) - n_wrong),
        "flipped_flagged": (int(np.count_nonzero(flags & is_wrong)), n_wrong),
        "false_discoveries": (n_false, int(flags.sum())),
    }
    for metric, (n_cases, n) in counts.items():
        if n > 0:
            yield metric, rate(n_cases, n)


def _rival_metrics(
    is_wrong: NDArray[np.bool_], result: AuditResult, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Judge the labels by cleanlab, from the probabilities of the same models.

    References
    ----------
    C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating
    Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70,
    2021.
    """
    rank, filtering = (
        import_extra(f"cleanlab.{module}", "bench") for module in ("rank", "filter")
    )
    assert result.log_proba is not None
    proba = np.exp(result.log_proba)
    labels = np.searchsorted(result.classes, result.claimed_labels)
    yield from _rates_of_flags(
        filtering.find_label_issues(labels, proba, n_jobs=1), is_wrong
    )
    quality = rank.get_label_quality_scores(labels, proba)
    n_wrong = int(np.count_nonzero(is_wrong))
    value, low, high = auroc_interval(-quality, is_wrong)
    yield "auroc", {"value": value, "low": low, "high": high, "n": n_wrong}

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
    """Raise where a rival or labels of people are missing."""
    for rival in settings.rivals:
        import_extra(rival, "bench")
    for kind, name in _KINDS_OF_PEOPLE.items():
        if kind in settings.labels:
            load_human_labels(name, context.settings.data_home)


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="Can wrong labels be found?",
    question="A share of all training labels is replaced by other ones, or labels that "
    "people gave take their place. An audit, whose models never saw the rows that they "
    "judge, is asked which labels are wrong; it has no rows that it may trust. The "
    "labels of the data set count as right. The audit flags as many as it can at a "
    'false discovery rate of 0.1; "level" is the share of right labels that it may '
    "flag instead. The interval of the estimated share is what data and model leave "
    "open. Where a network is named, others computed the probabilities.",
    headline=HeadlineSpec("auroc", "{dataset}: wrong labels found"),
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
                ColumnSpec("false_discoveries", "Right among the flagged", "share"),
                ColumnSpec(
                    "estimated_noise_share", "Estimated share of wrong labels", "share"
                ),
                ColumnSpec(
                    "cross_validated_accuracy", "Cross-validated accuracy", "share"
                ),
                ColumnSpec("audit_seconds", "Seconds"),
            ),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, LabelNoiseSettings, measure, _check)
