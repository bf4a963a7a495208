"""What does not work: sentences that follow from the records by stated rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sklgm.metrics import Rate
from sklgm.plotting import attack_name
from sklgm.report._cells import (
    detector_name,
    mean_value,
    model_name,
    percent,
    plural,
    rate_digits,
    select,
    success_rates,
)
from sklgm.results import Record

_DEFENCES = ("lgm", "lgm_trim")
_BASELINE = "softmax_trimmed_gaussians"
_OWN_DETECTORS = ("lgm_likelihood", "lgm_posterior", "lgm_combined")
#: Clean accuracy may be lower by this much before it counts, in [0, 1].
_ACCURACY_TOLERANCE = 0.005
_ACCURACY_NAMES = {
    "clean_accuracy": "clean accuracy",
    "backbone_accuracy": "accuracy of the backbone",
}


@dataclass(frozen=True)
class Verdict:
    """What a rule finds among the records of a run.

    Parameters
    ----------
    sentences : sequence of str
        One a data set, protocol, attack, number of poisons and rival.
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
    """A rule, in words and as a function of the records of one run."""

    title: str
    statement: str
    apply: Callable[[Sequence[Record]], Verdict]


@dataclass(frozen=True)
class _Value:
    """A number with its interval, None where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int


#: A case: what a sentence is about, and what it says of it; None if all is well.
_Case = tuple[str, str | None]


def _misled_defences(records: Sequence[Record]) -> Iterable[_Case]:
    for place, rates in _attacked(records):
        for (model, arm), rate in rates.items():
            if model in _DEFENCES:
                text = f"{model_name(model, arm)} {_rate_text(rate)}"
                yield place, text if rate.n_success else None


def _unbeaten_baselines(records: Sequence[Record]) -> Iterable[_Case]:
    for place, rates in _attacked(records):
        if ("lgm_trim", "attack") not in rates or _is_no_test(rates):
            continue
        for (model, arm), rate in rates.items():
            if model != _BASELINE:
                continue
            # By the same rule of trimming, where the defence was tried by it.
            own_arm = arm if ("lgm_trim", arm) in rates else "attack"
            defence = rates["lgm_trim", own_arm]
            name = model_name("lgm_trim", own_arm)
            subject = f"{place}, {name} {_rate_text(defence)}"
            if rate.low > defence.high:
                yield subject, None
                continue
            word = "higher, intervals overlap"
            if rate.value < defence.value:
                word = "lower"
            elif rate.value == defence.value:
                word = "the same"
            yield subject, f"{model_name(model, arm)} {_rate_text(rate)}, {word}"


def _lost_accuracies(records: Sequence[Record]) -> Iterable[_Case]:
    for record in _once(records):
        if record.model not in _DEFENCES or record.metric not in _ACCURACY_NAMES:
            continue
        own = _value_of(_alike(records, record))
        softmax = _value_of(_alike(records, record, model="softmax"))
        if own is None or softmax is None:
            continue
        arm = "attack" if record.arm == "clean" else record.arm
        subject = (
            f"{_place(record)}, {_ACCURACY_NAMES[record.metric]}, "
            f"{model_name('softmax', arm)} {_share_text(softmax)}"
        )
        loss = softmax.value - own.value
        is_apart = loss > 0 and _is_above(softmax, own)
        text = f"{model_name(record.model, arm)} {_share_text(own)}"
        yield subject, text if is_apart or loss > _ACCURACY_TOLERANCE else None


def _detection_behind(rival: str) -> Callable[[Sequence[Record]], Iterable[_Case]]:
    """AUROC that is not above that of `rival`, with the intervals apart."""

    def cases(records: Sequence[Record]) -> Iterable[_Case]:
        for record in _once(records):
            if record.model not in _DEFENCES or record.metric != "auroc":
                continue
            if record.protocol == "peers":
                continue  # models there are backbones; see `_unbeaten_peers`
            arm = record.arm
            if rival == "softmax" and arm in ("likelihood", "combined"):
                arm = "posterior"  # the only score that softmax has
            own = _value_of(_alike(records, record))
            other = _value_of(_alike(records, record, model=rival, arm=arm))
            if own is None or other is None:
                continue
            subject = f"{_place(record)}, {model_name(rival, arm)} {_area_text(other)}"
            is_ahead, word = _stand(own, other)
            if is_ahead is None:
                continue
            name = model_name(record.model, record.arm)
            text = f"{name} {_area_text(own)}, {word}"
            yield subject, None if is_ahead else text

    return cases


def _unbeaten_peers(records: Sequence[Record]) -> Iterable[_Case]:
    """Other detectors than L-GM's whose AUROC is not below, with intervals apart."""
    for record in _once(select(records, protocol="peers", metric="auroc")):
        if record.arm not in _OWN_DETECTORS:
            continue
        own = _value_of(_alike(records, record))
        if own is None:
            continue
        subject = (
            f"{_place(record)}, features of {model_name(record.model)}, "
            f"{detector_name(record.arm)} {_area_text(own)}"
        )
        alike = select(records, protocol="peers", model=record.model)
        for arm in dict.fromkeys(other.arm for other in alike):
            rival = _value_of(_alike(records, record, arm=arm))
            if arm in _OWN_DETECTORS or rival is None:
                continue
            is_ahead, _ = _stand(own, rival)
            if is_ahead is None:
                continue
            word = _stand(rival, own)[1]
            if rival.value < own.value:
                word = "lower, intervals overlap"
            text = f"{detector_name(arm)} {_area_text(rival)}, {word}"
            yield subject, None if is_ahead else text


