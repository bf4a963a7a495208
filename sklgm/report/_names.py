"""What the values of columns are called in tables, and in which order they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sklgm.plotting import attack_name, victim_name, victim_rank
from sklgm.report._cells import plural

if TYPE_CHECKING:
    import polars as pl

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
    """Name a detector in tables and sentences.

    Parameters
    ----------
    detector : str or None
        As in :class:`sklgm.results.Row`; None is no detector.

    Returns
    -------
    str
    """
    if detector is None:
        return "None, trained on all rows"
    return _DETECTOR_NAMES.get(detector, detector.replace("_", " "))


def names_of(values: Mapping[str, Any], noun: str = "poison") -> dict[str, str]:
    """Texts for the names in braces of titles and details.

    Parameters
    ----------
    values : mapping
        Value by column.
    noun : str, default="poison"
        What ``n_poisons`` counts.

    Returns
    -------
    dict of str to str
        Of the columns that have a value; the attack and the detector always have a
        name.
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

    Parameters
    ----------
    column : str
        Name of the column.
    value : object
        A value of it.
    first_seen : sequence, default=()
        Values in the order of their first appearance; attacks are sorted by it.

    Returns
    -------
    object
        Comparable with the keys of other values of the column.
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
    """Rows that meet conditions.

    Parameters
    ----------
    table : DataFrame
        Tidy table or trials.
    where : mapping
        By column a value or a tuple of values; None is "no value", ``...`` any value
        but none.

    Returns
    -------
    DataFrame
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
    """Split a table by the values of columns, in the order of first appearance.

    Parameters
    ----------
    table : DataFrame
        Tidy table or trials.
    columns : sequence of str
        Columns to split by; none gives the table itself.

    Returns
    -------
    list of (dict, DataFrame)
        Values by column, and the rows that have them.
    """
    if not columns:
        return [({}, table)] if len(table) else []
    parts = table.partition_by(columns, as_dict=True, maintain_order=True)
    return [(dict(zip(columns, key, strict=True)), part) for key, part in parts.items()]
