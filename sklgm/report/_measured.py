"""Numbers of models with their intervals, as verdicts compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sklgm.plotting import pool_seeds, rate_of, victim_name
from sklgm.report._cells import number, percent
from sklgm.report._names import detector_name, order_of

if TYPE_CHECKING:
    import polars as pl

#: Columns that say which attack it is.
STRENGTH = ("attack", "bound", "reach")
#: What variants are called in sentences.
VARIANT_NAMES = {"converged": "refitted to convergence"}
#: Attacks that aim at no target: a reference, which no verdict is about.
_REFERENCES = ("flip_labels",)
_COMPARED = ("victim", "variant", "score", "detector")
#: The location of certified heads that stands for the others in the verdict.
_LOCATION = "_median"
_LOCATION_NAMES = {", median": "class medians", ", trimmed mean": "trimmed means"}

#: How one number stands against another.
Standing = Literal["same", "tie", "below", "above"]


@dataclass(frozen=True)
class Measured:
    """A number of one model with its interval.

    Parameters
    ----------
    name : str
        The model, as prose names it.
    victim, variant : str or None
        As in :class:`sklgm.results.Row`.
    value : float
        The number.
    low, high : float or None
        Ends of its 95 % interval; None where it is not known.
    n : int
        Targets, test rows or poisons that it is a number of.
    text : str
        The number, as it is written.
    strength : tuple
        Attack, bound and reach.
    """

    name: str
    victim: str | None
    variant: str | None
    value: float
    low: float | None
    high: float | None
    n: int
    text: str
    strength: tuple[Any, ...] = (None, None, None)

    def stands(self, other: Measured) -> Standing:
        """Compare with another number by the intervals.

        Parameters
        ----------
        other : Measured
            The other number.

        Returns
        -------
        {"same", "tie", "below", "above"}
            ``"tie"`` where the intervals overlap, or one is not known.
        """
        if self.value == other.value:
            return "same"
        if self.low is None or self.high is None:
            return "tie"
        if other.low is None or other.high is None:
            return "tie"
        if self.high < other.low:
            return "below"
        return "above" if self.low > other.high else "tie"


def measure(rows: pl.DataFrame, metric: str) -> list[Measured]:
    """Pick the numbers of a protocol that a headline compares."""
    if metric == "attack_success_rate":
        return fooled_targets(rows)
    found = rows.filter(metric=metric)
    if metric == "certified_accuracy":
        found = of_all_rows(found)
        return certified_rows(found, max(found["n_poisons"].to_list(), default=0))
    found = found.filter(found["value"].is_not_null())
    if found.is_empty():
        return []
    if metric == "auroc":
        found = found.drop_nulls("attack") if found["attack"].count() else found
        found = without_references(found)
        # The first attack: others have sections of their own.
        strength = found.select(STRENGTH).row(0, named=True)
        for name, value in strength.items():
            found = found.filter(found[name].eq_missing(value))
    most = found["n_poisons"].max()
    found = found.filter(found["n_poisons"].eq_missing(most))
    kind: Literal["rate", "area"] = "area" if metric == "auroc" else "rate"
    return _pooled(found, (*_COMPARED, *STRENGTH), kind)


def fooled_targets(rows: pl.DataFrame) -> list[Measured]:
    """Pick the worst attack on each model, with the most poisons."""
    rates = rows.filter(metric="attack_success_rate").drop_nulls("attack")
    rates = rates.filter((rates["n"] > 0) & rates["value"].is_not_null())
    rates = without_references(rates)
    most = rates["n_poisons"].max()
    rates = rates.filter(rates["n_poisons"].eq_missing(most))
    worst: dict[tuple[str | None, str | None], Measured] = {}
    for m in _pooled(rates, ("victim", "variant", *STRENGTH), "rate"):
        key = m.victim, m.variant
        if key not in worst or m.value > worst[key].value:
            worst[key] = m
    return list(worst.values())


def of_all_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out certified heads that were fitted to some of the rows for heads."""
    return rows.filter(rows["variant"].is_null())


def certified_rows(rows: pl.DataFrame, n_poisons: int) -> list[Measured]:
    """Pick the certified accuracy of one location on the features of each network."""
    found = _pooled(rows.filter(n_poisons=n_poisons), ("victim", "variant"), "rate")
    medians = [m for m in found if (m.victim or "").endswith(_LOCATION)]
    return [_as_percent(m) for m in medians or found]


def accuracy_under_attack(rows: pl.DataFrame, fooled: Measured) -> Measured | None:
    """Pick the accuracy of the model that was fooled, else of it without poisons."""
    own = rows.filter(metric="clean_accuracy", victim=fooled.victim)
    own = own.filter(own["variant"].eq_missing(fooled.variant))
    attacked = own
    for name, value in zip(STRENGTH, fooled.strength, strict=True):
        attacked = attacked.filter(attacked[name].eq_missing(value))
    attacked = attacked.filter(attacked["n_poisons"].eq_missing(own["n_poisons"].max()))
    if attacked.is_empty():
        attacked = own.filter(own["attack"].is_null())
    found = _pooled(attacked, ("victim", "variant"), "rate")
    return _as_percent(found[0]) if found else None


def without_references(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out attacks that aim at no target, where there are others."""
    aimed = rows.filter(~rows["attack"].is_in(_REFERENCES))
    return rows if aimed.is_empty() else aimed


def _pooled(
    rows: pl.DataFrame, key: Sequence[str], kind: Literal["rate", "area"]
) -> list[Measured]:
    """Pool seeds, in the order of tables; what is not known is left out."""
    attacks = rows["attack"].unique(maintain_order=True).to_list()
    pooled = [row for row in pool_seeds(rows, key).rows(named=True) if row["n_values"]]
    pooled = [row for row in pooled if row["n"]]
    pooled.sort(key=lambda row: [order_of(c, row[c], attacks) for c in key])
    found = []
    for row in pooled:
        value, low, high = row["value"], row["low"], row["high"]
        text = number(value)
        if kind == "rate":
            rate = rate_of(row)
            value, low, high = rate.value, rate.low, rate.high
            text = f"{rate.n_success:,} of {rate.n_targets:,}"
        found.append(
            Measured(
                _name(row),
                row["victim"],
                row.get("variant"),
                value,
                low,
                high,
                row["n"],
                text,
                tuple(row.get(name) for name in STRENGTH),
            )
        )
    return found


def _name(row: Mapping[str, Any]) -> str:
    detector, victim = row.get("detector"), row["victim"]
    if victim is None:
        return detector_name(detector)
    variant = row.get("variant")
    brackets = [VARIANT_NAMES.get(variant or "", variant), row.get("score")]
    name = victim_name(victim)
    for location, words in _LOCATION_NAMES.items():
        if name.endswith(location):
            name = name.removesuffix(location)
            brackets.insert(0, words)
    listed = ", ".join(filter(None, brackets))
    name += f" ({listed})" if listed else ""
    return f"{detector_name(detector)} on {name}" if detector else name


def _as_percent(m: Measured) -> Measured:
    return Measured(**{**vars(m), "text": percent(m.value)})
