"""Curves and histograms: how well scores separate, how often attacks succeed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm.metrics import auroc, tpr_at_fpr
from sklgm.plotting._matplotlib import axes_or_new
from sklgm.plotting._models import (
    MODEL_COLORS,
    MODEL_MARKERS,
    MODEL_NAMES,
    pooled_rate,
)
from sklgm.results import MODELS, Record

_CLEAN_COLOR = "#56B4E9"
_POISON_COLOR = "#D55E00"
#: Arms of a success rate that are no line of their own.
_OTHER_ARMS = ("control", "common")


class ClaimedLikelihoodDisplay:
    """Histograms of the claimed-label score of clean rows and of poisons.

    Both groups share their bins, and bars show the share of the own group: a handful
    of poisons stays visible beside thousands of clean rows. Up to 30 poisons are
    also marked one by one.

    Parameters
    ----------
    scores_clean : array-like of shape (n_clean,)
        Finite scores of clean rows, higher is more normal (as ``score_samples``).
    scores_poison : array-like of shape (n_poisons,)
        Finite scores of poisons.
    threshold : float, default=None
        Rows below it are flagged; drawn as a vertical line.
    xlabel : str, default="score of the claimed label (higher is more normal)"
        Name of the score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    bin_edges_ : ndarray of shape (n_bins + 1,)
        The shared bins.

    Raises
    ------
    ValueError
        If a group of scores is empty, not one-dimensional or not finite.

    See Also
    --------
    plot_roc_curves : All thresholds at once.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklgm.plotting import ClaimedLikelihoodDisplay
    >>> display = ClaimedLikelihoodDisplay.from_scores([0.0, 0.5, 1.0], [-4.0, -3.0])
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['clean rows (n = 3)', 'poisons (n = 2)']
    """

    def __init__(
        self,
        scores_clean: ArrayLike,
        scores_poison: ArrayLike,
        *,
        threshold: float | None = None,
        xlabel: str = "score of the claimed label (higher is more normal)",
    ) -> None:
        self.scores_clean = _check_scores(scores_clean, "scores_clean")
        self.scores_poison = _check_scores(scores_poison, "scores_poison")
        self.threshold = threshold
        self.xlabel = xlabel

    @classmethod
    def from_scores(
        cls,
        scores_clean: ArrayLike,
        scores_poison: ArrayLike,
        *,
        threshold: float | None = None,
        xlabel: str = "score of the claimed label (higher is more normal)",
        n_bins: int = 40,
        ax: Any | None = None,
    ) -> ClaimedLikelihoodDisplay:
        """Make the display and draw it.

        Parameters
        ----------
        scores_clean : array-like of shape (n_clean,)
            Finite scores of clean rows, higher is more normal.
        scores_poison : array-like of shape (n_poisons,)
            Finite scores of poisons.
        threshold : float, default=None
            Rows below it are flagged.
        xlabel : str, default="score of the claimed label (higher is more normal)"
            Name of the score.
        n_bins : int, default=40
            Number of bins, at least 1.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ClaimedLikelihoodDisplay
        """
        display = cls(scores_clean, scores_poison, threshold=threshold, xlabel=xlabel)
        return display.plot(n_bins=n_bins, ax=ax)

    def plot(
        self, *, n_bins: int = 40, ax: Any | None = None
    ) -> ClaimedLikelihoodDisplay:
        """Draw the display.

        Parameters
        ----------
        n_bins : int, default=40
            Number of bins, at least 1.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ClaimedLikelihoodDisplay
            The object itself.
        """
        ax = axes_or_new(ax, figsize=(6.4, 3.6))
        groups = (self.scores_clean, self.scores_poison)
        low, high = _readable_range(*groups)
        if self.threshold is not None:
            low, high = min(low, self.threshold), max(high, self.threshold)
        self.bin_edges_ = np.linspace(low, high, n_bins + 1)
        labels = ("clean rows", "poisons")
        for scores, label, color in zip(
            groups, labels, (_CLEAN_COLOR, _POISON_COLOR), strict=True
        ):
            ax.hist(
                np.clip(scores, low, high),
                bins=self.bin_edges_,
                weights=np.full(len(scores), 1 / len(scores)),
                label=f"{label} (n = {len(scores):,})",
                color=color,
                alpha=0.6,
                edgecolor=color,
            )
        if len(self.scores_poison) <= 30:
            ax.plot(
                np.clip(self.scores_poison, low, high),
                np.full(len(self.scores_poison), 0.02),
                "|",
                color="black",
                markersize=7,
                transform=ax.get_xaxis_transform(),
            )
        if self.threshold is not None:
            ax.axvline(
                self.threshold,
                color="black",
                linestyle="--",
                linewidth=1,
                label="threshold",
            )
        n_outside = sum(int(np.sum((s < low) | (s > high))) for s in groups)
        note = f"\n{n_outside:,} rows beyond the edges stand in the outer bins"
        ax.set_xlabel(self.xlabel + (note if n_outside else ""))
        ax.set_ylabel("share of the group")
        ax.yaxis.set_major_formatter(_percent)
        ax.legend(frameon=False)
        _open_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


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
    ax.xaxis.set_major_formatter(_percent)
    ax.yaxis.set_major_formatter(_percent)
    # Below: steps fill the whole frame.
    # One column below the axes: names are too long to stand side by side.
    ax.legend(
        frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize="small"
    )
    _open_frame(ax)
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
    ax.yaxis.set_major_formatter(_percent)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    _open_frame(ax)
    return ax


def _check_scores(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} of shape {array.shape} must be one-dimensional and not empty."
        )
    if not np.all(np.isfinite(array)):
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name}[{index}]={array[index]} must be finite.")
    return array


def _readable_range(*groups: NDArray[np.float64]) -> tuple[float, float]:
    """Range that holds the central 98 % of every group, and is not empty."""
    quantiles = [np.quantile(scores, [0.01, 0.99]) for scores in groups]
    low = float(min(quantile[0] for quantile in quantiles))
    high = float(max(quantile[1] for quantile in quantiles))
    padding = 0.02 * (high - low) or 0.5
    return low - padding, high + padding


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


def _percent(value: float, position: int | None = None) -> str:
    return f"{100 * value:.4g} %"


def _open_frame(ax: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
