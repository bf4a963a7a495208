"""Figures of an audit, as SVG whose colours are those of the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import import_extra
from sklgm.auditing._result import AuditResult
from sklgm.plotting import ClaimedLikelihoodDisplay, FeatureSpaceDisplay
from sklgm.report._cells import plural

_SCORE_NAMES = {
    "posterior": "log odds that the claimed label is right",
    "likelihood": "standardised log density under the claimed label",
}
_MAX_MAP_POINTS = 2000
#: More classes than this have no legend in the map.
_MAX_LEGEND = 20
_MAX_NAME = 20
#: Letters that can still be read where a phone shrinks a figure to its width.
_STYLE = {
    "font.size": 11.5,
    "legend.fontsize": 10.5,
    # Letters stay letters, and equal figures give equal pages.
    "svg.fonttype": "none",
    "svg.hashsalt": "sklgm",
}
_SUSPECT_COLOR, _OTHER_COLOR = "#d55e00", "#4c78a8"


@dataclass(frozen=True)
class AuditFigure:
    """A figure of the page.

    Attributes
    ----------
    title : str
        Its heading.
    caption : str
        What it shows, for all readers.
    alt : str
        What it shows, for those who do not see it.
    svg : str
        An element ``svg``; text in it is escaped.
    """

    title: str
    caption: str
    alt: str
    svg: str


def audit_figures(result: AuditResult, names: Sequence[str]) -> list[AuditFigure]:
    """Draw an audit.

    Parameters
    ----------
    result : AuditResult
        The audit.
    names : sequence of str
        What classes are called.

    Returns
    -------
    list of AuditFigure
        Histogram and map, those of which there is something to draw.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    matplotlib = import_extra("matplotlib", "cli")
    with matplotlib.rc_context(_STYLE):
        histogram = _scores(result) if result.p_wrong is None else _p_wrong(result)
        figures = [histogram, _feature_map(result, names)]
    return [figure for figure in figures if figure is not None]


def figure_svg(figure: Any, prefix: str) -> str:
    """Draw a figure as an element of a page.

    Parameters
    ----------
    figure : matplotlib Figure
        Not closed.
    prefix : str
        What its identifiers begin with, different for all figures of a page.

    Returns
    -------
    str
        ``<svg ...>``, without a background, as wide as what holds it. What was black
        has the colour of the page's text.
    """
    buffer = io.BytesIO()
    # Neither the date nor the version: equal figures are equal.
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue().decode("utf-8")
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    for color in ("#000000", "black"):
        svg = svg.replace(f": {color}", ": currentColor")
    # Only in attributes: text is escaped and holds no quotes of them.
    svg = re.sub(r' id="', f' id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening, svg, count=1)


def _opening(match: re.Match[str]) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" aria-hidden="true" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{match.group(1)}">'
    )


def _p_wrong(result: AuditResult) -> AuditFigure | None:
    p_wrong = np.asarray(result.p_wrong, dtype=np.float64)
    if len(p_wrong) == 0:
        return None
    is_suspect = result.is_suspect
    ax = _new_axes((5.6, 3.6))
    groups = [p_wrong[~is_suspect], p_wrong[is_suspect]]
    ax.hist(
        groups,
        bins=np.linspace(0, 1, 41),
        stacked=True,
        log=True,
        color=[_OTHER_COLOR, _SUSPECT_COLOR],
        label=[
            f"other rows (n = {len(groups[0]):,})",
            f"suspects (n = {len(groups[1]):,})",
        ],
    )
    ax.set_xlabel("probability that the label is wrong")
    ax.set_ylabel("rows (logarithmic)")
    ax.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    ax.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    ax.spines[["top", "right"]].set_visible(False)
    # Suspects are at one end and nearly all other rows at the other.
    ax.legend(frameon=False, loc="upper center")
    n_between = int(np.count_nonzero((p_wrong > 0.1) & (p_wrong < 0.9)))
    return AuditFigure(
        "How sure the audit is",
        "Rows by the probability that their label is wrong. Two heaps at the ends mean "
        "that right and wrong labels can be told apart; "
        f"{plural(n_between, 'row')} lie between 10 and 90 %. The axis of counts is "
        "logarithmic, so that few suspects stay visible beside many other rows.",
        f"Histogram of the probability that a label is wrong, of {len(groups[0]):,} "
        f"rows that are not suspects and of {plural(len(groups[1]), 'suspect')}",
        figure_svg(ax.figure, "p-wrong"),
    )


