"""The command ``sklgm attack``."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sklgm._running import import_extra
from sklgm.cli._output import (
    JSON_HELP,
    QUIET_HELP,
    default_folder,
    errors_in_one_line,
    loading,
    print_json,
    progress_bar,
    warnings_in_one_line,
    written_at_once,
)

if TYPE_CHECKING:
    import typer

    from sklgm.red_teaming import RedTeamResult
else:
    typer = import_extra("typer", "cli")

# Share of its objective: an attack that keeps more has not come far, unless so many
# targets are misled all the same.
_FAR, _MANY = 0.5, 0.5
_OPTIONS = {
    "estimator": "--estimator",
    "surrogate": "--surrogate",
    "label_column": "--label-column",
    "drop_columns": "--drop-column",
    "image_size": "--image-size",
    "n_targets": "--n-targets",
    "budget": "--budget",
    "max_perturbation": "--linf",
    "watermark_opacity": "--watermark",
    "attack": "--attack",
    "n_jobs": "--n-jobs",
    "max_iter": "--max-iter",
    "device": "--device",
    "random_state": "--seed",
}


def attack(
    path: Annotated[
        Path,
        typer.Argument(
            help="Image folder or .zip of one (one folder per class), .npz with keys "
            "X and y, or .csv, .parquet or a folder of .parquet files with a column of "
            "labels."
        ),
    ],
    estimator: Annotated[
        str,
        typer.Option(
            help="Estimator to attack: softmax, lgm, logistic, forest, or MODULE:NAME "
            "of an estimator (or a function that returns one) in a Python module."
        ),
    ] = "softmax",
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="Network that the poisons are crafted on: softmax, lgm or "
            "MODULE:NAME. Default: the estimator itself if it is a network of sklgm, "
            "otherwise a network that imitates it."
        ),
    ] = None,
    attack_: Annotated[
        str,
        typer.Option(
            "--attack",
            help="feature_collision, convex_polytope, bullseye_polytope, "
            "gradient_matching, adaptive_likelihood, adaptive_posterior or "
            "adaptive_joint.",
        ),
    ] = "feature_collision",
    n_targets: Annotated[int, typer.Option(help="Number of targets.")] = 50,
    budget: Annotated[
        float,
        typer.Option(
            help="Number of poisons per target: a whole number, or a share below 1 of "
            "the rows of one class."
        ),
    ] = 0.1,
    linf: Annotated[
        float,
        typer.Option(
            min=0,
            help="Largest change of any pixel, in steps of 1/255 of the range of 8-bit "
            "images; 0 for no limit.",
        ),
    ] = 0.0,
    watermark: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Share of the target blended into its bases."
        ),
    ] = 0.0,
    max_iter: Annotated[
        int, typer.Option(help="Number of iterations of the attack.")
    ] = 100,
    label_column: Annotated[
        str | None,
        typer.Option(help="Column that holds the labels, for tables."),
    ] = None,
    drop_column: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table to ignore; may be given several times."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Height and width in pixels to resize images to."),
    ] = None,
    flat: Annotated[
        bool,
        typer.Option(
            "--flat",
            help="Pass images to the estimator as rows of pixels, as is always done "
            "for logistic and forest.",
        ),
    ] = False,
    n_jobs: Annotated[
        int | None,
        typer.Option(help="Number of estimators that are trained in parallel."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or another torch device.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for red_team.json, targets.csv, manifest.csv and the poisons. "
            "Default: sklgm-attack/NAME."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=QUIET_HELP)] = False,
) -> None:
    """Poison an estimator's training rows and see how often it is misled."""
    folder = out or default_folder("sklgm-attack", path)
    interrupted = "Interrupted: nothing was written."
    with (
        errors_in_one_line(_OPTIONS, interrupted=interrupted),
        warnings_in_one_line(_OPTIONS),
        _folder_made(folder),
    ):
        with loading(quiet) as show:
            from sklgm.datasets import load_rows
            from sklgm.red_teaming import red_team
            from sklgm.red_teaming._result import POISON_FILES

            rows = load_rows(
                path,
                label_column=label_column,
                drop_columns=drop_column or (),
                image_size=image_size,
                progress=show,
            )
        X, image_shape, pixel_range = rows.X, None, None
        _check_numbers(path, X)
        bound = _bound(linf, X)
        if X.ndim == 4 and (flat or estimator in ("logistic", "forest")):
            image_shape, pixel_range = X.shape[1:], (X.min(), X.max())
            X = X.reshape(len(X), -1)
        elif rows.feature_names is not None and ":" in estimator:
            polars = import_extra("polars", "cli")  # columns may be chosen by name
            X = polars.DataFrame(X, schema=list(rows.feature_names))
        is_count = math.isfinite(budget) and budget >= 1 and budget == int(budget)
        with progress_bar(quiet) as show, _advice_on_images(X):
            result = red_team(
                _estimator(estimator, "estimator"),
                X,
                rows.y,
                surrogate=surrogate and _estimator(surrogate, "surrogate"),
                attack=attack_,
                n_targets=n_targets,
                budget=int(budget) if is_count else budget,
                max_perturbation=bound,
                watermark_opacity=watermark,
                pixel_range=pixel_range,
                max_iter=max_iter,
                n_jobs=n_jobs,
                random_state=seed,
                device=device,
                progress=show,
            )
        with written_at_once(folder, may_be_absent=POISON_FILES) as partial:
            result.save(partial, image_shape=image_shape, row_names=rows.row_names)
    names = ("red_team.json", "targets.csv", "manifest.csv")
    if as_json:
        files = {name: str(folder / name) for name in names}
        print_json({"files": files, **result.summary()})
    elif not quiet:
        _print_summary(result)
        for name in names:
            typer.echo(folder / name)


