"""The command ``sklgm audit``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sklgm._running import import_extra
from sklgm.cli._output import (
    JSON_HELP,
    OVER,
    QUIET_HELP,
    command_line,
    default_folder,
    errors_in_one_line,
    loading,
    output_folder,
    print_json,
    printable,
    progress_bar,
    warnings_in_one_line,
    written_at_once,
)

if TYPE_CHECKING:
    import typer

    from sklgm._inputs import ImageFiles
    from sklgm._running import Progress
    from sklgm.auditing import AuditResult
    from sklgm.datasets import LabelledRows
else:
    typer = import_extra("typer", "cli")

_OPTIONS = {
    "label_column": "--label-column",
    "drop_columns": "--drop-column",
    "group_column": "--group-column",
    "image_size": "--image-size",
    "on_error": "--on-error",
    "false_alarm_rate": "--false-alarm-rate",
    "fdr": "--fdr",
    "contamination": "--contamination",
    "pred_probs": "--pred-probs",
    "features": "--features",
    "decisions": "--decisions",
    "trusted": "--trusted",
    "score_kind": "--score-kind",
    "max_epochs": "--max-epochs",
    "backbone": "--backbone",
    "architecture": "--backbone",
    "weights": "--weights",
    "device": "--device",
    "cv": "--cv",
    "n_repeats": "--n-repeats",
    "n_jobs": "--n-jobs",
    "random_state": "--seed",
}

# Shorter side of images that the default network is trained on unless the user says:
# that of the images which the network for natural ones was made for; what training
# takes grows with its square.
_SHORTER_SIDE = 32
#: Lists that there are of some audits.
_TO_CHECK = "rows_to_check.csv"
_LISTS = ("duplicates.csv", "outliers.csv", _TO_CHECK, "skipped.csv")


def audit(
    path: Annotated[
        Path,
        typer.Argument(
            help="Image folder or .zip of one (one folder per class), .npz with keys "
            "X and y, or .csv, .tsv, .parquet or a folder of .parquet files with a "
            "column of labels."
        ),
    ],
    trusted: Annotated[
        Path | None,
        typer.Option(help="Rows whose labels are known to be right, in the same form."),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column that holds the labels, for tables. Default: label, labels, y, "
            "target or class."
        ),
    ] = None,
    drop_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a table to ignore, such as an identifier; may be given "
            "several times."
        ),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            help="Column of a table that says which rows belong together, such as a "
            "patient or a scene: they are held out together."
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Height and width in pixels to resize images to. Default: the size "
            "that all share, or the median, at most 32 along the shorter side."
        ),
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(
            help="What to do with an image that cannot be read: skip (and list) it, "
            "or stop."
        ),
    ] = "skip",
    pred_probs: Annotated[
        Path | None,
        typer.Option(
            help="Probabilities of the classes by models that were not trained on the "
            "row: .npy, or .npz with key pred_probs. Nothing is trained then. A .npz "
            "PATH may hold the key itself."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Precomputed features to train on: .npy, or .npz with key features. "
            "A .npz PATH may hold the key itself."
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="CSV of rows that were checked: columns row, counted from 0, and "
            "decision (keep, relabel, drop or unsure). They correct the audit."
        ),
    ] = None,
    fdr: Annotated[
        float,
        typer.Option(
            help="Share of correct labels among the suspects that you accept."
        ),
    ] = 0.1,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of correct labels that may be flagged; replaces --fdr."
        ),
    ] = None,
    contamination: Annotated[
        float | None,
        typer.Option(help="Share of the rows to flag; replaces --fdr."),
    ] = None,
    score_kind: Annotated[
        str,
        typer.Option(
            help="posterior, or likelihood, which needs --trusted and also finds rows "
            "that look like no class."
        ),
    ] = "posterior",
    backbone: Annotated[
        str,
        typer.Option(
            help="auto, mlp, cnn, airbench (what auto takes for photographs), "
            "airbench_narrow (a quarter of the arithmetic), resnet18, vgg19, or "
            "identity for precomputed features; with --weights any classification "
            "network of torchvision."
        ),
    ] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="State dict (.safetensors or .pth) of the network that --backbone "
            "names: images are judged by its features, at its own size. Features are "
            "kept in the user's cache."
        ),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option(
            help="Number of epochs per fold. Default: 8, or 20 for photographs; more "
            "if there are few rows."
        ),
    ] = None,
    cv: Annotated[
        int,
        typer.Option(
            help="Number of folds: each row is judged by a model trained without it."
        ),
    ] = 5,
    n_repeats: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of times that the rows are split into folds; probabilities "
            "are averaged. Higher values take longer and rank few rows better.",
        ),
    ] = 1,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or another torch device.")
    ] = "auto",
    n_jobs: Annotated[
        int | None,
        typer.Option(
            help="Number of processes that train folds. Default: one per core; one on "
            "a GPU; one per four cores for the large network of colour images, which "
            "uses the others itself and takes over 1 GB of memory per process."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for suspects.csv, clean_index.csv, audit.json, report.html "
            "and, where there are any, duplicates.csv, outliers.csv, rows_to_check.csv "
            "and skipped.csv. Default: sklgm-audit/NAME."
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Start over instead of resuming an interrupted audit.",
        ),
    ] = False,
    fail_over: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="End with exit code 3 if more than this share of the rows is suspect.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=QUIET_HELP)] = False,
) -> None:
    """Find rows whose label is implausible; write lists and a report.

    Exit codes: 0 done, 1 an error, 2 an unknown option or value, 3 more suspects than
    --fail-over, 130 interrupted.
    """
    folder = out or default_folder("sklgm-audit", path)
    with errors_in_one_line(_OPTIONS), warnings_in_one_line(_OPTIONS) as said:
        with loading(quiet) as show:
            from sklgm._inputs import resolve_device
            from sklgm.auditing import read_decisions
            from sklgm.cli._arrays import has_no_X, load_without_X, read_array
            from sklgm.datasets import load_rows

            resolve_device(device)  # a wrong one is told before anything is read
            load = partial(
                load_rows,
                label_column=label_column,
                drop_columns=drop_column or (),
                group_column=group_column,
                image_size=image_size,
                # Where a network is trained on them; people look at them otherwise.
                shorter_side=None if pred_probs or features else _SHORTER_SIDE,
                on_error=on_error,
                progress=show,
            )
            given = {
                name: read_array(name, path, option)
                for name, option in (("pred_probs", pred_probs), ("features", features))
            }
            shown: Any = None
            known = None
            if weights is None:
                rows = load_without_X(path) if has_no_X(path) else load(path)
                if trusted is not None:
                    if not trusted.exists():
                        raise FileNotFoundError(f"trusted: {trusted} does not exist")
                    known = load(trusted, progress=_of_trusted(show))
                    known = known.with_features(rows.feature_names)
                shown = rows.X
        if weights is not None:
            if image_size is not None:
                raise ValueError(
                    f"image_size={image_size} is not for weights={str(weights)!r}: the "
                    "network resizes images to its own size"
                )
            for name, value in (
                ("label_column", label_column),
                ("drop_columns", drop_column),
                ("group_column", group_column),
            ):
                if value:
                    raise ValueError(
                        f"{name} is for tables, weights={str(weights)!r} for folders "
                        "of images"
                    )
            (rows, shown), known = _load_features(
                path,
                trusted,
                backbone,
                weights,
                is_silent=quiet or as_json,
                quiet=quiet,
                device=device,
                n_jobs=n_jobs,
                on_error=on_error,
            )
            backbone = "identity"
        if n_jobs is None:
            judged_by = "identity" if features is not None else backbone
            n_jobs = _processes_for(rows.X, judged_by, device)
        result = _audit_and_write(
            rows,
            known,
            shown,
            folder,
            restart,
            said,
            quiet,
            decisions=None if decisions is None else read_decisions(decisions),
            **given,
            fdr=fdr,
            false_alarm_rate=false_alarm_rate,
            contamination=contamination,
            score_kind=score_kind,
            backbone=backbone,
            max_epochs=max_epochs,
            cv=cv,
            n_repeats=n_repeats,
            device=device,
            n_jobs=n_jobs,
            random_state=seed,
        )
    names = ["suspects.csv", "clean_index.csv", "audit.json", "report.html"]
    if result.duplicate_pairs is not None and len(result.duplicate_pairs) > 0:
        names.append("duplicates.csv")
    if len(result.outliers) > 0:
        names.append("outliers.csv")
    if result.asks_for_checks:
        names.append(_TO_CHECK)
    if rows.skipped:
        names.append("skipped.csv")
    share = len(result.suspects) / len(result.p_values)
    is_over = fail_over is not None and share > fail_over
    if as_json:
        print_json(
            {
                "files": {name: str(folder / name) for name in names},
                "n_skipped": len(rows.skipped),
                "suspect_share": share,
                "fail_over": fail_over,
                "is_over": is_over,
                **result.summary(),
            }
        )
    elif not quiet:
        _print_summary(result)
        for name in names:
            typer.echo(folder / name)
        if len(result.suspects):
            words = ["sklgm", "apply", "decisions.csv", str(path)]
            words += ["--label-column", label_column] if label_column else []
            for name in drop_column or ():
                words += ["--drop-column", name]
            typer.echo(
                f"Next: decide on the suspects in {folder / 'report.html'}, download "
                f"decisions.csv, and run {shlex.join(words)} --to COPY"
            )
    if is_over:
        typer.echo(
            f"{share:.3%} of the rows are suspect, more than --fail-over {fail_over:g}",
            err=True,
        )
        raise typer.Exit(code=OVER)


def _of_trusted(show: Progress) -> Progress:
    """Progress of reading trusted rows, which come after the others."""
    return lambda stage, n_done, n_steps: show(f"{stage}, trusted", n_done, n_steps)


def _load_features(
    path: Path,
    trusted: Path | None,
    architecture: str,
    weights: Path,
    *,
    is_silent: bool,
    quiet: bool,
    **settings: Any,
) -> tuple[tuple[LabelledRows, ImageFiles], LabelledRows | None]:
    """Features of images by a pretrained network; say what became of its last layer."""
    import numpy as np

    from sklgm.datasets import LabelledRows, list_image_folder
    from sklgm.datasets._parquet_files import find_parquet_files
    from sklgm.features import extract, load_torchvision

    for folder in (path, trusted):
        if folder is None:
            continue
        if not folder.exists():
            raise FileNotFoundError(f"{folder} does not exist.")
        is_images = folder.is_dir() or folder.suffix.lower() == ".zip"
        if not is_images or find_parquet_files(folder) is not None:
            raise ValueError(f"weights is for image folders only, got {folder}.")
    network = load_torchvision(architecture, weights)
    layer = (
        "weights have no classification layer"
        if network.n_classes is None
        else f"took off the classification layer of {network.n_classes} classes"
    )
    if not is_silent:
        typer.echo(
            f"{architecture}: {layer}; {network.feature_dim} features per image."
        )

    def of_folder(folder: Path) -> tuple[LabelledRows, ImageFiles]:
        files, y = list_image_folder(folder)
        with progress_bar(quiet) as show:
            X = extract(
                network,
                files,
                transform=network.transform,
                cache=True,
                progress=show,
                **settings,
            )
        name = folder.resolve().name if folder.is_dir() else folder.stem
        is_read = np.isfinite(X).all(axis=1)
        skipped = tuple(
            (files[row], _reason(files, row))
            for row in np.flatnonzero(~is_read).tolist()
        )
        if skipped:
            kept = np.flatnonzero(is_read)
            X, y, files = X[kept], y[kept], files.chosen(kept)
        rows = LabelledRows(name, X, y, files.names, skipped=skipped)
        return rows, files

    return of_folder(path), None if trusted is None else of_folder(trusted)[0]


def _reason(files: ImageFiles, row: int) -> str:
    """Why a file cannot be read."""
    try:
        files.image(row)
    except (ValueError, OSError) as error:
        return str(error)
    return "it could not be read"


def _processes_for(X: Any, backbone: str, device: str) -> int:
    """Count the processes that train folds fastest, in little memory."""
    from joblib import cpu_count

    from sklgm._inputs import resolve_device
    from sklgm.auditing._fold_models import OF_PRESET
    from sklgm.nn import automatic_backbone

    if resolve_device(device).type != "cpu":
        return 1
    shape = getattr(X, "shape", ())[1:]
    chosen = automatic_backbone(shape) if backbone == "auto" else backbone
    if chosen in OF_PRESET:
        return max(1, int(cpu_count()) // 4)
    return -1


def _audit_and_write(
    rows: LabelledRows,
    known: LabelledRows | None,
    shown: Any,
    folder: Path,
    restart: bool,
    said: Sequence[str],
    quiet: bool,
    **settings: Any,
) -> AuditResult:
    """Audit with a progress bar and write all it gives."""
    from sklgm.auditing import audit as audit_rows
    from sklgm.auditing._decision_list import holds_decisions
    from sklgm.persistence._lists import write_csv
    from sklgm.report import write_audit_report

    with output_folder(folder, restart) as unfinished:
        with progress_bar(quiet) as show:
            result = audit_rows(
                rows.X,
                rows.y,
                groups=rows.groups,
                trusted=None if known is None else (known.X, known.y),
                progress=show,
                resume_from=None if settings["pred_probs"] is not None else unfinished,
                **settings,
            )
        # What was warned of belongs into the report, once.
        result = replace(result, notes=tuple(dict.fromkeys((*said, *result.notes))))
        row_names = rows.row_names or _shown_texts(rows)
        # What somebody filled in is nobody's to replace.
        kept = [name for name in (_TO_CHECK,) if holds_decisions(folder / name)]
        lists = set(_LISTS).difference(kept)
        with written_at_once(folder, may_be_absent=lists) as partial_folder:
            result.save(partial_folder, row_names)
            for name in kept:
                (partial_folder / name).unlink(missing_ok=True)
            if rows.skipped:
                lines = [("name", "reason"), *rows.skipped]
                write_csv(partial_folder / "skipped.csv", [*map(list, lines)], True)
            write_audit_report(
                partial_folder / "report.html",
                result,
                shown,
                # Texts are shown whole.
                rows.row_names,
                feature_names=rows.feature_names,
                title=f"Audit of the labels of {rows.name}",
                command=command_line(),
            )
    return result


def _shown_texts(rows: LabelledRows) -> tuple[str, ...] | None:
    """Start of the longest text of each row of a table, to know the row by."""
    from sklgm.datasets._tables import shown_text

    if not hasattr(rows.X, "get_columns"):
        return None
    texts = [column for column in rows.X.get_columns() if str(column.dtype) == "String"]
    if not texts:
        return None
    longest = max(texts, key=lambda column: column.str.len_chars().mean() or 0)
    return tuple(map(shown_text, longest.to_list()))


def _print_summary(result: AuditResult) -> None:
    """Print how many rows of each class are suspect."""
    rich_table = import_extra("rich.table", "cli")
    rich_text = import_extra("rich.text", "cli")
    console = import_extra("rich.console", "cli").Console()
    summary = result.summary()
    n_samples, n_suspects = summary["n_samples"], summary["n_suspects"]
    table = rich_table.Table(
        title=f"{n_suspects} of {n_samples} rows suspect, "
        + ", ".join(f"{name} {value:g}" for name, value in result.rule.items()),
        title_justify="left",
    )
    for column in ("claimed label", "rows", "suspect"):
        table.add_column(column)
    counts: dict[str, int] = {}
    for label in result.claimed_labels.tolist():
        counts[str(label)] = counts.get(str(label), 0) + 1
    for label, suspect in summary["suspects_by_class"].items():
        # As it is: a label may look like markup.
        text = rich_text.Text(printable(label))
        table.add_row(text, str(counts[label]), str(suspect))
    console.print(table)
    n_contradictory = len(result.contradictory_pairs)
    if n_contradictory > 0:
        console.print(f"Duplicates with different labels: {n_contradictory} pairs")
    for sentence in result.describe_findings():
        console.print(rich_text.Text(printable(sentence)))
    if result.noise_share is not None:
        console.print(f"Estimated share of wrong labels: {_share(result)}")
    else:
        console.print(f"Judged against {result.n_trusted} trusted rows.")
    if result.p_wrong is not None and n_suspects:
        p_wrong = result.p_wrong[result.is_suspect]
        told = f"Right labels among the suspects: {sum(1.0 - p_wrong):.0f} expected"
        n_doubtful = sum(p_wrong < 0.5)
        if n_doubtful:
            told += f". More likely right than wrong: the last {n_doubtful}"
        console.print(told)
    review = result.review
    if review is not None:
        console.print(
            f"Checked: {review.n_checked} rows, {review.n_wrong} of them wrong "
            f"({review.n_wrong_expected:.1f} expected). Worth checking still: "
            f"{review.n_worth_checking} rows."
        )
    elif result.asks_for_checks:
        console.print(
            "Deciding on the rows of rows_to_check.csv, and giving it as --decisions, "
            "settles most of what is open."
        )


def _share(result: AuditResult) -> str:
    text = f"{result.noise_share:.2%}"
    if result.noise_share_interval is None:
        return text
    low, high = result.noise_share_interval
    return f"{text} ({low:.2%} to {high:.2%})"