def _scores(result: AuditResult) -> AuditFigure | None:
    scores = np.asarray(result.scores, dtype=np.float64)
    is_finite = np.isfinite(scores)
    if not is_finite.any():
        return None
    threshold = float(result.threshold) if math.isfinite(result.threshold) else None
    floor = _lowest_drawn(scores[is_finite], threshold)
    top = scores[is_finite].max()
    drawn = np.nan_to_num(scores, nan=floor, posinf=top, neginf=floor)
    n_below = int(np.count_nonzero(~(scores >= floor)))
    ax = _new_axes((5.6, 3.6))
    ClaimedLikelihoodDisplay.from_predictions(
        np.maximum(drawn, floor),
        result.is_suspect,
        threshold=threshold,
        xlabel=_SCORE_NAMES.get(result.score_kind, "score of the claimed label"),
        group_names=("other rows", "suspects"),
        ax=ax,
    )
    # The search for the best place is slow, and warns of it.
    ax.get_legend().set_loc("upper left")
    caption = (
        "How plausible each claimed label is; further right is more plausible. Bars "
        "show the share of their own group, so that few suspects stay visible beside "
        "many other rows."
    )
    if threshold is None:
        caption += " There is no threshold: no score is low enough to be flagged."
    else:
        caption += (
            " Each fold has its own threshold; the dashed line is their median, so "
            "that a few rows may lie on the wrong side of it."
        )
    if n_below:
        caption += (
            f" Rows below {floor:.3g} ({plural(n_below, 'row')}) are drawn there."
        )
    return AuditFigure(
        "Scores",
        caption,
        f"Histograms of the scores of {plural(int((~result.is_suspect).sum()), 'row')} "
        f"that are not suspects and of {plural(len(result.suspects), 'suspect')}",
        figure_svg(ax.figure, "scores"),
    )


def _lowest_drawn(scores: NDArray[np.float64], threshold: float | None) -> float:
    """Score below which bars would squeeze all others together."""
    low, high = np.quantile(scores, [0.01, 0.99])
    if threshold is not None:
        low = min(threshold, high)
    span = float(high - low) or 1.0
    return max(float(scores.min()), float(low) - 4 * span)


def _feature_map(result: AuditResult, names: Sequence[str]) -> AuditFigure | None:
    features = np.asarray(result.map_features, dtype=np.float64)
    if features.ndim != 2 or features.shape[1] < 2:
        return None
    is_finite = np.isfinite(features).all(axis=1)
    features, rows = features[is_finite], result.map_rows[is_finite]
    if len(rows) < 2:
        return None
    is_suspect = result.is_suspect[rows]
    drawn = _drawn_points(is_suspect)
    ax = _new_axes((5.9, 4.3))
    FeatureSpaceDisplay.from_predictions(
        features[drawn],
        result.claimed_labels[rows[drawn]],
        is_poison=is_suspect[drawn],
        classes=result.classes,
        class_names=[_legend_name(name) for name in names],
        ax=ax,
    )
    for points in ax.collections:
        points.set_rasterized(False)
    legend = ax.get_legend()
    n_crosses = int(np.count_nonzero(is_suspect[drawn]))
    if n_crosses:
        # The display speaks of poisons, which an audit cannot know.
        legend.get_texts()[-1].set_text(f"suspects (n = {n_crosses:,})")
    caption = (
        "Where the model sees the rows: colours are the labels they claim, crosses are "
        "suspects. A suspect often lies among rows of another colour. Only rows of the "
        "first fold are shown, since only the features of one model can be compared."
    )
    if features.shape[1] > 2:
        caption += (
            f" The {features.shape[1]} features are projected to the plane in which "
            "they vary most; what lies together here may be apart in the others."
        )
    if len(drawn) < len(rows):
        caption += (
            f" {len(drawn):,} of {len(rows):,} rows are drawn, {n_crosses:,} of "
            f"{plural(int(is_suspect.sum()), 'suspect')} among them, evenly chosen."
        )
    if len(names) > _MAX_LEGEND:
        legend.remove()
        caption += f" The colours of the {len(names)} classes are not named."
    return AuditFigure(
        "Map of the features",
        caption,
        f"Scatter of the features of {plural(len(drawn), 'row')} by claimed class, "
        f"with {plural(n_crosses, 'suspect')} as crosses",
        figure_svg(ax.figure, "map"),
    )


def _drawn_points(is_suspect: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Choose evenly which points are drawn, and all where there are few.

    Half of them may be suspects, more where there are not as many others.
    """
    if len(is_suspect) <= _MAX_MAP_POINTS:
        return np.arange(len(is_suspect))
    suspects, others = np.flatnonzero(is_suspect), np.flatnonzero(~is_suspect)
    n_suspects = min(
        len(suspects), max(_MAX_MAP_POINTS // 2, _MAX_MAP_POINTS - len(others))
    )
    chosen = [
        group[np.linspace(0, len(group) - 1, n, dtype=np.intp)]
        for group, n in (
            (suspects, n_suspects),
            (others, _MAX_MAP_POINTS - n_suspects),
        )
        if n > 0
    ]
    return np.sort(np.concatenate(chosen))


def _legend_name(name: str) -> str:
    """Write a class so that matplotlib takes it literally."""
    if len(name) > _MAX_NAME:
        name = name[: _MAX_NAME - 1] + "…"
    # Formulas stand between dollars; empty names and a leading underscore are hidden.
    hidden = name == "" or name.startswith("_")
    return (" " if hidden else "") + name.replace("$", r"\$")


def _new_axes(figsize: tuple[float, float]) -> Any:
    # Not by pyplot, which would keep the figure open.
    figure = import_extra("matplotlib.figure", "cli").Figure(
        figsize=figsize, layout="constrained"
    )
    return figure.subplots()
