"""What does not work: sentences that follow from the table by stated rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sklgm._running import import_extra
from sklgm.metrics import Rate
from sklgm.plotting import attack_name, victim_name
from sklgm.report._cells import percent, plural, rate_digits, rate_interval
from sklgm.report._names import detector_name, groups
from sklgm.report._summary import DEFENCES, Victim, success_rates

if TYPE_CHECKING:
    import polars as pl
else:
    pl = import_extra("polars", "cli")

_BASELINE = "softmax_trimmed_gaussians"
_OWN_DETECTORS = ("lgm_likelihood", "lgm_posterior", "lgm_combined")
#: Clean accuracy may be lower by this much before it counts, in [0, 1].
_ACCURACY_TOLERANCE = 0.005
_ACCURACY_NAMES = {
    "clean_accuracy": "clean accuracy",
    "backbone_accuracy": "accuracy of the backbone",
}
#: Columns that must agree for two numbers to be compared.
_PLACE = ["dataset", "protocol", "attack", "bound", "reach", "n_poisons"]
_MEASURED = ["victim", "variant", "score", "detector", "metric"]

#: A case: what a sentence is about, and what it says of it; None if all is well.
_Case: TypeAlias = tuple[str, str | None]


@dataclass(frozen=True)
class Verdict:
    """What a rule finds in the table of a run.

    Parameters
    ----------
    sentences : sequence of str
        One per data set, protocol, attack, number of poisons and rival.
    n_found : int
        Cases that the sentences name.
    n_compared : int
        Cases that the rule looked at.
    """

    sentences: Sequence[str]
    n_found: int
    n_compared: int


@dataclass(frozen=True)
class Rule:
    """A rule, in words and as a function of the tidy table of one run.

    Parameters
    ----------
    title : str
        Heading.
    statement : str
        The rule, in full sentences.
    cases : callable
        Gives every case that it looks at, of a tidy table.
    """

    title: str
    statement: str
    cases: Callable[[pl.DataFrame], Iterable[_Case]]

    def apply(self, table: pl.DataFrame) -> Verdict:
        """Gather the cases of one subject in one sentence.

        Parameters
        ----------
        table : DataFrame
            Tidy table of one run. Protocols whose numbers are no results must be left
            out.

        Returns
        -------
        Verdict
        """
        found: dict[str, list[str]] = {}
        n_compared = 0
        for subject, text in self.cases(table.unique(maintain_order=True)):
            n_compared += 1
            if text is not None:
                found.setdefault(subject, []).append(text)
        return Verdict(
            [f"{subject}: {'; '.join(texts)}." for subject, texts in found.items()],
            sum(len(texts) for texts in found.values()),
            n_compared,
        )


@dataclass(frozen=True)
class _Value:
    """A number with its interval, None where there is none."""

    value: float
    low: float | None
    high: float | None


def _misled_defences(table: pl.DataFrame) -> Iterable[_Case]:
    for place, rates in _attacked(table):
        for victim, rate in rates.items():
            if victim[0] in DEFENCES:
                text = f"{victim_name(*victim)} {_rate_text(rate)}"
                yield place, text if rate.n_success else None


def _unbeaten_baselines(table: pl.DataFrame) -> Iterable[_Case]:
    for place, rates in _attacked(table):
        if ("lgm_trim", None) not in rates or _is_no_test(rates):
            continue
        for (victim, variant), rate in rates.items():
            if victim != _BASELINE:
                continue
            # By the same rule of trimming, where the defence was tried by it.
            own = ("lgm_trim", variant if ("lgm_trim", variant) in rates else None)
            defence = rates[own]
            subject = f"{place}, {victim_name(*own)} {_rate_text(defence)}"
            if rate.low > defence.high:
                yield subject, None
                continue
            word = "higher, intervals overlap"
            if rate.value < defence.value:
                word = "lower"
            elif rate.value == defence.value:
                word = "the same"
            name = victim_name(victim, variant)
            yield subject, f"{name} {_rate_text(rate)}, {word}"


def _lost_accuracies(table: pl.DataFrame) -> Iterable[_Case]:
    values = _pooled(table.filter(table["metric"].is_in(list(_ACCURACY_NAMES))))
    rivals = values.filter(victim="softmax")
    for pair, own, softmax in _pairs(_of_defences(values), rivals, _MEASURED[1:]):
        subject = (
            f"{_place(pair)}, {_ACCURACY_NAMES[pair['metric']]}, "
            f"{victim_name('softmax', pair['variant'])} {_share_text(softmax)}"
        )
        loss = softmax.value - own.value
        is_apart = loss > 0 and _is_above(softmax, own)
        text = f"{victim_name(pair['victim'], pair['variant'])} {_share_text(own)}"
        yield subject, text if is_apart or loss > _ACCURACY_TOLERANCE else None


def _detection_behind(rival: str) -> Callable[[pl.DataFrame], Iterable[_Case]]:
    """AUROC that is not above that of `rival`, with the intervals apart."""

    def cases(table: pl.DataFrame) -> Iterable[_Case]:
        by_victims = table.filter(table["detector"].is_null())  # see _unbeaten_peers
        values = _pooled(by_victims.filter(metric="auroc"))
        rivals, same = values.filter(victim=rival), ["variant", "score"]
        if rival == "softmax":  # the posterior is the only score that it has
            rivals, same = rivals.filter(score="posterior"), ["variant"]
        for pair, own, other in _pairs(_of_defences(values), rivals, same):
            is_ahead, word = _stand(own, other)
            if is_ahead is None:
                continue
            score = pair["score"] if "score" in same else "posterior"
            name = _scored_name(rival, pair["variant"], score)
            subject = f"{_place(pair)}, {name} {_area_text(other)}"
            name = _scored_name(pair["victim"], pair["variant"], pair["score"])
            text = f"{name} {_area_text(own)}, {word}"
            yield subject, None if is_ahead else text

    return cases


def _unbeaten_peers(table: pl.DataFrame) -> Iterable[_Case]:
    """Other detectors than L-GM's whose AUROC is not below, with intervals apart."""
    values = _pooled(table.drop_nulls("detector").filter(metric="auroc"))
    is_own = values["detector"].is_in(_OWN_DETECTORS)
    pairs = _pairs(values.filter(is_own), values.filter(~is_own), ["victim"])
    for pair, own, rival in pairs:
        is_ahead, _ = _stand(own, rival)
        if is_ahead is None:
            continue
        subject = (
            f"{_place(pair)}, features of {victim_name(pair['victim'])}, "
            f"{detector_name(pair['detector'])} {_area_text(own)}"
        )
        word = _stand(rival, own)[1]
        if rival.value < own.value:
            word = "lower, intervals overlap"
        text = f"{detector_name(pair['detector_rival'])} {_area_text(rival)}, {word}"
        yield subject, None if is_ahead else text


