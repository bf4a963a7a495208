"""Command line: arguments to settings, run, write results."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from sklgm import __version__
from sklgm._running import import_extra
from sklgm.auditing._audit import audit as audit_rows
from sklgm.auditing._result import AuditResult
from sklgm.datasets import LabelledRows, load_rows
from sklgm.experiments import ExperimentConfig, preset_config, run, stages_folder
from sklgm.report import (
    ReportFigure,
    run_figures,
    run_tables,
    write_audit_report,
    write_run_report,
)
from sklgm.results import PROTOCOLS, RunResult

_TITLE = "Clean-label poisoning: softmax against L-GM on {dataset}"


def main() -> None:
    """Run the command line."""
    try:
        app = make_app()
    except ImportError as error:
        sys.exit(f"Error: {error}")
    app()


def make_app() -> Any:
    """Build the command-line application.

    Returns
    -------
    typer.Typer
        The application, with one function a command.

    Raises
    ------
    ImportError
        If the extra ``cli`` is not installed.
    """
    typer = import_extra("typer", "cli")
    app = typer.Typer(
        help="scikit-learn classifiers that resist clean-label poisoning.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"sklgm {__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version",
                help="Show the version and exit.",
                callback=show_version,
                is_eager=True,
            ),
        ] = False,
    ) -> None:
        """Show the version, or run a command."""

    @app.command()
    def reproduce(
        dataset: Annotated[
            str,
            typer.Argument(
                help="digits, mnist, cifar10, or the path of an image folder, a .zip "
                "of one, or an .npz file with keys X and y."
            ),
        ],
        preset: Annotated[
            str, typer.Option(help="quick (minutes) or full (all rows, 100 targets).")
        ] = "quick",
        device: Annotated[
            str, typer.Option(help="auto, cpu, cuda or another torch device.")
        ] = "auto",
        seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
        data_home: Annotated[
            Path | None,
            typer.Option(
                help="Folder of MNIST and CIFAR-10. Else SKLGM_DATA, else a cache."
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                help="Folder for results.json, report.html and figures. Default: "
                "sklgm-results/DATASET-PRESET-SEED, with any --protocol after DATASET."
            ),
        ] = None,
        n_targets: Annotated[
            int | None, typer.Option(help="Targets a model. Default: the preset's.")
        ] = None,
        attack: Annotated[
            list[str] | None,
            typer.Option(
                help="feature_collision, watermark, convex_polytope, "
                "bullseye_polytope, gradient_matching, adaptive_likelihood or "
                "adaptive_posterior; may be given several times. Default: the preset's."
            ),
        ] = None,
        n_poisons: Annotated[
            list[int] | None,
            typer.Option(
                help="Poisons a target in transfer; may be given several times. "
                "Default: 1, 5 and 25."
            ),
        ] = None,
        share: Annotated[
            list[float] | None,
            typer.Option(
                help="Poisoned share of the base class in contamination (default: "
                "0.01, 0.05, 0.1 and 0.2) and in end-to-end (default: 50 poisons); may "
                "be given several times."
            ),
        ] = None,
        noise_share: Annotated[
            list[float] | None,
            typer.Option(
                help="Share of the labels to flip in label-noise, 0 for none; may be "
                "given several times. Default: 0, 0.01 and 0.05."
            ),
        ] = None,
        linf: Annotated[
            list[float] | None,
            typer.Option(
                help="Bound on every pixel in steps of 1/255; 0 is no bound. May be "
                "given several times. Default: the preset's."
            ),
        ] = None,
        protocol: Annotated[
            list[str] | None,
            typer.Option(
                help="white-box, transfer, end-to-end, frontier, contamination, "
                "label-noise, search or peers (needs the extra bench); may be given "
                "several times. Default: white-box and transfer."
            ),
        ] = None,
        rival: Annotated[
            list[str] | None,
            typer.Option(
                help="Library to compare with in label-noise: cleanlab (extra bench)."
            ),
        ] = None,
        n_jobs: Annotated[
            int | None,
            typer.Option(help="Processes that refit models. Default: one a core."),
        ] = None,
        restart: Annotated[
            bool,
            typer.Option(
                "--restart",
                help="Begin anew where a run with the same settings was interrupted.",
            ),
        ] = False,
    ) -> None:
        """Train softmax and L-GM, poison both, detect the poisons, write a report."""
        try:
            config = preset_config(
                dataset,
                preset,
                device=device,
                seed=seed,
                data_home=None if data_home is None else str(data_home),
                n_targets=n_targets,
                n_end_to_end_targets=n_targets,
                attacks=tuple(attack) if attack else None,
                n_poisons=tuple(n_poisons) if n_poisons else None,
                contamination_shares=tuple(share) if share else None,
                end_to_end_shares=tuple(share) if share else None,
                noise_shares=tuple(noise_share) if noise_share else None,
                max_perturbations=_bounds(linf) if linf else None,
                protocols=tuple(protocol) if protocol else None,
                noise_rivals=tuple(rival) if rival else None,
            )
            folder = out or _default_folder(config)
            result = _run_and_write(config, folder, n_jobs, restart)
        except (OSError, ValueError, TypeError, ImportError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(code=1) from error
        _print_tables(result)
        typer.echo(f"Results: {folder / 'results.json'}")
        typer.echo(f"Report:  {folder / 'report.html'}")

    @app.command()
    def audit(
        path: Annotated[
            Path,
            typer.Argument(
                help="Image folder or .zip of one (one folder a class), .npz with keys "
                "X and y, or .csv or .parquet with a column of labels."
            ),
        ],
        trusted: Annotated[
            Path | None,
            typer.Option(
                help="Rows whose labels are known to be right, in the same form."
            ),
        ] = None,
        label_column: Annotated[
            str | None,
            typer.Option(
                help="Column of the labels in tables. Default: label, labels, y, "
                "target or class."
            ),
        ] = None,
        drop_column: Annotated[
            list[str] | None,
            typer.Option(
                help="Column of a table that is no feature, such as an identifier; "
                "may be given several times."
            ),
        ] = None,
        image_size: Annotated[
            int | None,
            typer.Option(help="Height and width in pixels to resize images to."),
        ] = None,
        false_alarm_rate: Annotated[
            float, typer.Option(help="Share of right labels that may be flagged.")
        ] = 0.01,
        score_kind: Annotated[
            str,
            typer.Option(
                help="posterior, or likelihood, which needs --trusted and finds rows "
                "that look like no class as well."
            ),
        ] = "posterior",
        backbone: Annotated[
            str,
            typer.Option(
                help="auto, mlp, cnn, resnet18, vgg19, or identity for precomputed "
                "features."
            ),
        ] = "auto",
        max_epochs: Annotated[
            int | None,
            typer.Option(
                help="Epochs of each fold. Default: 8, and more where rows are few."
            ),
        ] = None,
        cv: Annotated[
            int, typer.Option(help="Folds: every row is judged by a model without it.")
        ] = 5,
        device: Annotated[
            str, typer.Option(help="auto, cpu, cuda or another torch device.")
        ] = "auto",
        seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
        out: Annotated[
            Path | None,
            typer.Option(
                help="Folder for suspects.csv, clean_index.csv, audit.json and "
                "report.html. Default: sklgm-audit/NAME."
            ),
        ] = None,
        restart: Annotated[
            bool,
            typer.Option(
                "--restart",
                help="Begin anew where an audit with the same settings was "
                "interrupted.",
            ),
        ] = False,
    ) -> None:
        """Find rows whose label is implausible; write lists and a report."""
        folder = out or Path("sklgm-audit") / path.resolve().stem
        try:
            load = partial(
                load_rows,
                label_column=label_column,
                drop_columns=drop_column or (),
                image_size=image_size,
            )
            rows = load(path)
            known = None
            if trusted is not None:
                known = load(trusted).with_features(rows.feature_names)
            result = _audit_and_write(
                rows,
                known,
                folder,
                restart,
                false_alarm_rate=false_alarm_rate,
                score_kind=score_kind,
                backbone=backbone,
                max_epochs=max_epochs,
                cv=cv,
                device=device,
                random_state=seed,
            )
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(code=1) from error
        _print_audit(result)
        for name in ("suspects.csv", "clean_index.csv", "audit.json", "report.html"):
            typer.echo(folder / name)

    return app


def _bounds(linf: list[float]) -> tuple[float | None, ...]:
    """Bounds in pixel units from steps of 1/255; 0 is none."""
    return tuple(None if steps == 0 else steps / 255 for steps in linf)


def _default_folder(config: ExperimentConfig) -> Path:
    parts = [Path(config.dataset).stem]
    if set(config.protocols) != set(ExperimentConfig.protocols):
        parts += [name for name in PROTOCOLS if name in config.protocols]
    parts += [config.preset, str(config.seed)]
    return Path("sklgm-results") / "-".join(parts)


def _run_and_write(
    config: ExperimentConfig, folder: Path, n_jobs: int | None, restart: bool
) -> RunResult:
    """Run an experiment with a progress bar and write all it gives."""
    unfinished = _unfinished_stages(folder, restart)
    with _progress_bar() as show:
        result, data = run(
            config,
            command=_command_line(),
            progress=show,
            n_jobs=n_jobs,
            resume_from=unfinished,
        )
    result.save(folder / "results.json")
    figures = run_figures(result, data)
    _save_figures(figures, folder / "figures")
    title = _TITLE.format(dataset=result.records[0].dataset)
    write_run_report(folder / "report.html", result, figures, title=title)
    import_extra("matplotlib.pyplot", "cli").close("all")
    shutil.rmtree(unfinished, ignore_errors=True)
    return result


def _audit_and_write(
    rows: LabelledRows,
    known: LabelledRows | None,
    folder: Path,
    restart: bool,
    **settings: Any,
) -> AuditResult:
    """Audit with a progress bar and write all it gives."""
    unfinished = _unfinished_stages(folder, restart)
    with _progress_bar() as show:
        result = audit_rows(
            rows.X,
            rows.y,
            trusted=None if known is None else (known.X, known.y),
            progress=show,
            resume_from=unfinished,
            **settings,
        )
    result.save(folder, rows.row_names)
    write_audit_report(
        folder / "report.html",
        result,
        rows.X,
        rows.row_names,
        title=f"Audit of the labels of {rows.name}",
        command=_command_line(),
    )
    shutil.rmtree(unfinished, ignore_errors=True)
    return result


def _unfinished_stages(folder: Path, restart: bool) -> Path:
    """Make the output folder, and name where its unfinished run waits."""
    unfinished = stages_folder(folder)
    if restart:
        shutil.rmtree(unfinished, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib = import_extra("matplotlib", "cli")
    matplotlib.use("agg")  # no display is needed to write files
    matplotlib.rcParams["figure.max_open_warning"] = 0  # they are closed when written
    return unfinished


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show the stages of a run on the standard error stream."""
    progress = import_extra("rich.progress", "cli")
    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        console=import_extra("rich.console", "cli").Console(stderr=True),
    ) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, n_done: int, n_steps: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=n_steps)
            bar.update(tasks[stage], completed=n_done, total=n_steps)

        yield show


