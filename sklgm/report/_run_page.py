"""The page of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sklgm.report._figures import ReportFigure, embedded_bytes
from sklgm.report._page import (
    data_uri,
    figure_png,
    figure_width,
    flat_items,
    page_template,
    write_page,
)
from sklgm.report._protocol_tables import all_rows_table, protocol_tables
from sklgm.report._terms import column_detail, terms_of
from sklgm.report._verdict import RunVerdict, run_verdicts
from sklgm.results import ProtocolDescription, RunResult

#: What stands beside the verdict.
_PICTURE = "poison_example"
#: Kinds of figures of which a section shows the first; those of numbers go before.
_MAIN = (
    "certified_accuracy",
    "success_rates",
    "frontier",
    "score_histogram",
    "roc_curves",
    None,
    "feature_scatter",
    "poison_images",
)


def render_run_report(
    result: RunResult,
    figures: Iterable[ReportFigure] = (),
    *,
    descriptions: Iterable[ProtocolDescription],
    title: str,
    introduction: str | None = None,
) -> str:
    """Render a run as one self-contained HTML page.

    The page opens with the verdict, a table and what it says, whoever comes first,
    beside a poison with its base and target. A section per protocol follows, with one
    finding and one figure; every table with its counts and intervals, further figures
    and an explanation of poisoning in plain words are folded. It loads nothing from
    elsewhere and holds no date: the same result gives the same page.

    Parameters
    ----------
    result : RunResult
        The run; any protocol may be missing.
    figures : iterable of ReportFigure, default=()
        Figures, in the order of the page.
    descriptions : iterable of ProtocolDescription
        Protocols, in the order of the page. Numbers of others stand only in the list of
        all numbers.
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
    >>> result = RunResult.from_rows([], command="sklgm", settings={}, environment={})
    >>> page = render_run_report(result, descriptions=[], title="A run")
    >>> page.startswith("<!DOCTYPE html>")
    True
    """
    figures, descriptions = list(figures), list(descriptions)
    # What was measured without an attack may be recorded once per attack.
    table = result.table.unique(maintain_order=True)
    verdicts = run_verdicts(table, descriptions)
    picture = next((figure for figure in figures if figure.kind == _PICTURE), None)
    others = [figure for figure in figures if figure.kind != _PICTURE]
    sections = []
    for description in descriptions:
        shown = [f for f in others if f.protocol == description.name]
        if shown or len(table.filter(protocol=description.name)):
            found = [v.of_protocols.get(description.name, "") for v in verdicts]
            views = [_figure_view(figure) for figure in _main_first(shown)]
            sections.append(
                {
                    "id": description.name,
                    "title": description.title,
                    "lead": description.question,
                    "found": " ".join(filter(None, found)),
                    "tables": [
                        {"table": made, "terms": terms_of(made)}
                        for made in protocol_tables(table, description)
                    ],
                    "figure": views[0] if views else None,
                    "more_figures": views[1:],
                }
            )
    placed = {section["id"] for section in sections}
    return str(
        page_template("run.html.j2").render(
            title=title,
            introduction=introduction,
            result=result,
            datasets=table["dataset"].unique().sort().to_list(),
            seeds=table["seed"].unique().sort().to_list(),
            verdicts=[_verdict_view(verdict) for verdict in verdicts],
            picture=None if picture is None else _figure_view(picture),
            sections=sections,
            figures=[_figure_view(f) for f in others if f.protocol not in placed],
            settings=flat_items(result.settings),
            environment=flat_items(result.environment),
            all_rows=all_rows_table(table) if len(table) else None,
        )
    )


def write_run_report(
    path: str | os.PathLike[str],
    result: RunResult,
    figures: Iterable[ReportFigure] = (),
    *,
    descriptions: Iterable[ProtocolDescription],
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
    descriptions : iterable of ProtocolDescription
        Protocols, in the order of the page.
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
    page = render_run_report(
        result,
        figures,
        descriptions=descriptions,
        title=title,
        introduction=introduction,
    )
    return write_page(path, page)


def _main_first(figures: Sequence[ReportFigure]) -> list[ReportFigure]:
    """Put figures drawn from numbers before those of examples."""
    return sorted(figures, key=lambda figure: _MAIN.index(figure.kind))


def _verdict_view(verdict: RunVerdict) -> dict[str, Any]:
    return {
        "dataset": verdict.dataset,
        "attacked": verdict.attacked,
        "sentences": verdict.sentences,
        "table": verdict.table,
        "columns": [(title, column_detail(title)) for title in verdict.table.columns],
        "has_strips": [
            title.startswith("Fooled") for title in verdict.table.columns[1:]
        ],
    }


def _figure_view(figure: ReportFigure) -> dict[str, Any]:
    if isinstance(figure.figure, bytes | str):
        kind, content = embedded_bytes(figure.figure)
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
