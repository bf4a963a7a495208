"""The page of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sklgm.plotting import victim_name, victim_rank
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
from sklgm.report._summary import summaries
from sklgm.results import ProtocolDescription, RunResult

_VICTIM_EXPLANATIONS = {
    "softmax": "The usual classifier, without a defence.",
    "softmax_trimmed_gaussians": "The usual classifier, with one Gaussian cloud "
    "per class fitted to its features after training; the least likely share of each "
    "class is left out. It costs almost nothing, so a defence has to beat it.",
    "lgm": "The network is trained so that each class forms a Gaussian cloud (the "
    "large-margin Gaussian mixture loss).",
    "lgm_trim": "As L-GM, but the clouds are estimated without the least likely share "
    "of each class, so that a few poisons cannot pull a cloud towards themselves.",
}


def render_run_report(
    result: RunResult,
    figures: Iterable[ReportFigure] = (),
    *,
    descriptions: Iterable[ProtocolDescription],
    title: str,
    introduction: str | None = None,
) -> str:
    """Render a run as one self-contained HTML page.

    The page explains clean-label poisoning and the defence in plain words, states
    what the numbers say, whoever comes first, and shows every table with its
    counts and intervals. It loads nothing from elsewhere and holds no date: the
    same result gives the same page.

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
    victims = sorted(table["victim"].drop_nulls().unique(), key=victim_rank)
    sections = []
    for description in descriptions:
        shown = [f for f in figures if f.protocol == description.name]
        if shown or len(table.filter(protocol=description.name)):
            sections.append(
                {
                    "id": description.name,
                    "title": f"{description.title} ({description.name} protocol)",
                    "lead": description.question,
                    "tables": protocol_tables(table, description),
                    "figures": [_figure_view(figure) for figure in shown],
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
            summaries=summaries(table, descriptions),
            models=[
                (victim_name(victim), _VICTIM_EXPLANATIONS[victim])
                for victim in victims
                if victim in _VICTIM_EXPLANATIONS
            ],
            sections=sections,
            figures=[_figure_view(f) for f in figures if f.protocol not in placed],
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
