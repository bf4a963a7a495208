"""What a stronger attack gains, and what it gives away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sklgm._running import import_extra
from sklgm.plotting._attacks import attack_name, split_strength
from sklgm.plotting._matplotlib import axes_or_new, open_frame, percent
from sklgm.plotting._models import MODEL_COLORS, MODEL_NAMES, pooled_rate
from sklgm.results import MODELS, Record

#: One a strength, in the order of strength; repeated where there are more.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def plot_frontier(
    records: Iterable[Record],
    *,
    score: str = "posterior",
    dataset: str | None = None,
    n_poisons: int | None = None,
    ax: Any | None = None,
) -> Any:
    """Draw success against detection while the attack gets stronger, a line a model.

    The defender wants the lower right corner: no target is misled, and the poisons
    are found. A line joins the strengths of one attack from the tightest bound to
    none, or from the nearest reach to the farthest; another attack begins another line
    of the same colour.

    Parameters
    ----------
    records : iterable of Record
        Those of the protocol ``"frontier"`` are drawn: the attack success rate of
        the arm ``"attack"`` over ``"tpr_at_1pct_fpr"`` of the arm `score`. Models
        and strengths that lack one of the two are left out.
    score : {"posterior", "likelihood", "combined"}, default="posterior"
        Kind of the score that finds poisons. Softmax has only the posterior.
    dataset : str, default=None
        The data set to draw; None takes the only one there is.
    n_poisons : int, default=None
        Poisons a target; None takes the only number there is.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `score` is unknown, no model has both measures, or `dataset` or
        `n_poisons` is None where there are several.

    See Also
    --------
    plot_success_rates : Against the number of poisons instead.

    Notes
    -----
    Vertical bars are Wilson intervals; runs that differ in the seed only are pooled.
    Horizontal bars are the intervals of the records; where several seeds are
    averaged there is none.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_frontier
    >>> from sklgm.results import Record
    >>> records = [
    ...     Record("frontier", "digits", "lgm", attack, 25, arm, metric,
    ...            0.4, 0.2, 0.6, 20, seed=0)
    ...     for attack in ("feature_collision_linf_8_255", "feature_collision")
    ...     for arm, metric in (
    ...         ("attack", "attack_success_rate"), ("posterior", "tpr_at_1pct_fpr")
    ...     )
    ... ]
    >>> ax = plot_frontier(records)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['L-GM', 'feature collision, l-infinity 8/255', 'feature collision']
    """
    if score not in ("posterior", "likelihood", "combined"):
        raise ValueError(
            f"score={score!r} must be 'posterior', 'likelihood' or 'combined'."
        )
    chosen = [
        record
        for record in records
        if record.protocol == "frontier"
        and (record.metric, record.arm)
        in {("attack_success_rate", "attack"), ("tpr_at_1pct_fpr", score)}
        and dataset in (None, record.dataset)
        and n_poisons in (None, record.n_poisons)
    ]
    for name in ("dataset", "n_poisons"):
        found = sorted({getattr(record, name) for record in chosen})
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise ValueError(f"{name}=None is ambiguous: {listed}.")
    lines = _frontier_lines(chosen)
    if not lines:
        raise ValueError(
            f"No model has a success rate and a detection rate with score={score!r}, "
            f"dataset={dataset!r} and n_poisons={n_poisons!r} in protocol='frontier'."
        )
    ax = axes_or_new(ax, figsize=(8.6, 4.4))
    markers = _marker_of_strength([a for points in lines.values() for a in points])
    for (model, _), points in lines.items():
        color = MODEL_COLORS[model]
        x, y = np.transpose([point[:2] for point in points.values()])
        ax.plot(x, y, color=color, linewidth=1.5, zorder=2)
        for attack, (tpr, rate, tpr_bar, rate_bar) in points.items():
            ax.errorbar(
                [tpr],
                [rate],
                xerr=np.transpose([tpr_bar]),
                yerr=np.transpose([rate_bar]),
                color=color,
                marker=markers[attack],
                markeredgecolor="black",
                markeredgewidth=0.6,
                elinewidth=0.8,
                capsize=2,
                linestyle="none",
                zorder=3,
                clip_on=False,
            )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xlabel(f"poisons found at 1 % false alarms, by the {score} score")
    ax.set_ylabel("attack success rate")
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    _draw_legend(ax, [m for m in MODELS if any(m == k for k, _ in lines)], markers)
    open_frame(ax)
    return ax


#: TPR, success rate, and the lengths of their bars (below, above).
_Point = tuple[float, float, tuple[float, float], tuple[float, float]]


def _frontier_lines(
    records: Sequence[Record],
) -> dict[tuple[str, str], dict[str, _Point]]:
    """Points of each (model, family of attacks), by attack, the strongest last."""
    lines: dict[tuple[str, str], dict[str, _Point]] = {}
    families = dict.fromkeys(split_strength(record.attack)[0] for record in records)
    for model in MODELS:
        for family in families:
            own = [
                record
                for record in records
                if record.model == model and split_strength(record.attack)[0] == family
            ]
            attacks = sorted({record.attack for record in own}, key=split_strength)
            points = {}
            for attack in attacks:
                point = _frontier_point([r for r in own if r.attack == attack])
                if point is not None:
                    points[attack] = point
            if points:
                lines[model, family] = points
    return lines


def _frontier_point(records: Sequence[Record]) -> _Point | None:
    rate = pooled_rate(r for r in records if r.metric == "attack_success_rate")
    found = [
        record
        for record in records
        if record.metric == "tpr_at_1pct_fpr" and not math.isnan(record.value)
    ]
    if rate.n_targets == 0 or not found:
        return None
    tpr = math.fsum(record.value for record in found) / len(found)
    tpr_bar = (0.0, 0.0)
    if len(found) == 1 and found[0].low is not None and found[0].high is not None:
        tpr_bar = (max(0.0, tpr - found[0].low), max(0.0, found[0].high - tpr))
    rate_bar = (max(0.0, rate.value - rate.low), max(0.0, rate.high - rate.value))
    return tpr, rate.value, tpr_bar, rate_bar


def _marker_of_strength(attacks: Iterable[str]) -> dict[str, str]:
    """One marker an attack, families in order of appearance, strongest last."""
    families = dict.fromkeys(split_strength(attack)[0] for attack in attacks)
    order = {family: index for index, family in enumerate(families)}
    ordered = sorted(
        set(attacks), key=lambda a: (order[split_strength(a)[0]], split_strength(a)[1])
    )
    return {a: _MARKERS[i % len(_MARKERS)] for i, a in enumerate(ordered)}


def _draw_legend(ax: Any, models: Sequence[str], markers: dict[str, str]) -> None:
    """Colours are models, markers are strengths."""
    line = import_extra("matplotlib.lines", "cli").Line2D
    handles = [
        line([], [], color=MODEL_COLORS[model], label=MODEL_NAMES[model])
        for model in models
    ]
    handles += [
        line(
            [],
            [],
            color="0.6",
            marker=marker,
            markeredgecolor="black",
            linestyle="none",
            label=attack_name(attack),
        )
        for attack, marker in markers.items()
    ]
    # Outside: error bars may stand anywhere in the frame.
    ax.legend(
        handles=handles,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        fontsize="small",
    )
