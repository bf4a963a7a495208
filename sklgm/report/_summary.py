"""Headline of a report: what the numbers say, whoever comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sklgm.plotting import pool_seeds, rate_of, victim_color, victim_name
from sklgm.report._cells import TableRow, percent, plural, value_cell
from sklgm.report._names import groups, names_of, order_of, titled
from sklgm.results import ProtocolDescription

if TYPE_CHECKING:
    import polars as pl

#: The defences that a run puts to the test; all other victims are compared with them.
DEFENCES = ("lgm", "lgm_trim", "lgm_median", "lgm_trimmed_mean")
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
        own = table.filter(protocol=description.name)
        if description.headline.metric == "certified_accuracy":
            for at, group in groups(own, ["dataset"]):
                title = titled(description.headline.title, names_of(at))
                found += _certified_summaries(group, title)
            continue
        own = own.drop_nulls("attack")
        for at, group in groups(own, ["dataset", "attack", "bound", "reach"]):
            title = titled(description.headline.title, names_of(at))
            summary = _summary(group, description.headline.metric, title)
            found += [] if summary is None else [summary]
    return found


def _certified_summaries(group: pl.DataFrame, title: str) -> list[Summary]:
    """Compare what is certified, for the largest number of poisons."""
    rows = group.filter(metric="certified_accuracy")
    n_poisons = max(rows["n_poisons"].to_list(), default=0)
    compared = _quantities(rows.filter(n_poisons=n_poisons), "certified_accuracy")
    if not compared:
        return []
    lines = []
    for row in compared:
        color = victim_color(row["victim"])
        detail = f"{row['n_success']:,} of {plural(row['n'], 'test row')}"
        name = victim_name(row["victim"], row["variant"])
        lines.append(
            TableRow(name, [value_cell(row, "rate", color=color)], detail, color)
        )
    what = "Highest share of test rows that are right and proved to stay so"
    sentences = _ranking(compared, what, is_rate=True, is_gain=True)
    title += f", any {plural(n_poisons, 'poison')} of one class"
    return [Summary(title, lines, sentences)]


def _summary(group: pl.DataFrame, metric: str, title: str) -> Summary | None:
    counts = group.filter(metric=metric)["n_poisons"].unique().sort(descending=True)
    for n_poisons in counts:
        rows = group.filter(n_poisons=n_poisons)
        compared = _quantities(rows, metric)
        if compared:
            break
    else:
        return None
    is_rate = metric == "attack_success_rate"
    lines = []
    for row in compared:
        color = victim_color(row["victim"])
        cell = value_cell(row, "rate" if is_rate else "area", color=color)
        detail = "AUROC" + (f", score: {row['score']}" if row["score"] else "")
        if is_rate:
            detail = f"{row['n_success']:,} of {plural(row['n'], 'target')} misled"
        name = victim_name(row["victim"], row["variant"])
        lines.append(TableRow(name, [cell], detail, color))
    sentences = []
    if is_rate:
        title += f", {plural(n_poisons, 'poison')} per target"
        sentences += _ranking(compared, "Lowest attack success rate", is_rate=True)
        sentences += _accuracy_sentences(_quantities(rows, "clean_accuracy"))
    areas = _quantities(rows, "auroc")
    if len({row["victim"] for row in areas}) > 1:
        sentences += _ranking(areas, "Highest AUROC of poisons against other rows")
    return Summary(title, lines, sentences)


def _quantities(rows: pl.DataFrame, metric: str) -> list[_Row]:
    """Known values by victim, variant and score, in the order of tables."""
    pooled = pool_seeds(rows.filter(metric=metric), _COMPARED).rows(named=True)
    known = [row for row in pooled if row["n"]]
    return sorted(known, key=lambda row: [order_of(c, row[c]) for c in _COMPARED])


class _Contender(NamedTuple):
    """A quantity, as a loss with the ends of its interval: the less the better."""

    loss: float
    low: float
    high: float
    text: str
    name: str
    is_defence: bool


def _contender(row: _Row, *, is_rate: bool, is_gain: bool = False) -> _Contender:
    name = victim_name(row["victim"], row["variant"])
    name += f" ({row['score']} score)" if row["score"] else ""
    text = value_cell(row, "rate" if is_rate else "area").text
    if is_rate:
        rate = rate_of(row)
        ends = rate.value, rate.low, rate.high
        if is_gain:
            ends = -rate.value, -rate.high, -rate.low
    else:
        value = row["value"]
        high = value if row["high"] is None else row["high"]
        low = value if row["low"] is None else row["low"]
        ends = -value, -high, -low
    return _Contender(*ends, text, name, row["victim"] in DEFENCES)


def _ranking(
    rows: Sequence[_Row], what: str, *, is_rate: bool = False, is_gain: bool = False
) -> list[str]:
    """Say who comes first, whose interval overlaps with that, and where L-GM stands."""
    everyone = [_contender(row, is_rate=is_rate, is_gain=is_gain) for row in rows]
    best = min(everyone, key=lambda one: one.loss, default=None)
    if best is None or len(everyone) < 2:
        return []
    first = [one for one in everyone if one.loss == best.loss]
    if len(first) == len(everyone):
        return [f"{what}: {best.text}, the same for all."]
    sentences = [f"{what}: {_listed(first)}, {best.text}."]
    bound = min(one.high for one in first)
    near = [one for one in everyone if one not in first and one.low <= bound]
    if near:
        words = ("interval", "overlaps") if len(near) == 1 else ("intervals", "overlap")
        sentences.append(
            f"The {words[0]} of {_listed(near)} {words[1]} with that: these cases are "
            "too few to rank them."
        )
    defences = [one for one in everyone if one.is_defence]
    if defences and not any(one.is_defence for one in first):
        closest = min(defences, key=lambda one: one.loss)
        sentences.append(f"The best L-GM model reaches {closest.text}.")
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


def _listed(contenders: Sequence[_Contender]) -> str:
    """Names, joined as prose does."""
    *names, last = [one.name for one in contenders]
    return f"{', '.join(names)} and {last}" if names else last
