"""The command ``sklgm apply``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sklgm._running import import_extra
from sklgm.cli._output import (
    JSON_HELP,
    QUIET_HELP,
    errors_in_one_line,
    loading,
    print_json,
    printable,
    warnings_in_one_line,
)

if TYPE_CHECKING:
    import typer

    from sklgm.auditing import AppliedDecisions
else:
    typer = import_extra("typer", "cli")

_OPTIONS = {
    "to": "--to",
    "label_column": "--label-column",
    "drop_columns": "--drop-column",
    "index": "--index",
}


def apply(
    decisions: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns row, as the audit counts, and decision (keep, "
            "relabel, drop or unsure); new_label or likely_label for rows to relabel. "
            "Such as suspects.csv with a column decision."
        ),
    ],
    path: Annotated[
        Path,
        typer.Argument(help="What was audited; it is only read."),
    ],
    to: Annotated[
        Path,
        typer.Option(
            help="Where the copy goes: a folder or .zip for images, for other data "
            "what PATH is, a file of its type or a folder. It must not be there yet."
        ),
    ],
    index: Annotated[
        bool,
        typer.Option(
            "--index",
            help="Of images write a CSV of path and label instead of copies.",
        ),
    ] = False,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels, as for sklgm audit.")
    ] = None,
    drop_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column that the audit ignored; it is copied all the same. May be "
            "given several times."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=QUIET_HELP)] = False,
) -> None:
    """Carry out decisions on rows: write a relabelled, filtered copy of the data."""
    interrupted = "Interrupted: nothing was written."
    with (
        errors_in_one_line(_OPTIONS, interrupted=interrupted, result=to),
        warnings_in_one_line(_OPTIONS),
    ):
        with loading(quiet) as show:
            from sklgm.auditing import apply_decisions

            result = apply_decisions(
                decisions,
                path,
                to,
                label_column=label_column,
                drop_columns=drop_column or (),
                index=index,
                progress=show,
            )
    if as_json:
        print_json(result.summary())
    elif not quiet:
        _print_summary(result)


def _print_summary(result: AppliedDecisions) -> None:
    """Print what became of the rows."""
    typer.echo(
        f"{result.n_relabelled} rows relabelled, {result.n_dropped} dropped, "
        f"{result.n_kept} kept, {result.n_unsure} unsure and kept, "
        f"{result.n_undecided} without a decision and kept."
    )
    for what, labels in (
        ("New classes", result.new_classes),
        ("Classes without rows now", result.lost_classes),
    ):
        if labels:
            typer.echo(printable(f"{what}: {', '.join(labels)}"))
    typer.echo(printable(f"{result.path}: {result.n_rows} rows"))
