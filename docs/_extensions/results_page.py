"""The results page, written from the runs in ``results/`` at each build."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from matplotlib.pyplot import close
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from sklgm.experiments import PROTOCOLS, get_protocol
from sklgm.report import (
    RULES,
    ReportFigure,
    paired_tables,
    protocol_tables,
    table_figures,
)
from sklgm.report._cells import Table
from sklgm.report._page import figure_png
from sklgm.results import ProtocolDescription, RunResult

DESCRIPTIONS = {name: get_protocol(name).description for name in PROTOCOLS}

#: Data sets that the page speaks of even without a run, and what would run them.
COMMANDS = {
    "MNIST": "sklgm reproduce mnist",
    "CIFAR-10 (JPEG)": "sklgm reproduce PATH",
    "digits": "sklgm reproduce digits",
}
#: What is compared on the same targets, under which heading, and what it means.
COMPARISONS = (
    (
        ("attack", "bullseye_polytope", "feature_collision"),
        "bullseye polytope minus feature collision",
        "Both attacks with the same bound, on the same model and targets. Above 0, the "
        "first attack is the stronger, or the easier to find.",
    ),
    (
        ("victim", "lgm_trim", "softmax_trimmed_gaussians"),
        "L-GM + trim minus the cheap baseline",
        "L-GM + trim minus softmax + trimmed Gaussians, each attacked on its own "
        "backbone, for the same targets and bases. Below 0 the defence is misled less "
        "often.",
    ),
)
#: Kinds of figures that the page shows.
FIGURES = ("certified_accuracy", "frontier")
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

*Certified*
    share of the test rows that are right and proved to stay so, whatever so many
    poisons of one class are; what the best attack found leaves right bounds the truth
    from the other side.
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


#: Figures by their file, for each folder of a run, data set and protocol.
Figures = Mapping[tuple[str, str, str], Mapping[str, ReportFigure]]


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


def draw_figures(runs: Iterable[Run]) -> Figures:
    """Draw the figures of each run, data set and protocol that the page shows."""
    drawn: dict[tuple[str, str, str], dict[str, ReportFigure]] = {}
    for run in runs:
        for dataset in run.rows()["dataset"].unique(maintain_order=True):
            for name, description in DESCRIPTIONS.items():
                rows, key = run.rows(dataset=dataset), (run.folder, dataset, name)
                for spec in description.figures:
                    if spec.kind not in FIGURES:
                        continue
                    for figure in table_figures(rows, name, spec):
                        close(figure.figure)  # of pyplot; it can still be written
                        own = drawn.setdefault(key, {})
                        words = " ".join(("figure", *key, str(len(own)))).lower()
                        slug = re.sub(r"[^a-z0-9]+", "-", words)
                        own[f"{slug}.png"] = figure
    return drawn


def render_page(runs: Sequence[Run], figures: Figures) -> str:
    """Write the page as reStructuredText.

    Parameters
    ----------
    runs : sequence of Run
        In the order of the page.
    figures : mapping
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
        for names, title, meaning in COMPARISONS:
            parts.append(_heading(f"{dataset}: {title}", "-"))
            parts += _comparison(own, dataset, names, meaning)
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
        files |= {name: figure_png(shown.figure) for name, shown in drawn.items()}
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
        drawn = figures.get((run.folder, dataset, name), {})
        yield from (_figure(*item) for item in drawn.items())
        if not drawn and any(spec.kind in FIGURES for spec in description.figures):
            yield "Nothing was measured that could be drawn."
        tables = protocol_tables(run.rows(dataset=dataset), description)
        yield from map(render_table, tables)
        yield from _provenance(run)


def _figure(name: str, shown: ReportFigure) -> str:
    # An option is taken as it stands, a caption is markup.
    alt, caption = " ".join(shown.caption.split()), _escape(shown.caption)
    return f".. figure:: {name}\n   :alt: {alt}\n\n   {caption}"


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


def _comparison(
    runs: Sequence[Run], dataset: str, names: tuple[str, str, str], meaning: str
) -> list[str]:
    """Compare two attacks or victims, runs of other seeds taken together."""
    alike: dict[str, list[pl.DataFrame]] = {}
    for run in runs:
        own = {k: v for k, v in run.settings.items() if k not in _FREE_SETTINGS}
        key = repr(sorted({**run.result.settings, "run": sorted(own.items())}.items()))
        alike.setdefault(key, []).append(run.result.trials.filter(dataset=dataset))
    grouped = [pl.concat(trials) for trials in alike.values()]
    tables = [table for trials in grouped for table in paired_tables(trials, *names)]
    if not tables:
        return ["No committed run on this data set holds both."]
    return [
        f"{meaning} The success rate is in percentage points, over targets that count "
        "for both, with a 95 % interval for paired rates "
        "(:func:`~sklgm.metrics.paired_rate_difference`); the AUROC is that of the "
        "posterior. Runs that differ in their seed only are taken together. An "
        "interval that holds 0 ranks nothing.",
        *map(render_table, tables),
    ]


def render_table(table: Table) -> str:
    """Write a table as a list-table with a column of row headers."""
    lines = [f".. list-table:: {_escape(table.caption)}"]
    lines += ["   :class: results", "   :header-rows: 1", "   :stub-columns: 1", ""]
    rows = [[[column] for column in table.columns]]
    for row in table.rows:
        cells = [[] if c is None else [c.text, *c.details] for c in row.cells]
        rows.append([[row.header, *([row.detail] if row.detail else [])], *cells])
    for row in rows:
        for i, cell in enumerate(row):
            # Line blocks: no text at the start of a cell is taken for markup.
            block = "\n       ".join(f"| {_escape(line)}" for line in cell)
            lines.append(f"{'   * -' if i == 0 else '     -'} {block}".rstrip())
    return "\n".join(lines)


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
