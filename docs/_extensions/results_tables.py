"""Small tables and verdicts of the results pages, from the tables of the runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sklgm.metrics import paired_rate_difference
from sklgm.plotting import attack_name, pool_seeds, rate_of, victim_name, victim_rank

SOFTMAX, RIVAL, DEFENCE = "softmax", "softmax_trimmed_gaussians", "lgm_trim"
#: Wins, ties, losses, and comparisons in which nothing happened to anyone.
OUTCOMES = ("better", "tied", "worse", "no test")

_ATTACK = ("attack", "bound", "reach")
_COLUMN_NAMES = {
    "backbone_accuracy": "accuracy of the network",
    "clean_accuracy": "accuracy",
    "attack_success_rate": "misled",
    "auroc": "AUROC",
    "success_after_filtering": "misled after filtering",
    "clean_flagged": "right rows flagged",
    "poisons_flagged": "poisons flagged",
    "flipped_flagged": "wrong labels found",
    "false_discoveries": "right among flagged",
    "flipped_among_most_suspect": "wrong among the most suspect",
    "flipped_among_most_suspect_difference": "the same, audit minus cleanlab",
    "cross_validated_accuracy": "accuracy, cross-validated",
}


@dataclass(frozen=True)
class Table:
    """A caption, headings, and rows of cells; a cell is its lines of text."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Pivot:
    """Which numbers of a protocol stand in which table.

    `index` names a row and `across` a column, beside the metric; `most` keeps the
    largest number of poisons only, `ending` the victims whose names end in it, and
    `left_out` are detectors whose rows are in the files of the run alone.
    """

    caption: str
    metrics: tuple[str, ...]
    index: tuple[str, ...]
    across: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[str | None, ...] | None = (None,)
    kind: str = "share"
    most: bool = False
    noun: str = "poisons"
    ending: str = ""
    left_out: tuple[str, ...] = ()

    def table(self, rows: pl.DataFrame) -> Table | None:
        """Fill the table; None where nothing was measured."""
        rows = rows.filter(pl.col("metric").is_in(self.metrics))
        for name, value in self.where.items():
            rows = rows.filter(pl.col(name).is_not_null() if value is ... else
                               pl.col(name).eq_missing(value))  # fmt: skip
        if self.ending:
            rows = rows.filter(pl.col("victim").str.ends_with(self.ending))
        if self.left_out:
            rows = rows.filter(~pl.col("detector").is_in(self.left_out))
        if self.variants is not None:
            rows = rows.filter(pl.col("variant").is_in(self.variants, nulls_equal=True))
        if self.most and len(rows):
            rows = rows.filter(n_poisons=rows["n_poisons"].max())
        rows = rows.with_columns(n_wrong="n_poisons")  # what label noise counts
        pooled = pool_seeds(rows, [*self.index, "metric", *self.across])
        cells: dict[tuple[Any, ...], dict[tuple[Any, ...], Sequence[str]]] = {}
        for row in pooled.iter_rows(named=True):
            place = tuple(row[name] for name in self.index)
            column = (row["metric"], *(row[name] for name in self.across))
            cells.setdefault(place, {})[column] = write_cell(row, self.kind)
        if not cells:
            return None
        columns = list(dict.fromkeys(c for own in cells.values() for c in own))
        columns.sort(
            key=lambda c: [self.metrics.index(c[0]), *_keys(self.across, c[1:])]
        )
        places = sorted(cells, key=lambda place: _keys(self.index, place))
        several = len(self.metrics) > 1
        titles = [
            _title(self.across, c[1:], c[0] if several else None) for c in columns
        ]
        body = [
            [[_title(self.index, place)], *(cells[place].get(c, []) for c in columns)]
            for place in places
        ]
        return Table(self.caption, ["", *titles], body)


_MISLED = Pivot(
    "Targets misled", ("attack_success_rate",), _ATTACK, ("victim", "variant"),
    {"attack": ...}, kind="rate", most=True,
)  # fmt: skip
_CONVERGED = Pivot(
    "Targets misled, heads trained until nothing is left to gain",
    ("attack_success_rate",), _ATTACK, ("victim",), {"attack": ...},
    ("converged",), kind="rate", most=True,
)  # fmt: skip
_FOUND = Pivot(
    "Area under the ROC curve: poisons found by the posterior", ("auroc",), _ATTACK,
    ("victim",), {"attack": ..., "score": "posterior"}, kind="area", most=True,
)  # fmt: skip
_CLEAN = Pivot(
    "Without poisons", ("attack_success_rate", "clean_accuracy"),
    ("victim",), where={"attack": None},
)  # fmt: skip
_SHARES = (*_ATTACK, "share", "n_poisons")
#: Heads of classes that their networks were not trained on.
NOVEL = "5 novel classes"
_NOVEL = (NOVEL,)