def _failed_attacks(table: pl.DataFrame) -> Iterable[_Case]:
    for place, rates in _attacked(table):
        if ("softmax", None) in rates:
            text = f"softmax {_rate_text(rates['softmax', None])}"
            yield place, text if _is_no_test(rates) else None


#: In the order of the page.
RULES = (
    Rule(
        "Attacks that mislead an L-GM model",
        "Every success rate above 0 of L-GM or L-GM + trim, variants included.",
        _misled_defences,
    ),
    Rule(
        "Where the cheap baseline is not worse",
        "The success rate of softmax + trimmed Gaussians is lower than that of L-GM + "
        "trim, or the same, or the intervals overlap. Attacks that mislead no model "
        "are left out: they stand under the last rule.",
        _unbeaten_baselines,
    ),
    Rule(
        "Where L-GM costs accuracy",
        "The accuracy of L-GM or L-GM + trim is below that of softmax in the same "
        f"arm by more than {100 * _ACCURACY_TOLERANCE:.1f} points, or the intervals "
        "are apart.",
        _lost_accuracies,
    ),
    Rule(
        "Where L-GM finds poisons no better than softmax",
        "The AUROC of L-GM or L-GM + trim is not above that of the posterior of "
        "softmax with the intervals apart. Variants are compared with the same variant "
        "of softmax.",
        _detection_behind("softmax"),
    ),
    Rule(
        "Where L-GM finds poisons no better than the cheap baseline",
        "The AUROC of L-GM or L-GM + trim is not above that of softmax + trimmed "
        "Gaussians, by the same kind of score, with the intervals apart.",
        _detection_behind(_BASELINE),
    ),
    Rule(
        "Where another detector finds poisons no worse than L-GM's",
        "Fitted to the same rows and features, its AUROC is not below that of the "
        "likelihood, the posterior, or both combined, of trimmed Gaussians with the "
        "intervals apart.",
        _unbeaten_peers,
    ),
    Rule(
        "Attacks that are no test of a defence",
        "The attack misleads no model, softmax included, so that a rate of 0 says "
        "nothing for a defence.",
        _failed_attacks,
    ),
)


