"""Cells of tables: names, numbers and what stands below them; plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sklgm.metrics import Rate
from sklgm.plotting import MODEL_COLORS, MODEL_NAMES, pooled_rate
from sklgm.results import MODELS, Record

#: What a metric is called. The first group holds shares, shown in percent.
_SHARE_NAMES = {
    "attack_success_rate": "Attack success rate",
    "clean_accuracy": "Clean accuracy",
    "backbone_accuracy": "Backbone accuracy",
    "tpr_at_1pct_fpr": "Poisons found at 1 % false alarms",
    "clean_flagged": "Clean rows flagged",
    "poisons_flagged": "Poisons flagged",
    "success_after_filtering": "Misled, retrained without flagged rows",
    "accuracy_after_filtering": "Accuracy, retrained without flagged rows",
    "flipped_flagged": "Flipped rows flagged",
    "flipped_among_most_suspect": "Flipped among as many most suspect",
    "flipped_among_most_suspect_difference": "Difference of these shares",
    "false_discoveries": "Clean among rows with q of at most 0.1",
    "estimated_noise_share": "Estimated share of wrong labels",
    "cross_validated_accuracy": "Cross-validated accuracy",
}
_OTHER_NAMES = {
    "auroc": "AUROC",
    "collision_ratio": "Collision ratio",
    "l2": "Change, Euclidean norm",
    "linf": "Change, largest pixel",
    "fit_seconds": "Seconds",
}
METRIC_NAMES = _SHARE_NAMES | _OTHER_NAMES
DETECTION_METRICS = ("auroc", "tpr_at_1pct_fpr")
#: Detectors of the peers protocol, in the order of its table.
DETECTOR_NAMES = {
    "unfiltered": "None, trained on all rows",
    "lgm_likelihood": "L-GM likelihood",
    "lgm_posterior": "L-GM posterior",
    "lgm_combined": "L-GM combined",
    "deep_knn": "Deep k-NN",
    "spectral_signatures": "Spectral signatures",
    "activation_clustering": "Activation clustering",
    "class_mahalanobis": "Class Mahalanobis",
    "self_confidence": "Self-confidence",
    "art_spectral_signatures": "ART, spectral signatures",
    "art_activation_clustering": "ART, activation clustering",
    "cleanlab_confident_learning": "cleanlab, confident learning",
}
#: Arms that are kinds of score.
SCORE_KINDS = ("likelihood", "posterior", "combined")
_ARM_ORDER = ("attack", "common", "control", "clean", *SCORE_KINDS)


@dataclass(frozen=True)
class Cell:
    """A number, what stands small below it, and where its interval is drawn."""

    text: str
    details: Sequence[str] = ()
    #: (low, value, high) in [0, 1] for the interval strip, None for no strip.
    interval: tuple[float, float, float] | None = None
    color: str | None = None


@dataclass(frozen=True)
class Row:
    """A row header and its cells; None is an empty cell."""

    header: str
    cells: Sequence[Cell | None]
    detail: str = ""
    color: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first column is that of the row headers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row] = field(default_factory=list)


def model_name(model: str, arm: str = "attack") -> str:
    """Name a model, with its variant in brackets.

    Parameters
    ----------
    model : str
        As in `Record.model`.
    arm : str, default="attack"
        As in `Record.arm`; another one than ``"attack"`` is a variant.

    Returns
    -------
    str
    """
    return MODEL_NAMES[model] + ("" if arm == "attack" else f" ({arm})")


def detector_name(arm: str) -> str:
    """Name a detector of the peers protocol in tables and sentences."""
    return DETECTOR_NAMES.get(arm, arm.replace("_", " "))


def select(records: Iterable[Record], **values: object) -> list[Record]:
    """Return the records whose fields have the given values."""
    return [
        record
        for record in records
        if all(getattr(record, name) == value for name, value in values.items())
    ]


def success_rates(
    records: Sequence[Record], n_poisons: int
) -> dict[tuple[str, str], Rate]:
    """Pooled success rates at one number of poisons.

    Parameters
    ----------
    records : sequence of Record
        Those of one protocol, data set and attack.
    n_poisons : int
        Poisons a target.

    Returns
    -------
    dict from (model, arm) to Rate
        In the order of `MODELS`, variants after their model; only rates with cases.
    """
    rates = {}
    for model, arm in contenders(records):
        rate = pooled_rate(
            select(
                records,
                metric="attack_success_rate",
                model=model,
                arm=arm,
                n_poisons=n_poisons,
            )
        )
        if rate.n_targets:
            rates[model, arm] = rate
    return rates


def poison_counts(records: Iterable[Record], metric: str) -> list[int]:
    """Return the numbers of poisons at which a metric was measured, sorted."""
    return sorted(
        {
            record.n_poisons
            for record in records
            if record.metric == metric and record.arm not in ("control", "common")
        }
    )


def contenders(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Models with a success rate, each followed by its variants."""
    pairs = {
        (record.model, record.arm)
        for record in records
        if record.metric == "attack_success_rate"
        and record.arm not in ("control", "common")
    }
    return sorted(
        pairs, key=lambda pair: (MODELS.index(pair[0]), pair[1] != "attack", pair[1])
    )


