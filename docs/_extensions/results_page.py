"""The results page, written from the runs in ``results/`` at each build."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from sklgm.experiments._descriptions import DESCRIPTIONS
from sklgm.report import (
    RULES,
    ReportFigure,
    paired_tables,
    protocol_tables,
    table_figures,
    victim_tables,
)
from sklgm.report._cells import Cell, Table
from sklgm.results import ProtocolDescription, RunResult

#: Data sets that the page speaks of even without a run, and what would run them.
COMMANDS = {
    "MNIST": "sklgm reproduce mnist",
    "CIFAR-10 (JPEG)": "sklgm reproduce PATH",
    "digits": "sklgm reproduce digits",
}
PAIR = ("bullseye_polytope", "feature_collision")
RIVALS = ("lgm_trim", "softmax_trimmed_gaussians")
#: Kinds of figures that the page shows.
FIGURES = ("frontier",)
#: Settings in which runs may differ that are compared together.
_FREE_SETTINGS = ("seed", "data_home", "device")
FOREWORD = """\
.. This page is written by docs/_extensions/results_page.py; edits are lost.

=======
Results
=======

**The question:** what did the committed runs measure, and where does L-GM lose?

This page is generated from the tables in ``docs/results/`` whenever the documentation
is built; no number on it is typed by hand. :doc:`../user_guide/reproduce` says how each
is measured.

In the tables, a cell holds a value and below it the 95 % interval and n: the targets
that count for a success rate (*k of n*), test rows for an accuracy, poisons for an
AUROC of the white-box protocol, targets for one of the transfer protocol. There is no
interval where all of these have the same value. The seed stands with each run.

*Misled*
    attack success rate, with a Wilson interval; only targets count that the control arm
    gets right.
*Control*
    the same refit without poisons: share of all targets that get the base label anyway.
*Same targets for all*
    the success rate on targets that the controls of all models get right.
*converged*, *diag*
    variants: heads refitted until nothing is left to gain; Gaussians fitted afterwards
    with one variance per dimension.
*likelihood*, *posterior*, *combined*
    the score of the claimed label that finds poisons.
*flip labels*
    the dirty-label reference: as many rows as poisons get a wrong label, and nothing
    aims at the target.
*watermark*
    feature collision that starts from bases blended with the target.
*adaptive likelihood*, *reach*
    the attacker who knows the trimmed Gaussians, and how far from the mean of the class
    that they claim the poisons go, as a share of the distance at which trimming begins;
    0.95 where none is named.
*adaptive posterior*
    the attacker who knows the posterior instead, and keeps the surprisal of the claimed
    label (minus the logarithm of its posterior) below that share of the one at which
    1 % of the clean rows are flagged.
*kept share*
    share of the poisons that trimming, or a filter, keeps.
*auto*, *oracle*
    the trimmed share is chosen from the rows, or is the share that is poisoned, which
    nobody knows; without either it is the same for all shares.
*filtered*
    softmax trained on the rows that trimmed Gaussians on the clean backbone keep.
*retrained without flagged rows*
    softmax, or L-GM without trim, on what a detector leaves.
*Clean rows flagged*, *poisons flagged*
    shares of the rows that are no poisons, and of the poisons, that a detector flags at
    its default settings, means over targets; *seconds*: median time from features to
    flags. *ART* and *cleanlab* name those packages' own code.
*l-infinity 8/255*
    no pixel is changed by more than 8 of 255 steps; attacks without it have no bound.

One seed is one split, one pair of backbones and one draw of targets: the intervals
cover the draw of targets only. Intervals that overlap rank nothing.

.. contents::
   :local:
   :depth: 2
   :backlinks: none

