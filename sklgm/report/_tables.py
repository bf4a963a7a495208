"""Tables of a report, computed from records; plain text, no markup."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sklgm.metrics import Rate
from sklgm.plotting import MODEL_COLORS, MODEL_NAMES, attack_name, pooled_rate
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
_LABEL_NOISE_METRICS = (
    "clean_flagged",
    "flipped_flagged",
    "flipped_among_most_suspect",
    "flipped_among_most_suspect_difference",
    "auroc",
    "false_discoveries",
    "estimated_noise_share",
    "cross_validated_accuracy",
)
_OTHER_NAMES = {
    "auroc": "AUROC",
    "collision_ratio": "Collision ratio",
    "l2": "Change, Euclidean norm",
    "linf": "Change, largest pixel",
    "fit_seconds": "Seconds",
}
_METRIC_NAMES = _SHARE_NAMES | _OTHER_NAMES
_DETECTION_METRICS = ("auroc", "tpr_at_1pct_fpr")
_PEERS_METRICS = (
    "auroc",
    "tpr_at_1pct_fpr",
    "clean_flagged",
    "poisons_flagged",
    "success_after_filtering",
    "accuracy_after_filtering",
    "fit_seconds",
)
#: Detectors of the peers protocol, in the order of its table.
_DETECTOR_NAMES = {
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
_EFFORT_METRICS = ("collision_ratio", "l2", "linf")
#: Arms without poisons.
_CLEAN_ARMS = ("clean", "control")
#: Arms that are kinds of score.
_SCORE_KINDS = ("likelihood", "posterior", "combined")
_ARM_ORDER = ("attack", "common", "control", "clean", *_SCORE_KINDS)


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
    return _DETECTOR_NAMES.get(arm, arm.replace("_", " "))


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
    for model, arm in _contenders(records):
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


def attack_table(
    records: Sequence[Record], context: Sequence[Record], caption: str
) -> Table:
    """Success rates by model and number of poisons, beside what they cost.

    Parameters
    ----------
    records : sequence of Record
        Those of one protocol, data set and attack.
    context : sequence of Record
        Those of the same protocol and data set, for accuracies measured without an
        attack.
    caption : str
        Caption of the table.

    Returns
    -------
    Table
    """
    counts = poison_counts(records, "attack_success_rate")
    most = counts[-1]
    variants = {arm for _, arm in _contenders(records)} - {"attack"}
    columns: list[tuple[str, Callable[[str, str], Cell | None]]] = []

    def rate_column(arm: str | None, n_poisons: int) -> Callable[..., Cell | None]:
        def cell(model: str, row_arm: str) -> Cell | None:
            if arm is not None and row_arm != "attack":
                return None
            return _rate_cell(
                select(
                    records,
                    metric="attack_success_rate",
                    model=model,
                    arm=arm or row_arm,
                    n_poisons=n_poisons,
                )
            )

        return cell

    def control_cell(model: str, row_arm: str) -> Cell | None:
        if row_arm != "attack":
            return None
        control = select(
            context, metric="attack_success_rate", model=model, arm="control"
        )
        at_most = select(control, attack=records[0].attack, n_poisons=most)
        return _rate_cell(at_most or select(control, n_poisons=0))

    def accuracy_cell(model: str, row_arm: str) -> Cell | None:
        chosen = select(context, metric="clean_accuracy", model=model)
        own = select(chosen, attack=records[0].attack, n_poisons=most, arm=row_arm)
        if own:
            return _value_cell(own, f"with {plural(most, 'poison')}")
        if row_arm != "attack":
            return None
        without = [r for r in chosen if r.n_poisons == 0 or r.arm in _CLEAN_ARMS]
        return _value_cell(without, "without poisons")

    def backbone_cell(model: str, row_arm: str) -> Cell | None:
        if row_arm != "attack":
            return None
        return _value_cell(select(context, metric="backbone_accuracy", model=model))

    def auroc_cell(model: str, row_arm: str) -> Cell | None:
        found = select(records, metric="auroc", model=model, n_poisons=most)
        if row_arm == "attack":  # a variant has a row of its own
            found = [record for record in found if record.arm not in variants]
        else:
            found = select(found, arm=row_arm)
        kinds = _ordered_arms(r.arm for r in found)
        values = [(kind, mean_value(select(found, arm=kind))) for kind in kinds]
        values = [(kind, value) for kind, value in values if not math.isnan(value)]
        if not values:
            return None
        return Cell(
            " / ".join(number(value) for _, value in values),
            [" / ".join("score" if kind == "attack" else kind for kind, _ in values)],
        )

    for n_poisons in counts:
        title = f"Misled, {plural(n_poisons, 'poison')}"
        columns.append((title, rate_column(None, n_poisons)))
    columns += [
        (
            f"Same targets for all, {plural(most, 'poison')}",
            rate_column("common", most),
        ),
        ("Control: no poisons", control_cell),
        ("Clean accuracy", accuracy_cell),
        ("Backbone accuracy", backbone_cell),
        (f"AUROC, {plural(most, 'poison')}", auroc_cell),
    ]
    rows = [
        Row(
            model_name(model, arm),
            [make(model, arm) for _, make in columns],
            color=MODEL_COLORS[model],
        )
        for model, arm in _contenders(records)
    ]
    return _without_empty_columns(
        Table(caption, ["Model", *(title for title, _ in columns)], rows)
    )


def detection_table(records: Sequence[Record], caption: str) -> Table | None:
    """AUROC and TPR at 1 % FPR by model, score and number of poisons.

    Parameters
    ----------
    records : sequence of Record
        Those of one protocol, data set and attack.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no such record.
    """
    found = [record for record in records if record.metric in _DETECTION_METRICS]
    if not found:
        return None
    counts = sorted({record.n_poisons for record in found})
    titles = {"auroc": "AUROC", "tpr_at_1pct_fpr": "Found at 1 % false alarms"}
    keys = [(metric, n) for metric in _DETECTION_METRICS for n in counts]
    columns = [
        titles[metric] + (f", {plural(n, 'poison')}" if len(counts) > 1 else "")
        for metric, n in keys
    ]
    rows = []
    for model in MODELS:
        for arm in _ordered_arms(r.arm for r in found if r.model == model):
            own = select(found, model=model, arm=arm)
            cells = [_value_cell(select(own, metric=m, n_poisons=n)) for m, n in keys]
            detail = "" if arm == "attack" else f"score: {arm}"
            rows.append(Row(MODEL_NAMES[model], cells, detail, MODEL_COLORS[model]))
    return _without_empty_columns(Table(caption, ["Model", *columns], rows))


def effort_table(records: Sequence[Record], caption: str) -> Table | None:
    """How far the attack went, at the largest number of poisons.

    Parameters
    ----------
    records : sequence of Record
        Those of one protocol, data set and attack.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no such record.
    """
    found = [record for record in records if record.metric in _EFFORT_METRICS]
    if not found:
        return None
    most = max(record.n_poisons for record in found)
    caption = f"{caption}, {plural(most, 'poison')}"
    return _wide_table(select(found, n_poisons=most), caption)


def frontier_table(records: Sequence[Record], caption: str) -> Table | None:
    """Success beside detection, one row a strength of the attack and model.

    Parameters
    ----------
    records : sequence of Record
        Those of one data set and number of poisons, as `is_of_frontier_table` says.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no such record.
    """
    if not records:
        return None
    kinds = _ordered_arms(r.arm for r in records if r.metric in _DETECTION_METRICS)
    titles = {"auroc": "AUROC", "tpr_at_1pct_fpr": "Found at 1 % false alarms"}
    keys = [(metric, kind) for metric in _DETECTION_METRICS for kind in kinds]
    columns = ["Model", "Misled"]
    for metric, kind in keys:
        suffix = "" if kind == "attack" else f", {kind}"
        columns.append(titles[metric] + suffix)
    rows = []
    for attack in dict.fromkeys(record.attack for record in records):
        for model in MODELS:
            own = select(records, attack=attack, model=model)
            if not own:
                continue
            cells = [_rate_cell(select(own, metric="attack_success_rate"))]
            cells += [_value_cell(select(own, metric=m, arm=k)) for m, k in keys]
            detail = attack_name(attack)
            rows.append(Row(MODEL_NAMES[model], cells, detail, MODEL_COLORS[model]))
    return _without_empty_columns(Table(caption, columns, rows))


def is_of_frontier_table(record: Record) -> bool:
    """Whether `frontier_table` shows the record: a main rate, or a detection score."""
    if record.metric == "attack_success_rate":
        return record.arm == "attack"
    is_main = record.arm in ("attack", *_SCORE_KINDS)
    return record.metric in _DETECTION_METRICS and is_main


def contamination_table(records: Sequence[Record], caption: str) -> Table | None:
    """Show what each rule of trimming gives, one row a share of poisons and model.

    Parameters
    ----------
    records : sequence of Record
        Those of the protocol, one data set and attack.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no record.
    """
    found = [record for record in records if record.n_poisons > 0]
    rows = []
    for n_poisons in sorted({record.n_poisons for record in found}):
        at_count = select(found, n_poisons=n_poisons)
        for model, arm in _contenders(at_count):
            own = select(at_count, model=model)
            of_arm = select(own, arm=arm)
            # The scores of a main row are named by their kind, here the only one.
            scored = of_arm if arm != "attack" else select(own, arm="posterior")
            cells = [
                _rate_cell(select(of_arm, metric="attack_success_rate")),
                *(_value_cell(select(scored, metric=m)) for m in _DETECTION_METRICS),
                _value_cell(select(of_arm, metric="kept_share")),
                _value_cell(select(of_arm, metric="clean_accuracy")),
            ]
            detail = plural(n_poisons, "poison")
            rows.append(Row(model_name(model, arm), cells, detail, MODEL_COLORS[model]))
    columns = ["Model", "Misled", "AUROC", "Found at 1 % false alarms"]
    columns += ["Poisons kept", "Clean accuracy"]
    return _without_empty_columns(Table(caption, columns, rows)) if rows else None


def search_table(records: Sequence[Record], caption: str) -> Table | None:
    """Show what each setting of a search gave, over seeds, the best accuracy first.

    Parameters
    ----------
    records : sequence of Record
        Those of the protocol and one data set.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no record.
    """
    if not records:
        return None
    accuracies = select(records, metric="backbone_accuracy")
    baseline = {(r.arm, r.seed): r.value for r in select(accuracies, model="softmax")}

    def loss(record: Record) -> float | None:
        # Softmax with the same setting, where it has that setting.
        as_set = baseline.get(("attack", record.seed))
        other = baseline.get((record.arm, record.seed), as_set)
        return None if other is None else record.value - other

    def row(network: str, defence: str, arm: str) -> tuple[float, Row]:
        own = select(accuracies, model=network, arm=arm)
        judged = select(records, model=defence, arm=arm)
        losses = [lost for r in own if (lost := loss(r)) is not None]
        difference = None
        if losses and network != "softmax":
            text = f"{100 * math.fsum(losses) / len(losses):+.1f} points"
            spread = f"{100 * min(losses):+.1f} to {100 * max(losses):+.1f} over seeds"
            difference = Cell(text, [spread] if len(losses) > 1 else [])
        cells = [
            _value_cell(own),
            difference,
            *(_value_cell(select(judged, metric=m)) for m in _DETECTION_METRICS),
            _rate_cell(select(judged, metric="attack_success_rate")),
        ]
        name = MODEL_NAMES[network]
        details = [] if arm == "attack" else [arm]
        details.append(f"defended by {MODEL_NAMES[defence]}")
        made = Row(name, cells, ", ".join(details), MODEL_COLORS[network])
        return mean_value(own), made

    rows = []
    for network, defence in (
        ("softmax", "softmax_trimmed_gaussians"),
        ("lgm", "lgm_trim"),
    ):
        arms = dict.fromkeys(r.arm for r in select(accuracies, model=network))
        tried = [row(network, defence, arm) for arm in arms]
        rows += [r for _, r in sorted(tried, key=lambda pair: -pair[0])]
    columns = ["Setting", "Accuracy", "Minus softmax", "AUROC"]
    columns += ["Found at 1 % false alarms", "Misled"]
    return _without_empty_columns(Table(caption, columns, rows))


def label_noise_table(records: Sequence[Record], caption: str) -> Table | None:
    """Show what an audit found, one row a share of flipped labels.

    Parameters
    ----------
    records : sequence of Record
        Those of the protocol and one data set.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no record.
    """
    if not records:
        return None
    present = {record.metric for record in records}
    metrics = [metric for metric in _LABEL_NOISE_METRICS if metric in present]
    keys = sorted(
        {(r.n_poisons, MODELS.index(r.model), r.arm, r.attack) for r in records}
    )
    rows = []
    for n_flipped, model_index, arm, attack in keys:
        model = MODELS[model_index]
        own = select(records, attack=attack, n_poisons=n_flipped, model=model, arm=arm)
        cells = [_value_cell(select(own, metric=metric)) for metric in metrics]
        detail = f"{arm}; {plural(n_flipped, 'label')} flipped"
        rows.append(Row(MODEL_NAMES[model], cells, detail, MODEL_COLORS[model]))
    columns = ["Model", *(_METRIC_NAMES[metric] for metric in metrics)]
    return Table(caption, columns, rows)


def peers_table(records: Sequence[Record], caption: str) -> Table | None:
    """Show what each detector made of the same rows, one row a backbone and detector.

    Parameters
    ----------
    records : sequence of Record
        Those of the protocol, one data set, attack and number of poisons.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no record.
    """
    if not records:
        return None
    order = list(_DETECTOR_NAMES)
    order += sorted({record.arm for record in records} - set(order))
    keys = sorted({(MODELS.index(r.model), order.index(r.arm)) for r in records})
    rows = []
    for model_index, detector_index in keys:
        model, arm = MODELS[model_index], order[detector_index]
        own = select(records, model=model, arm=arm)
        cells = [_value_cell(select(own, metric=metric)) for metric in _PEERS_METRICS]
        detail = f"on features of {MODEL_NAMES[model]}"
        rows.append(Row(detector_name(arm), cells, detail, MODEL_COLORS[model]))
    columns = ["Detector", *(_METRIC_NAMES[metric] for metric in _PEERS_METRICS)]
    return _without_empty_columns(Table(caption, columns, rows))


def remaining_table(records: Sequence[Record], caption: str) -> Table | None:
    """One row a model, attack and number of poisons, one column a metric.

    Parameters
    ----------
    records : sequence of Record
        Those that no other table shows.
    caption : str
        Caption of the table.

    Returns
    -------
    Table or None
        None if there is no record.
    """
    return _wide_table(list(records), caption) if records else None


def all_records_table(records: Sequence[Record]) -> Table:
    """Every record as a row of text.

    Parameters
    ----------
    records : sequence of Record
        All of a run.

    Returns
    -------
    Table
    """
    rows = []
    for record in records:
        interval = ""
        if record.low is not None and record.high is not None:
            interval = f"{record.low:.4g} to {record.high:.4g}"
        texts = [
            record.protocol,
            record.attack,
            f"{record.n_poisons}",
            record.arm,
            record.metric,
            "unknown" if math.isnan(record.value) else f"{record.value:.4g}",
            interval,
            f"{record.n}",
            f"{record.seed}",
            record.dataset,
        ]
        rows.append(Row(record.model, [Cell(text) for text in texts]))
    columns = ["model", "protocol", "attack", "n_poisons", "arm", "metric", "value"]
    columns += ["95 % interval", "n", "seed", "dataset"]
    return Table("Every number as it stands in results.json", columns, rows)


def rate_digits(rate: Rate) -> int:
    """Digits after the point of a percentage that the counts support."""
    return 0 if rate.n_targets < 200 else 1


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


def _contenders(records: Sequence[Record]) -> list[tuple[str, str]]:
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


def poison_counts(records: Iterable[Record], metric: str) -> list[int]:
    """Return the numbers of poisons at which a metric was measured, sorted."""
    return sorted(
        {
            record.n_poisons
            for record in records
            if record.metric == metric and record.arm not in ("control", "common")
        }
    )


def _ordered_arms(arms: Iterable[str]) -> list[str]:
    order = {arm: index for index, arm in enumerate(_ARM_ORDER)}
    return sorted(set(arms), key=lambda arm: (order.get(arm, len(order)), arm))


def _rate_cell(records: Sequence[Record]) -> Cell | None:
    if not records:
        return None
    rate = pooled_rate(records)
    if rate.n_targets == 0:
        return Cell("unknown", ["no target counts"])
    return rate_cell_of(rate, MODEL_COLORS[records[0].model])


def _value_cell(records: Sequence[Record], *details: str) -> Cell | None:
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
            if metric in _DETECTION_METRICS:
                interval = (low, value, high)
        lines.append(f"n = {known[0].n:,}")
    return Cell(show(value), lines, interval, MODEL_COLORS[known[0].model])


def _wide_table(records: Sequence[Record], caption: str) -> Table:
    metrics = list(_METRIC_NAMES)
    metrics += sorted({r.metric for r in records} - set(metrics))
    keys = sorted(
        {(r.attack, r.n_poisons, MODELS.index(r.model), r.arm) for r in records}
    )
    one_attack = len({record.attack for record in records}) == 1
    one_count = len({record.n_poisons for record in records}) == 1
    rows = []
    for attack, n_poisons, model_index, arm in keys:
        model = MODELS[model_index]
        own = select(records, attack=attack, n_poisons=n_poisons, model=model, arm=arm)
        details = [] if one_attack else [attack_name(attack)]
        details += [] if one_count else [plural(n_poisons, "poison")]
        details += [] if arm in ("attack", "clean") else [arm]
        cells = []
        for metric in metrics:
            chosen = select(own, metric=metric)
            is_rate = metric == "attack_success_rate"
            cells.append(_rate_cell(chosen) if is_rate else _value_cell(chosen))
        row = Row(MODEL_NAMES[model], cells, "; ".join(details), MODEL_COLORS[model])
        rows.append(row)
    names = [_METRIC_NAMES.get(m, m.replace("_", " ").capitalize()) for m in metrics]
    return _without_empty_columns(Table(caption, ["Model", *names], rows))


def _without_empty_columns(table: Table) -> Table:
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


def mean_value(records: Sequence[Record]) -> float:
    """Mean over the records (seeds) with a known value; nan if there is none."""
    values = [record.value for record in records if not math.isnan(record.value)]
    return math.fsum(values) / len(values) if values else math.nan


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
