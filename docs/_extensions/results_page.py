"""The results pages, written from the runs in ``results/`` at each build."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import polars as pl
from matplotlib.pyplot import close
from results_tables import DEFENCE, Summary, Table, summarize, tables_of, total
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from sklgm.experiments import PROTOCOLS, get_protocol
from sklgm.plotting import victim_name
from sklgm.report import ReportFigure, table_figures
from sklgm.results import RunResult

DESCRIPTIONS = {name: get_protocol(name).description for name in PROTOCOLS}

#: Pages, by how the names of their data sets begin, and what would run them.
PAGES = {
    "MNIST": "sklgm reproduce mnist",
    "CIFAR-10 (JPEG)": "sklgm reproduce PATH",
    "digits": "sklgm reproduce digits",
    "CIFAR-10N and flips": "python docs/results/given_probabilities.py",
}
_OTHERS = "CIFAR-10N and flips"
#: Kinds of figures that the pages show.
FIGURES = ("certified_accuracy", "frontier")
#: Settings in which runs may differ that are taken together.
_FREE_SETTINGS = ("seed", "data_home", "device")

INDEX = """\
:html_theme.sidebar_secondary.remove: true

.. This page is written by docs/_extensions/results_page.py; edits are lost.

=======
Results
=======

**The question:** what did the committed runs measure, what ties, and where does L-GM
lose?

All pages here are generated from the tables in ``docs/results/`` whenever the
documentation is built; no number on them is typed by hand.
:doc:`../user_guide/reproduce` says how each is measured. One seed is one split, one
pair of networks and one draw of targets: intervals (95 %) cover the draw of targets
only.

"""
TIES = """\
The short answer: in the cases that were measured, L-GM withstands clean-label poisons
that mislead softmax. So does the cheap rival, which needs no new loss: the two tie
almost everywhere. L-GM does not find poisons better than softmax does, and attackers
who know a score evade it. Beside smoothed labels L-GM proves more on MNIST and less
in the one run on CIFAR-10 (JPEG), where it is less accurate to begin with. The
networks themselves, which no row for heads can change, are ahead of all proofs where
a fifth of a class is poisoned. Of classes new to the networks, smoothed labels prove
more."""
SUMMARY = """\
*Softmax* is the usual classifier; the recipe of the certificates on CIFAR-10 (JPEG)
smooths its labels by 0.2, those of the rival there by 0.4. The *cheap rival* is what
costs next to nothing: class Gaussians, trimmed, on the features of that same softmax
network; for certificates a softmax network trained with smoothed labels. *L-GM* is
L-GM + trim, for certificates L-GM with medians. The last two columns count all
attacks, bounds and shares of the protocol: a tie is a paired interval (of the AUROC:
two intervals) that ranks nothing; in *no test* none of the three was misled. L-GM
without trim, with a head that is trained until nothing is left to gain, is misled
more often: see the tables of each data set."""
LABELS = """\
Wrong labels found at an asked false discovery rate of 0.1, beside cleanlab's filter on
the same probabilities. Where a network is named, others have cross-validated it, and
L-GM plays no part."""

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
    def seedless(self) -> str:
        """What runs that differ in their seed only have in common."""
        own = {k: v for k, v in self.settings.items() if k not in _FREE_SETTINGS}
        return repr(
            sorted({**self.result.settings, "run": sorted(own.items())}.items())
        )

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


def page_of(dataset: str) -> str:
    """Title of the page that a data set stands on."""
    for title in PAGES:
        if dataset == title or dataset.startswith(f"{title}, "):
            return title
    return _OTHERS if dataset.startswith(("CIFAR-10N", "CIFAR-10, ")) else dataset


def slug_of(text: str) -> str:
    """Text for the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def draw_figures(runs: Iterable[Run]) -> Figures:
    """Draw the figures of each run, data set and protocol that the pages show."""
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
                        slug = slug_of(" ".join(("figure", *key, str(len(own)))))
                        own[f"{slug}.svg"] = figure
    return drawn


def summarize_runs(runs: Sequence[Run]) -> list[Summary]:
    """Compare L-GM with softmax and the cheap rival, runs of other seeds together."""
    found = []
    for dataset in _datasets(runs):
        for name, description in DESCRIPTIONS.items():
            if not description.is_result:
                continue
            for group in _alike(runs):
                table = pl.concat([run.result.table for run in group])
                trials = pl.concat([run.result.trials for run in group])
                found += summarize(dataset, name, table, trials)
    return found


def render_pages(runs: Sequence[Run], figures: Figures) -> dict[str, str]:
    """Write the pages as reStructuredText, by the names of their files.

    Parameters
    ----------
    runs : sequence of Run
        In the order of the pages.
    figures : mapping
        What `draw_figures` returned.
    """
    titles = list(dict.fromkeys([*PAGES, *map(page_of, _datasets(runs))]))
    pages = {
        f"{slug_of(title)}.rst": _page(title, runs, figures)
        for title in titles
        if any(page_of(dataset) == title for dataset in _datasets(runs))
    }
    pages["index.rst"] = _index(runs, titles, list(pages))
    return pages