#: Tables of each protocol, in the order of the page.
PIVOTS: Mapping[str, Sequence[Pivot]] = {
    "certified": (
        # Trimmed means, and means of fewer rows, are in the files of the run.
        Pivot("Right and proved to stay so, by poisons of one class",
              ("certified_accuracy",), ("victim",), ("n_poisons",), ending="_median"),
        Pivot("Left right by the best attack that was found",
              ("attacked_accuracy",), ("victim",), ("n_poisons",), most=True,
              ending="_median"),
        Pivot("L-GM minus the other network, points, paired",
              ("certified_accuracy_difference",), ("victim",), ("n_poisons",),
              kind="points", ending="_median"),
        Pivot("The same, of five classes that networks were not trained on",
              ("certified_accuracy",), ("victim",), ("n_poisons",), variants=_NOVEL,
              ending="_median"),
    ),
    "transfer": (_MISLED, _CONVERGED, _FOUND, _CLEAN),
    "white-box": (_FOUND,),
    "end-to-end": (
        Pivot("Targets misled", ("attack_success_rate",), _SHARES,
              ("victim", "variant"), {"attack": ...}, (None, "filtered", "auto"),
              kind="rate"),
        _CLEAN,
    ),
    "frontier": (_MISLED,),
    "contamination": (
        Pivot("Targets misled", ("attack_success_rate",), _SHARES,
              ("victim", "variant"), {"attack": ...}, (None, "auto"), kind="rate"),
        _CLEAN,
    ),
    "peers": (
        Pivot("Area under the ROC curve", ("auroc",), ("detector",),
              ("victim", *_ATTACK), kind="area"),
        Pivot("Targets misled after the flagged rows were dropped",
              ("success_after_filtering",), ("detector",), ("victim", *_ATTACK),
              kind="rate"),
    ),
    "label-noise": (
        Pivot("Wrong labels, by detector", (
            "flipped_flagged", "false_discoveries", "flipped_among_most_suspect",
            "flipped_among_most_suspect_difference", "cross_validated_accuracy",
        ), ("share", "n_wrong", "detector"), left_out=("audit, level 0.01",)),
    ),
    # Settings hardly differ on MNIST: the guide says so, the run's files have all.
    "search": (),
}  # fmt: skip


def tables_of(protocol: str, rows: pl.DataFrame) -> Iterator[Table]:
    """Tables of a protocol; those without any number are left out."""
    fallback = (Pivot("Accuracy", ("backbone_accuracy", "clean_accuracy"),
                      ("victim", "variant"), variants=None),)  # fmt: skip
    for pivot in PIVOTS.get(protocol, fallback):
        table = pivot.table(rows)
        if table is not None:
            yield table


def write_cell(row: Mapping[str, Any], kind: str) -> Sequence[str]:
    """Value, and its interval, or the range of several seeds, below it."""
    if row["value"] is None or not row["n"]:
        return ["none"]
    if kind == "rate":
        rate = rate_of(row)
        counts = f"{rate.n_success}/{rate.n_targets}"
        ends = f"{100 * rate.low:.0f}\N{EN DASH}{100 * rate.high:.0f}"
        return [f"{100 * rate.value:.0f} %", f"{counts}, {ends}"]
    if row["metric"] == "auroc":
        kind = "area"
    factor, digits, unit = (1, 3, "") if kind == "area" else (100, 1, " %")
    if kind == "points" or row["metric"].endswith("_difference"):
        unit, digits, kind = "", 2, "points"
    if row["metric"].startswith(("certified", "attacked")):
        digits = 2
    value = f"{factor * row['value']:{'+' if kind == 'points' else ''}.{digits}f}{unit}"
    value = value.replace("-", "\N{MINUS SIGN}")
    if kind == "area" and 0.9995 <= row["value"] < 1:
        value = "> 0.999"
    ends = (row["low"], row["high"])
    if row["n_values"] > 1:
        ends = (row["lowest"], row["highest"])
    if None in ends:
        return [value]
    low, high = (f"{factor * end:.{digits}f}" for end in ends)
    if kind == "points":
        return [value, f"{low} to {high}".replace("-", "\N{MINUS SIGN}")]
    return [value, f"{low}\N{EN DASH}{high}"]


