"""Histograms of the score that rows get for the label they claim."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from sklgm._inputs import split_steps, transform_by_steps
from sklgm.plotting._masks import check_mask
from sklgm.plotting._matplotlib import axes_or_new, open_frame, percent

_CLEAN_COLOR = "#56B4E9"
_SUSPECT_COLOR = "#D55E00"

_SCORE_NAME = "score of the claimed label (higher is more normal)"

#: What the scores of each `score_kind` are, and their unit.
_SCORE_NAMES = {
    "likelihood": "standardised log density of the claimed class "
    "(higher is more normal)",
    "posterior": "log posterior of the claimed class, natural log "
    "(higher is more normal)",
    "combined": "log of both p-values of the claimed class, natural log "
    "(higher is more normal)",
}

#: Log of the smallest positive normal number: below it a probability is 0.
_LOG_TINY = float(np.log(np.finfo(np.float64).tiny))


class ClaimedLikelihoodDisplay:
    """Histograms of the claimed-label score of clean and of suspect rows.

    Both groups share their bins, and bars show the share of the own group: a handful
    of suspect rows stays visible beside thousands of clean ones. Up to 30 suspect
    rows are also marked one by one.

    Use `from_estimator` or `from_predictions` to make and draw one.

    Parameters
    ----------
    scores_clean : array-like of shape (n_clean,)
        Finite scores of clean rows, higher is more normal (as ``score_samples``).
    scores_suspect : array-like of shape (n_suspect,)
        Finite scores of suspect rows: those flagged, or known to be poisons. One of
        the two groups may be empty.
    threshold : float, default=None
        Rows below it are flagged; drawn as a vertical line.
    xlabel : str, default="score of the claimed label (higher is more normal)"
        Name of the score.
    group_names : tuple of (str, str), default=("clean rows", "suspect rows")
        Names of the two groups in the legend.

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
        If scores are not one-dimensional or not finite, both groups are empty, or
        `group_names` are not two.

    See Also
    --------
    plot_roc_curves : All thresholds at once.

    Examples
    --------
    >>> import matplotlib
    >>> from sklearn.datasets import load_iris
    >>> from sklgm import LGMOutlierDetector
    >>> from sklgm.plotting import ClaimedLikelihoodDisplay
    >>> matplotlib.use("agg")
    >>> X, y = load_iris(return_X_y=True)
    >>> y[:3] = 2  # three setosas claim to be virginicas
    >>> detector = LGMOutlierDetector(contamination=0.02, random_state=0).fit(X, y)
    >>> display = ClaimedLikelihoodDisplay.from_estimator(detector, X, y)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['clean rows (n = 147)', 'suspect rows (n = 3)', 'threshold']
    """

    def __init__(
        self,
        scores_clean: ArrayLike,
        scores_suspect: ArrayLike,
        *,
        threshold: float | None = None,
        xlabel: str = _SCORE_NAME,
        group_names: tuple[str, str] = ("clean rows", "suspect rows"),
    ) -> None:
        self.scores_clean = _check_scores(scores_clean, "scores_clean")
        self.scores_suspect = _check_scores(scores_suspect, "scores_suspect")
        if len(self.scores_clean) == len(self.scores_suspect) == 0:
            raise ValueError("scores_clean and scores_suspect are both empty.")
        if len(group_names) != 2:
            raise ValueError(
                f"group_names={group_names!r} must be two names: of the clean and of "
                "the suspect rows."
            )
        self.threshold = threshold
        self.xlabel = xlabel
        self.group_names = group_names

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        X: ArrayLike,
        labels: ArrayLike,
        *,
        is_suspect: ArrayLike | None = None,
        group_names: tuple[str, str] = ("clean rows", "suspect rows"),
        n_bins: int = 40,
        ax: Any | None = None,
    ) -> ClaimedLikelihoodDisplay:
        """Draw the scores that a fitted detector gives to rows and their labels.

        Parameters
        ----------
        detector : estimator
            A fitted :class:`~sklgm.LGMOutlierDetector` or another detector of sklgm,
            a Pipeline that ends in one, or a ``FrozenEstimator`` of either. Its
            ``label_offset_`` is the threshold, drawn where it is one finite number
            (there is one per class for ``calibration="per_class"``); its
            ``score_kind``, if it has one, names the score.
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.
        labels : array-like of shape (n_samples,)
            The labels they claim.
        is_suspect : array-like of bool of shape (n_samples,), default=None
            Which rows are suspect, such as known poisons. None takes those that
            `detector` flags, with scores below the threshold.
        group_names : tuple of (str, str), default=("clean rows", "suspect rows")
            Names of the two groups in the legend.
        n_bins : int, default=40
            Number of bins, at least 1.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ClaimedLikelihoodDisplay

        Raises
        ------
        TypeError
            If `detector` does not score claimed labels.
        sklearn.exceptions.NotFittedError
            If `detector` is not fitted.
        ValueError
            If `labels` is None, `detector` was fitted without labels, a label was not
            seen in its ``fit``, or shapes do not fit.

        Notes
        -----
        A log posterior, or combined score, below -708, which is a probability of 0,
        is drawn at -708.
        """
        steps_before, last_step = split_steps(detector)
        score_samples = getattr(last_step, "score_samples", None)
        if score_samples is None or "labels" not in signature(score_samples).parameters:
            raise TypeError(
                f"detector={type(last_step).__name__} must have "
                "score_samples(X, labels), as LGMOutlierDetector has."
            )
        check_is_fitted(last_step)
        if labels is None:
            raise ValueError("labels=None: scores of claimed labels need the labels.")
        X = transform_by_steps(steps_before, X)
        scores = np.asarray(last_step.score_samples(X, labels=labels))
        offset = last_step.label_offset_
        is_one = np.ndim(offset) == 0
        if is_suspect is None:
            is_suspect = (
                scores < offset
                if is_one
                else np.asarray(last_step.decision_function(X, labels=labels)) < 0
            )
        threshold = float(offset) if is_one and math.isfinite(offset) else None
        score_kind = getattr(last_step, "score_kind", "")
        if score_kind in ("posterior", "combined"):
            scores = np.maximum(scores, _LOG_TINY)
            threshold = None if threshold is None else max(threshold, _LOG_TINY)
        return cls.from_predictions(
            scores,
            is_suspect,
            threshold=threshold,
            xlabel=_SCORE_NAMES.get(score_kind, _SCORE_NAME),
            group_names=group_names,
            n_bins=n_bins,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        scores: ArrayLike,
        is_suspect: ArrayLike,
        *,
        threshold: float | None = None,
        xlabel: str = _SCORE_NAME,
        group_names: tuple[str, str] = ("clean rows", "suspect rows"),
        n_bins: int = 40,
        ax: Any | None = None,
    ) -> ClaimedLikelihoodDisplay:
        """Draw given scores.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Finite scores of all rows, higher is more normal.
        is_suspect : array-like of bool of shape (n_samples,)
            Which rows are suspect. All or none may be.
        threshold : float, default=None
            Rows below it are flagged; drawn as a vertical line.
        xlabel : str, default="score of the claimed label (higher is more normal)"
            Name of the score.
        group_names : tuple of (str, str), default=("clean rows", "suspect rows")
            Names of the two groups in the legend.
        n_bins : int, default=40
            Number of bins, at least 1.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ClaimedLikelihoodDisplay

        Raises
        ------
        ValueError
            If there are no scores, they are not one-dimensional or not finite, or
            `is_suspect` is not a mask of as many rows.
        """
        scores = _check_scores(scores, "scores")
        if len(scores) == 0:
            raise ValueError("scores of shape (0,) must hold at least one row.")
        mask = check_mask("is_suspect", is_suspect, len(scores))
        display = cls(
            scores[~mask],
            scores[mask],
            threshold=threshold,
            xlabel=xlabel,
            group_names=group_names,
        )
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
        groups = (self.scores_clean, self.scores_suspect)
        low, high = _readable_range(*(scores for scores in groups if len(scores)))
        if self.threshold is not None:
            low, high = min(low, self.threshold), max(high, self.threshold)
        self.bin_edges_ = np.linspace(low, high, n_bins + 1)
        for scores, name, color in zip(
            groups, self.group_names, (_CLEAN_COLOR, _SUSPECT_COLOR), strict=True
        ):
            ax.hist(
                np.clip(scores, low, high),
                bins=self.bin_edges_,
                weights=np.full(len(scores), 1 / max(len(scores), 1)),
                label=f"{name} (n = {len(scores):,})",
                color=color,
                alpha=0.6,
                edgecolor=color,
            )
        if 0 < len(self.scores_suspect) <= 30:
            ax.plot(
                np.clip(self.scores_suspect, low, high),
                np.full(len(self.scores_suspect), 0.02),
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
        rows = "1 row" if n_outside == 1 else f"{n_outside:,} rows"
        note = f"\nouter bins hold {rows} from beyond the edges" if n_outside else ""
        ax.set_xlabel(self.xlabel + note)
        ax.set_ylabel("share of the group")
        ax.yaxis.set_major_formatter(percent)
        # Readable also where bars leave it no free corner.
        ax.legend(edgecolor="none", facecolor="white", framealpha=0.8)
        open_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _check_scores(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} of shape {array.shape} must be one-dimensional.")
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