def ordered_arms(arms: Iterable[str]) -> list[str]:
    order = {arm: index for index, arm in enumerate(_ARM_ORDER)}
    return sorted(set(arms), key=lambda arm: (order.get(arm, len(order)), arm))


def mean_value(records: Sequence[Record]) -> float:
    """Mean over the records (seeds) with a known value; nan if there is none."""
    values = [record.value for record in records if not math.isnan(record.value)]
    return math.fsum(values) / len(values) if values else math.nan


def rate_cell(records: Sequence[Record]) -> Cell | None:
    if not records:
        return None
    rate = pooled_rate(records)
    if rate.n_targets == 0:
        return Cell("unknown", ["no target counts"])
    return rate_cell_of(rate, MODEL_COLORS[records[0].model])


def rate_cell_of(rate: Rate, color: str | None = None) -> Cell:
    """Show a rate in percent, with counts and interval below."""
    digits = rate_digits(rate)
    return Cell(
        percent(rate.value, digits),
        [
            f"{rate.n_success:,} of {rate.n_targets:,}",
            f"{100 * rate.low:.{digits}f} to {percent(rate.high, digits)}",
        ],
        (rate.low, rate.value, rate.high),
        color,
    )


def value_cell(records: Sequence[Record], *details: str) -> Cell | None:
    """Mean over seeds; below it interval and n of one seed, or the range of several."""
    if not records:
        return None
    known = [record for record in records if not math.isnan(record.value)]
    if not known:
        return Cell("unknown", details)
    value = mean_value(known)
    metric = known[0].metric
    show = percent if metric in _SHARE_NAMES else number
    interval = None
    lines = list(details)
    if len(known) > 1:
        values = [record.value for record in known]
        n_seeds = len({record.seed for record in known})
        over = plural(n_seeds, "seed") if n_seeds > 1 else f"{len(known)} records"
        lines.append(f"{show(min(values))} to {show(max(values))} over {over}")
    else:
        low, high = known[0].low, known[0].high
        if low is not None and high is not None:
            lines.append(f"{show(low)} to {show(high)}")
            if metric in DETECTION_METRICS:
                interval = (low, value, high)
        lines.append(f"n = {known[0].n:,}")
    return Cell(show(value), lines, interval, MODEL_COLORS[known[0].model])


def rate_digits(rate: Rate) -> int:
    """Digits after the point of a percentage that the counts support."""
    return 0 if rate.n_targets < 200 else 1


def percent(value: float, digits: int = 1) -> str:
    """Write a share in percent."""
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Write three digits after the point, never rounded up to a perfect 1."""
    if 0.9995 <= value < 1:
        return "> 0.999"
    return f"{value:.3f}"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def without_empty_columns(table: Table) -> Table:
    kept = [
        index
        for index in range(len(table.columns) - 1)
        if any(row.cells[index] is not None for row in table.rows)
    ]
    return Table(
        table.caption,
        [table.columns[0], *(table.columns[index + 1] for index in kept)],
        [
            Row(row.header, [row.cells[i] for i in kept], row.detail, row.color)
            for row in table.rows
        ],
    )