"""


#: Figures by the folder of the run, the data set and the protocol.
Figures = Mapping[tuple[str, str, str], Sequence["PageFigure"]]


@dataclass(frozen=True)
class Run:
    """A committed result and the folder it lies in."""

    folder: str
    result: RunResult

    @property
    def settings(self) -> dict[str, object]:
        """Settings of the run that belong to no protocol."""
        return self.result.settings.get("run", {})

    @property
    def label(self) -> str:
        """What tells the run from others of the same data set."""
        seeds = self.result.table["seed"].unique().sort().to_list()
        preset, rows = self.settings.get("preset"), self.settings.get("evaluation")
        parts = [f"{preset} preset"] if preset else []
        parts += [f"{rows} rows"] if rows not in (None, "test") else []
        listed = ", ".join(map(str, seeds))
        noun = "seed" if len(seeds) == 1 else "seeds"
        return ", ".join([*parts, f"{noun} {listed}" if seeds else "no numbers"])

    def rows(self, **values: str) -> pl.DataFrame:
        """Rows of the tidy table with these values."""
        return self.result.table.filter(**values) if values else self.result.table


@dataclass(frozen=True)
class PageFigure:
    """A figure and the file that the page shows it from."""

    name: str
    figure: ReportFigure

    def png(self) -> bytes:
        """Draw it; equal figures give equal bytes."""
        buffer = io.BytesIO()
        self.figure.figure.savefig(
            buffer, format="png", dpi=150, metadata={"Software": None}
        )
        return buffer.getvalue()


def load_runs(folder: Path) -> list[Run]:
    """Read all results below `folder`, the full presets first.

    Raises
    ------
    ExtensionError
        If a file is damaged; the message names it.
    """
    runs = []
    for path in sorted(folder.glob("*/run.json")):
        try:
            runs.append(Run(path.parent.name, RunResult.load(path.parent)))
        except (ValueError, OSError) as error:
            raise ExtensionError(str(error)) from error
    return sorted(runs, key=lambda run: run.settings.get("preset") != "full")


def draw_figures(runs: Iterable[Run]) -> dict[tuple[str, str, str], list[PageFigure]]:
    """Draw the figures of each run, data set and protocol that the page shows."""
    from matplotlib.pyplot import close

    drawn: dict[tuple[str, str, str], list[PageFigure]] = {}
    for run in runs:
        for dataset in run.rows()["dataset"].unique(maintain_order=True):
            for description in DESCRIPTIONS.values():
                figures = [
                    figure
                    for spec in description.figures
                    if spec.kind in FIGURES
                    for figure in table_figures(
                        run.rows(dataset=dataset), description.name, spec
                    )
                ]
                key = (run.folder, dataset, description.name)
                for number, figure in enumerate(figures):
                    close(figure.figure)  # it can still be written
                    name = f"{'-'.join(key)}-{number}".lower()
                    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
                    drawn.setdefault(key, []).append(
                        PageFigure(f"figure-{slug}.png", figure)
                    )
    return drawn


def render_page(runs: Sequence[Run], figures: Figures) -> str:
    """Write the page as reStructuredText.

    Parameters
    ----------
    runs : sequence of Run
        In the order of the page.
    figures : dict from (folder, data set, protocol) to sequence of PageFigure
        What `draw_figures` returned.
    """
    present = [dataset for run in runs for dataset in run.rows()["dataset"]]
    order = {name: i for i, name in enumerate(dict.fromkeys([*COMMANDS, *present]))}
    by_dataset = sorted(
        runs, key=lambda run: min((order[d] for d in run.rows()["dataset"]), default=0)
    )
    parts = [FOREWORD, *_limits(by_dataset)]
    for dataset in order:
        parts.append(_heading(dataset, "="))
        own = [run for run in runs if len(run.rows(dataset=dataset))]
        if not own:
            command = f"``{COMMANDS[dataset]}``"
            parts.append(f"No run on this data set is committed. {command} makes one.")
            continue
        missing = []
        for description in DESCRIPTIONS.values():
            section = list(_protocol_section(own, dataset, description, figures))
            parts += section
            missing += [] if section else [description.name]
        parts += _paired_section(own, dataset)
        parts += _rivals_section(own, dataset)
        if missing:
            noun = "protocol" if len(missing) == 1 else "protocols"
            parts.append(
                f"No committed run on {_escape(dataset)} holds the {noun} "
                f"{' and '.join(missing)}."
            )
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def write_page(folder: Path) -> None:
    """Write ``index.rst`` and its figures beside the runs in `folder`."""
    runs = load_runs(folder)
    figures = draw_figures(runs)
    files = {"index.rst": render_page(runs, figures).encode("utf-8")}
    for drawn in figures.values():
        files |= {figure.name: figure.png() for figure in drawn}
    for stale in folder.glob("figure-*.png"):
        if stale.name not in files:
            stale.unlink()
    for name, content in files.items():
        path = folder / name
        # Untouched where nothing changed, so that Sphinx does not read it again.
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def _limits(runs: Sequence[Run]) -> list[str]:
    parts = [
        _heading("What does not work", "="),
        "These sentences follow from the tables by the rules stated above them, for "
        "each run by itself. A rule names whatever it catches, however small.",
    ]
    if not runs:
        return [*parts, "No run is committed, so there is nothing to say."]
    # What settings are chosen by is no result.
    choices = [d.name for d in DESCRIPTIONS.values() if not d.is_result]
    for rule in RULES:
        parts += [_heading(rule.title, "-"), f"*Rule:* {_escape(rule.statement)}"]
        for run in runs:
            table = run.rows()
            verdict = rule.apply(table.filter(~table["protocol"].is_in(choices)))
            datasets = dict.fromkeys(table["dataset"])
            name = f"{', '.join(datasets) or run.folder} ({run.label})"
            counts = f"{verdict.n_found} of {verdict.n_compared} comparisons"
            if verdict.n_compared == 0:
                counts = "no number that the rule could be applied to"
            parts.append(f"**{_escape(name)}**: {counts}.")
            if verdict.sentences:
                parts.append("\n".join(f"* {_escape(s)}" for s in verdict.sentences))
    return parts


def _protocol_section(
    runs: Sequence[Run],
    dataset: str,
    description: ProtocolDescription,
    figures: Figures,
) -> Iterator[str]:
    """One protocol on one data set; nothing where no run holds it."""
    name = description.name
    holders = [run for run in runs if len(run.rows(dataset=dataset, protocol=name))]
    if not holders:
        return
    yield _heading(f"{dataset}: {name}", "-")
    yield _escape(f"{description.title} {description.question}")
    for run in holders:
        yield _heading(run.label[0].upper() + run.label[1:], "~")
        drawn = figures.get((run.folder, dataset, name), ())
        yield from map(_figure, drawn)
        if not drawn and any(spec.kind in FIGURES for spec in description.figures):
            yield "Nothing was measured that could be drawn."
        tables = protocol_tables(run.rows(dataset=dataset), description)
        yield from map(render_table, tables)
        yield from _provenance(run)


def _figure(shown: PageFigure) -> str:
    # An option is taken as it stands, a caption is markup.
    alt = " ".join(shown.figure.caption.split())
    caption = _escape(shown.figure.caption)
    return f".. figure:: {shown.name}\n   :alt: {alt}\n\n   {caption}"


def _provenance(run: Run) -> list[str]:
    result, unknown = run.result, "not recorded"
    facts = [
        f"sklgm {result.sklgm_version}",
        f"device {result.environment.get('device', unknown)}",
        f"threads {result.environment.get('n_threads', unknown)}",
        f"preset {run.settings.get('preset', unknown)}",
        f"date {result.environment.get('date', unknown)}",
    ]
    command = "\n".join(f"   {line}" for line in result.command.splitlines())
    files = ["table.parquet", "run.json"]
    files[1:1] = ["trials.parquet"] if len(result.trials) else []
    links = [f":download:`{name} <{run.folder}/{name}>`" for name in files]
    return [
        "Made by",
        f".. code-block:: text\n\n{command}",
        f"{_escape('; '.join(facts))}. Every number and trial: {', '.join(links)}.",
    ]


def _paired_section(runs: Sequence[Run], dataset: str) -> list[str]:
    first, second = (name.replace("_", " ") for name in PAIR)
    heading = _heading(f"{dataset}: {first} minus {second}", "-")
    parts = [
        heading,
        f"Success rate of {first} minus that of {second}, in percentage points, on the "
        "same model and targets, with a 95 % interval for paired rates "
        "(:func:`~sklgm.metrics.paired_rate_difference`). Only targets count that "
        "count in both. Above 0, the first attack is the stronger.",
    ]
    sections = []
    for run in runs:
        tables = paired_tables(run.result.trials.filter(dataset=dataset), *PAIR)
        if tables:
            sections.append(_heading(run.label[0].upper() + run.label[1:], "~"))
            sections += [*map(render_table, tables), *_provenance(run)]
    if not sections:
        return [heading, "No committed run on this data set holds both attacks."]
    return [*parts, *sections]


def _rivals_section(runs: Sequence[Run], dataset: str) -> list[str]:
    """The defence minus the cheap baseline, runs of other seeds taken together."""
    alike: dict[str, list[pl.DataFrame]] = {}
    for run in runs:
        own = {k: v for k, v in run.settings.items() if k not in _FREE_SETTINGS}
        key = repr(sorted({**run.result.settings, "run": sorted(own.items())}.items()))
        alike.setdefault(key, []).append(run.result.trials.filter(dataset=dataset))
    tables = [
        t for group in alike.values() for t in victim_tables(pl.concat(group), *RIVALS)
    ]
    if not tables:
        return []
    return [
        _heading(f"{dataset}: L-GM + trim minus the cheap baseline", "-"),
        "L-GM + trim minus softmax + trimmed Gaussians, each attacked on its own "
        "backbone, for the same targets and bases: the success rate in percentage "
        "points, over targets that count for both, and the AUROC of the posterior, "
        "with 95 % intervals for pairs. Runs that differ in their seed only are taken "
        "together. Below 0 the defence is misled less often; an interval that holds 0 "
        "ranks nothing.",
        *map(render_table, tables),
    ]


def render_table(table: Table) -> str:
    """Write a table as a list-table with a column of row headers."""
    lines = [f".. list-table:: {_escape(table.caption)}"]
    lines += ["   :class: results", "   :header-rows: 1", "   :stub-columns: 1", ""]
    rows = [[[column] for column in table.columns]]
    for row in table.rows:
        header = [row.header, *([row.detail] if row.detail else [])]
        rows.append([header, *(_cell_lines(cell) for cell in row.cells)])
    for row in rows:
        for i, cell in enumerate(row):
            start = "   * -" if i == 0 else "     -"
            # Line blocks: no text at the start of a cell is taken for markup.
            block = [f"| {_escape(line)}" for line in cell]
            lines.append(" ".join([start, *block[:1]]))
            lines += [f"       {line}" for line in block[1:]]
    return "\n".join(lines)


def _cell_lines(cell: Cell | None) -> list[str]:
    return [] if cell is None else [cell.text, *cell.details]


def _heading(text: str, underline: str) -> str:
    text = _escape(text)
    return f"{text}\n{underline * len(text)}"


def _escape(text: str) -> str:
    """Text that reStructuredText takes as it stands."""
    return re.sub(r"([\\*`|_])", r"\\\1", " ".join(text.split()))


def _write(app: Sphinx) -> None:
    write_page(Path(app.srcdir) / "results")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the page before Sphinx looks for sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
