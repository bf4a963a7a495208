"""The figures of a run's report, drawn from its table and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklgm.plotting import (
    ClaimedLikelihoodDisplay,
    FeatureSpaceDisplay,
    PoisonDisplay,
    plot_certified_accuracy,
    plot_frontier,
    plot_poison_example,
    plot_roc_curves,
    plot_success_rates,
    victim_name,
)
from sklgm.report._names import groups, names_of, select, titled
from sklgm.results import (
    DetectionScores,
    FeatureScatter,
    FigureArrays,
    FigureSpec,
    PoisonImages,
    ProtocolDescription,
    RunResult,
)

if TYPE_CHECKING:
    import polars as pl

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report.

    Parameters
    ----------
    title : str
        Short heading.
    caption : str
        What there is to see, in full sentences.
    figure : matplotlib Figure, bytes or str
        A figure, the bytes of a PNG or SVG file, or SVG text. A matplotlib figure
        becomes a PNG of twice the resolution of the screen; it is not closed.
    alt : str
        What the figure shows, for those who do not see it.
    protocol : str, default=None
        Name of the protocol in whose section it stands; None is a section of its own,
        at the end.
    kind : str, default=None
        As in :class:`sklgm.results.FigureSpec`. The first ``"poison_example"`` stands
        beside the verdict.
    attack : tuple, default=()
        Attack, bound and reach that it is about.

    Raises
    ------
    ValueError
        If `alt` is empty, or bytes are neither PNG nor SVG.
    """

    title: str
    caption: str
    figure: Any
    alt: str
    protocol: str | None = None
    kind: str | None = None
    attack: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not self.alt:
            raise ValueError(f"alt={self.alt!r} must describe the figure.")
        if isinstance(self.figure, bytes | str):
            embedded_bytes(self.figure)


def embedded_bytes(figure: bytes | str) -> tuple[str, bytes]:
    """Kind and bytes of an image file."""
    content = figure.encode("utf-8") if isinstance(figure, str) else figure
    if content.startswith(_PNG_SIGNATURE):
        return "png", content
    if b"<svg" in content[:2000]:
        return "svg", content
    raise ValueError(f"figure starting with {content[:12]!r} is neither PNG nor SVG.")


def run_figures(
    result: RunResult,
    arrays: Iterable[FigureArrays],
    descriptions: Iterable[ProtocolDescription],
) -> list[ReportFigure]:
    """Draw the figures of a run.

    Parameters
    ----------
    result : RunResult
        The run.
    arrays : iterable of DetectionScores, FeatureScatter or PoisonImages
        Its arrays.
    descriptions : iterable of ProtocolDescription
        Protocols; their figures are drawn where there is something to draw.

    Returns
    -------
    list of ReportFigure
        Protocol by protocol. The caller closes them.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    arrays = list(arrays)
    return [
        figure
        for description in descriptions
        for spec in description.figures
        for figure in (
            table_figures(result.table, description.name, spec)
            if spec.kind in _DRAWN_FROM_TABLE
            else _array_figures(arrays, description.name, spec)
        )
    ]


def table_figures(
    table: pl.DataFrame, protocol: str, spec: FigureSpec
) -> list[ReportFigure]:
    """Draw one kind of figure from the tidy table.

    Parameters
    ----------
    table : DataFrame
        Tidy table.
    protocol : str
        Name of the protocol.
    spec : FigureSpec
        What to draw; nothing is drawn for a kind that needs arrays.

    Returns
    -------
    list of ReportFigure
        One for each combination of values of the columns to split by that has
        something to show.
    """
    draw = _DRAWN_FROM_TABLE.get(spec.kind)
    rows = select(table.filter(protocol=protocol), spec.where)
    figures = []
    for at, group in groups(rows, spec.split):
        try:
            figure = None if draw is None else draw(group, **spec.options).figure
        except ValueError:  # nothing of what the figure shows was measured
            continue
        if figure is not None:
            figures.append(_report_figure(spec, at, figure, protocol))
    return figures


def _array_figures(
    arrays: Sequence[FigureArrays], protocol: str, spec: FigureSpec
) -> list[ReportFigure]:
    kind, draw = _DRAWN_FROM_ARRAYS[spec.kind]
    parts: dict[tuple[Any, ...], list[Any]] = {}
    for item in arrays:
        if isinstance(item, kind) and item.protocol == protocol:
            if all(getattr(item, name) == value for name, value in spec.where.items()):
                key = tuple(getattr(item, name) for name in spec.split)
                parts.setdefault(key, []).append(item)
    return [
        _report_figure(
            spec,
            dict(zip(spec.split, key, strict=True)),
            draw(part, **spec.options),
            protocol,
        )
        for key, part in parts.items()
    ]


def _report_figure(
    spec: FigureSpec, at: Mapping[str, Any], figure: Any, protocol: str
) -> ReportFigure:
    names = names_of(at)
    title, caption = titled(spec.title, names), titled(spec.caption, names)
    attack = tuple(at[name] for name in ("attack", "bound", "reach") if name in at)
    return ReportFigure(title, caption, figure, spec.alt, protocol, spec.kind, attack)


def _draw_images(parts: Sequence[PoisonImages]) -> Any:
    images = parts[0]
    return PoisonDisplay.from_predictions(
        images.X_base,
        images.X_target,
        images.X_poison,
        titles=[
            f"{base} for {target}"
            for base, target in zip(images.base_names, images.target_names, strict=True)
        ],
    ).figure_


def _draw_example(parts: Sequence[PoisonImages]) -> Any:
    images = parts[0]
    return plot_poison_example(
        images.X_base[0],
        images.X_poison[0],
        images.X_target[0],
        base_name=images.base_names[0],
        target_name=images.target_names[0],
    ).figure


def _draw_scatter(parts: Sequence[FeatureScatter]) -> Any:
    scatter = parts[0]
    return FeatureSpaceDisplay.from_predictions(
        scatter.features,
        scatter.claimed_labels,
        is_poison=scatter.is_poison,
        means=scatter.means,
        covariances=scatter.covariances,
        covariance_type=scatter.covariance_type,
        target_features=scatter.target_features,
        classes=scatter.classes,
        class_names=scatter.class_names,
    ).figure_


def _draw_histogram(parts: Sequence[DetectionScores], **options: Any) -> Any:
    return ClaimedLikelihoodDisplay.from_predictions(
        -parts[0].outlier_score,
        parts[0].is_poison,
        group_names=("clean rows", "poisons"),
        **options,
    ).figure_


def _draw_roc_curves(parts: Sequence[DetectionScores], **options: Any) -> Any:
    curves: dict[str, tuple[Any, Any]] = {
        f"{victim_name(part.victim, part.variant)}, {part.score}": (
            part.outlier_score,
            part.is_poison,
        )
        for part in parts
    }
    return plot_roc_curves(curves, **options).figure


_DRAWN_FROM_TABLE = {
    "certified_accuracy": plot_certified_accuracy,
    "success_rates": plot_success_rates,
    "frontier": plot_frontier,
}
_DRAWN_FROM_ARRAYS: dict[str, tuple[type, Any]] = {
    "poison_images": (PoisonImages, _draw_images),
    "poison_example": (PoisonImages, _draw_example),
    "feature_scatter": (FeatureScatter, _draw_scatter),
    "score_histogram": (DetectionScores, _draw_histogram),
    "roc_curves": (DetectionScores, _draw_roc_curves),
}