def _attacked(table: pl.DataFrame) -> Iterable[tuple[str, dict[Victim, Rate]]]:
    """Rates of all victims for each data set, protocol, attack and count."""
    rates = table.filter(metric="attack_success_rate").drop_nulls("attack")
    for at, group in groups(rates, _PLACE[:-1]):
        for n_poisons in group["n_poisons"].unique().sort():
            if found := success_rates(group.filter(n_poisons=n_poisons)):
                yield _place({**at, "n_poisons": n_poisons}), found


def _pooled(table: pl.DataFrame) -> pl.DataFrame:
    """Mean over seeds of each quantity; the interval is that of a single one."""
    alone = pl.len() == 1
    return (
        table.drop_nulls("value")
        .group_by([*_PLACE, *_MEASURED], maintain_order=True)
        .agg(
            pl.col("value").mean(),
            pl.when(alone).then(pl.col("low").first()).alias("low"),
            pl.when(alone).then(pl.col("high").first()).alias("high"),
        )
    )


def _pairs(
    own: pl.DataFrame, rivals: pl.DataFrame, same: Sequence[str]
) -> Iterable[tuple[dict[str, Any], _Value, _Value]]:
    """Quantities beside those of rivals at the same place."""
    both = own.join(
        rivals,
        [*_PLACE, *same],
        nulls_equal=True,
        maintain_order="left_right",
        suffix="_rival",
    )
    for pair in both.iter_rows(named=True):
        ends = (pair["value_rival"], pair["low_rival"], pair["high_rival"])
        yield pair, _Value(pair["value"], pair["low"], pair["high"]), _Value(*ends)


def _of_defences(values: pl.DataFrame) -> pl.DataFrame:
    return values.filter(values["victim"].is_in(DEFENCES))


def _is_no_test(rates: Mapping[Victim, Rate]) -> bool:
    """Whether softmax was attacked and no model misled."""
    nobody = all(rate.n_success == 0 for rate in rates.values())
    return nobody and ("softmax", None) in rates


def _place(at: Mapping[str, Any]) -> str:
    attack = attack_name(at["attack"], at["bound"], at["reach"])
    place = f"{at['dataset']}, {at['protocol']}, {attack}"
    if at["n_poisons"]:
        place += f", {plural(at['n_poisons'], 'poison')}"
    return place


def _scored_name(victim: str, variant: str | None, score: str | None) -> str:
    parts = [part for part in (variant, score) if part]
    return victim_name(victim, ", ".join(parts) or None)


def _stand(own: _Value, other: _Value) -> tuple[bool | None, str]:
    """Whether a value is above another with intervals apart, and how it stands.

    None where it is above and an interval is missing: nothing can be said then.
    """
    if own.value < other.value:
        return False, "lower"
    if own.value == other.value:
        return False, "the same"
    if None in (own.low, own.high, other.low, other.high):
        return None, "higher"
    if _is_above(own, other):
        return True, "higher"
    return False, "higher, intervals overlap"


def _is_above(upper: _Value, lower: _Value) -> bool:
    """Whether both intervals are known and apart."""
    if upper.low is None or lower.high is None:
        return False
    return upper.low > lower.high


def _rate_text(rate: Rate) -> str:
    return (
        f"{rate.n_success:,} of {rate.n_targets:,} targets "
        f"({percent(rate.value, rate_digits(rate))}, {rate_interval(rate)})"
    )


def _share_text(value: _Value) -> str:
    if value.low is None or value.high is None:
        return f"{percent(value.value)} (no interval)"
    return f"{percent(value.value)} ({100 * value.low:.1f} to {percent(value.high)})"


def _area_text(value: _Value) -> str:
    if value.low is None or value.high is None:
        return f"{_area(value.value)} (no interval)"
    return f"{_area(value.value)} ({_area(value.low)} to {_area(value.high)})"


def _area(value: float) -> str:
    """Three digits, and five where those would say nothing of the distance to 1."""
    return f"{value:.5f}" if 0.995 <= value < 1 else f"{value:.3f}"
