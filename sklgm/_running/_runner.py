"""How long work is carried out: in parallel, with progress, and again."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklgm._running._checkpoints import Checkpoints
from sklgm._running._environment import describe_environment, user_cache
from sklgm._running._epochs import EpochsOfTasks
from sklgm._running._interrupts import interrupts_raised
from sklgm._running._progress import FINISHED_BEFORE, Progress, show_nothing
from sklgm._running._workers import check_n_jobs, count_workers, run_tasks

if TYPE_CHECKING:
    import torch


class Runner:
    """What does not decide the numbers of a run.

    Parameters
    ----------
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.
    n_jobs : int or None, default=None
        Processes for what can be done side by side, as in joblib; None is one for each
        core, and one for what computes on a GPU.
    folder : path-like or None, default=None
        Where finished stages are kept, for a run that continues an interrupted one.
        None keeps none. See :class:`~sklgm._running._checkpoints.Checkpoints`.
    key : str, default=""
        What decides the numbers: stages of another key are not taken.

    Raises
    ------
    ValueError
        If ``n_jobs`` is 0 or no int.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        *,
        n_jobs: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        key: str = "",
    ) -> None:
        check_n_jobs(n_jobs)
        self.progress = progress or show_nothing
        self.n_jobs = n_jobs
        self._checkpoints = Checkpoints(folder, key)
        self._n_before = 0  # stages that an interrupted run has left
        self._seen: set[str] = set()  # protocols share stages, and ask again

    def once(self, stage: str, function: Callable[[], Any]) -> Any:
        """Carry out a stage, or take its result from the run that was interrupted.

        Parameters
        ----------
        stage : str
            Its name, unique in the run.
        function : callable
            Takes nothing; its result is of records, containers and arrays, or
            estimators that :func:`sklgm.save` knows.

        Returns
        -------
        object
            What the function returned, in this run or before.
        """
        is_found, value = self._checkpoints.get(stage)
        if is_found and stage not in self._seen:
            self._n_before += 1
            self.progress("stages" + FINISHED_BEFORE, self._n_before, self._n_before)
        self._seen.add(stage)
        if not is_found:
            with interrupts_raised():
                value = function()
            self._checkpoints.put(stage, value)
        return value

    def n_workers(self, n_tasks: int, device: torch.device | None = None) -> int:
        """Count the processes that share some tasks.

        Parameters
        ----------
        n_tasks : int
            Number of tasks.
        device : torch.device or None, default=None
            Where they compute; None is the CPU. Processes would share a GPU, and its
            memory: there is one of them unless the user asked for more.

        Returns
        -------
        int
            At least 1.
        """
        n_jobs = self.n_jobs
        if n_jobs is None:
            n_jobs = -1 if device is None or device.type == "cpu" else 1
        return count_workers(n_jobs, n_tasks)

    def map(
        self,
        stage: str,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, ...]],
        n_tasks: int,
        *,
        device: torch.device | None = None,
        n_threads: int | None = 1,
        is_kept: bool = False,
        epochs: str | None = None,
    ) -> list[Any]:
        """Call a function with the arguments of each task, side by side.

        Parameters
        ----------
        stage : str
            Name shown with the progress.
        function : callable
            What to call; it and its results can be pickled.
        tasks : iterable of tuple
            Arguments, made when they are needed.
        n_tasks : int
            How many there are.
        device : torch.device or None, default=None
            Where the function computes; see :meth:`n_workers`.
        n_threads : int or None, default=1
            Threads of each process. The default leaves results the same whatever
            ``n_jobs`` is. None divides those of this process: for few long tasks.
        is_kept : bool, default=False
            Keep the result of each task as :meth:`once` does.
        epochs : str or None, default=None
            Name of a stage that shows the epochs of the networks that tasks train, one
            in each at most; None shows none.

        Returns
        -------
        list
            Results in the order of the tasks.
        """
        self.progress(stage, 0, n_tasks)
        names = [f"{stage}, {i}" for i in range(n_tasks)]
        kept = [self._checkpoints.get(name) for name in names] if is_kept else []
        is_done = [is_found for is_found, _ in kept] or [False] * n_tasks
        if any(is_done):
            self.progress(stage + FINISHED_BEFORE, sum(is_done), n_tasks)
        n_workers = self.n_workers(n_tasks, device)
        told = None
        telling: Any = nullcontext(function)
        if epochs is not None:
            told = EpochsOfTasks(n_tasks, partial(self.progress, epochs))
            for number in (i for i, done in enumerate(is_done) if done):
                told.finished(number)
            tasks = ((number, *task) for number, task in enumerate(tasks))
            if n_workers == 1:
                telling = nullcontext(told.in_this_process(function))
            else:
                telling = told.in_workers(function)
        results: list[Any] = []
        with telling as call:
            computed = run_tasks(
                call,
                (task for task, done in zip(tasks, is_done, strict=True) if not done),
                n_workers=n_workers,
                n_threads=n_threads,
            )
            with closing(computed):  # an error here ends the workers, too
                for number, name in enumerate(names):
                    if is_done[number]:
                        result = kept[number][1]
                    else:
                        with interrupts_raised():
                            result = next(computed)
                        if is_kept:
                            self._checkpoints.put(name, result)
                    results.append(result)
                    if told is not None:
                        told.finished(number)
                    self.progress(stage, len(results), n_tasks)
                if not all(is_done):  # told that it ends, joblib keeps its workers
                    next(computed, None)
        return results


def stages_folder(out: str | os.PathLike[str]) -> Path:
    """Name the folder where finished stages of a run wait until it ends.

    In the user's cache and not beside the results: a folder of results may come from
    someone else.

    Parameters
    ----------
    out : path-like
        Folder of the run's results.

    Returns
    -------
    pathlib.Path
        The folder, another for each ``out``; not created.

    Examples
    --------
    >>> from sklgm.experiments import stages_folder
    >>> stages_folder("results") == stages_folder("results")
    True
    """
    import joblib

    return user_cache() / "unfinished" / str(joblib.hash(str(Path(out).resolve())))


def stage_key(settings: Any, data: Any, device: str) -> str:
    """Say what decides the numbers of a run, in short.

    Parameters
    ----------
    settings : object
        Whatever is set; by its ``repr``.
    data : object
        Rows and labels; can be pickled.
    device : str
        Where networks compute, with the name of a GPU.

    Returns
    -------
    str
        A hash of settings, rows, device, number of threads, versions of the packages
        and sources of this one.
    """
    import joblib
    import torch  # takes seconds: not before something runs

    sources = sorted(
        (str(path), path.read_bytes())
        for path in Path(str(importlib.resources.files("sklgm"))).rglob("*.py")
    )
    environment = {**describe_environment(), "device": device}
    n_threads = torch.get_num_threads()
    key = (repr(settings), data, environment, n_threads, sources)
    return str(joblib.hash(key))