def _stand(own: _Value, other: _Value) -> tuple[bool | None, str]:
    """Whether a value is above another with intervals apart, and how it stands.

    None where it is above and an interval is missing: nothing can be said then.
    """
    if own.value < other.value:
        return False, "lower"
    if own.value == other.value:
        return False, "the same"
    if not _has_interval(own) or not _has_interval(other):
        return None, "higher"
    if _is_above(own, other):
        return True, "higher"
    return False, "higher, intervals overlap"


def _failed_attacks(records: Sequence[Record]) -> Iterable[_Case]:
    for place, rates in _attacked(records):
        if ("softmax", "attack") in rates:
            text = f"softmax {_rate_text(rates['softmax', 'attack'])}"
            yield place, text if _is_no_test(rates) else None


def _verdict(
    cases: Callable[[Sequence[Record]], Iterable[_Case]],
) -> Callable[[Sequence[Record]], Verdict]:
    """Gather the cases of one subject in one sentence."""

    def apply(records: Sequence[Record]) -> Verdict:
        # A search chooses on its own rows: what it measures is no result.
        records = [record for record in records if record.protocol != "search"]
        found: dict[str, list[str]] = {}
        n_compared = 0
        for subject, text in cases(records):
            n_compared += 1
            if text is not None:
                found.setdefault(subject, []).append(text)
        return Verdict(
            [f"{subject}: {'; '.join(texts)}." for subject, texts in found.items()],
            sum(len(texts) for texts in found.values()),
            n_compared,
        )

    return apply


