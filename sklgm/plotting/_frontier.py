"""What a stronger attack gains, and what it gives away."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sklgm._running import import_extra
from sklgm.plotting._attacks import attack_name
from sklgm.plotting._matplotlib import axes_or_new, open_frame, percent
from sklgm.plotting._pooling import (
    bar_lengths,
    check_one_comparison,
    pool_seeds,
    rate_of,
)
from sklgm.plotting._victim_names import victim_color, victim_name, victim_rank

if TYPE_CHECKING:
    import polars as pl

#: One per strength, in the order of strength; repeated where there are more.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
#: Attack, bound and reach.
_Strength: TypeAlias = tuple[str, float | None, float | None]
#: TPR, success rate, and the lengths of their bars (below, above).
_Point: TypeAlias = tuple[float, float, tuple[float, float], tuple[float, float]]


def plot_frontier(
    table: pl.DataFrame, *, score: str = "posterior", ax: Any | None = None
) -> Any:
    """Draw success against detection while the attack gets stronger.

    The defender wants the lower right corner: no target is misled, and the poisons
    are found. A line joins the strengths of one attack on one victim from the tightest
    bound to none, or from the nearest reach to the farthest; another attack begins
    another line of the same colour.

    Parameters
    ----------
    table : DataFrame
        Tidy table of one protocol, data set and number of poisons, as
        ``RunResult.table.filter(...)`` gives it. Drawn is the attack success rate over
        ``"tpr_at_1pct_fpr"`` by `score`, of all victims but their variants. Victims and
        strengths that lack one of the two are left out.
    score : str, default="posterior"
        Kind of the score that finds poisons. Softmax has only the posterior.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If no victim has both measures, or `table` holds several protocols, data sets or
        numbers of poisons.

    See Also
    --------
    plot_success_rates : Against the number of poisons instead.

    Notes
    -----
    Vertical bars are Wilson intervals; runs that differ in the seed only are pooled.
    Horizontal bars are the intervals of the table; where several seeds are averaged
    there is none.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_frontier
    >>> from sklgm.results import Row, RunResult
    >>> rows = [
    ...     Row(dataset="digits", protocol="frontier", victim="lgm", score=score,
    ...         attack="feature_collision", bound=bound, n_poisons=25, metric=metric,
    ...         value=0.4, low=0.2, high=0.6, n=20, seed=0)
    ...     for bound in (8 / 255, None)
    ...     for metric, score in (
    ...         ("attack_success_rate", None), ("tpr_at_1pct_fpr", "posterior")
    ...     )
    ... ]
    >>> result = RunResult.from_rows(rows, command="", settings={}, environment={})
    >>> ax = plot_frontier(result.table)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['L-GM', 'feature collision, l-infinity 8/255', 'feature collision']
    """
    points = _points(table, score)
    if not points:
        raise ValueError(
            "table holds no victim with a success rate and a detection rate with "
            f"score={score!r}."
        )
    ax = axes_or_new(ax, figsize=(8.6, 4.4))
    attacks = list(dict.fromkeys(strength[0] for _, strength in points))
    strengths = sorted(
        {strength for _, strength in points},
        key=lambda strength: (attacks.index(strength[0]), _force(strength)),
    )
    markers = {s: _MARKERS[i % len(_MARKERS)] for i, s in enumerate(strengths)}
    victims = sorted({victim for victim, _ in points}, key=victim_rank)
    for victim in victims:
        color = victim_color(victim)
        for attack in attacks:
            line = [
                (strength, points[victim, strength])
                for strength in strengths
                if strength[0] == attack and (victim, strength) in points
            ]
            if line:
                x, y = np.transpose([point[:2] for _, point in line])
                ax.plot(x, y, color=color, linewidth=1.5, zorder=2)
            for strength, (tpr, rate, tpr_bar, rate_bar) in line:
                ax.errorbar(
                    [tpr],
                    [rate],
                    xerr=np.transpose([tpr_bar]),
                    yerr=np.transpose([rate_bar]),
                    color=color,
                    marker=markers[strength],
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
    _draw_legend(ax, victims, markers)
    open_frame(ax)
    return ax


def _points(table: pl.DataFrame, score: str) -> dict[tuple[str, _Strength], _Point]:
    """Points by victim and strength, in the order of the table."""
    main = table.filter(table["variant"].is_null()).drop_nulls("attack")
    shares = main.filter(metric="tpr_at_1pct_fpr", score=score)
    check_one_comparison(shares, ("protocol", "dataset", "n_poisons"))
    place = ["victim", "attack", "bound", "reach", "protocol", "dataset", "n_poisons"]
    both = pool_seeds(main.filter(metric="attack_success_rate"), place).join(
        pool_seeds(shares, place).drop_nulls("value"),
        place,
        nulls_equal=True,
        maintain_order="left",
        suffix="_found",
    )
    points: dict[tuple[str, _Strength], _Point] = {}
    for row in both.iter_rows(named=True):
        if row["n"] == 0:
            continue
        rate, tpr, tpr_bar = rate_of(row), row["value_found"], (0.0, 0.0)
        low, high = row["low_found"], row["high_found"]
        if low is not None and high is not None:
            tpr_bar = (max(0.0, tpr - low), max(0.0, high - tpr))
        strength = (row["attack"], row["bound"], row["reach"])
        points[row["victim"], strength] = tpr, rate.value, tpr_bar, bar_lengths(rate)
    return points


def _force(strength: _Strength) -> tuple[float, float]:
    """Bound and reach; without a bound an attack is strongest."""
    _, bound, reach = strength
    return math.inf if bound is None else bound, reach or 0.0


def _draw_legend(
    ax: Any, victims: Iterable[str], markers: dict[_Strength, str]
) -> None:
    """Colours are victims, markers are strengths."""
    line = import_extra("matplotlib.lines", "cli").Line2D
    handles = [
        line([], [], color=victim_color(victim), label=victim_name(victim))
        for victim in victims
    ]
    handles += [
        line(
            [],
            [],
            color="0.6",
            marker=marker,
            markeredgecolor="black",
            linestyle="none",
            label=attack_name(*strength),
        )
        for strength, marker in markers.items()
    ]
    # Outside: error bars may stand anywhere in the frame.
    ax.legend(
        handles=handles,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        fontsize="small",
    )
