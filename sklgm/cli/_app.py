"""The application: its commands, and what it does without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from sklgm._running import import_extra, installed_version
from sklgm.cli._apply_command import apply
from sklgm.cli._attack_command import attack
from sklgm.cli._audit_command import audit
from sklgm.cli._doctor_command import doctor
from sklgm.cli._reproduce_command import reproduce

if TYPE_CHECKING:
    import typer
else:
    typer = import_extra("typer", "cli")

app = typer.Typer(
    help="scikit-learn classifiers that resist clean-label poisoning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(reproduce)
app.command()(audit)
app.command()(apply)
app.command()(attack)
app.command()(doctor)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sklgm {installed_version('sklgm') or 'unknown'}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """scikit-learn classifiers that resist clean-label poisoning."""  # noqa: D403
