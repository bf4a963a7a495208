"""Headline of a report: what the numbers say, whoever comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sklgm.metrics import Rate
from sklgm.plotting import pooled_rate, victim_color, victim_name
from sklgm.report._cells import (
    TableRow,
    number,
    percent,
    plural,
    rate_cell,
    rate_digits,
    value_cell,
)
from sklgm.report._names import groups, names_of, order_of
from sklgm.results import ProtocolDescription

if TYPE_CHECKING:
    import polars as pl

#: The defences that a run puts to the test; all other victims are compared with them.
DEFENCES = ("lgm", "lgm_trim")

#: Victim and variant.
Victim: TypeAlias = tuple[str, str | None]


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
        headline = description.headline
        if headline is None:
            continue
        own = table.filter(protocol=description.name).drop_nulls("attack")
        for at, group in groups(own, ["dataset", "attack", "bound", "reach"]):
            title = headline.title.format_map(names_of(at))
            is_rate = headline.metric == "attack_success_rate"
            summary = (_of_rates if is_rate else _of_detection)(group, title)
            if summary is not None:
                found.append(summary)
    return found


def success_rates(rows: pl.DataFrame) -> dict[Victim, Rate]:
    """Pooled success rates by victim and variant.

    Parameters
    ----------
    rows : DataFrame
        Rows of one protocol, data set, attack and number of poisons.

    Returns
    -------
    dict from (victim, variant) to Rate
        In the order of tables; only rates with cases.
    """
    parts = groups(rows.filter(metric="attack_success_rate"), ["victim", "variant"])
    parts.sort(key=lambda part: [order_of(*item) for item in part[0].items()])
    rates = {(at["victim"], at["variant"]): pooled_rate(part) for at, part in parts}
    return {victim: rate for victim, rate in rates.items() if rate.n_targets}


def _of_rates(rows: pl.DataFrame, title: str) -> Summary | None:
    """Compare success rates at the largest number of poisons."""
    for n_poisons in _counts(rows, "attack_success_rate"):
        at_count = rows.filter(n_poisons=n_poisons)
        rates = success_rates(at_count)
        if rates:
            break
    else:
        return None
    lines = [
        TableRow(
            victim_name(*victim),
            [rate_cell(rate, victim_color(victim[0]))],
            f"{rate.n_success:,} of {plural(rate.n_targets, 'target')} misled",
            victim_color(victim[0]),
        )
        for victim, rate in rates.items()
    ]
    sentences = [*_rate_sentences(rates), *_accuracy_sentences(at_count)]
    sentences += _detection_sentences(at_count)
    title = f"{title}, {plural(n_poisons, 'poison')} per target"
    return Summary(title, lines, sentences)


def _of_detection(rows: pl.DataFrame, title: str) -> Summary | None:
    """Compare the AUROC at the largest number of poisons."""
    for n_poisons in _counts(rows, "auroc"):
        at_count = rows.filter(n_poisons=n_poisons)
        areas = _areas(at_count)
        if areas:
            break
    else:
        return None
    lines = [
        TableRow(
            victim_name(victim, variant),
            [value_cell(part, "area", color=victim_color(victim))],
            "AUROC" + (f", score: {score}" if score else ""),
        )
        for (victim, variant, score), part in areas.items()
    ]
    return Summary(title, lines, _detection_sentences(at_count))


def _counts(rows: pl.DataFrame, metric: str) -> list[int]:
    """Numbers of poisons with that metric, the largest first."""
    counts = rows.filter(metric=metric)["n_poisons"].unique()
    found: list[int] = counts.sort(descending=True).to_list()
    return found


def _rate_sentences(rates: dict[Victim, Rate]) -> list[str]:
    if len(rates) < 2:
        return []
    lowest = min(rate.value for rate in rates.values())
    first = [victim for victim, rate in rates.items() if rate.value == lowest]
    share = percent(lowest, rate_digits(rates[first[0]]))
    if len(first) == len(rates):
        return [f"All models show the same attack success rate, {share}."]
    sentences = [f"Lowest attack success rate: {_join(first)}, {share}."]
    bound = min(rates[victim].high for victim in first)
    near = [v for v, rate in rates.items() if v not in first and rate.low <= bound]
    if near:
        verb = "overlaps" if len(near) == 1 else "overlap"
        noun = "interval" if len(near) == 1 else "intervals"
        sentences.append(
            f"The {noun} of {_join(near)} {verb} with that of the lowest rate: these "
            "targets are too few to rank them."
        )
    if _is_missed_by_defence(rates, first):
        sentences.append("No L-GM model reaches that rate in this run.")
    return sentences


def _accuracy_sentences(rows: pl.DataFrame) -> list[str]:
    main = rows.filter(rows["variant"].is_null())
    parts = groups(main.filter(metric="clean_accuracy").drop_nulls("value"), ["victim"])
    if len(parts) < 2:
        return []
    parts.sort(key=lambda part: order_of("victim", part[0]["victim"]))
    listed = [
        f"{victim_name(at['victim'])} {value_cell(part, 'share').text}"
        for at, part in parts
    ]
    return [f"Clean accuracy after the attack: {', '.join(listed)}."]


def _detection_sentences(rows: pl.DataFrame) -> list[str]:
    areas = {key: _mean(part) for key, part in _areas(rows).items()}
    if len({victim for victim, *_ in areas}) < 2:
        return []
    highest = max(areas.values())
    first = [key for key, area in areas.items() if area == highest]
    names = [
        victim_name(victim, variant) + (f" ({score} score)" if score else "")
        for victim, variant, score in first
    ]
    sentences = [
        f"Best at ranking poisons first: {_and(names)}, AUROC {number(highest)}."
    ]
    if _is_missed_by_defence(areas, first):
        best = max(area for (victim, *_), area in areas.items() if victim in DEFENCES)
        sentences.append(f"The best L-GM model reaches {number(best)}.")
    return sentences


def _areas(
    rows: pl.DataFrame,
) -> dict[tuple[str, str | None, str | None], pl.DataFrame]:
    """Rows of each AUROC by victim, variant and score, in the order of tables."""
    known = rows.filter(metric="auroc").drop_nulls("value")
    parts = groups(known, ["victim", "variant", "score"])
    parts.sort(key=lambda part: [order_of(*item) for item in part[0].items()])
    return {(at["victim"], at["variant"], at["score"]): part for at, part in parts}


def _mean(rows: pl.DataFrame) -> float:
    values: list[float] = rows["value"].to_list()
    return sum(values) / len(values)


def _is_missed_by_defence(
    compared: Iterable[tuple[Any, ...]], first: Iterable[tuple[Any, ...]]
) -> bool:
    """Whether a defence took part and none came first."""
    all_victims, best = {key[0] for key in compared}, {key[0] for key in first}
    return bool(all_victims & set(DEFENCES)) and not best & set(DEFENCES)


def _join(victims: Iterable[Victim]) -> str:
    return _and([victim_name(*victim) for victim in victims])


def _and(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
