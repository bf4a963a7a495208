"""The command ``sklgm audit``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sklgm._running import import_extra
from sklgm.cli._output import (
    command_line,
    errors_in_one_line,
    output_folder,
    progress_bar,
)

if TYPE_CHECKING:
    import typer

    from sklgm.auditing import AuditResult
    from sklgm.datasets import LabelledRows
else:
    typer = import_extra("typer", "cli")

_OPTIONS = {
    "label_column": "--label-column",
    "drop_columns": "--drop-column",
    "image_size": "--image-size",
    "false_alarm_rate": "--false-alarm-rate",
    "fdr": "--fdr",
    "contamination": "--contamination",
    "pred_probs": "--pred-probs",
    "features": "--features",
    "decisions": "--decisions",
    "score_kind": "--score-kind",
    "max_epochs": "--max-epochs",
    "backbone": "--backbone",
    "device": "--device",
    "cv": "--cv",
    "random_state": "--seed",
}


def audit(
    path: Annotated[
        Path,
        typer.Argument(
            help="Image folder or .zip of one (one folder per class), .npz with keys "
            "X and y, or .csv or .parquet with a column of labels."
        ),
    ],
    trusted: Annotated[
        Path | None,
        typer.Option(help="Rows whose labels are known to be right, in the same form."),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the labels in tables. Default: label, labels, y, target "
            "or class."
        ),
    ] = None,
    drop_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a table to ignore, such as an identifier; may be given "
            "several times."
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Height and width in pixels to resize images to."),
    ] = None,
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
        typer.Option(help="Share of right labels among the suspects that is accepted."),
    ] = 0.1,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of right labels that may be flagged; instead of --fdr."
        ),
    ] = None,
    contamination: Annotated[
        float | None,
        typer.Option(help="Share of the rows to flag; instead of --fdr."),
    ] = None,
    score_kind: Annotated[
        str,
        typer.Option(
            help="posterior, or likelihood, which needs --trusted and finds rows that "
            "look like no class as well."
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
            help="Begin anew where an audit with the same settings was interrupted.",
        ),
    ] = False,
) -> None:
    """Find rows whose label is implausible; write lists and a report."""
    folder = out or Path("sklgm-audit") / path.resolve().stem
    with errors_in_one_line(_OPTIONS):
        from sklgm.auditing import read_decisions
        from sklgm.cli._arrays import has_no_X, load_without_X, read_array
        from sklgm.datasets import load_rows

        load = partial(
            load_rows,
            label_column=label_column,
            drop_columns=drop_column or (),
            image_size=image_size,
        )
        given = {
            name: read_array(name, path, option)
            for name, option in (("pred_probs", pred_probs), ("features", features))
        }
        rows = load_without_X(path) if has_no_X(path) else load(path)
        known = None
        if trusted is not None:
            known = load(trusted).with_features(rows.feature_names)
        result = _audit_and_write(
            rows,
            known,
            folder,
            restart,
            decisions=None if decisions is None else read_decisions(decisions),
            **given,
            fdr=fdr,
            false_alarm_rate=false_alarm_rate,
            contamination=contamination,
            score_kind=score_kind,
            backbone=backbone,
            max_epochs=max_epochs,
            cv=cv,
            device=device,
            random_state=seed,
        )
    _print_summary(result)
    for name in ("suspects.csv", "clean_index.csv", "audit.json", "report.html"):
        typer.echo(folder / name)


def _audit_and_write(
    rows: LabelledRows,
    known: LabelledRows | None,
    folder: Path,
    restart: bool,
    **settings: Any,
) -> AuditResult:
    """Audit with a progress bar and write all it gives."""
    from sklgm.auditing import audit as audit_rows
    from sklgm.report import write_audit_report

    with output_folder(folder, restart) as unfinished:
        with progress_bar() as show:
            result = audit_rows(
                rows.X,
                rows.y,
                trusted=None if known is None else (known.X, known.y),
                progress=show,
                resume_from=None if settings["pred_probs"] is not None else unfinished,
                **settings,
            )
        result.save(folder, rows.row_names)
        write_audit_report(
            folder / "report.html",
            result,
            rows.X,
            rows.row_names,
            title=f"Audit of the labels of {rows.name}",
            command=command_line(),
        )
    return result


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
        table.add_row(rich_text.Text(label), str(counts[label]), str(suspect))
    console.print(table)
    if result.noise_share is not None:
        console.print(f"Estimated share of wrong labels: {_share(result)}")
    else:
        console.print(f"Judged against {result.n_trusted} trusted rows.")
    if result.n_expected_right is not None and n_suspects:
        console.print(
            f"Right labels among the suspects: {result.n_expected_right:.0f} expected"
        )
    review = result.review
    if review is not None:
        console.print(
            f"Checked: {review.n_checked} rows, {review.n_wrong} of them wrong "
            f"({review.n_wrong_expected:.1f} expected). Worth checking still: "
            f"{review.n_worth_checking} rows."
        )
    elif result.rows_to_check is not None and len(result.rows_to_check):
        rows = ", ".join(str(row) for row in result.rows_to_check.tolist())
        console.print(
            "Checking these rows, and giving --decisions, settles most of what is "
            f"open: {rows}"
        )


def _share(result: AuditResult) -> str:
    text = f"{result.noise_share:.2%}"
    if result.noise_share_interval is None:
        return text
    low, high = result.noise_share_interval
    return f"{text} ({low:.2%} to {high:.2%})"