@dataclass(frozen=True)
class Summary:
    """A row of the summary: one question on one data set."""

    dataset: str
    protocol: str
    metric: str
    #: What was looked at where the numbers stand.
    what: str
    #: Softmax, the cheap rival, L-GM.
    numbers: Sequence[str]
    #: Counts of OUTCOMES against softmax and against the rival.
    against: Sequence[Mapping[str, int]]


def summarize(
    dataset: str, protocol: str, table: pl.DataFrame, trials: pl.DataFrame
) -> Iterator[Summary]:
    """Compare L-GM with softmax and the cheap rival, over all attacks of a protocol."""
    table = table.filter(dataset=dataset, protocol=protocol)
    if protocol == "certified":
        yield from _certified(dataset, table, None)
        yield from _certified(dataset, table, NOVEL)
        return
    own = trials.filter(pl.col("variant").is_null(), dataset=dataset, protocol=protocol)
    if own["counted"].count():
        yield from _misled(dataset, protocol, own)
    if protocol == "white-box":
        yield from _detected(dataset, table)


def total(summaries: Iterable[Summary], metric: str, which: int) -> dict[str, int]:
    """Outcomes of all summaries of a metric, against softmax (0) or the rival (1)."""
    own = [s.against[which] for s in summaries if s.metric == metric]
    return {name: sum(counts[name] for counts in own) for name in OUTCOMES}


def _misled(dataset: str, protocol: str, trials: pl.DataFrame) -> Iterator[Summary]:
    trials = trials.filter(pl.col("attack").is_not_null(), counted=True)
    trials = trials.drop_nulls("success")
    case = (
        [*_ATTACK] if protocol in ("transfer", "frontier") else [*_ATTACK, "n_poisons"]
    )
    if case == [*_ATTACK]:
        trials = trials.filter(n_poisons=trials["n_poisons"].max())
    strongest: tuple[float, str, list[str]] = (-1.0, "", [])
    against = [dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0)]
    n_cases = 0
    for key, group in trials.group_by(case, maintain_order=True):
        of = {victim: part for (victim,), part in group.group_by("victim")}
        if not {SOFTMAX, RIVAL, DEFENCE} <= set(of):
            continue
        n_cases += 1
        rates = [of[victim]["success"].mean() for victim in (SOFTMAX, RIVAL, DEFENCE)]
        for counts, victim in zip(against, (SOFTMAX, RIVAL), strict=True):
            is_test = any(rates)
            outcome = _paired_outcome(of[DEFENCE], of[victim]) if is_test else "no test"
            counts[outcome] += 1
        if rates[0] > strongest[0]:
            name = f"{attack_name(*key[:3])}, {group['n_poisons'][0]} poisons"
            numbers = [
                f"{100 * rate:.0f} % of {len(of[victim])}"
                for rate, victim in zip(rates, (SOFTMAX, RIVAL, DEFENCE), strict=True)
            ]
            strongest = rates[0], name, numbers
    if n_cases:
        what = f"targets misled by {strongest[1]}"
        what += f", the strongest of {n_cases}" if n_cases > 1 else ""
        yield Summary(dataset, protocol, "misled", what, strongest[2], against)


def _paired_outcome(defence: pl.DataFrame, other: pl.DataFrame) -> str:
    key = ["seed", "target_index", "base_label", "n_poisons"]
    both = defence.join(other, key, how="inner", suffix="_other")
    if both.is_empty():
        return "tied"
    difference = paired_rate_difference(both["success"], both["success_other"])
    if difference.low <= 0 <= difference.high:
        return "tied"
    return "better" if difference.value < 0 else "worse"


