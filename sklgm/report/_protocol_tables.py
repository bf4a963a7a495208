"""Tables of each protocol, computed from records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from sklgm.plotting import MODEL_COLORS, MODEL_NAMES, attack_name
from sklgm.report._cells import (
    DETECTION_METRICS,
    DETECTOR_NAMES,
    METRIC_NAMES,
    SCORE_KINDS,
    Cell,
    Row,
    Table,
    contenders,
    detector_name,
    mean_value,
    model_name,
    ordered_arms,
    plural,
    rate_cell,
    select,
    value_cell,
    without_empty_columns,
)
from sklgm.report._tables import (
    attack_table,
    detection_table,
    effort_table,
    remaining_table,
)
from sklgm.results import MODELS, Record

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
_PEERS_METRICS = (
    "auroc",
    "tpr_at_1pct_fpr",
    "clean_flagged",
    "poisons_flagged",
    "success_after_filtering",
    "accuracy_after_filtering",
    "fit_seconds",
)


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
    kinds = ordered_arms(r.arm for r in records if r.metric in DETECTION_METRICS)
    titles = {"auroc": "AUROC", "tpr_at_1pct_fpr": "Found at 1 % false alarms"}
    keys = [(metric, kind) for metric in DETECTION_METRICS for kind in kinds]
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
            cells = [rate_cell(select(own, metric="attack_success_rate"))]
            cells += [value_cell(select(own, metric=m, arm=k)) for m, k in keys]
            detail = attack_name(attack)
            rows.append(Row(MODEL_NAMES[model], cells, detail, MODEL_COLORS[model]))
    return without_empty_columns(Table(caption, columns, rows))


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
        for model, arm in contenders(at_count):
            own = select(at_count, model=model)
            of_arm = select(own, arm=arm)
            # The scores of a main row are named by their kind, here the only one.
            scored = of_arm if arm != "attack" else select(own, arm="posterior")
            cells = [
                rate_cell(select(of_arm, metric="attack_success_rate")),
                *(value_cell(select(scored, metric=m)) for m in DETECTION_METRICS),
                value_cell(select(of_arm, metric="kept_share")),
                value_cell(select(of_arm, metric="clean_accuracy")),
            ]
            detail = plural(n_poisons, "poison")
            rows.append(Row(model_name(model, arm), cells, detail, MODEL_COLORS[model]))
    columns = ["Model", "Misled", "AUROC", "Found at 1 % false alarms"]
    columns += ["Poisons kept", "Clean accuracy"]
    return without_empty_columns(Table(caption, columns, rows)) if rows else None


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
            value_cell(own),
            difference,
            *(value_cell(select(judged, metric=m)) for m in DETECTION_METRICS),
            rate_cell(select(judged, metric="attack_success_rate")),
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
    return without_empty_columns(Table(caption, columns, rows))


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
        cells = [value_cell(select(own, metric=metric)) for metric in metrics]
        detail = f"{arm}; {plural(n_flipped, 'label')} flipped"
        rows.append(Row(MODEL_NAMES[model], cells, detail, MODEL_COLORS[model]))
    columns = ["Model", *(METRIC_NAMES[metric] for metric in metrics)]
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
    order = list(DETECTOR_NAMES)
    order += sorted({record.arm for record in records} - set(order))
    keys = sorted({(MODELS.index(r.model), order.index(r.arm)) for r in records})
    rows = []
    for model_index, detector_index in keys:
        model, arm = MODELS[model_index], order[detector_index]
        own = select(records, model=model, arm=arm)
        cells = [value_cell(select(own, metric=metric)) for metric in _PEERS_METRICS]
        detail = f"on features of {MODEL_NAMES[model]}"
        rows.append(Row(detector_name(arm), cells, detail, MODEL_COLORS[model]))
    columns = ["Detector", *(METRIC_NAMES[metric] for metric in _PEERS_METRICS)]
    return without_empty_columns(Table(caption, columns, rows))


def is_of_frontier_table(record: Record) -> bool:
    """Whether `frontier_table` shows the record: a main rate, or a detection score."""
    if record.metric == "attack_success_rate":
        return record.arm == "attack"
    is_main = record.arm in ("attack", *SCORE_KINDS)
    return record.metric in DETECTION_METRICS and is_main


def protocol_tables(records: Sequence[Record]) -> list[Table]:
    """Make every table of one protocol.

    Parameters
    ----------
    records : sequence of Record
        Those of the protocol.

    Returns
    -------
    list of Table
        Empty if there is no record.
    """
    if not records:
        return []
    tables = _OWN_TABLES.get(records[0].protocol, _attack_tables)(records)
    return [table for table in tables if table is not None]


def _frontier_tables(records: Sequence[Record]) -> list[Table | None]:
    tables = []
    for dataset, own in _by_dataset(records):
        name = f"{dataset}: attack against detection"
        main = [record for record in own if is_of_frontier_table(record)]
        for n_poisons in sorted({record.n_poisons for record in main}):
            caption = f"{name}, {plural(n_poisons, 'poison')}"
            tables.append(frontier_table(select(main, n_poisons=n_poisons), caption))
        rest = [record for record in own if not is_of_frontier_table(record)]
        tables.append(remaining_table(rest, f"{name}, further numbers"))
    return tables


def _search_tables(records: Sequence[Record]) -> list[Table | None]:
    caption = "settings of L-GM training, on validation rows"
    return [search_table(own, f"{d}: {caption}") for d, own in _by_dataset(records)]


def _contamination_tables(records: Sequence[Record]) -> list[Table | None]:
    tables = []
    for dataset, attack, group in groups_of(records):
        if attack != "none":
            name = f"{dataset}, {attack_name(attack)}"
            tables += [
                contamination_table(group, f"{name}: growing shares of poisons"),
                effort_table(group, f"{name}: how far they were pushed"),
            ]
        else:
            tables.append(remaining_table(group, f"{dataset}: without poisons"))
    return tables


def _label_noise_tables(records: Sequence[Record]) -> list[Table | None]:
    return [
        label_noise_table(own, f"{dataset}: random label flips")
        for dataset, own in _by_dataset(records)
    ]


def _peers_tables(records: Sequence[Record]) -> list[Table | None]:
    tables = []
    for dataset, attack, group in groups_of(records):
        for n_poisons in sorted({record.n_poisons for record in group}):
            caption = f"{dataset}, {attack_name(attack)}: what detectors find, "
            caption += plural(n_poisons, "poison")
            tables.append(peers_table(select(group, n_poisons=n_poisons), caption))
    return tables


def _attack_tables(records: Sequence[Record]) -> list[Table | None]:
    tables: list[Table | None] = []
    for dataset, attack, group in groups_of(records):
        if attack == "none" and _is_attacked(records, dataset):
            continue  # columns of the attack's table
        name = f"{dataset}, {attack_name(attack)}"
        has_rates = any(
            record.metric == "attack_success_rate"
            and record.arm not in ("control", "common")
            for record in group
        )
        if has_rates:
            context = select(records, dataset=dataset)
            tables.append(
                attack_table(group, context, f"{name}: how often targets are misled")
            )
        detection = detection_table(group, f"{name}: how well poisons are found")
        tables += [
            detection,
            effort_table(group, f"{name}: how far the poisons were pushed"),
        ]
        if not has_rates and detection is None:
            tables.append(remaining_table(group, name))
    return tables


#: Protocols whose tables differ from those of an attack on classifiers.
_OWN_TABLES: Mapping[str, Callable[[Sequence[Record]], list[Table | None]]] = {
    "frontier": _frontier_tables,
    "search": _search_tables,
    "contamination": _contamination_tables,
    "label-noise": _label_noise_tables,
    "peers": _peers_tables,
}


def _is_attacked(records: Sequence[Record], dataset: str) -> bool:
    return any(
        record.dataset == dataset
        and record.attack != "none"
        and record.metric == "attack_success_rate"
        for record in records
    )


def _by_dataset(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    names = dict.fromkeys(record.dataset for record in records)
    return [(name, select(records, dataset=name)) for name in names]


def groups_of(records: Sequence[Record]) -> list[tuple[str, str, list[Record]]]:
    """Group records by data set and attack, in the order of first appearance."""
    keys = dict.fromkeys((record.dataset, record.attack) for record in records)
    return [(*key, select(records, dataset=key[0], attack=key[1])) for key in keys]
