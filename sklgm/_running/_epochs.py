"""How far trainings are: told by networks, also from worker processes."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

_SECONDS_BETWEEN = 0.3
_TELL: ContextVar[Callable[[int, int], None] | None] = ContextVar(
    "tell_epoch", default=None
)


def tell_epoch(n_done: int, n_epochs: int) -> None:
    """Tell whoever listens how far a training is.

    Parameters
    ----------
    n_done : int
        Epochs that are done.
    n_epochs : int
        Epochs in all.
    """
    tell = _TELL.get()
    if tell is not None:
        tell(n_done, n_epochs)


@contextmanager
def epochs_told(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Listen to the trainings inside.

    Parameters
    ----------
    tell : callable
        Called after every epoch with the epochs done and in all.

    Yields
    ------
    None
        For the length of a ``with`` block, in this thread.
    """
    token = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(token)


class EpochsOfTasks:
    """Sum of the epochs of several trainings, wherever they run.

    Parameters
    ----------
    n_tasks : int
        Number of tasks, each with one training or none.
    show : callable
        Called with the epochs done and in all, from the first epoch on.
    """

    def __init__(self, n_tasks: int, show: Callable[[int, int], None]) -> None:
        self._done = [0] * n_tasks
        self._finished = [False] * n_tasks
        self._n_epochs = 0
        self._show = show
        self._shown = (0, 0)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._folder: Path | None = None  # where workers write, while they run

    def told(self, number: int, n_done: int, n_epochs: int) -> None:
        """Note how far a task is, and show the sum.

        Parameters
        ----------
        number : int
            Of the task.
        n_done, n_epochs : int
            Its epochs, done and in all.
        """
        with self._lock:
            self._n_epochs = max(self._n_epochs, n_epochs)
            self._done[number] = max(self._done[number], n_done)
            self._show_sum()

    def finished(self, number: int) -> None:
        """Note that a task has no more epochs, however many it had.

        Parameters
        ----------
        number : int
            Of the task.

        Raises
        ------
        BaseException
            What showing the epochs of workers has raised since the last task.
        """
        if self._error is not None:
            raise self._error
        self._read_from_worker(number)  # a short training is over before it was read
        with self._lock:
            self._finished[number] = True
            if self._n_epochs > 0:
                self._show_sum()

    def _show_sum(self) -> None:
        n_epochs = self._n_epochs
        parts = zip(self._done, self._finished, strict=True)
        n_done = sum(n_epochs if is_over else min(n, n_epochs) for n, is_over in parts)
        shown = n_done, n_epochs * len(self._done)
        if shown != self._shown:
            self._shown = shown
            self._show(*shown)

    def in_this_process(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function that tells its epochs here.

        Parameters
        ----------
        function : callable
            What a task calls.

        Returns
        -------
        callable
            Takes the number of the task before its arguments.
        """
        return partial(_call_here, self, function)

    @contextmanager
    def in_workers(self, function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
        """Make a function that tells its epochs from another process.

        By files, since workers may be started in any way; a thread reads them. Workers
        on other machines do not reach them, and are silent.

        Parameters
        ----------
        function : callable
            What a task calls; can be pickled.

        Yields
        ------
        callable
            Takes the number of the task before its arguments; can be pickled.
        """
        folder = tempfile.mkdtemp(prefix="sklgm-epochs-")
        self._folder = Path(folder)
        is_over = threading.Event()
        reader = threading.Thread(target=self._read, args=(is_over,), daemon=True)
        reader.start()
        try:
            yield partial(_call_in_worker, folder, function)
        finally:
            is_over.set()
            reader.join()
            self._folder = None
            shutil.rmtree(folder, ignore_errors=True)

    def _read(self, is_over: threading.Event) -> None:
        try:
            while not is_over.wait(_SECONDS_BETWEEN):
                for number in range(len(self._done)):
                    self._read_from_worker(number)
        except BaseException as error:  # of the caller's callback: for its thread
            self._error = error

    def _read_from_worker(self, number: int) -> None:
        told = None if self._folder is None else _read_told(self._folder / str(number))
        if told is not None:
            self.told(number, *told)


def _read_told(path: Path) -> tuple[int, int] | None:
    """Epochs done and in all; None where nothing was told, or half of it is written."""
    with suppress(OSError, ValueError):
        n_done, n_epochs = path.read_text().split()
        return int(n_done), int(n_epochs)
    return None


def _call_here(
    epochs: EpochsOfTasks, function: Callable[..., Any], number: int, *task: Any
) -> Any:
    with epochs_told(partial(epochs.told, number)):
        return function(*task)


def _call_in_worker(
    folder: str, function: Callable[..., Any], number: int, *task: Any
) -> Any:
    path = Path(folder) / str(number)

    def tell(n_done: int, n_epochs: int) -> None:
        with suppress(OSError):
            path.write_text(f"{n_done} {n_epochs}")

    with epochs_told(tell):
        return function(*task)