def write_pages(folder: Path) -> None:
    """Write the pages and their figures beside the runs in `folder`."""
    runs = load_runs(folder)
    figures = draw_figures(runs)
    pages = render_pages(runs, figures)
    files = {name: text.encode("utf-8") for name, text in pages.items()}
    for drawn in figures.values():
        files |= {name: _svg(shown.figure) for name, shown in drawn.items()}
    for stale in [*folder.glob("figure-*.svg"), *folder.glob("*.rst")]:
        if stale.name not in (*files, "robustness.rst"):
            stale.unlink()
    for name, content in files.items():
        path = folder / name
        # Untouched where nothing changed, so that Sphinx does not read it again.
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def _index(runs: Sequence[Run], titles: Sequence[str], files: Sequence[str]) -> str:
    parts = [INDEX.rstrip("\n")]
    if not runs:
        parts.append("No run is committed, so there is nothing to say.")
    summaries = summarize_runs(runs)
    if summaries:
        sentences = "\n".join(f"* {_escape(s)}" for s in sentences_of(summaries))
        rows = [
            [
                [f"{s.dataset}, {s.protocol}", s.what],
                *([number] for number in s.numbers),
                *([_outcome(counts)] for counts in s.against),
            ]
            for s in summaries
        ]
        columns = ["", "softmax", "cheap rival", "L-GM"]
        columns += ["L-GM against softmax", "against the cheap rival"]
        parts += [
            _heading("What wins, what ties, what loses", "="),
            TIES,
            sentences,
            _heading("All comparisons", "="),
            SUMMARY,
            render_table(
                Table("One row per run and protocol", columns, rows),
                widths=(36, 12, 12, 12, 14, 14),
            ),
        ]
    labels = _label_table(runs)
    if labels is not None:
        parts += [_heading("Labels that people got wrong", "="), LABELS]
        parts.append(render_table(labels))
    missing = [t for t in titles if f"{slug_of(t)}.rst" not in files]
    parts += [
        f"No run on {_escape(title)} is committed. ``{PAGES[title]}`` makes one."
        for title in missing
    ]
    entries = "\n".join(f"   {name.removesuffix('.rst')}" for name in files)
    parts.append(_heading("Every data set", "="))
    parts.append(f".. toctree::\n   :maxdepth: 1\n\n{entries}\n   robustness")
    return "\n\n".join(parts) + "\n"


def sentences_of(summaries: Sequence[Summary]) -> list[str]:
    """Say what wins, ties and loses, by counts."""
    sentences = []
    for metric, what in (
        ("misled", "{} is misled less often than {} in {} of {} comparisons, ties in "
         "{}, is misled more often in {}"),
        ("found", "the posterior of {} finds poisons better than that of {} in {} of "
         "{} comparisons, ties in {}, is worse in {}"),
        ("certified", "{} certifies more rows than {} in {} of {} comparisons, ties in "
         "{}, certifies fewer in {}"),
        ("certified_novel", "of classes that the networks were not trained on, {} "
         "certifies more rows than {} in {} of {} comparisons, ties in {}, certifies "
         "fewer in {}"),
    ):  # fmt: skip
        for which, other in enumerate(("softmax", "the cheap rival")):
            is_proof = metric.startswith("certified")
            if is_proof and which:
                other = "softmax with smoothed labels"
            counts = total(summaries, metric, which)
            n = sum(counts.values()) - counts["no test"]
            if not n:
                continue
            name = "L-GM" if is_proof else victim_name(DEFENCE)
            text = what.format(
                name, other, counts["better"], n, counts["tied"], counts["worse"]
            )
            if counts["no test"]:
                text += f"; {counts['no test']} more mislead nobody"
            sentences.append(f"{text[0].upper()}{text[1:]}.")
    return sentences


def _label_table(runs: Sequence[Run]) -> Table | None:
    rows = []
    for run in runs:
        own = run.rows(protocol="label-noise")
        for dataset in own["dataset"].unique(maintain_order=True):
            for (n_wrong,), part in own.filter(dataset=dataset).group_by(
                "n_poisons", maintain_order=True
            ):
                values = {
                    (row["detector"].removesuffix(", fdr 0.1"), row["metric"]): row
                    for row in part.iter_rows(named=True)
                }
                # Both must have been asked for a list; older runs ranked only.
                if ("cleanlab", "flipped_flagged") not in values:
                    continue
                cells = [
                    [f"{100 * row['value']:.1f} %"] if row else ["none"]
                    for detector in ("audit", "cleanlab")
                    for metric in ("flipped_flagged", "false_discoveries")
                    for row in [values.get((detector, metric))]
                ]
                rows.append([[dataset, f"{n_wrong:,} wrong labels"], *cells])
    columns = ["", "audit: found", "right among flagged"]
    columns += ["cleanlab: found", "right among flagged"]
    return Table("Wrong labels", columns, rows) if rows else None


