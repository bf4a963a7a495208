"""Two attacks, or two victims, on the same targets, compared target by target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sklgm.metrics import mean_interval, paired_rate_difference
from sklgm.plotting import attack_name, victim_color, victim_name
from sklgm.report._cells import Cell, Table, TableRow, plural, signed_number
from sklgm.report._names import groups, sorted_groups

if TYPE_CHECKING:
    import polars as pl

_MINUS = "\N{MINUS SIGN}"
#: What two trials of a pair share, besides the attack or the victim.
_TARGET = ["dataset", "protocol", "bound", "reach", "n_poisons", "seed"]
_TARGET += ["target_index", "base_label"]


def paired_tables(
    trials: pl.DataFrame, column: str, first: str, second: str
) -> list[Table]:
    """Success rate and AUROC of one minus another, over the targets of both.

    Parameters
    ----------
    trials : DataFrame
        Those of runs that differ in their seed only.
    column : {"attack", "victim"}
        What is compared: attacks of the same bound on the same victims, or victims
        under the same attacks.
    first, second : str
        Two values of that column.

    Returns
    -------
    list of Table
        One per data set and protocol. Rates are of targets that counted in both trials;
        the AUROC is that of the posterior, over all targets where both have it, with a
        Student-t interval. Empty where there are no trials of both.
    """
    same = ["victim", "variant"] if column == "attack" else ["variant", "attack"]
    pairs = trials.filter(**{column: first}).join(
        trials.filter(**{column: second}),
        [*_TARGET, *same],
        nulls_equal=True,
        maintain_order="left",
        suffix="_second",
    )
    names = [victim_name(first), victim_name(second)]
    if column == "attack":
        names = [attack_name(first), attack_name(second)]
    index = ["victim", "variant", "attack", "bound", "reach", "n_poisons"]
    tables = []
    for at, group in groups(pairs, ["dataset", "protocol"]):
        rows = []
        for of_row, part in sorted_groups(group, index):
            cells = [_rate_cell(part), _area_cell(part)]
            attack = attack_name(of_row["attack"], of_row["bound"], of_row["reach"])
            header, color, details = attack, None, []
            if column == "attack":
                header = victim_name(of_row["victim"], of_row["variant"])
                color = victim_color(of_row["victim"])
                details = attack.split(", ")[1:]
            details = [*details, plural(of_row["n_poisons"], "poison")]
            if any(cells):
                rows.append(TableRow(header, cells, "; ".join(details), color))
        if rows:
            n_seeds = group["seed"].n_unique()
            caption = f"{at['dataset']}: {' minus '.join(names)}, {at['protocol']}"
            caption += " protocol" + (f", {n_seeds} seeds" if n_seeds > 1 else "")
            title = "Model" if column == "attack" else "Attack"
            tables.append(Table(caption, [title, "Misled", "AUROC"], rows))
    return tables


def _rate_cell(pairs: pl.DataFrame) -> Cell | None:
    """Difference of the success rates; None where no target counts in both."""
    counted = pairs.filter(counted=True, counted_second=True)
    counted = counted.drop_nulls(["success", "success_second"])
    if counted.is_empty():
        return None
    difference = paired_rate_difference(counted["success"], counted["success_second"])
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
