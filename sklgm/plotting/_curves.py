"""Curves: how well scores separate, how often attacks succeed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from sklgm.metrics import Rate, auroc, tpr_at_fpr
from sklgm.plotting._matplotlib import axes_or_new, open_frame, percent
from sklgm.plotting._pooling import (
    bar_lengths,
    check_one_comparison,
    pool_seeds,
    rate_of,
)
from sklgm.plotting._victim_names import (
    victim_color,
    victim_marker,
    victim_name,
    victim_rank,
)

if TYPE_CHECKING:
    import polars as pl


def plot_roc_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    max_fpr: float = 0.01,
    ax: Any | None = None,
) -> Any:
    """Draw ROC curves on a logarithmic axis of false alarms.

    Whoever inspects flagged rows by hand works at few false alarms, which a linear
    axis hides in its corner. Curves are steps, not interpolated; a marker shows the
    `tpr_at_fpr` of each, the legend its AUROC.

    Parameters
    ----------
    curves : dict from str to (outlier_score, is_outlier)
        For each label the scores, finite, higher is more outlying, and the mask of
        outliers, both array-likes of shape (n_samples,).
    max_fpr : float, default=0.01
        Where the marker stands, in (0, 1].
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `curves` is empty, `max_fpr` is not in (0, 1], or as for
        `sklgm.metrics.auroc`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_roc_curves
    >>> ax = plot_roc_curves({"L-GM": ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])})
    >>> ax.get_legend().get_texts()[0].get_text()
    'L-GM: AUROC 1.000'
    """
    if not curves:
        raise ValueError("curves={} must hold at least one curve.")
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr={max_fpr!r} must be in (0, 1].")
    areas = {label: auroc(*curve) for label, curve in curves.items()}
    ax = axes_or_new(ax, figsize=(6.4, 4.2 + 0.24 * len(curves)))
    n_inliers = max(int(np.sum(np.equal(mask, 0))) for _, mask in curves.values())
    # Zero false alarms have no place on a logarithmic axis: they stand at its left.
    left = min(0.5 / n_inliers, max_fpr / 2)
    for index, (label, (outlier_score, is_outlier)) in enumerate(curves.items()):
        fpr, tpr, _ = roc_curve(is_outlier, outlier_score, drop_intermediate=False)
        color = f"C{index}"
        ax.plot(
            np.maximum(fpr, left),
            tpr,
            color=color,
            drawstyle="steps-post",
            label=f"{label}: AUROC {areas[label]:.3f}",
        )
        ax.plot(
            [max_fpr],
            [tpr_at_fpr(outlier_score, is_outlier, max_fpr=max_fpr)],
            marker="o",
            color=color,
            markeredgecolor="black",
            clip_on=False,
            zorder=3,
        )
    ax.axvline(max_fpr, color="grey", linestyle=":", linewidth=1)
    chance = np.geomspace(left, 1, 200)
    ax.plot(chance, chance, color="grey", linestyle="--", linewidth=1, label="chance")
    ax.set_xscale("log")
    ax.set_xlim(left, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("false alarms: share of clean rows flagged (log scale)")
    ax.set_ylabel("share of poisons flagged")
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    # Below the axes, for steps fill the frame; in one column, for names are long.
    ax.legend(
        frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize="small"
    )
    open_frame(ax)
    return ax


def plot_success_rates(table: pl.DataFrame, *, ax: Any | None = None) -> Any:
    """Draw the attack success rate against the number of poisons, a line per victim.

    Runs that differ in the seed only are pooled; error bars are Wilson intervals.
    Variants of a victim (such as ``"diag"``) are dashed.

    Parameters
    ----------
    table : DataFrame
        Tidy table of one protocol, data set and attack, as
        ``RunResult.table.filter(...)`` gives it: its rows with the metric
        ``"attack_success_rate"`` under attack are drawn.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If there is no such row, or `table` holds several protocols, data sets or
        attacks.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_success_rates
    >>> from sklgm.results import Row, RunResult
    >>> rows = [
    ...     Row(dataset="digits", protocol="transfer", victim="lgm",
    ...         attack="feature_collision", n_poisons=n_poisons,
    ...         metric="attack_success_rate", value=0.1, n=20, seed=0)
    ...     for n_poisons in (1, 5)
    ... ]
    >>> result = RunResult.from_rows(rows, command="", settings={}, environment={})
    >>> ax = plot_success_rates(result.table)
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['1', '5']
    """
    attacked = table.filter(metric="attack_success_rate").drop_nulls("attack")
    if attacked.is_empty():
        raise ValueError("table holds no attack_success_rate of an attack.")
    columns = ("protocol", "dataset", "attack", "bound", "reach")
    check_one_comparison(attacked, columns)
    counts = attacked["n_poisons"].unique().sort().to_list()
    lines: dict[tuple[str, str | None], dict[int, Rate]] = {}
    pooled = pool_seeds(attacked, ["victim", "variant", "n_poisons"])
    for row in pooled.sort("n_poisons").iter_rows(named=True):
        if row["n"]:
            line = lines.setdefault((row["victim"], row["variant"]), {})
            line[row["n_poisons"]] = rate_of(row)
    ax = axes_or_new(ax, figsize=(6.4, 4.0))
    ordered = sorted(lines, key=lambda line: (victim_rank(line[0]), line[1] or ""))
    for index, (victim, variant) in enumerate(ordered):
        rates = lines[victim, variant]
        # Side by side, so that error bars do not cover one another.
        shift = 0.07 * (index - (len(lines) - 1) / 2)
        ax.errorbar(
            [counts.index(n_poisons) + shift for n_poisons in rates],
            [rate.value for rate in rates.values()],
            yerr=np.transpose([bar_lengths(rate) for rate in rates.values()]),
            color=victim_color(victim),
            marker=victim_marker(victim),
            linestyle="-" if variant is None else "--",
            capsize=3,
            label=victim_name(victim, variant),
            clip_on=False,
        )
    ax.set_xticks(range(len(counts)), [f"{n_poisons:,}" for n_poisons in counts])
    ax.set_xlim(-0.5, len(counts) - 0.5)
    ax.set_ylim(0, 1)
    ax.set_xlabel("poisons per target")
    ax.set_ylabel("attack success rate")
    ax.yaxis.set_major_formatter(percent)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    open_frame(ax)
    return ax