def _command_line() -> str:
    return shlex.join(["sklgm", *sys.argv[1:]])


def _print_audit(result: AuditResult) -> None:
    """Print how many rows of each class are suspect."""
    rich_table = import_extra("rich.table", "cli")
    rich_text = import_extra("rich.text", "cli")
    console = import_extra("rich.console", "cli").Console()
    summary = result.summary()
    n_samples, n_suspects = summary["n_samples"], summary["n_suspects"]
    table = rich_table.Table(
        title=f"{n_suspects} of {n_samples} rows suspect at a false-alarm rate of "
        f"{result.false_alarm_rate:g}",
        title_justify="left",
    )
    for column in ("claimed label", "rows", "suspect"):
        table.add_column(column)
    labels, counts = np.unique(result.claimed_labels, return_counts=True)
    for label, count in zip(labels, counts, strict=True):
        suspect = summary["suspects_by_class"][str(label)]
        # As it is: a label may look like markup.
        table.add_row(rich_text.Text(str(label)), str(count), str(suspect))
    console.print(table)
    if result.noise_share is not None:
        console.print(f"Estimated share of wrong labels: {result.noise_share:.2%}")
    else:
        console.print(f"Judged against {result.n_trusted} trusted rows.")


def _save_figures(figures: list[ReportFigure], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for number, figure in enumerate(figures, start=1):
        words = "".join(c if c.isalnum() else " " for c in figure.title.lower()).split()
        figure.figure.savefig(folder / f"{number:02d}-{'-'.join(words)}.png", dpi=150)


def _print_tables(result: RunResult) -> None:
    """Print the tables of the report."""
    rich_table = import_extra("rich.table", "cli")
    console = import_extra("rich.console", "cli").Console()
    for table in run_tables(result):
        printed = rich_table.Table(title=table.caption, title_justify="left")
        for column in table.columns:
            printed.add_column(column, overflow="fold")
        for row in table.rows:
            header = f"{row.header}\n{row.detail}" if row.detail else row.header
            cells = [
                "" if cell is None else "\n".join([cell.text, *cell.details])
                for cell in row.cells
            ]
            printed.add_row(header, *cells)
        console.print(printed)
