"""Sentences that follow from the numbers of a run, whoever comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sklgm.plotting import pool_seeds
from sklgm.report._cells import plural, signed_points
from sklgm.report._measured import Measured
from sklgm.report._names import BASELINE, DEFENCES

if TYPE_CHECKING:
    import polars as pl


def attack_sentences(fooled: Sequence[Measured]) -> list[str]:
    """Say who is fooled, whether the cheap baseline ties, and where L-GM loses."""
    plain = {m.victim: m for m in fooled if m.variant is None}
    softmax = plain.get("softmax")
    ours = plain.get("lgm_trim", plain.get("lgm"))
    if not any(m.value for m in fooled):
        who = "not even softmax without a defence" if softmax else "none of these"
        n = max(m.n for m in fooled)
        return [
            f"Nothing happened: the attack fooled no model, {who} (0 of {n:,} "
            "targets), so these zeros say nothing for any defence. It takes more "
            "poisons, another attack, or networks trained end to end."
        ]
    if softmax is None or ours is None:
        return [ranking_sentence(fooled, "attack_success_rate")]
    relation = {
        "same": "is fooled as often as softmax",
        "below": "is fooled less often than softmax",
        "above": "loses: it is fooled more often than softmax",
        "tie": "ties with softmax (the intervals overlap)",
    }[ours.stands(softmax)]
    sentence = f"{ours.name} {relation}"
    baseline = plain.get(BASELINE)
    if baseline is not None:
        word = {"below": "is better", "above": "is worse"}.get(
            baseline.stands(ours), "ties with it"
        )
        sentence += f"; the cheap baseline {word}"
    sentences = [f"{sentence}."]
    loses = [m for m in fooled if m.victim in DEFENCES and m.value > ours.value]
    if loses:
        most = max(loses, key=lambda m: m.value)
        tie = ", a tie" if most.stands(ours) == "tie" else ""
        sentences.append(f"But {most.name} is fooled on {most.text}{tie}.")
    return sentences


def accuracy_sentences(accuracies: Sequence[Measured]) -> list[str]:
    plain = {m.victim: m for m in accuracies if m.variant is None}
    softmax = plain.get("softmax")
    ours = plain.get("lgm_trim", plain.get("lgm"))
    if softmax is None or ours is None:
        return []
    if ours.stands(softmax) in ("same", "tie"):
        return ["Accuracy ties."]
    n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{ours.n:,}"
    word = "loses" if ours.stands(softmax) == "below" else "gains"
    return [f"{ours.name} {word} accuracy: {ours.text}, softmax {softmax.text} ({n})."]


def certified_sentences(
    own: pl.DataFrame, certified: Sequence[Measured], n_poisons: int
) -> list[str]:
    """Compare L-GM with the best rival, row by row where the run did."""
    ours = next((m for m in certified if m.victim in DEFENCES), None)
    rivals = [m for m in certified if m.victim not in DEFENCES]
    shares = own.filter(metric="certified_accuracy", n_poisons=n_poisons)["share"]
    share = shares.drop_nulls().to_list()[:1]
    rows = f"any {plural(n_poisons, 'training row')} of one class"
    rows += "".join(f" ({100 * of_class:g}\N{NO-BREAK SPACE}%)" for of_class in share)
    proved = f"With {rows} changed, "
    if ours is None or not rivals:
        best = max(certified, key=lambda m: m.value)
        return [
            f"{proved}{_network(best)} is provably right on {best.text} of test rows."
        ]
    rival = max(rivals, key=lambda m: m.value)
    relation = {
        "same": "no difference",
        "tie": "a tie, since the intervals overlap",
        "below": "L-GM loses, and the intervals are apart",
        "above": "more, and the intervals are apart",
    }[ours.stands(rival)]
    differences = own.filter(
        metric="certified_accuracy_difference",
        victim=rival.victim,
        n_poisons=n_poisons,
    )
    pooled = pool_seeds(differences, ["victim"]).rows(named=True)
    if pooled and pooled[0]["low"] is not None and pooled[0]["high"] is not None:
        low, high = pooled[0]["low"], pooled[0]["high"]
        word = "more" if low > 0 else "L-GM loses" if high < 0 else "a tie"
        low_end = signed_points(low).removesuffix(" points")
        relation = f"{word} ({low_end} to {signed_points(high)})"
    return [
        f"{proved}{_network(ours)} is provably right on {ours.text} of test "
        f"rows, {_network(rival)} on {rival.text}: {relation}."
    ]


def _network(head: Measured) -> str:
    """Name of a certified head without its location, which all have in common."""
    return head.name.split(" (")[0]


def ranking_sentence(found: Sequence[Measured], metric: str) -> str:
    """Say in one sentence who is first, who ties with that, and who is behind."""
    is_gain = metric != "attack_success_rate"
    what = {
        "attack_success_rate": "Fooled least",
        "auroc": "Highest AUROC",
        "clean_accuracy": "Most accurate",
        "certified_accuracy": "Highest certified accuracy",
    }[metric]
    unit = {"attack_success_rate": " targets", "clean_accuracy": " rows"}.get(
        metric, ""
    )
    if len(found) == 1:
        return f"{found[0].name}: {found[0].text}{unit} (nothing to compare with)."
    best = (max if is_gain else min)(found, key=lambda m: m.value)
    if all(m.value == best.value for m in found):
        text = f"{best.text}{unit} for all"
        if metric == "attack_success_rate" and best.value == 0:
            return f"The attack fooled no model: {text}, which tests no defence."
        return f"{what}: {text}, n = {best.n:,}, which ranks nobody."
    first = [m for m in found if m.stands(best) == "same"]
    tied = [m for m in found if m.stands(best) == "tie"]
    behind = [m for m in found if m not in first and m not in tied]
    sentence = f"{what}: {_listed(first)} ({best.text}{unit})"
    if tied:
        verb = "ties" if len(tied) == 1 else "tie"
        sentence += f"; {_listed(tied)} {verb} with that within the intervals"
    if behind:
        near = (max if is_gain else min)(behind, key=lambda m: m.value)
        ends = near.text if len(behind) == 1 else f"at best {near.text}"
        verb = "is" if len(behind) == 1 else "are"
        sentence += f"; {_listed(behind)} {verb} behind ({ends})"
    return f"{sentence}, n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{best.n:,}."


def _listed(found: Sequence[Measured]) -> str:
    """Names joined as prose does; of many only the number."""
    names = [m.name for m in found]
    if len(names) > 4:
        return f"{len(names)} models"
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
