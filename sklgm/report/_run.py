"""The page of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklgm.plotting import MODEL_NAMES
from sklgm.report._cells import Table, select
from sklgm.report._page import (
    data_uri,
    figure_png,
    figure_width,
    flat_items,
    page_template,
    write_page,
)
from sklgm.report._protocol_tables import groups_of, protocol_tables
from sklgm.report._summary import (
    Summary,
    attack_summary,
    detection_summary,
    title_of,
)
from sklgm.report._tables import all_records_table
from sklgm.results import MODELS, PROTOCOLS, Record, RunResult

_PROTOCOL_TITLES = {
    "transfer": "Does the attack work? (transfer protocol)",
    "white-box": "Can the poisons be told from clean rows? (white-box protocol)",
    "end-to-end": "What if all layers are trained? (end-to-end protocol)",
    "frontier": "What if the attacker knows the defence? (frontier protocol)",
    "contamination": "How much poison can be trimmed? (contamination protocol)",
    "search": "How should L-GM be trained? (search protocol)",
    "label-noise": "Can wrong labels be found? (label-noise protocol)",
    "peers": "Which detector finds the poisons? (peers protocol)",
}
_PROTOCOL_LEADS = {
    "transfer": "The network is trained on clean data. Then its last layer is trained "
    "again on a smaller set, into which the attacker has slipped poisons for one "
    "target. This is repeated for every target. Each model is attacked with poisons "
    "made for itself.",
    "white-box": "The model is trained on clean data and never sees the poisons. The "
    "attacker knows it fully and makes poisons for it. Each clean test row and each "
    "poison is then scored: how plausible is the label it claims?",
    "end-to-end": "A trained network goes on training, all layers of it, on data that "
    "hold the poisons. Poisons that work for a fixed network may stop working when "
    "the network moves.",
    "frontier": "The attack is made stronger step by step, and the defence is asked "
    "twice: is the target misled, and are the poisons found?",
    "contamination": "A growing share of one class is poisoned. Gaussians are fitted "
    "afterwards that leave out the least likely rows of each class: always the same "
    "share, a share chosen from the rows (auto), or the share that is poisoned, which "
    "nobody knows (oracle).",
    "search": "One setting of the training differs from the run's at a time. Numbers "
    "are of training rows that were held out for this choice: they rank settings and "
    "are no results.",
    "label-noise": "A share of all training labels is replaced by random other ones. "
    "An audit, whose models never saw the rows that they judge, is asked which; it has "
    "no rows that it may trust. The labels as they came count as right.",
    "peers": "Every detector is fitted to the same rows, poisons among them and "
    "nothing else, and judges these rows by the labels they claim. Rows are flagged at "
    "each detector's own default settings; seconds are the median time from features "
    "to flags. What bears the name of another package is that package's own code.",
}
#: In the order of the page, which is not that of the schema.
_PROTOCOL_ORDER = (
    "transfer",
    "white-box",
    "end-to-end",
    "frontier",
    "contamination",
    "peers",
    "search",
    "label-noise",
)
_MODEL_EXPLANATIONS = {
    "softmax": "The usual classifier, without a defence.",
    "softmax_trimmed_gaussians": "The usual classifier, with one Gaussian cloud a "
    "class fitted to its features after training; the least likely share of each "
    "class is left out. It costs almost nothing, so a defence has to beat it.",
    "lgm": "The network is trained so that each class forms a Gaussian cloud (the "
    "large-margin Gaussian mixture loss).",
    "lgm_trim": "As L-GM, but the clouds are estimated without the least likely share "
    "of each class, so that a few poisons cannot pull a cloud towards themselves.",
}
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
        One of :data:`sklgm.results.PROTOCOLS`, the section where it stands; None is a
        section of its own, at the end.

    Raises
    ------
    ValueError
        If `alt` is empty, `protocol` is unknown, or bytes are neither PNG nor SVG.
    """

    title: str
    caption: str
    figure: Any
    alt: str
    protocol: str | None = None

    def __post_init__(self) -> None:
        if not self.alt:
            raise ValueError(f"alt={self.alt!r} must describe the figure.")
        if self.protocol not in (None, *PROTOCOLS):
            raise ValueError(
                f"protocol={self.protocol!r} must be None or one of "
                f"{', '.join(PROTOCOLS)}."
            )
        if isinstance(self.figure, bytes | str):
            _embedded_bytes(self.figure)


