"""Progress on the standard error stream."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklgm._running._extras import import_extra

Progress = Callable[[str, int, int], None]

#: Ends the name of a stage whose steps an interrupted run has left.
FINISHED_BEFORE = " (finished before)"
_RESUMED = "Resuming the run that was interrupted."
# Steps may take minutes; their speed is what the time left is estimated from.
_SPEED_PERIOD = 1800.0


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """Show the stages of a run, and the time left, on the standard error stream.

    Where that is not a terminal, such as a log, the name of each stage is a line. So is
    that stages of an interrupted run are taken from it.

    Parameters
    ----------
    quiet : bool, default=False
        Whether to show nothing.

    Yields
    ------
    callable
        Takes the name of a stage, steps done and steps in all.
    """
    if quiet:
        yield show_nothing
        return
    progress = import_extra("rich.progress", "cli")
    console = import_extra("rich.console", "cli").Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        told: set[str] = set()

        def tell(stage: str, n_done: int, n_steps: int) -> None:
            line = _RESUMED if stage.endswith(FINISHED_BEFORE) else stage
            if line not in told:
                told.add(line)
                print(line, file=sys.stderr, flush=True)

        yield tell
        return
    with progress.Progress(
        progress.TextColumn("{task.description}", table_column=_shortened()),
        progress.BarColumn(bar_width=16),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        speed_estimate_period=_SPEED_PERIOD,
        console=console,
        transient=True,
    ) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, n_done: int, n_steps: int) -> None:
            is_left = stage.endswith(FINISHED_BEFORE)
            if is_left and not any(name.endswith(FINISHED_BEFORE) for name in tasks):
                bar.console.print(_RESUMED)
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=n_steps)
            bar.update(tasks[stage], completed=n_done, total=n_steps)

        yield show


def show_nothing(stage: str, n_done: int, n_steps: int) -> None:
    """Show nothing, where nobody asked for progress.

    Parameters
    ----------
    stage : str
        Name of a stage.
    n_done, n_steps : int
        Steps done, and in all.
    """


def _shortened() -> Any:
    """Column that is cut, and not wrapped, where the terminal is narrow."""
    column = import_extra("rich.table", "cli").Column
    return column(no_wrap=True, overflow="ellipsis")
