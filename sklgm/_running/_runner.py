"""How long work is carried out: in parallel, with progress, and again."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from sklgm._running._environment import describe_environment, user_cache

if TYPE_CHECKING:
    import torch

Progress = Callable[[str, int, int], None]


class Runner:
    """What does not decide the numbers of a run.

    Parameters
    ----------
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.
    n_jobs : int or None, default=None
        Processes for what can be done side by side, as in joblib; None is one for each
        core, and one for what computes on a GPU. Each computes on one thread, however
        many there are, so that results do not depend on it.
    folder : path-like or None, default=None
        Where finished stages are kept, for a run that continues an interrupted one.
        None keeps none. Read by unpickling: it must be the user's own.
    key : hashable, default=()
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
        key: Any = (),
    ) -> None:
        if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
            raise ValueError(f"n_jobs must be an int but 0, or None, got {n_jobs!r}")
        import joblib  # here, since a help text does not need it

        self.progress = progress or _no_progress
        self.n_jobs = n_jobs
        self._key = key
        self._memory = joblib.Memory(folder, verbose=0)
        # The function is made anew by every run and is no part of the key.
        self._stage = self._memory.cache(_call, ignore=["function"])

    def once(self, stage: str, function: Callable[[], Any]) -> Any:
        """Carry out a stage, or take its result from the run that was interrupted.

        Parameters
        ----------
        stage : str
            Its name, unique in the run.
        function : callable
            Takes nothing; its result can be pickled.

        Returns
        -------
        object
            What the function returned, in this run or before.
        """
        return self._stage((stage, self._key), function)

    def map(
        self,
        stage: str,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, ...]],
        n_tasks: int,
        *,
        device: torch.device | None = None,
    ) -> list[Any]:
        """Call a function with the arguments of each task, side by side.

        Parameters
        ----------
        stage : str
            Name shown with the progress.
        function : callable
            Of a module, so that other processes can import it.
        tasks : iterable of tuple
            Arguments, made when they are needed.
        n_tasks : int
            How many there are.
        device : torch.device or None, default=None
            Where the function computes; None is the CPU. Processes would share a GPU,
            and its memory: there is one of them unless the user asked for more.

        Returns
        -------
        list
            Results in the order of the tasks.
        """
        import joblib

        self.progress(stage, 0, n_tasks)
        n_jobs = self.n_jobs
        if n_jobs is None:
            n_jobs = -1 if device is None or device.type == "cpu" else 1
        results = []
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
            jobs = (joblib.delayed(_on_one_thread)(function, *task) for task in tasks)
            for result in parallel(jobs):
                results.append(result)
                self.progress(stage, len(results), n_tasks)
        return results


def stages_folder(out: str | os.PathLike[str]) -> Path:
    """Name the folder where finished stages of a run wait until it ends.

    In the user's cache and not beside the results: what lies there is unpickled, and a
    folder of results may come from someone else.

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


def _call(key: Any, function: Callable[[], Any]) -> Any:
    return function()


def _on_one_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    import torch

    # With one job this is the process of the user, who has set threads for the rest.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return function(*arguments)
    finally:
        torch.set_num_threads(n_threads)


def _no_progress(stage: str, n_done: int, n_steps: int) -> None:
    """Show nothing."""
