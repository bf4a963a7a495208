"""Two attacks, or two models, on the same targets, compared target by target."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence

from sklgm.metrics import RateDifference, mean_interval, paired_rate_difference
from sklgm.plotting import MODEL_COLORS, MODEL_NAMES, attack_name
from sklgm.report._cells import Cell, Row, Table, plural
from sklgm.results import MODELS, Trial

_MINUS = "\N{MINUS SIGN}"


def paired_tables(trials: Iterable[Trial], first: str, second: str) -> list[Table]:
    """Success rate of one attack minus another's, over the targets of both.

    Parameters
    ----------
    trials : iterable of Trial
        Those of one run: across runs a model is trained anew.
    first, second : str
        Families of attacks, as in `Trial.attack` without a bound. Each bound of one
        is compared with the same bound of the other.

    Returns
    -------
    list of Table
        One a protocol, data set and bound, with a row a model and a column a number
        of poisons. Targets count that counted in both trials. Empty where no run of
        both is found.
    """
    counted = [t for t in trials if t.success is not None and t.counted]
    groups = dict.fromkeys((t.protocol, t.dataset, t.attack) for t in counted)
    tables = []
    for protocol, dataset, attack in groups:
        bound = attack.removeprefix(first)
        if not attack.startswith(first) or (bound and not bound.startswith("_linf_")):
            continue
        if (protocol, dataset, second + bound) not in groups:
            continue
        own = [t for t in counted if (t.protocol, t.dataset) == (protocol, dataset)]
        pairs = _difference_of_each(own, attack, second + bound)
        if pairs:
            names = f"{attack_name(attack)}, minus {attack_name(second)}"
            caption = f"{dataset}: {names}, {protocol} protocol"
            tables.append(_table(pairs, caption))
    return tables


def _difference_of_each(
    trials: Sequence[Trial], first: str, second: str
) -> dict[tuple[str, int], RateDifference]:
    """Difference by model and number of poisons, where a target is in both."""
    outcomes: dict[tuple[str, str, int], dict[Hashable, bool]] = {}
    for trial in trials:
        cell = outcomes.setdefault((trial.attack, trial.model, trial.n_poisons), {})
        cell[trial.seed, trial.target_index, trial.base_label] = bool(trial.success)
    differences = {}
    for model in MODELS:
        for n_poisons in sorted({trial.n_poisons for trial in trials}):
            in_first = outcomes.get((first, model, n_poisons), {})
            in_second = outcomes.get((second, model, n_poisons), {})
            if difference := _difference(in_first, in_second):
                differences[model, n_poisons] = difference
    return differences


def _difference(
    in_first: Mapping[Hashable, bool], in_second: Mapping[Hashable, bool]
) -> RateDifference | None:
    """Difference over the targets of both; None where there is none."""
    both = [target for target in in_first if target in in_second]
    if not both:
        return None
    return paired_rate_difference(
        [in_first[target] for target in both], [in_second[target] for target in both]
    )


def model_tables(trials: Iterable[Trial], first: str, second: str) -> list[Table]:
    """Success rate and AUROC of one model minus another's, over the targets of both.

    Parameters
    ----------
    trials : iterable of Trial
        Those of runs that differ in their seed only.
    first, second : str
        Two of :data:`sklgm.results.MODELS`.

    Returns
    -------
    list of Table
        One a protocol and data set, with a row an attack and number of poisons. Rates
        are of targets that counted for both models; the AUROC is that of the
        posterior, over all targets where both have it, with a Student-t interval.
    """
    own = [t for t in trials if t.model in (first, second)]
    tables = []
    for protocol, dataset in dict.fromkeys((t.protocol, t.dataset) for t in own):
        group = [t for t in own if (t.protocol, t.dataset) == (protocol, dataset)]
        rows = []
        for attack, n_poisons in dict.fromkeys((t.attack, t.n_poisons) for t in group):
            cell = [t for t in group if (t.attack, t.n_poisons) == (attack, n_poisons)]
            misled: dict[str, dict[Hashable, bool]] = {first: {}, second: {}}
            areas: dict[str, dict[Hashable, float]] = {first: {}, second: {}}
            for trial in cell:
                target = (trial.seed, trial.target_index, trial.base_label)
                if trial.counted and trial.success is not None:
                    misled[trial.model][target] = trial.success
                if trial.auroc is not None:
                    areas[trial.model][target] = trial.auroc
            difference = _difference(misled[first], misled[second])
            area = _area_cell(areas[first], areas[second])
            if difference or area:
                detail = plural(n_poisons, "poison")
                rows.append(Row(attack_name(attack), [_cell(difference), area], detail))
        if rows:
            names = f"{MODEL_NAMES[first]} minus {MODEL_NAMES[second]}"
            n_seeds = len({trial.seed for trial in group})
            caption = f"{dataset}: {names}, {protocol} protocol"
            caption += f", {n_seeds} seeds" if n_seeds > 1 else ""
            tables.append(Table(caption, ["Attack", "Misled", "AUROC"], rows))
    return tables


def _area_cell(
    in_first: Mapping[Hashable, float], in_second: Mapping[Hashable, float]
) -> Cell | None:
    both = [target for target in in_first if target in in_second]
    if not both:
        return None
    value, low, high = mean_interval([in_first[t] - in_second[t] for t in both])
    details = [] if math.isnan(low) else [f"{low:+.3f} to {high:+.3f}"]
    text = f"{value:+.3f}".replace("-", _MINUS)
    details = [detail.replace("-", _MINUS) for detail in details]
    return Cell(text, [*details, plural(len(both), "target")])


def _table(pairs: dict[tuple[str, int], RateDifference], caption: str) -> Table:
    counts = sorted({n_poisons for _, n_poisons in pairs})
    models = [m for m in MODELS if any(model == m for model, _ in pairs)]
    rows = [
        Row(
            MODEL_NAMES[model],
            [_cell(pairs.get((model, n_poisons))) for n_poisons in counts],
            color=MODEL_COLORS[model],
        )
        for model in models
    ]
    return Table(caption, ["Model", *(plural(n, "poison") for n in counts)], rows)


def _cell(difference: RateDifference | None) -> Cell | None:
    if difference is None:
        return None
    return Cell(
        f"{_points(difference.value)} points",
        [
            f"{_points(difference.low)} to {_points(difference.high)}",
            plural(difference.n, "target"),
        ],
    )


def _points(share: float) -> str:
    """Percentage points with their sign; 0 has none."""
    points = round(100 * share)
    sign = "+" if points > 0 else _MINUS if points < 0 else ""
    return f"{sign}{abs(points)}"