def _page(title: str, runs: Sequence[Run], figures: Figures) -> str:
    parts = [
        ":html_theme.sidebar_secondary.remove: true",
        ".. This page is written by docs/_extensions/results_page.py; edits are lost.",
        _heading(title, "=", over=True),
        "Tables are folded. A cell holds a value and below it counts and the 95 % "
        "interval in percent, or the range over seeds. The largest number of poisons "
        "is shown unless the table names others; the files hold all numbers.",
    ]
    datasets = [d for d in _datasets(runs) if page_of(d) == title]
    for description in DESCRIPTIONS.values():
        body: list[str] = []
        for dataset in datasets:
            for group in _alike(runs):
                body += _section(group, dataset, description.name, figures)
        if body:
            parts.append(_heading(description.title or description.name, "="))
            parts += [_escape(description.question), *body]
    return "\n\n".join(parts) + "\n"


def _section(
    group: Sequence[Run], dataset: str, protocol: str, figures: Figures
) -> list[str]:
    """One protocol of runs that differ in their seed; nothing where none holds it."""
    rows = pl.concat([r.rows(dataset=dataset, protocol=protocol) for r in group])
    if rows.is_empty():
        return []
    parts = []
    for run in group:
        drawn = figures.get((run.folder, dataset, protocol), {})
        parts += [_figure(*item) for item in drawn.items()]
    preset = group[0].settings.get("preset")
    seeds = ", ".join(map(str, rows["seed"].unique().sort()))
    noun = "seed" if rows["seed"].n_unique() == 1 else "seeds"
    label = [dataset] if page_of(dataset) != dataset else []
    label += [f"{preset} preset"] if preset else []
    inner = [*map(render_table, tables_of(protocol, rows))]
    inner += [_provenance(run) for run in group]
    text = "\n\n".join(inner).replace("\n", "\n   ")
    words = ", ".join([*label, f"{noun} {seeds}"]) + ": tables"
    heading = _escape(words[0].upper() + words[1:])
    return [*parts, f".. dropdown:: {heading}\n\n   {text}"]


def _figure(name: str, shown: ReportFigure) -> str:
    # An option is taken as it stands, a caption is markup.
    alt, caption = " ".join(shown.caption.split()), _escape(shown.caption)
    return f".. figure:: {name}\n   :alt: {alt}\n\n   {caption}"


def _provenance(run: Run) -> str:
    command = "\n".join(f"   {line}" for line in run.result.command.splitlines())
    files = ["table.parquet", "run.json"]
    files[1:1] = ["trials.parquet"] if len(run.result.trials) else []
    links = ", ".join(f":download:`{name} <{run.folder}/{name}>`" for name in files)
    version = _escape(f"sklgm {run.result.sklgm_version}")
    return (
        f"Made by {version}; all numbers: {links}.\n\n.. code-block:: text\n\n{command}"
    )


def render_table(table: Table, widths: Sequence[int] = ()) -> str:
    """Write a table as a list-table with a column of row headers."""
    lines = [f".. list-table:: {_escape(table.caption)}"]
    lines += ["   :class: results", "   :header-rows: 1", "   :stub-columns: 1"]
    lines += [f"   :widths: {' '.join(map(str, widths))}", ""] if widths else [""]
    for row in [[[column] for column in table.columns], *table.rows]:
        for i, cell in enumerate(row):
            # Line blocks: no text at the start of a cell is taken for markup.
            block = "\n       ".join(f"| {_escape(line)}" for line in cell if line)
            lines.append(f"{'   * -' if i == 0 else '     -'} {block}".rstrip())
    return "\n".join(lines)


def _outcome(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none"


def _datasets(runs: Iterable[Run]) -> list[str]:
    """Data sets in the order of the pages."""
    present = dict.fromkeys(name for run in runs for name in run.rows()["dataset"])
    order = [*PAGES]
    known = {
        name: order.index(page_of(name)) for name in present if page_of(name) in order
    }
    return sorted(present, key=lambda name: known.get(name, len(order)))


def _alike(runs: Iterable[Run]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.seedless, []).append(run)
    return list(groups.values())


def _svg(figure: object) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "sklgm"}):
        metadata = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", metadata=metadata)  # type: ignore[attr-defined]
    return buffer.getvalue()


def _heading(text: str, underline: str, *, over: bool = False) -> str:
    text = _escape(text)
    line = underline * len(text)
    return f"{line}\n{text}\n{line}" if over else f"{text}\n{line}"


def _escape(text: str) -> str:
    """Text that reStructuredText takes as it stands."""
    return re.sub(r"([\\*`|_])", r"\\\1", " ".join(text.split()))


def _write(app: Sphinx) -> None:
    write_pages(Path(app.srcdir) / "results")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
