"""The command ``sklgm reproduce``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from sklgm._running import import_extra
from sklgm.cli._output import (
    DEVICES,
    JSON_HELP,
    QUIET_HELP,
    command_line,
    completed,
    errors_in_one_line,
    loading,
    output_folder,
    print_json,
    progress_bar,
    written_at_once,
)
from sklgm.experiments import PROTOCOLS, RunSettings, get_protocol, run
from sklgm.experiments._settings import NAMED_DATASETS, AttackName

if TYPE_CHECKING:
    import pydantic
    import typer

    from sklgm.experiments import Settings
    from sklgm.report import ReportFigure
    from sklgm.results import ProtocolDescription, RunResult
else:
    pydantic = import_extra("pydantic", "cli")
    typer = import_extra("typer", "cli")

_DEFAULT_PROTOCOLS = ("certified", "white-box", "transfer")
_TITLE = "Clean-label poisoning: softmax against L-GM on {dataset}"

#: Options that set the setting of the same meaning in every protocol that has it.
OPTIONS: Mapping[str, str] = {
    "--n-targets": "n_targets",
    "--attack": "attacks",
    "--n-poisons": "n_poisons",
    "--share": "shares",
    "--linf": "bounds",
    "--labels": "labels",
    "--rival": "rivals",
}
_OF_RUN: Mapping[str, str] = {
    "dataset": "DATASET",
    "preset": "--preset",
    "device": "--device",
    "seed": "--seed",
    "data_home": "--data-home",
}
#: Options by what errors of a run call them.
_SAID = {
    **_OF_RUN,
    "n_jobs": "--n-jobs",
    "n_refit": "--set run.n_refit",
    "n_rows": "--set end-to-end.n_rows",
    "shares": "--share",
}


def reproduce(
    dataset: Annotated[
        str,
        typer.Argument(
            help="digits, mnist, cifar10, or the path of an image folder, a .zip of "
            "one, or an .npz file with keys X and y.",
            autocompletion=completed(NAMED_DATASETS),
        ),
    ],
    preset: Annotated[
        str,
        typer.Option(
            help="quick (minutes) or full (all rows, 100 targets).",
            autocompletion=completed(("quick", "full")),
        ),
    ] = "quick",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda or another torch device.",
            autocompletion=completed(DEVICES),
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    data_home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of MNIST and CIFAR-10. Default: SKLGM_DATA, or the cache."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, tables and figures. Default: a folder in "
            "sklgm-results named after data set, protocols, preset and seed."
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(PROTOCOLS)}; may be given several times. Default: "
            f"{', '.join(_DEFAULT_PROTOCOLS)}.",
            autocompletion=completed(tuple(PROTOCOLS)),
        ),
    ] = None,
    n_targets: Annotated[
        int | None,
        typer.Option(help="Number of targets per model. Default: set by --preset."),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="feature_collision, watermark, convex_polytope, bullseye_polytope, "
            "gradient_matching, adaptive_likelihood, adaptive_posterior or "
            "adaptive_joint; may be given several times. Default: set by --preset.",
            autocompletion=completed(get_args(AttackName)),
        ),
    ] = None,
    n_poisons: Annotated[
        list[int] | None,
        typer.Option(
            help="Number of poisons per target; may be given several times. Default: "
            "set by --protocol, such as 1, 5 and 25."
        ),
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of one class that is poisoned (certified, contamination, "
            "end-to-end), or share of labels that are flipped (label-noise; 0 for "
            "none); may be given several times."
        ),
    ] = None,
    linf: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            help="Largest change of any pixel, in steps of 1/255; 0 for no limit. May "
            "be given several times. Default: set by --preset.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the wrong labels of label-noise come from: symmetric or pair "
            "flips, human or human-single (labels that people gave to CIFAR-10); may "
            "be given several times."
        ),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            help="Library that label-noise compares with: cleanlab (extra bench)."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PROTOCOL.NAME=VALUE",
            help="Any other setting, such as transfer.max_iter=50 or run.max_epochs=3; "
            "write lists as [1, 5]. May be given several times.",
        ),
    ] = None,
    n_jobs: Annotated[
        int | None,
        typer.Option(
            help="Number of processes that refit models. Default: one per core."
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Start over instead of resuming an interrupted run.",
        ),
    ] = False,
    details: Annotated[
        bool,
        typer.Option("--details", help="Print all tables before the verdict."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=QUIET_HELP)] = False,
) -> None:
    """Train softmax and L-GM, certify and poison both, write a report."""
    given: dict[str, Any] = {
        "--n-targets": n_targets,
        "--attack": attack,
        "--n-poisons": n_poisons,
        "--share": share,
        "--linf": linf and [steps / 255 if steps else None for steps in linf],
        "--labels": labels,
        "--rival": rival,
    }
    with errors_in_one_line(_SAID):
        with loading(quiet):
            settings, protocols = make_settings(
                tuple(protocol) if protocol else _DEFAULT_PROTOCOLS,
                {
                    "dataset": dataset,
                    "preset": preset,
                    "device": device,
                    "seed": seed,
                    "data_home": data_home and str(data_home),
                },
                {option: value for option, value in given.items() if value is not None},
                set_ or (),
            )
        folder = out or default_folder(settings, protocols)
        result, descriptions = _run_and_write(
            settings, protocols, folder, n_jobs, restart, quiet
        )
    if as_json:
        files = {name: str(folder / name) for name in ("table.parquet", "report.html")}
        rows = result.table.to_dicts()
        print_json({"files": files, "rows": rows})
    elif not quiet:
        _print_verdict(result, descriptions, details)
        typer.echo(f"Report: {folder / 'report.html'}")


@dataclass
class _Changes:
    """What options change in the settings of one protocol, or of the run."""

    values: dict[str, Any] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)  # by name of the setting

    def add(self, name: str, value: Any, option: str) -> None:
        self.values[name] = value
        self.options[name] = option


def make_settings(
    protocols: Sequence[str],
    of_run: Mapping[str, Any],
    given: Mapping[str, Any],
    assignments: Sequence[str],
) -> tuple[RunSettings, dict[str, Settings]]:
    """Turn what was typed into checked settings.

    Parameters
    ----------
    protocols : sequence of str
        Names of the protocols.
    of_run : mapping of str to object
        ``dataset``, ``preset``, ``device``, ``seed`` and ``data_home``.
    given : mapping of str to object
        Values by option, of :data:`OPTIONS`.
    assignments : sequence of str
        Of the form ``PROTOCOL.NAME=VALUE``.

    Returns
    -------
    settings : RunSettings
        Of the run.
    protocols : dict of str to Settings
        Of each protocol.

    Raises
    ------
    ValueError
        Whose message names the option, where it cannot be used or its value is out of
        range.
    """
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown:
        raise ValueError(
            f"--protocol must be one of {', '.join(PROTOCOLS)}, got {unknown[0]!r}"
        )
    changes = {name: _Changes() for name in ("run", *protocols)}
    for name, value in of_run.items():
        changes["run"].add(name, value, _OF_RUN[name])
    for option, value in given.items():
        setting = OPTIONS[option]
        having = [p for p in protocols if _has(p, setting)]
        if not having:
            others = ", ".join(p for p in PROTOCOLS if _has(p, setting))
            raise ValueError(
                f"{option} is not for {', '.join(protocols)}; it is for --protocol "
                f"{others}"
            )
        for name in having:
            changes[name].add(setting, value, option)
    for assignment in assignments:
        name, setting, value = _parsed(assignment, changes)
        changes[name].add(setting, value, f"--set {name}.{setting}")

    own = changes["run"]
    with _named_options(own):
        settings = RunSettings.of_dataset(**own.values)
    chosen = {}
    for name in dict.fromkeys(protocols):
        with _named_options(changes[name]):
            chosen[name] = get_protocol(name).settings.for_preset(
                settings.kind, settings.preset, **changes[name].values
            )
    return settings, chosen


def default_folder(settings: RunSettings, protocols: Collection[str]) -> Path:
    """Name the folder of the results.

    Parameters
    ----------
    settings : RunSettings
        Data set, preset and seed are in the name.
    protocols : collection of str
        In the name where they are not the default.

    Returns
    -------
    Path
        Such as ``sklgm-results/mnist-end-to-end-quick-0``.
    """
    parts = [Path(settings.dataset).stem]
    if set(protocols) != set(_DEFAULT_PROTOCOLS):
        parts += [name for name in PROTOCOLS if name in protocols]
    parts += [settings.preset, str(settings.seed)]
    return Path("sklgm-results") / "-".join(parts)


def _has(protocol: str, setting: str) -> bool:
    return setting in get_protocol(protocol).settings.model_fields


def _parsed(assignment: str, changes: Mapping[str, _Changes]) -> tuple[str, str, Any]:
    """Protocol, name and value of ``PROTOCOL.NAME=VALUE``."""
    place, is_set, text = assignment.partition("=")
    name, _, setting = place.partition(".")
    if not is_set or not setting:
        raise ValueError(
            f"--set must be of the form PROTOCOL.NAME=VALUE, got {assignment!r}"
        )
    if name not in changes:
        raise ValueError(
            f"--set {place}: {name!r} is none of the protocols of this run: "
            f"{', '.join(changes)}"
        )
    cls = RunSettings if name == "run" else get_protocol(name).settings
    if setting not in cls.model_fields:
        raise ValueError(
            f"--set {place}: {name} has no setting {setting!r}; it has "
            f"{', '.join(cls.model_fields)}"
        )
    try:
        return name, setting, json.loads(text)
    except json.JSONDecodeError:
        return name, setting, text


@contextmanager
def _named_options(changes: _Changes) -> Iterator[None]:
    """Turn errors of settings into those of the options that set them."""
    try:
        yield
    except pydantic.ValidationError as error:
        one = error.errors()[0]
        option = changes.options.get(str(one["loc"][0]), str(one["loc"][0]))
        message = one["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be", "must be")
        if "got" not in message:
            message += f", got {one['input']!r}"
        raise ValueError(f"{option}: {message[0].lower()}{message[1:]}") from error


def _run_and_write(
    settings: RunSettings,
    protocols: dict[str, Settings],
    folder: Path,
    n_jobs: int | None,
    restart: bool,
    quiet: bool,
) -> tuple[RunResult, list[ProtocolDescription]]:
    """Run protocols with a progress bar and write all they give."""
    from sklgm.report import run_figures, write_run_report

    descriptions = [get_protocol(name).description for name in protocols]
    with output_folder(folder, restart) as unfinished:
        with progress_bar(quiet) as show:
            result, arrays = run(
                settings,
                protocols,
                command=command_line(),
                progress=show,
                n_jobs=n_jobs,
                resume_from=unfinished,
            )
        with written_at_once(folder, may_be_absent=["trials.parquet"]) as partial:
            result.save(partial)
            figures = run_figures(result, arrays, descriptions)
            _save_figures(figures, partial / "figures")
            write_run_report(
                partial / "report.html",
                result,
                figures,
                descriptions=descriptions,
                title=_TITLE.format(dataset=result.table["dataset"][0]),
            )
    return result, descriptions


def _save_figures(figures: list[ReportFigure], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for number, figure in enumerate(figures, start=1):
        words = "".join(c if c.isalnum() else " " for c in figure.title.lower()).split()
        figure.figure.savefig(folder / f"{number:02d}-{'-'.join(words)}.png", dpi=150)


def _print_verdict(
    result: RunResult, descriptions: list[ProtocolDescription], details: bool
) -> None:
    """Print what the numbers say, after the tables of the report if they are asked for.

    Lines have at most 80 letters, whatever the terminal: they break between words.
    """
    from sklgm.report import detail_lines, run_tables, run_verdicts

    if details:
        for table in run_tables(result, descriptions):
            for line in (*detail_lines(table), ""):
                typer.echo(line)
    for verdict in run_verdicts(result.table, descriptions):
        for line in (*verdict.lines(), ""):
            typer.echo(line)
