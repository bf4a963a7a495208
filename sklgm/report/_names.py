"""What the values of columns are called in tables, and in which order they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sklgm.plotting import attack_name, victim_name, victim_rank
from sklgm.report._cells import plural

if TYPE_CHECKING:
    import polars as pl

#: The defences that a run puts to the test; all other victims are compared with them.
DEFENCES = ("lgm", "lgm_trim", "lgm_median", "lgm_trimmed_mean")
#: What is cheap and could beat them.
BASELINE = "softmax_trimmed_gaussians"
#: Columns that say how a victim was attacked.
ATTACK_COLUMNS = ("attack", "bound", "reach", "share", "n_poisons")

_SCORES = ("likelihood", "posterior", "combined")
#: In the order of tables; detectors that are not listed follow, by name.
_DETECTOR_NAMES = {
    "audit": "audit",
    "lgm_likelihood": "L-GM likelihood",
    "lgm_posterior": "L-GM posterior",
    "lgm_combined": "L-GM combined",
    "deep_knn": "Deep k-NN",
    "spectral_signatures": "Spectral signatures",
    "activation_clustering": "Activation clustering",
    "class_mahalanobis": "Class Mahalanobis",
    "self_confidence": "Self-confidence",
    "art_spectral_signatures": "ART, spectral signatures",
    "art_activation_clustering": "ART, activation clustering",
    "cleanlab_confident_learning": "cleanlab, confident learning",
}


def detector_name(detector: str | None) -> str:
    """Name a detector in tables and sentences."""
    if detector is None:
        return "None, trained on all rows"
    return _DETECTOR_NAMES.get(detector, detector.replace("_", " "))


def names_of(values: Mapping[str, Any], noun: str = "poison") -> dict[str, str]:
    """Texts for the names in braces of titles and details.

    Columns without a value have none; `noun` is what ``n_poisons`` counts.
    """
    names = {name: str(value) for name, value in values.items() if value is not None}
    if "victim" in names:
        names["victim"] = victim_name(values["victim"], values.get("variant"))
    if "attack" in values:
        strength = (values["attack"], values.get("bound"), values.get("reach"))
        names["attack"] = attack_name(*strength)
    if "detector" in values:
        names["detector"] = detector_name(values["detector"])
    if "n_poisons" in names:
        names["n_poisons"] = plural(values["n_poisons"], noun)
    if "share" in names:
        names["share"] = f"{100 * values['share']:g}\N{NO-BREAK SPACE}%"
    return names


class _OrNone(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "none"


def titled(text: str, names: Mapping[str, str]) -> str:
    """Fill names into a title; a missing value is called none."""
    return text.format_map(_OrNone(names))


def filled(texts: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Fill names into texts; those that name a missing value are left out."""
    found = []
    for text in texts:
        try:
            found.append(text.format_map(names))
        except KeyError:
            continue
    return found


def order_of(column: str, value: Any, first_seen: Sequence[Any] = ()) -> Any:
    """Key that sorts the values of a column as tables show them.

    Attacks are sorted by `first_seen`, values in the order of first appearance.
    """
    if column == "victim":
        return victim_rank(value)
    if column == "attack":
        return first_seen.index(value) if value in first_seen else -1
    if column == "bound":  # none is the strongest
        return math.inf if value is None else value
    if column in ("reach", "share", "n_poisons", "n", "seed"):
        return -1.0 if value is None else value
    known = {"score": _SCORES, "detector": tuple(_DETECTOR_NAMES)}.get(column, ())
    if value in known:
        return known.index(value), ""
    return (-1, "") if value is None else (len(known), value)


def select(table: pl.DataFrame, where: Mapping[str, Any]) -> pl.DataFrame:
    """Rows that meet the conditions of a specification.

    For each column, a value or a tuple of values; None is "no value", ``...`` any but
    none.
    """
    for name, wanted in where.items():
        column = table[name]
        if wanted is ...:
            table = table.filter(column.is_not_null())
        elif isinstance(wanted, tuple):
            table = table.filter(column.is_in(wanted, nulls_equal=True))
        else:
            table = table.filter(column.eq_missing(wanted))
    return table


def groups(
    table: pl.DataFrame, columns: Sequence[str]
) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """Split a table by the values of columns, in the order of first appearance."""
    if not columns:
        return [({}, table)] if len(table) else []
    parts = table.partition_by(columns, as_dict=True, maintain_order=True)
    return [(dict(zip(columns, key, strict=True)), part) for key, part in parts.items()]


def sorted_groups(
    table: pl.DataFrame, columns: Sequence[str]
) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """Split a table by the values of columns, in the order of tables."""
    attacks = table["attack"].unique(maintain_order=True).to_list()

    def order(part: tuple[dict[str, Any], pl.DataFrame]) -> list[Any]:
        return [order_of(name, value, attacks) for name, value in part[0].items()]

    return sorted(groups(table, columns), key=order)
