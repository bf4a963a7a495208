"""Headline of a report: what the records say, whoever comes first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sklgm.metrics import Rate
from sklgm.plotting import MODEL_COLORS, attack_name
from sklgm.report._cells import (
    Cell,
    Row,
    mean_value,
    model_name,
    number,
    percent,
    plural,
    poison_counts,
    rate_cell_of,
    rate_digits,
    select,
    success_rates,
)
from sklgm.results import MODELS, Record

#: The defence that a run puts to the test; all other models are compared with it.
_DEFENCES = ("lgm", "lgm_trim")


@dataclass(frozen=True)
class Summary:
    """One comparison: a title, a row a model, and sentences about them."""

    title: str
    rows: Sequence[Row]
    sentences: Sequence[str]


def attack_summary(records: Sequence[Record], title: str) -> Summary | None:
    """Compare success rates at the largest number of poisons.

    Parameters
    ----------
    records : sequence of Record
        Those of one protocol, data set and attack.
    title : str
        Title of the comparison.

    Returns
    -------
    Summary or None
        None if no success rate has a target that counts.
    """
    for n_poisons in reversed(poison_counts(records, "attack_success_rate")):
        rates = success_rates(records, n_poisons)
        if rates:
            break
    else:
        return None
    rows = [
        Row(
            model_name(*key),
            [rate_cell_of(rate, MODEL_COLORS[key[0]])],
            f"{rate.n_success:,} of {plural(rate.n_targets, 'target')} misled",
            MODEL_COLORS[key[0]],
        )
        for key, rate in rates.items()
    ]
    sentences = [*_rate_sentences(rates), *_accuracy_sentences(records, n_poisons)]
    sentences += _detection_sentences(records, n_poisons)
    title = f"{title}, {plural(n_poisons, 'poison')} a target"
    return Summary(title, rows, sentences)


def detection_summary(records: Sequence[Record], title: str) -> Summary | None:
    """Compare the AUROC at the largest number of poisons.

    Parameters
    ----------
    records : sequence of Record
        Those of one protocol, data set and attack.
    title : str
        Title of the comparison.

    Returns
    -------
    Summary or None
        None if no AUROC is known.
    """
    for n_poisons in reversed(poison_counts(records, "auroc")):
        areas = _areas(records, n_poisons)
        if areas:
            break
    else:
        return None
    rows = []
    for (model, arm), area in areas.items():
        own = select(records, metric="auroc", model=model, arm=arm, n_poisons=n_poisons)
        interval = None
        if len(own) == 1 and own[0].low is not None and own[0].high is not None:
            interval = (own[0].low, area, own[0].high)
        color = MODEL_COLORS[model]
        detail = "AUROC" + ("" if arm == "attack" else f", score: {arm}")
        rows.append(
            Row(model_name(model), [Cell(number(area), (), interval, color)], detail)
        )
    sentences = _detection_sentences(records, n_poisons)
    return Summary(title, rows, sentences)


def _rate_sentences(rates: dict[tuple[str, str], Rate]) -> list[str]:
    """Name the lowest rate, what cannot be told from it, and who misses it."""
    if len(rates) < 2:
        return []
    lowest = min(rate.value for rate in rates.values())
    first = [key for key, rate in rates.items() if rate.value == lowest]
    share = percent(lowest, rate_digits(rates[first[0]]))
    if len(first) == len(rates):
        return [f"All models show the same attack success rate, {share}."]
    sentences = [f"Lowest attack success rate: {_join(first)}, {share}."]
    bound = min(rates[key].high for key in first)
    near = [
        key for key, rate in rates.items() if key not in first and rate.low <= bound
    ]
    if near:
        verb = "overlaps" if len(near) == 1 else "overlap"
        noun = "interval" if len(near) == 1 else "intervals"
        sentences.append(
            f"The {noun} of {_join(near)} {verb} with that of the lowest rate: these "
            "targets are too few to rank them."
        )
    if _missed_by_defence([model for model, _ in rates], [model for model, _ in first]):
        sentences.append("No L-GM model reaches that rate in this run.")
    return sentences


def _accuracy_sentences(records: Sequence[Record], n_poisons: int) -> list[str]:
    values = {}
    for model in MODELS:
        own = select(
            records,
            metric="clean_accuracy",
            model=model,
            arm="attack",
            n_poisons=n_poisons,
        )
        if not math.isnan(value := mean_value(own)):
            values[model] = value
    if len(values) < 2:
        return []
    listed = [f"{model_name(model)} {percent(v)}" for model, v in values.items()]
    return [f"Clean accuracy after the attack: {', '.join(listed)}."]


def _detection_sentences(records: Sequence[Record], n_poisons: int) -> list[str]:
    areas = _areas(records, n_poisons)
    if len({model for model, _ in areas}) < 2:
        return []
    highest = max(areas.values())
    first = [key for key, area in areas.items() if area == highest]
    names = []
    for model, arm in first:
        kind = "" if arm == "attack" else f" ({arm} score)"
        names.append(model_name(model) + kind)
    sentences = [
        f"Best at ranking poisons first: {_and(names)}, AUROC {number(highest)}."
    ]
    if _missed_by_defence([model for model, _ in areas], [model for model, _ in first]):
        best = max(area for (model, _), area in areas.items() if model in _DEFENCES)
        sentences.append(f"The best L-GM model reaches {number(best)}.")
    return sentences


def _areas(records: Sequence[Record], n_poisons: int) -> dict[tuple[str, str], float]:
    """Mean AUROC of each model and score kind at one number of poisons."""
    areas = {}
    found = select(records, metric="auroc", n_poisons=n_poisons)
    for model in MODELS:
        own = select(found, model=model)
        for arm in sorted({record.arm for record in own}):
            if not math.isnan(value := mean_value(select(own, arm=arm))):
                areas[model, arm] = value
    return areas


def _missed_by_defence(models: Sequence[str], first: Sequence[str]) -> bool:
    """Whether a defence took part and none came first."""
    return bool(set(models) & set(_DEFENCES)) and not set(first) & set(_DEFENCES)


def _join(keys: Sequence[tuple[str, str]]) -> str:
    return _and([model_name(*key) for key in keys])


def _and(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def title_of(dataset: str, attack: str) -> str:
    """Title of a comparison."""
    return f"{dataset}, {attack_name(attack)}"