@contextmanager
def _folder_made(folder: Path) -> Iterator[None]:
    """Make a folder before the work, and take it away if nothing comes into it."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _check_numbers(path: Path, X: Any) -> None:
    """Refuse tables with columns that poisons cannot change."""
    if hasattr(X, "columns"):
        names = [name for name in X.columns if not X[name].dtype.is_numeric()]
        raise ValueError(
            f"{path} has columns of text, categories or dates, "
            f"{', '.join(map(repr, names))}: poisons change numbers. Leave them out by "
            "drop_columns, or attack the table from Python, with these columns encoded"
        )


def _bound(linf: float, X: Any) -> float | None:
    """Bound of a perturbation in units of X."""
    from sklgm.red_teaming._values import find_levels

    if not linf:
        return None
    scale = find_levels(X).eight_bit_scale
    if scale is None and X.ndim == 4 and X.min() >= 0.0 and X.max() <= 1.0:
        scale = 255.0  # resized images
    if scale is None:
        raise ValueError(
            "--linf is for images of 8 bit, or with values in [0, 1]: other values "
            "have no steps of 1/255"
        )
    return linf / scale


@contextmanager
def _advice_on_images(X: Any) -> Iterator[None]:
    """Name the option for estimators that take no images."""
    try:
        yield
    except ValueError as error:
        if X.ndim == 4 and "dim 4" in str(error):
            raise ValueError(
                f"{error} Images are passed as rows of pixels with --flat."
            ) from error
        raise


def _estimator(name: str, option: str) -> Any:
    """Make the estimator of a name, or import it."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from sklgm.classifiers import LGMClassifier, SoftmaxClassifier

    made = {
        "softmax": SoftmaxClassifier,
        "lgm": LGMClassifier,
        "logistic": lambda: make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=1000)
        ),
        "forest": RandomForestClassifier,
    }
    if name in made:
        return made[name]()
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(
            f"{option} must be one of {', '.join(made)} or MODULE:NAME, got {name!r}"
        )
    sys.path.insert(0, str(Path.cwd()))  # as python -m does
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{option} {name!r} cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    is_made = hasattr(found, "fit") and not isinstance(found, type)
    return found if is_made or not callable(found) else _called(found)


def _called(factory: Any) -> Any:
    """Call what makes an estimator; a torch module is called otherwise."""
    import torch

    return factory if isinstance(factory, torch.nn.Module) else factory()


def _print_summary(result: RedTeamResult) -> None:
    """Print the rate, its control arm, and on what the poisons were crafted."""
    rich_table = import_extra("rich.table", "cli")
    console = import_extra("rich.console", "cli").Console()
    rate, changed, control = (
        result.success_rate,
        result.changed_rate,
        result.control_accuracy,
    )
    table = rich_table.Table(title="Clean-label poisoning", title_justify="left")
    for column in ("", "share", "95 % interval", "of"):
        table.add_column(column)
    for name, one in (
        ("targets misled to the label of the poisons", rate),
        ("targets that lose their true label", changed),
        ("accuracy without poisons", control),
    ):
        ends = f"{100 * one.low:.1f} to {100 * one.high:.1f} %"
        table.add_row(name, f"{100 * one.value:.1f} %", ends, f"{one.n_targets:,}")
    summary = result.summary()
    accuracy = summary["poisoned_accuracy"]
    ends = (
        ""
        if accuracy["low"] is None
        else (f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %")
    )
    table.add_row(
        "accuracy with poisons, mean over targets",
        f"{100 * accuracy['value']:.1f} %",
        ends,
        f"{accuracy['n']:,}",
    )
    console.print(table)
    text = {
        "own": "Poisons were crafted on the network itself, trained without them.",
        "given": "Poisons were crafted on the given surrogate.",
        "imitation": "Black box: poisons were crafted on a network that imitates the "
        f"estimator (it predicts the same for {100 * (result.agreement or 0):.1f} % of "
        "the rows that targets come from). A low rate says that this attack failed, "
        "not that the estimator is safe.",
    }
    console.print(text[result.surrogate])
    ratio = summary["objective_ratio"]
    if ratio is not None and ratio > _FAR and rate.value < _MANY:
        console.print(
            "The attack did not get far: its objective on the surrogate is still "
            f"{100 * ratio:.0f} % of what it was at the start (median). Raise "
            "--max-iter, or give another --attack or --surrogate, before a low rate "
            "means anything."
        )
