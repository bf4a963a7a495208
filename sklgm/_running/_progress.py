"""Progress on the standard error stream."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklgm._running._extras import import_extra


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show the stages of a run on the standard error stream.

    Yields
    ------
    callable
        Takes the name of a stage, steps done and steps in all.
    """
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
