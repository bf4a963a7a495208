"""What does not work: sentences that follow from the table by stated rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sklgm.plotting import attack_name, pool_seeds, rate_of, victim_name
from sklgm.report._cells import percent, plural, rate_digits, rate_interval
from sklgm.report._names import DEFENCES, detector_name, groups, order_of

if TYPE_CHECKING:
    import polars as pl

_BASELINE = "softmax_trimmed_gaussians"
_OWN_DETECTORS = ("lgm_likelihood", "lgm_posterior", "lgm_combined")
#: Clean accuracy may be lower by this much before it counts, in [0, 1].
_ACCURACY_TOLERANCE = 0.005
_ACCURACY_NAMES = {
    "clean_accuracy": "clean accuracy",
    "backbone_accuracy": "accuracy of the backbone",
}
#: Columns that must agree for two numbers to be compared.
_PLACE = ("dataset", "protocol", "attack", "bound", "reach", "n_poisons")

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
            Tidy table of one run. Protocols whose numbers are not results must be left
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


class _Who(NamedTuple):
    """What was measured at one place."""

    victim: str
    variant: str | None
    score: str | None
    detector: str | None

    @property
    def name(self) -> str:
        """Name of the victim, with variant and score in brackets."""
        parts = [part for part in (self.variant, self.score) if part]
        return victim_name(self.victim, ", ".join(parts) or None)


@dataclass(frozen=True)
class _Number:
    """A number with its interval, None where there is none, and how it is written."""

    value: float
    low: float | None
    high: float | None
    text: str

    def is_above(self, other: _Number) -> bool:
        """Whether both intervals are known and apart."""
        if self.low is None or other.high is None:
            return False
        return self.low > other.high

    def is_known_beside(self, other: _Number) -> bool:
        """Whether it is not above the other number, or both intervals say more."""
        ends = (self.low, self.high, other.low, other.high)
        return self.value <= other.value or None not in ends

    def standing(self, other: _Number) -> str:
        """How it stands against the other number, in words."""
        if self.value == other.value:
            return "the same"
        word = "lower" if self.value < other.value else "higher"
        if None in (self.low, self.high, other.low, other.high):
            return word
        is_apart = self.is_above(other) or other.is_above(self)
        return word if is_apart else f"{word}, intervals overlap"


_Numbers: TypeAlias = Mapping[_Who, _Number]


def _misled_defences(table: pl.DataFrame) -> Iterable[_Case]:
    for place, rates in _attacked(table):
        for who, rate in rates.items():
            if who.victim in DEFENCES:
                yield place, f"{who.name} {rate.text}" if rate.value else None


def _unbeaten_baselines(table: pl.DataFrame) -> Iterable[_Case]:
    main = _Who("lgm_trim", None, None, None)
    for place, rates in _attacked(table):
        if main not in rates or _is_no_test(rates):
            continue
        for who, rate in rates.items():
            if who.victim == _BASELINE:
                # By the same rule of trimming, where the defence was tried by it.
                own = who._replace(victim="lgm_trim")
                own = own if own in rates else main
                text = f"{who.name} {rate.text}, {rate.standing(rates[own])}"
                is_beaten = rate.is_above(rates[own])
                subject = f"{place}, {own.name} {rates[own].text}"
                yield subject, None if is_beaten else text


def _lost_accuracies(table: pl.DataFrame) -> Iterable[_Case]:
    for metric, name in _ACCURACY_NAMES.items():
        for place, shares in _places(table, metric):
            for who, own in shares.items():
                rival = who._replace(victim="softmax")
                if who.victim not in DEFENCES or rival not in shares:
                    continue
                softmax = shares[rival]
                loss = softmax.value - own.value
                is_lost = loss > _ACCURACY_TOLERANCE or softmax.is_above(own)
                subject = f"{place}, {name}, {rival.name} {softmax.text}"
                yield subject, f"{who.name} {own.text}" if is_lost else None


def _detection_behind(victim: str) -> Callable[[pl.DataFrame], Iterable[_Case]]:
    """AUROC that is not above that of a victim, with the intervals apart."""

    def cases(table: pl.DataFrame) -> Iterable[_Case]:
        for place, areas in _places(table, "auroc"):
            for who, own in areas.items():
                rival = who._replace(victim=victim)
                if victim == "softmax" and who.score:  # the only score that it has
                    rival = rival._replace(score="posterior")
                # Detectors have victims for backbones; see `_unbeaten_peers`.
                is_compared = who.victim in DEFENCES and who.detector is None
                other = areas.get(rival)
                if not is_compared or not other or not own.is_known_beside(other):
                    continue
                text = f"{who.name} {own.text}, {own.standing(other)}"
                subject = f"{place}, {rival.name} {other.text}"
                yield subject, None if own.is_above(other) else text

    return cases


def _unbeaten_peers(table: pl.DataFrame) -> Iterable[_Case]:
    """Other detectors than L-GM's whose AUROC is not below, with intervals apart."""
    for place, areas in _places(table.drop_nulls("detector"), "auroc"):
        for who, own in areas.items():
            if who.detector not in _OWN_DETECTORS:
                continue
            name = f"features of {who.name}, {detector_name(who.detector)}"
            for rival, other in areas.items():
                is_peer = rival.detector not in _OWN_DETECTORS
                is_peer &= rival._replace(detector=who.detector) == who
                if not is_peer or not own.is_known_beside(other):
                    continue
                text = f"{detector_name(rival.detector)} {other.text}"
                text += f", {other.standing(own)}"
                subject = f"{place}, {name} {own.text}"
                yield subject, None if own.is_above(other) else text


