"""Two attacks, or two victims, on the same targets, compared target by target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sklgm.metrics import mean_interval, paired_rate_difference
from sklgm.plotting import attack_name, victim_color, victim_name, victim_rank
from sklgm.report._cells import Cell, Table, TableRow, plural, signed_number
from sklgm.report._names import groups

if TYPE_CHECKING:
    import polars as pl

_MINUS = "\N{MINUS SIGN}"
#: What makes two trials of one victim, or of one attack, the same case.
_TARGET = ["dataset", "protocol", "bound", "reach", "n_poisons", "seed"]
_TARGET += ["target_index", "base_label"]


def paired_tables(trials: pl.DataFrame, first: str, second: str) -> list[Table]:
    """Success rate of one attack minus another's, over the targets of both.

    Parameters
    ----------
    trials : DataFrame
        Those of one run: across runs a model is trained anew.
    first, second : str
        Attacks. Each bound of one is compared with the same bound of the other.

    Returns
    -------
    list of Table
        One per data set, protocol and bound, with a row per victim and a column per
        number of poisons. Targets count that counted in both trials. Empty where there
        are no trials of both.
    """
    counted = _counted(trials)
    pairs = counted.filter(attack=first).join(
        counted.filter(attack=second),
        [*_TARGET, "victim", "variant"],
        nulls_equal=True,
        maintain_order="left",
        suffix="_second",
    )
    tables = []
    for at, group in groups(pairs, ["dataset", "protocol", "bound", "reach"]):
        counts = group["n_poisons"].unique().sort().to_list()
        victims = groups(group, ["victim", "variant"])
        victims.sort(key=lambda item: (victim_rank(item[0]["victim"]), str(item[0])))
        rows = []
        for names, of_victim in victims:
            cells = of_victim.partition_by("n_poisons", as_dict=True)
            shown = [_rate_cell(cells.get((n_poisons,))) for n_poisons in counts]
            color = victim_color(names["victim"])
            rows.append(TableRow(victim_name(**names), shown, color=color))
        name = attack_name(first, at["bound"], at["reach"])
        caption = f"{at['dataset']}: {name}, minus {attack_name(second)}, "
        caption += f"{at['protocol']} protocol"
        titles = ["Model", *(plural(n_poisons, "poison") for n_poisons in counts)]
        tables.append(Table(caption, titles, rows))
    return tables


def victim_tables(trials: pl.DataFrame, first: str, second: str) -> list[Table]:
    """Success rate and AUROC of one victim minus another's, over the targets of both.

    Parameters
    ----------
    trials : DataFrame
        Those of runs that differ in their seed only.
    first, second : str
        Victims.

    Returns
    -------
    list of Table
        One per data set and protocol, with a row per attack and number of poisons.
        Rates are of targets that counted for both victims; the AUROC is that of the
        posterior, over all targets where both have it, with a Student-t interval.
    """
    main = trials.filter(trials["variant"].is_null())
    pairs = main.filter(victim=first).join(
        main.filter(victim=second),
        [*_TARGET, "attack"],
        nulls_equal=True,
        maintain_order="left",
        suffix="_second",
    )
    tables = []
    for at, group in groups(pairs, ["dataset", "protocol"]):
        rows = []
        for names, cell in groups(group, ["attack", "bound", "reach", "n_poisons"]):
            detail = plural(names.pop("n_poisons"), "poison")
            cells = [_rate_cell(_counted(_counted(cell), "_second")), _area_cell(cell)]
            if any(cells):
                rows.append(TableRow(attack_name(**names), cells, detail))
        if rows:
            n_seeds = group["seed"].n_unique()
            caption = f"{at['dataset']}: {victim_name(first)} minus "
            caption += f"{victim_name(second)}, {at['protocol']} protocol"
            caption += f", {n_seeds} seeds" if n_seeds > 1 else ""
            tables.append(Table(caption, ["Attack", "Misled", "AUROC"], rows))
    return tables


def _counted(trials: pl.DataFrame, suffix: str = "") -> pl.DataFrame:
    is_known = trials[f"success{suffix}"].is_not_null()
    return trials.filter(trials[f"counted{suffix}"].fill_null(False) & is_known)


def _rate_cell(pairs: pl.DataFrame | None) -> Cell | None:
    """Difference of the success rates; None where there is no pair."""
    if pairs is None or pairs.is_empty():
        return None
    difference = paired_rate_difference(pairs["success"], pairs["success_second"])
    low, high = _points(difference.low), _points(difference.high)
    return Cell(
        f"{_points(difference.value)} points",
        [f"{low} to {high}", plural(difference.n, "target")],
    )


def _area_cell(pairs: pl.DataFrame) -> Cell | None:
    """Mean difference of the AUROC; None where there is no pair."""
    differences = (pairs["auroc"] - pairs["auroc_second"]).drop_nulls()
    if differences.is_empty():
        return None
    value, low, high = mean_interval(differences)
    interval = f"{signed_number(low)} to {signed_number(high)}"
    details = [] if math.isnan(low) else [interval]
    return Cell(signed_number(value), [*details, plural(len(differences), "target")])


def _points(share: float) -> str:
    """Percentage points with their sign; 0 has none."""
    points = round(100 * share)
    sign = "+" if points > 0 else _MINUS if points < 0 else ""
    return f"{sign}{abs(points)}"
