"""The results page, written from ``results/*/results.json`` at each build."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from sklgm.plotting import plot_frontier
from sklgm.report import run_tables
from sklgm.report._cells import Cell, Table, plural
from sklgm.report._limits import RULES
from sklgm.report._paired import model_tables, paired_tables
from sklgm.results import RunResult

#: Data sets that the page speaks of even without a run, and what would run them.
COMMANDS = {
    "MNIST": "sklgm reproduce mnist",
    "CIFAR-10 (JPEG)": "sklgm reproduce PATH",
    "digits": "sklgm reproduce digits",
}
PROTOCOLS = {
    "transfer": "The backbone is frozen and the head refitted on rows of which a few "
    "are poisons for one target: how often is it misled?",
    "white-box": "Poisons against a model that never trained on them: does their "
    "claimed label give them away?",
    "end-to-end": "All layers go on training on poisoned rows.",
    "frontier": "The attack gets stronger step by step: how often is the target "
    "misled, and how many poisons are found?",
    "contamination": "A growing share of one class is poisoned; Gaussians that leave "
    "out the least likely rows of each class are fitted by several rules.",
    "label-noise": "A share of all training labels is flipped at random, and an audit "
    "of all rows is asked which.",
    "search": "One setting of L-GM training differs at a time, on training rows held "
    "out for this choice: it ranks settings and is no result.",
    "peers": "Every detector is fitted to the same rows, poisons among them, and flags "
    "rows at its own default settings.",
}
PAIR = ("bullseye_polytope", "feature_collision")
RIVALS = ("lgm_trim", "softmax_trimmed_gaussians")
#: Settings in which runs may differ that are compared together.
_FREE_SETTINGS = ("seed", "data_home", "device")
FOREWORD = """\
.. This page is written by docs/_extensions/results_page.py; edits are lost.

=======
Results
=======

**The question:** what did the committed runs measure, and where does L-GM lose?

This page is generated from the ``results.json`` files in ``docs/results/`` whenever the
documentation is built; no number on it is typed by hand. :doc:`../user_guide/reproduce`
says how each is measured.

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
    with a variance a dimension.
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


@dataclass(frozen=True)
class Run:
    """A committed result and the folder it lies in."""

    folder: str
    result: RunResult

    @property
    def label(self) -> str:
        """What tells the run from others of the same data set."""
        config = self.result.config
        seeds = sorted({record.seed for record in self.result.records})
        parts = [f"{config['preset']} preset"] if config.get("preset") else []
        if config.get("evaluation", "test") != "test":
            parts.append(f"{config['evaluation']} rows")
        noun = "seed" if len(seeds) == 1 else "seeds"
        listed = ", ".join(map(str, seeds))
        parts.append(f"{noun} {listed}" if seeds else "no records")
        return ", ".join(parts)


def load_runs(folder: Path) -> list[Run]:
    """Read all results below `folder`, the full presets first.

    Raises
    ------
    ExtensionError
        If a file is damaged; the message names it.
    """
    runs = []
    for path in sorted(folder.glob("*/results.json")):
        try:
            result = RunResult.load(path)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            name = f"{folder.name}/{path.parent.name}/{path.name}"
            raise ExtensionError(f"{name} is damaged: {error}") from error
        runs.append(Run(path.parent.name, result))
    return sorted(runs, key=lambda run: run.result.config.get("preset") != "full")


def render_page(
    runs: Sequence[Run], figures: Mapping[tuple[str, str], Sequence[FrontierFigure]]
) -> str:
    """Write the page as reStructuredText.

    Parameters
    ----------
    runs : sequence of Run
        In the order of the page.
    figures : dict from (folder, data set) to sequence of FrontierFigure
        Figures of runs with the frontier protocol.
    """
    present = dict.fromkeys(r.dataset for run in runs for r in run.result.records)
    datasets = [*COMMANDS, *(d for d in present if d not in COMMANDS)]
    order = {dataset: index for index, dataset in enumerate(datasets)}
    by_dataset = sorted(
        runs,
        key=lambda run: min((order[r.dataset] for r in run.result.records), default=0),
    )
    parts = [FOREWORD, *_limits(by_dataset)]
    for dataset in datasets:
        parts.append(_heading(dataset, "="))
        own = [run for run in runs if _records(run, dataset=dataset)]
        if not own:
            command = f"``{COMMANDS[dataset]}``"
            parts.append(f"No run on this data set is committed. {command} makes one.")
            continue
        missing = []
        for protocol, lead in PROTOCOLS.items():
            holders = [run for run in own if _records(run, dataset, protocol)]
            if not holders:
                missing.append(protocol)
                continue
            parts += [_heading(f"{dataset}: {protocol}", "-"), lead]
            for run in holders:
                shown = figures.get((run.folder, dataset), ())
                parts += _run_section(run, dataset, protocol, shown)
        parts += _paired_section(own, dataset)
        parts += _rivals_section(own, dataset)
        if missing:
            noun = "protocol" if len(missing) == 1 else "protocols"
            parts.append(
                f"No committed run on {_escape(dataset)} holds the {noun} "
                f"{' and '.join(missing)}."
            )
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