def _detected(dataset: str, table: pl.DataFrame) -> Iterator[Summary]:
    areas = table.filter(
        pl.col("attack").is_not_null(), pl.col("variant").is_null(),
        metric="auroc", score="posterior",
    )  # fmt: skip
    against = [dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0)]
    hardest: tuple[float, str, list[str]] = (math.inf, "", [])
    n_cases = 0
    for key, group in areas.group_by(_ATTACK, maintain_order=True):
        pooled = pool_seeds(group, ["victim"]).rows_by_key("victim", named=True)
        if not {SOFTMAX, RIVAL, DEFENCE} <= set(pooled):
            continue
        n_cases += 1
        rows = [pooled[victim][0] for victim in (SOFTMAX, RIVAL, DEFENCE)]
        for counts, other in zip(against, rows, strict=False):
            counts[_interval_outcome(rows[2], other)] += 1
        if rows[0]["value"] < hardest[0]:
            numbers = [write_cell({**r, "metric": "auroc"}, "area")[0] for r in rows]
            hardest = rows[0]["value"], attack_name(*key), numbers
    if n_cases:
        what = f"AUROC of {hardest[1]}"
        what += f", the hardest to find of {n_cases}" if n_cases > 1 else ""
        yield Summary(dataset, "white-box", "found", what, hardest[2], against)


def _interval_outcome(defence: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    ends = [
        (row["low"], row["high"]) if row["n_values"] == 1
        else (row["lowest"], row["highest"])
        for row in (defence, other)
    ]  # fmt: skip
    if any(end is None for pair in ends for end in pair):
        return "tied"
    if ends[0][0] > ends[1][1]:
        return "better"
    return "worse" if ends[0][1] < ends[1][0] else "tied"


def _certified(
    dataset: str, table: pl.DataFrame, variant: str | None
) -> Iterator[Summary]:
    victims = ("softmax_median", "smoothed_softmax_median", "lgm_median")
    table = table.filter(pl.col("variant").eq_missing(pl.lit(variant)))
    proved = table.filter(metric="certified_accuracy")
    if not set(victims) <= set(proved["victim"]):
        return
    most = proved["n_poisons"].max()
    at = pool_seeds(proved.filter(n_poisons=most), ["victim", "metric"])
    rows = at.rows_by_key("victim", named=True)
    numbers = [write_cell({**rows[v][0], "metric": "certified_accuracy"}, "share")[0]
               for v in victims]  # fmt: skip
    against = []
    for victim in victims[:2]:
        counts = dict.fromkeys(OUTCOMES, 0)
        differences = table.filter(
            pl.col("n_poisons") > 0,
            metric="certified_accuracy_difference",
            victim=victim,
        )
        for row in differences.iter_rows(named=True):
            is_apart = row["low"] > 0 or row["high"] < 0
            counts[
                ("better" if row["value"] > 0 else "worse") if is_apart else "tied"
            ] += 1
        against.append(counts)
    what = f"rows right and proved so, whatever {most} poisons of one class are"
    name = "certified" if variant is None else f"certified, {variant}"
    metric = "certified" if variant is None else "certified_novel"
    yield Summary(dataset, name, metric, what, numbers, against)


def _keys(names: Sequence[str], values: Sequence[Any]) -> list[Any]:
    return [_key(name, value) for name, value in zip(names, values, strict=True)]


def _key(name: str, value: Any) -> Any:
    if name == "victim":
        return victim_rank(value) if value is not None else (-1, "")
    if name == "bound":  # none is the strongest
        return math.inf if value is None else value
    if name in ("reach", "share", "n_poisons", "n_wrong"):
        return -1.0 if value is None else value
    return "" if value is None else str(value)


def _title(
    names: Sequence[str], values: Sequence[Any], metric: str | None = None
) -> str:
    at = dict(zip(names, values, strict=True))
    parts = []
    if metric is not None:
        parts.append(_COLUMN_NAMES.get(metric, metric.replace("_", " ")))
    if "victim" in at and at["victim"] is not None:
        parts.append(victim_name(at["victim"], at.get("variant")))
    if "detector" in at:
        parts.append((at["detector"] or "no filter").replace("_", " "))
    if "attack" in at:
        parts.append(attack_name(at["attack"], at.get("bound"), at.get("reach")))
    if "n_wrong" in at:
        parts.append(f"{at['n_wrong']:,} wrong labels")
    elif at.get("share") is not None:
        parts.append(f"{100 * at['share']:g} %")
    elif at.get("n_poisons") is not None:
        parts.append(f"{at['n_poisons']} poisons")
    return ", ".join(parts)