def render_run_report(
    result: RunResult,
    figures: Iterable[ReportFigure] = (),
    *,
    title: str,
    introduction: str | None = None,
) -> str:
    """Render a run as one self-contained HTML page.

    The page explains clean-label poisoning and the defence in plain words, states
    what the records say, whoever comes first, and shows every table with its
    counts and intervals. It loads nothing from elsewhere and holds no date: the
    same result gives the same page.

    Parameters
    ----------
    result : RunResult
        The run; any protocol may be missing.
    figures : iterable of ReportFigure, default=()
        Figures, in the order of the page.
    title : str
        Heading of the page.
    introduction : str, default=None
        A paragraph below the heading.

    Returns
    -------
    str
        The HTML. All text given by the caller, and all text in the result, is
        escaped.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.

    See Also
    --------
    write_run_report : Writes it to a file.

    Examples
    --------
    >>> from sklgm.report import render_run_report
    >>> from sklgm.results import RunResult
    >>> page = render_run_report(RunResult("sklgm", {}, {}, ()), title="A run")
    >>> page.startswith("<!DOCTYPE html>")
    True
    """
    figures = list(figures)
    # Accuracies without an attack may be recorded once an attack.
    records = list(dict.fromkeys(result.records))
    present = [m for m in MODELS if any(record.model == m for record in records)]
    shown = [figure for figure in figures if figure.protocol is not None]
    protocols = [
        protocol
        for protocol in _PROTOCOL_ORDER
        if select(records, protocol=protocol)
        or any(figure.protocol == protocol for figure in shown)
    ]
    return str(
        page_template("run.html.j2").render(
            title=title,
            introduction=introduction,
            result=result,
            datasets=sorted({record.dataset for record in records}),
            seeds=sorted({record.seed for record in records}),
            summaries=_summaries(records),
            models=[(MODEL_NAMES[m], _MODEL_EXPLANATIONS[m]) for m in present],
            sections=[
                {
                    "id": protocol,
                    "title": _PROTOCOL_TITLES[protocol],
                    "lead": _PROTOCOL_LEADS[protocol],
                    "tables": protocol_tables(select(records, protocol=protocol)),
                    "figures": [
                        _figure_view(figure)
                        for figure in shown
                        if figure.protocol == protocol
                    ],
                }
                for protocol in protocols
            ],
            figures=[_figure_view(f) for f in figures if f.protocol is None],
            config=flat_items(result.config),
            environment=flat_items(result.environment),
            all_records=all_records_table(records) if records else None,
        )
    )


def write_run_report(
    path: str | os.PathLike[str],
    result: RunResult,
    figures: Iterable[ReportFigure] = (),
    *,
    title: str,
    introduction: str | None = None,
) -> Path:
    """Write the page of `render_run_report` to a file.

    Parameters
    ----------
    path : str or path
        File to write; its folder is made.
    result : RunResult
        The run.
    figures : iterable of ReportFigure, default=()
        Figures, in the order of the page.
    title : str
        Heading of the page.
    introduction : str, default=None
        A paragraph below the heading.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    page = render_run_report(result, figures, title=title, introduction=introduction)
    return write_page(path, page)


def _summaries(records: Sequence[Record]) -> list[Summary]:
    summaries = []
    for protocol in ("transfer", "end-to-end"):
        for dataset, attack, group in groups_of(select(records, protocol=protocol)):
            name = title_of(dataset, attack)
            name += " (all layers trained)" if protocol == "end-to-end" else ""
            summaries.append(attack_summary(group, name))
    for dataset, attack, group in groups_of(select(records, protocol="white-box")):
        name = f"{title_of(dataset, attack)}: finding the poisons"
        summaries.append(detection_summary(group, name))
    return [summary for summary in summaries if summary is not None]


def _figure_view(figure: ReportFigure) -> dict[str, Any]:
    if isinstance(figure.figure, bytes | str):
        kind, content = _embedded_bytes(figure.figure)
        width = None
    else:
        kind, content = "png", figure_png(figure.figure)
        width = figure_width(figure.figure)
    mime = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    return {
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "uri": data_uri(mime, content),
        "width": width,
    }


def _embedded_bytes(figure: bytes | str) -> tuple[str, bytes]:
    """Kind and bytes of an image file."""
    content = figure.encode("utf-8") if isinstance(figure, str) else figure
    if content.startswith(_PNG_SIGNATURE):
        return "png", content
    if b"<svg" in content[:2000]:
        return "svg", content
    raise ValueError(f"figure starting with {content[:12]!r} is neither PNG nor SVG.")


def run_tables(result: RunResult) -> list[Table]:
    """Tables of a run, as on its page.

    Parameters
    ----------
    result : RunResult
        The run; any protocol may be missing.

    Returns
    -------
    list of Table
        Protocol by protocol.
    """
    return [
        table
        for protocol in PROTOCOLS
        for table in protocol_tables(select(result.records, protocol=protocol))
    ]