def _failed_attacks(table: pl.DataFrame) -> Iterable[_Case]:
    softmax = _Who("softmax", None, None, None)
    for place, rates in _attacked(table):
        if softmax in rates:
            text = f"softmax {rates[softmax].text}"
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
        "Attacks that do not test a defence",
        "The attack misleads no model, softmax included, so that a rate of 0 says "
        "nothing for a defence.",
        _failed_attacks,
    ),
)


def _attacked(table: pl.DataFrame) -> Iterator[tuple[str, _Numbers]]:
    """Success rates at each place with an attack."""
    attacked = table.drop_nulls("attack")
    return _places(attacked, "attack_success_rate")


def _places(table: pl.DataFrame, metric: str) -> Iterator[tuple[str, _Numbers]]:
    """Known values of a metric, over all seeds, by place and who was measured."""
    pooled = pool_seeds(table.filter(metric=metric), [*_PLACE, *_Who._fields])
    for at, strengths in groups(pooled.filter(pooled["n"] > 0), _PLACE[:-1]):
        attack = attack_name(at["attack"], at["bound"], at["reach"])
        for count, group in groups(strengths.sort("n_poisons"), _PLACE[-1:]):
            n_poisons = count["n_poisons"]
            place = f"{at['dataset']}, {at['protocol']}, {attack}"
            place += f", {plural(n_poisons, 'poison')}" if n_poisons else ""
            numbers = {}
            for row in group.iter_rows(named=True):
                who = _Who(*(row[name] for name in _Who._fields))
                numbers[who] = _number(row, metric)
            order = sorted(numbers, key=lambda who: [*map(order_of, who._fields, who)])
            yield place, {who: numbers[who] for who in order}


def _number(row: Mapping[str, Any], metric: str) -> _Number:
    value, low, high = row["value"], row["low"], row["high"]
    if metric == "attack_success_rate":
        rate = rate_of(row)
        value, low, high = rate.value, rate.low, rate.high
        text = f"{rate.n_success:,} of {rate.n_targets:,} targets "
        text += f"({percent(rate.value, rate_digits(rate))}, {rate_interval(rate)})"
    else:
        write = _area if metric == "auroc" else percent
        ends = "no interval"
        if low is not None and high is not None:
            # A range of shares has one percent sign.
            ends = f"{write(low)} to {write(high)}"
            if write is percent:
                ends = f"{100 * low:.1f} to {percent(high)}"
        text = f"{write(value)} ({ends})"
    return _Number(value, low, high, text)


def _is_no_test(rates: _Numbers) -> bool:
    """Whether softmax was attacked and no model misled."""
    nobody = all(rate.value == 0 for rate in rates.values())
    return nobody and _Who("softmax", None, None, None) in rates


def _area(value: float) -> str:
    """Three digits, and five where those would say nothing of the distance to 1."""
    return f"{value:.5f}" if 0.995 <= value < 1 else f"{value:.3f}"