@dataclass(frozen=True)
class FrontierFigure:
    """A figure and the file that the page shows it from."""

    name: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """Draw it; equal figures give equal bytes."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return buffer.getvalue()


def draw_frontiers(
    runs: Iterable[Run],
) -> dict[tuple[str, str], list[FrontierFigure]]:
    """Draw each run, data set, number of poisons and kind of score."""
    figures: dict[tuple[str, str], list[FrontierFigure]] = {}
    for run in runs:
        records = [r for r in run.result.records if r.protocol == "frontier"]
        cases = dict.fromkeys((r.dataset, r.n_poisons) for r in records)
        for dataset, n_poisons in cases:
            for score in ("posterior", "likelihood"):
                figure = Figure(figsize=(8.6, 4.4), layout="constrained")
                try:
                    plot_frontier(
                        records,
                        score=score,
                        dataset=dataset,
                        n_poisons=n_poisons,
                        ax=figure.subplots(),
                    )
                except ValueError:  # no model has both measures
                    continue
                slug = re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")
                name = f"frontier-{run.folder}-{slug}-{n_poisons}-{score}.png"
                caption = (
                    f"{dataset}, {plural(n_poisons, 'poison')} a target: attack "
                    f"success rate against the share of poisons that the {score} score "
                    "finds at 1 % false alarms, with 95 % intervals. The lower right "
                    "corner is best for the defender."
                )
                figures.setdefault((run.folder, dataset), []).append(
                    FrontierFigure(name, caption, figure)
                )
    return figures


def write_page(folder: Path) -> None:
    """Write ``index.rst`` and its figures beside the runs in `folder`."""
    runs = load_runs(folder)
    figures = draw_frontiers(runs)
    files = {"index.rst": render_page(runs, figures).encode("utf-8")}
    for drawn in figures.values():
        files |= {figure.name: figure.png() for figure in drawn}
    for stale in folder.glob("frontier-*.png"):
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
        "These sentences follow from the records by the rules stated above them, for "
        "each run by itself. A rule names whatever it catches, however small.",
    ]
    if not runs:
        return [*parts, "No run is committed, so there is nothing to say."]
    for rule in RULES:
        parts += [_heading(rule.title, "-"), f"*Rule:* {_escape(rule.statement)}"]
        for run in runs:
            verdict = rule.apply(list(dict.fromkeys(run.result.records)))
            name = f"**{_escape(_run_name(run))}**"
            if verdict.n_compared == 0:
                parts.append(f"{name}: no record that the rule could be applied to.")
                continue
            counts = f"{verdict.n_found} of {verdict.n_compared} comparisons"
            if not verdict.sentences:
                parts.append(f"{name}: {counts}.")
                continue
            parts.append(f"{name}: {counts}.")
            parts.append("\n".join(f"* {_escape(s)}" for s in verdict.sentences))
    return parts


def _run_name(run: Run) -> str:
    datasets = dict.fromkeys(record.dataset for record in run.result.records)
    return f"{', '.join(datasets) or run.folder} ({run.label})"


def _run_section(
    run: Run, dataset: str, protocol: str, figures: Sequence[FrontierFigure]
) -> list[str]:
    records = tuple(dict.fromkeys(_records(run, dataset, protocol)))
    tables = run_tables(dataclasses.replace(run.result, records=records, trials=()))
    parts = [_heading(run.label[0].upper() + run.label[1:], "~")]
    if protocol == "frontier":
        nothing = "No model has both a success and a detection rate to draw."
        parts += [_figure(figure) for figure in figures] or [nothing]
    parts += [render_table(table) for table in tables]
    return [*parts, *_provenance(run)]


def _figure(figure: FrontierFigure) -> str:
    # An option is taken as it stands, a caption is markup.
    alt = " ".join(figure.caption.split())
    caption = _escape(figure.caption)
    return f".. figure:: {figure.name}\n   :alt: {alt}\n\n   {caption}"


def _provenance(run: Run) -> list[str]:
    result = run.result
    environment = result.environment
    facts = [
        f"sklgm {result.sklgm_version}",
        f"device {environment.get('device', 'not recorded')}",
        f"threads {environment.get('n_threads', 'not recorded')}",
        f"preset {result.config.get('preset', 'not recorded')}",
        f"date {environment.get('date', 'not recorded')}",
    ]
    command = "\n".join(f"   {line}" for line in result.command.splitlines())
    return [
        "Made by",
        f".. code-block:: text\n\n{command}",
        f"{_escape('; '.join(facts))}. Every number and trial: "
        f":download:`results.json <{run.folder}/results.json>`.",
    ]


def _paired_section(runs: Sequence[Run], dataset: str) -> list[str]:
    first, second = (name.replace("_", " ") for name in PAIR)
    parts = [
        _heading(f"{dataset}: {first} minus {second}", "-"),
        f"Success rate of {first} minus that of {second}, in percentage points, on the "
        "same model and targets, with a 95 % interval for paired rates "
        "(:func:`~sklgm.metrics.paired_rate_difference`). Only targets count that "
        "count in both. Above 0, the first attack is the stronger.",
    ]
    n_tables = 0
    for run in runs:
        trials = [trial for trial in run.result.trials if trial.dataset == dataset]
        tables = paired_tables(trials, *PAIR)
        n_tables += len(tables)
        if tables:
            parts.append(_heading(run.label[0].upper() + run.label[1:], "~"))
            parts += [render_table(table) for table in tables]
            parts += _provenance(run)
    if not n_tables:
        text = "No committed run on this data set holds both attacks."
        return [parts[0], text]
    return parts


def _rivals_section(runs: Sequence[Run], dataset: str) -> list[str]:
    """The defence minus the cheap baseline, runs of other seeds taken together."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        settings = dict(run.result.config)
        for name in _FREE_SETTINGS:
            settings.pop(name, None)
        alike.setdefault(repr(sorted(settings.items())), []).append(run)
    tables = []
    for group in alike.values():
        trials = [
            trial
            for run in group
            for trial in run.result.trials
            if trial.dataset == dataset
        ]
        tables += model_tables(trials, *RIVALS)
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
        *(render_table(table) for table in tables),
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


def _records(run: Run, dataset: str, protocol: str | None = None) -> list:
    return [
        record
        for record in run.result.records
        if record.dataset == dataset and protocol in (None, record.protocol)
    ]


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