#: In the order of the page.
RULES = (
    Rule(
        "Attacks that mislead an L-GM model",
        "Every success rate above 0 of L-GM or L-GM + trim, variants included.",
        _verdict(_misled_defences),
    ),
    Rule(
        "Where the cheap baseline is not worse",
        "The success rate of softmax + trimmed Gaussians is lower than that of L-GM + "
        "trim, or the same, or the intervals overlap. Attacks that mislead no model "
        "are left out: they stand under the last rule.",
        _verdict(_unbeaten_baselines),
    ),
    Rule(
        "Where L-GM costs accuracy",
        "The accuracy of L-GM or L-GM + trim is below that of softmax in the same "
        f"arm by more than {100 * _ACCURACY_TOLERANCE:.1f} points, or the intervals "
        "are apart.",
        _verdict(_lost_accuracies),
    ),
    Rule(
        "Where L-GM finds poisons no better than softmax",
        "The AUROC of L-GM or L-GM + trim is not above that of the posterior of "
        "softmax with the intervals apart. Variants are compared with the same variant "
        "of softmax.",
        _verdict(_detection_behind("softmax")),
    ),
    Rule(
        "Where L-GM finds poisons no better than the cheap baseline",
        "The AUROC of L-GM or L-GM + trim is not above that of softmax + trimmed "
        "Gaussians, by the same kind of score, with the intervals apart.",
        _verdict(_detection_behind(_BASELINE)),
    ),
    Rule(
        "Where another detector finds poisons no worse than L-GM's",
        "Fitted to the same rows and features, its AUROC is not below that of the "
        "likelihood, the posterior, or both combined, of trimmed Gaussians with the "
        "intervals apart.",
        _verdict(_unbeaten_peers),
    ),
    Rule(
        "Attacks that are no test of a defence",
        "The attack misleads no model, softmax included, so that a rate of 0 says "
        "nothing for a defence.",
        _verdict(_failed_attacks),
    ),
)


def _attacked(
    records: Sequence[Record],
) -> Iterable[tuple[str, dict[tuple[str, str], Rate]]]:
    """Rates of all models for each protocol, data set, attack and count."""
    main = [
        record
        for record in select(records, metric="attack_success_rate")
        if record.arm not in ("control", "common")
    ]
    keys = dict.fromkeys((r.protocol, r.dataset, r.attack) for r in main)
    for protocol, dataset, attack in keys:
        own = select(main, protocol=protocol, dataset=dataset, attack=attack)
        for n_poisons in sorted({record.n_poisons for record in own}):
            if found := success_rates(own, n_poisons):
                yield _place(select(own, n_poisons=n_poisons)[0]), found


def _is_no_test(rates: dict[tuple[str, str], Rate]) -> bool:
    """Whether softmax was attacked and no model misled."""
    nobody = all(rate.n_success == 0 for rate in rates.values())
    return nobody and ("softmax", "attack") in rates


def _place(record: Record) -> str:
    place = f"{record.dataset}, {record.protocol}, {attack_name(record.attack)}"
    if record.n_poisons:
        place += f", {plural(record.n_poisons, 'poison')}"
    return place


def _once(records: Sequence[Record]) -> Iterable[Record]:
    """First record of each quantity; the others are further seeds."""
    seen = set()
    for record in records:
        key = (
            *(record.protocol, record.dataset, record.model, record.attack),
            *(record.n_poisons, record.arm, record.metric),
        )
        if key not in seen:
            seen.add(key)
            yield record


def _alike(records: Sequence[Record], like: Record, **changes: str) -> Sequence[Record]:
    """Select the records of all seeds of the quantity of `like`, but for changes."""
    names = ("protocol", "dataset", "model", "attack", "n_poisons", "arm", "metric")
    return select(records, **{name: getattr(like, name) for name in names} | changes)


def _value_of(records: Sequence[Record]) -> _Value | None:
    """Mean over seeds, with the interval and n of a single one."""
    known = [record for record in records if not math.isnan(record.value)]
    if not known:
        return None
    if len(known) == 1:
        return _Value(known[0].value, known[0].low, known[0].high, known[0].n)
    return _Value(mean_value(known), None, None, sum(r.n for r in known))


def _has_interval(value: _Value) -> bool:
    return value.low is not None and value.high is not None


def _is_above(upper: _Value, lower: _Value) -> bool:
    """Whether both intervals are known and apart."""
    if upper.low is None or lower.high is None:
        return False
    return upper.low > lower.high


def _rate_text(rate: Rate) -> str:
    digits = rate_digits(rate)
    return (
        f"{rate.n_success:,} of {rate.n_targets:,} targets "
        f"({percent(rate.value, digits)}, {100 * rate.low:.{digits}f} to "
        f"{percent(rate.high, digits)})"
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
