"""Curves: how well scores separate, how often attacks succeed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm.metrics import auroc, tpr_at_fpr
from sklgm.plotting._matplotlib import axes_or_new, open_frame, percent
from sklgm.plotting._models import (
    MODEL_COLORS,
    MODEL_MARKERS,
    MODEL_NAMES,
    pooled_rate,
)
from sklgm.results import MODELS, Record

#: Arms of a success rate that are no line of their own.
_OTHER_ARMS = ("control", "common")


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
        outliers, both array-likes of shape (n_samples,). A label that is a
        `Record.model` gets the name and colour of that model.
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
    >>> ax = plot_roc_curves({"lgm": ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])})
    >>> ax.get_legend().get_texts()[0].get_text()
    'L-GM: AUROC 1.000'
    """
    if not curves:
        raise ValueError("curves={} must hold at least one curve.")
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr={max_fpr!r} must be in (0, 1].")
    areas = {label: auroc(*curve) for label, curve in curves.items()}
    ax = axes_or_new(ax, figsize=(6.4, 4.2 + 0.24 * len(curves)))
    n_inliers = max(int(np.sum(~_mask(curve[1]))) for curve in curves.values())
    # Zero false alarms have no place on a logarithmic axis: they stand at its left.
    left = min(0.5 / n_inliers, max_fpr / 2)
    for index, (label, (outlier_score, is_outlier)) in enumerate(curves.items()):
        fpr, tpr = _roc_steps(np.asarray(outlier_score, float), _mask(is_outlier))
        color = MODEL_COLORS.get(label, f"C{index}")
        ax.plot(
            np.maximum(fpr, left),
            tpr,
            color=color,
            drawstyle="steps-post",
            label=f"{MODEL_NAMES.get(label, label)}: AUROC {areas[label]:.3f}",
        )
        ax.plot(
            [max_fpr],
            [tpr_at_fpr(outlier_score, is_outlier, max_fpr=max_fpr)],
            marker=MODEL_MARKERS.get(label, "o"),
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
    # Below: steps fill the whole frame.
    # One column below the axes: names are too long to stand side by side.
    ax.legend(
        frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize="small"
    )
    open_frame(ax)
    return ax


def plot_success_rates(
    records: Iterable[Record],
    *,
    protocol: str = "transfer",
    dataset: str | None = None,
    attack: str | None = None,
    ax: Any | None = None,
) -> Any:
    """Draw the attack success rate against the number of poisons, a line a model.

    Runs that differ in the seed only are pooled; error bars are Wilson intervals.
    Variants of a model (arms such as ``"diag"``) are dashed.

    Parameters
    ----------
    records : iterable of Record
        Those with the metric ``"attack_success_rate"`` are drawn, but for the arms
        ``"control"`` and ``"common"``.
    protocol : str, default="transfer"
        The protocol to draw.
    dataset : str, default=None
        The data set to draw; None takes the only one there is.
    attack : str, default=None
        The attack to draw; None takes the only one there is.
    ax : matplotlib Axes, default=None
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If no record matches, or `dataset` or `attack` is None where there are
        several.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import plot_success_rates
    >>> from sklgm.results import Record
    >>> records = [
    ...     Record("transfer", "digits", "lgm", "feature_collision", n, "attack",
    ...            "attack_success_rate", 0.1, 0.0, 0.4, 20, seed=0)
    ...     for n in (1, 5)
    ... ]
    >>> [text.get_text() for text in plot_success_rates(records).get_xticklabels()]
    ['1', '5']
    """
    chosen = [
        record
        for record in records
        if record.metric == "attack_success_rate"
        and record.arm not in _OTHER_ARMS
        and record.protocol == protocol
        and dataset in (None, record.dataset)
        and attack in (None, record.attack)
    ]
    if not chosen:
        raise ValueError(
            f"No attack success rate with protocol={protocol!r}, dataset={dataset!r} "
            f"and attack={attack!r} among the records."
        )
    for name in ("dataset", "attack"):
        found = sorted({getattr(record, name) for record in chosen})
        if len(found) > 1:
            raise ValueError(f"{name}=None is ambiguous: {', '.join(found)}.")
    ax = axes_or_new(ax, figsize=(6.4, 4.0))
    poisons = sorted({record.n_poisons for record in chosen})
    lines = sorted({(MODELS.index(r.model), r.arm != "attack", r.arm) for r in chosen})
    for index, (model_index, is_variant, arm) in enumerate(lines):
        model = MODELS[model_index]
        positions, values, errors = [], [], []
        for position, n_poisons in enumerate(poisons):
            rate = pooled_rate(
                record
                for record in chosen
                if (record.model, record.arm, record.n_poisons)
                == (model, arm, n_poisons)
            )
            if math.isnan(rate.value):
                continue
            # Side by side, so that error bars do not cover one another.
            positions.append(position + 0.07 * (index - (len(lines) - 1) / 2))
            values.append(rate.value)
            errors.append(
                (max(0.0, rate.value - rate.low), max(0.0, rate.high - rate.value))
            )
        if not positions:
            continue
        ax.errorbar(
            positions,
            values,
            yerr=np.transpose(errors),
            color=MODEL_COLORS[model],
            marker=MODEL_MARKERS[model],
            linestyle="--" if is_variant else "-",
            capsize=3,
            label=MODEL_NAMES[model] + (f" ({arm})" if is_variant else ""),
            clip_on=False,
        )
    ax.set_xticks(range(len(poisons)), [f"{n_poisons:,}" for n_poisons in poisons])
    ax.set_xlim(-0.5, len(poisons) - 0.5)
    ax.set_ylim(0, 1)
    ax.set_xlabel("poisons a target")
    ax.set_ylabel("attack success rate")
    ax.yaxis.set_major_formatter(percent)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    open_frame(ax)
    return ax


def _mask(is_outlier: ArrayLike) -> NDArray[np.bool_]:
    return np.asarray(is_outlier).astype(bool)


def _roc_steps(
    score: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the rates of every threshold, from none to all flagged."""
    order = np.argsort(-score, kind="stable")
    score, mask = score[order], mask[order]
    is_threshold = np.append(score[1:] != score[:-1], True)
    fpr = np.cumsum(~mask)[is_threshold] / np.sum(~mask)
    tpr = np.cumsum(mask)[is_threshold] / np.sum(mask)
    return np.append(0.0, fpr), np.append(0.0, tpr)
