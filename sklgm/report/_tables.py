"""Tables that several protocols share, computed from records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sklgm.plotting import MODEL_COLORS, MODEL_NAMES, attack_name
from sklgm.report._cells import (
    DETECTION_METRICS,
    METRIC_NAMES,
    Cell,
    Row,
    Table,
    contenders,
    mean_value,
    model_name,
    number,
    ordered_arms,
    plural,
    poison_counts,
    rate_cell,
    select,
    value_cell,
    without_empty_columns,
)
from sklgm.results import MODELS, Record

_EFFORT_METRICS = ("collision_ratio", "l2", "linf")
#: Arms without poisons.
_CLEAN_ARMS = ("clean", "control")


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
    variants = {arm for _, arm in contenders(records)} - {"attack"}
    columns: list[tuple[str, Callable[[str, str], Cell | None]]] = []

    def rate_column(arm: str | None, n_poisons: int) -> Callable[..., Cell | None]:
        def cell(model: str, row_arm: str) -> Cell | None:
            if arm is not None and row_arm != "attack":
                return None
            return rate_cell(
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
        return rate_cell(at_most or select(control, n_poisons=0))

    def accuracy_cell(model: str, row_arm: str) -> Cell | None:
        chosen = select(context, metric="clean_accuracy", model=model)
        own = select(chosen, attack=records[0].attack, n_poisons=most, arm=row_arm)
        if own:
            return value_cell(own, f"with {plural(most, 'poison')}")
        if row_arm != "attack":
            return None
        without = [r for r in chosen if r.n_poisons == 0 or r.arm in _CLEAN_ARMS]
        return value_cell(without, "without poisons")

    def backbone_cell(model: str, row_arm: str) -> Cell | None:
        if row_arm != "attack":
            return None
        return value_cell(select(context, metric="backbone_accuracy", model=model))

    def auroc_cell(model: str, row_arm: str) -> Cell | None:
        found = select(records, metric="auroc", model=model, n_poisons=most)
        if row_arm == "attack":  # a variant has a row of its own
            found = [record for record in found if record.arm not in variants]
        else:
            found = select(found, arm=row_arm)
        kinds = ordered_arms(r.arm for r in found)
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
        for model, arm in contenders(records)
    ]
    return without_empty_columns(
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
    found = [record for record in records if record.metric in DETECTION_METRICS]
    if not found:
        return None
    counts = sorted({record.n_poisons for record in found})
    titles = {"auroc": "AUROC", "tpr_at_1pct_fpr": "Found at 1 % false alarms"}
    keys = [(metric, n) for metric in DETECTION_METRICS for n in counts]
    columns = [
        titles[metric] + (f", {plural(n, 'poison')}" if len(counts) > 1 else "")
        for metric, n in keys
    ]
    rows = []
    for model in MODELS:
        for arm in ordered_arms(r.arm for r in found if r.model == model):
            own = select(found, model=model, arm=arm)
            cells = [value_cell(select(own, metric=m, n_poisons=n)) for m, n in keys]
            detail = "" if arm == "attack" else f"score: {arm}"
            rows.append(Row(MODEL_NAMES[model], cells, detail, MODEL_COLORS[model]))
    return without_empty_columns(Table(caption, ["Model", *columns], rows))


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


def _wide_table(records: Sequence[Record], caption: str) -> Table:
    metrics = list(METRIC_NAMES)
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
            cells.append(rate_cell(chosen) if is_rate else value_cell(chosen))
        row = Row(MODEL_NAMES[model], cells, "; ".join(details), MODEL_COLORS[model])
        rows.append(row)
    names = [METRIC_NAMES.get(m, m.replace("_", " ").capitalize()) for m in metrics]
    return without_empty_columns(Table(caption, ["Model", *names], rows))
