"""Headline of a report: what the numbers say, whoever comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sklgm.plotting import pool_seeds, rate_of, victim_color, victim_name
from sklgm.report._cells import (
    TableRow,
    number,
    percent,
    plural,
    rate_digits,
    value_cell,
)
from sklgm.report._names import groups, names_of, order_of, titled
from sklgm.results import ProtocolDescription

if TYPE_CHECKING:
    import polars as pl

#: The defences that a run puts to the test; all other victims are compared with them.
DEFENCES = ("lgm", "lgm_trim")
_COMPARED = ("victim", "variant", "score")

#: A row of what `pool_seeds` returns.
_Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """One comparison: a title, a row per victim, and sentences about them."""

    title: str
    rows: Sequence[TableRow]
    sentences: Sequence[str]


def summaries(
    table: pl.DataFrame, descriptions: Iterable[ProtocolDescription]
) -> list[Summary]:
    """Compare the victims, for each protocol with a headline, data set and attack.

    Parameters
    ----------
    table : DataFrame
        Tidy table.
    descriptions : iterable of ProtocolDescription
        Protocols, in the order of the summaries.

    Returns
    -------
    list of Summary
        Of the largest number of poisons with a known value.
    """
    found = []
    for description in descriptions:
        if description.headline is None:
            continue
        own = table.filter(protocol=description.name).drop_nulls("attack")
        for at, group in groups(own, ["dataset", "attack", "bound", "reach"]):
            title = titled(description.headline.title, names_of(at))
            summary = _summary(group, description.headline.metric, title)
            found += [] if summary is None else [summary]
    return found


def _summary(group: pl.DataFrame, metric: str, title: str) -> Summary | None:
    counts = group.filter(metric=metric)["n_poisons"].unique().sort(descending=True)
    for n_poisons in counts:
        rows = group.filter(n_poisons=n_poisons)
        compared = _quantities(rows, metric)
        if compared:
            break
    else:
        return None
    sentences = _detection_sentences(_quantities(rows, "auroc"))
    kind, details = "area", [_score_detail(row) for row in compared]
    if metric == "attack_success_rate":
        title += f", {plural(n_poisons, 'poison')} per target"
        kind, details = "rate", [_count_detail(row) for row in compared]
        accuracies = _accuracy_sentences(_quantities(rows, "clean_accuracy"))
        sentences = [*_rate_sentences(compared), *accuracies, *sentences]
    lines = []
    for row, detail in zip(compared, details, strict=True):
        color = victim_color(row["victim"])
        cell = value_cell(row, kind, color=color)
        name = victim_name(row["victim"], row["variant"])
        lines.append(TableRow(name, [cell], detail, color))
    return Summary(title, lines, sentences)


def _quantities(rows: pl.DataFrame, metric: str) -> list[_Row]:
    """Known values by victim, variant and score, in the order of tables."""
    pooled = pool_seeds(rows.filter(metric=metric), _COMPARED).rows(named=True)
    known = [row for row in pooled if row["n"]]
    return sorted(known, key=lambda row: [order_of(c, row[c]) for c in _COMPARED])


def _score_detail(row: _Row) -> str:
    return "AUROC" + (f", score: {row['score']}" if row["score"] else "")


def _count_detail(row: _Row) -> str:
    return f"{row['n_success']:,} of {plural(row['n'], 'target')} misled"


def _rate_sentences(compared: Sequence[_Row]) -> list[str]:
    if len(compared) < 2:
        return []
    rates = [rate_of(row) for row in compared]
    lowest = min(rate.value for rate in rates)
    is_first = [rate.value == lowest for rate in rates]
    first = [row for row, chosen in zip(compared, is_first, strict=True) if chosen]
    share = percent(lowest, rate_digits(rates[is_first.index(True)]))
    if all(is_first):
        return [f"All models show the same attack success rate, {share}."]
    sentences = [f"Lowest attack success rate: {_names(first)}, {share}."]
    bound = min(r.high for r, chosen in zip(rates, is_first, strict=True) if chosen)
    near = [
        row
        for row, rate in zip(compared, rates, strict=True)
        if row not in first and rate.low <= bound
    ]
    if near:
        noun, verb = (
            ("interval", "overlaps") if len(near) == 1 else ("intervals", "overlap")
        )
        sentences.append(
            f"The {noun} of {_names(near)} {verb} with that of the lowest rate: these "
            "targets are too few to rank them."
        )
    if _is_missed_by_defence(compared, first):
        sentences.append("No L-GM model reaches that rate in this run.")
    return sentences


def _accuracy_sentences(accuracies: Sequence[_Row]) -> list[str]:
    listed = [
        f"{victim_name(row['victim'])} {percent(row['value'])}"
        for row in accuracies
        if row["variant"] is None
    ]
    if len(listed) < 2:
        return []
    return [f"Clean accuracy after the attack: {', '.join(listed)}."]


def _detection_sentences(areas: Sequence[_Row]) -> list[str]:
    if len({row["victim"] for row in areas}) < 2:
        return []
    highest = max(row["value"] for row in areas)
    first = [row for row in areas if row["value"] == highest]
    sentences = [
        f"Best at ranking poisons first: {_names(first)}, AUROC {number(highest)}."
    ]
    if _is_missed_by_defence(areas, first):
        best = max(row["value"] for row in areas if row["victim"] in DEFENCES)
        sentences.append(f"The best L-GM model reaches {number(best)}.")
    return sentences


def _is_missed_by_defence(compared: Sequence[_Row], first: Sequence[_Row]) -> bool:
    """Whether a defence took part and none came first."""
    took_part = any(row["victim"] in DEFENCES for row in compared)
    return took_part and not any(row["victim"] in DEFENCES for row in first)


def _names(rows: Sequence[_Row]) -> str:
    """Names of victims, with their kinds of score, joined as prose does."""
    names = [
        victim_name(row["victim"], row["variant"])
        + (f" ({row['score']} score)" if row["score"] else "")
        for row in rows
    ]
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
