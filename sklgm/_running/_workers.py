"""Worker processes, and the threads that each of them has."""

from __future__ import annotations

import io
import mmap
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral
from typing import Any

from threadpoolctl import threadpool_limits


def count_workers(n_jobs: int | None, n_tasks: int) -> int:
    """Count the processes that share some tasks.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib: -1 is one for each core; None is 1, or what a
        ``joblib.parallel_config`` around it says.
    n_tasks : int
        Number of tasks.

    Returns
    -------
    int
        From 1 to ``n_tasks``; 1 where this is a worker itself, whose siblings have the
        other cores.

    Raises
    ------
    ValueError
        If ``n_jobs`` is 0 or no int.
    """
    check_n_jobs(n_jobs)
    import joblib  # here, since a help text does not need it

    backend, _ = joblib.parallel.get_active_backend()
    if (backend.nesting_level or 0) > 0:
        return 1
    return max(1, min(int(joblib.effective_n_jobs(n_jobs)), n_tasks))


def check_n_jobs(n_jobs: int | None) -> None:
    """Refuse what joblib would not understand.

    Parameters
    ----------
    n_jobs : int or None
        Number of processes.

    Raises
    ------
    ValueError
        If it is 0 or no int.
    """
    is_int = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool)
    if n_jobs is not None and (not is_int or n_jobs == 0):
        raise ValueError(f"n_jobs must be an int but 0, or None, got {n_jobs!r}")


def divided_threads(n_workers: int) -> int:
    """Divide the threads of this process among workers.

    Parameters
    ----------
    n_workers : int >= 1
        Number of worker processes.

    Returns
    -------
    int
        Threads for each, at least 1. What there are to divide is torch's number of
        threads: ``OMP_NUM_THREADS``, or ``torch.set_num_threads``.
    """
    import torch  # takes seconds: not before something runs

    return max(1, torch.get_num_threads() // n_workers)


def is_on_cluster() -> bool:
    """Whether a ``joblib.parallel_config("dask")`` is around this.

    Returns
    -------
    bool
        True where tasks go to the workers of Dask.
    """
    import joblib

    backend, _ = joblib.parallel.get_active_backend()
    return type(backend).__name__ == "DaskDistributedBackend"


class ByFileName:
    """A function whose memory-mapped arrays travel as the name of their file.

    Workers of Dask would else be sent all of their values. They read them from the same
    path, by a file system that they share.

    Parameters
    ----------
    function : callable
        Can be pickled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *task: Any) -> Any:
        """Call the function.

        Parameters
        ----------
        *task : object
            Its arguments.

        Returns
        -------
        object
            What it returns.
        """
        return self.function(*task)

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle  # Dask needs it, too
        import numpy as np  # here, since a help text does not need it

        class Pickler(cloudpickle.Pickler):
            def reducer_override(self, thing: Any) -> Any:
                # A part of a mapped array has another array as its base.
                # One of mode "c" may hold changes that its file has not.
                if (
                    type(thing) is np.memmap
                    and isinstance(thing.base, mmap.mmap)
                    and thing.mode != "c"
                ):
                    order = "C" if thing.flags.c_contiguous else "F"
                    place = thing.filename, thing.dtype, "r", thing.offset
                    return np.memmap, (*place, thing.shape, order)
                return super().reducer_override(thing)

        stream = io.BytesIO()
        Pickler(stream).dump(self.function)
        return _from_bytes, (stream.getvalue(),)


def _from_bytes(content: bytes) -> ByFileName:
    return ByFileName(pickle.loads(content))


@contextmanager
def limited_threads(n_threads: int) -> Iterator[None]:
    """Compute with so many threads, for the length of a ``with`` block.

    Parameters
    ----------
    n_threads : int >= 1
        Threads of torch, and at most of BLAS and OpenMP elsewhere.

    Yields
    ------
    None
        For the length of the block.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with threadpool_limits(n_threads):
            yield
    finally:
        torch.set_num_threads(before)


def run_tasks(
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    *,
    n_workers: int,
    n_threads: int | None,
) -> Generator[Any, None, None]:
    """Call a function with the arguments of each task, in processes side by side.

    Large arrays among the arguments are written once and memory-mapped by the workers,
    read-only. An error of a task, and Ctrl-C, end all of them. Inside a
    ``joblib.parallel_config("dask")`` tasks go to the workers of Dask.

    Parameters
    ----------
    function : callable
        Its result can be pickled.
    tasks : iterable of tuple
        Arguments, made when they are needed.
    n_workers : int >= 1
        Processes; of 1 this one does the work.
    n_threads : int >= 1 or None
        Threads of each. Results depend on them, to the last bits, and not on
        ``n_workers``. None divides those of this process.

    Yields
    ------
    object
        Results in the order of the tasks, each as soon as it is there.
    """
    if n_workers == 1:
        for task in tasks:
            with nullcontext() if n_threads is None else limited_threads(n_threads):
                result = function(*task)
            yield result
        return
    if n_threads is None:
        n_threads = divided_threads(n_workers)
    import joblib

    if is_on_cluster():
        parallel = joblib.Parallel(return_as="generator")
        function = ByFileName(function)
        pickle.dumps(function)  # Dask would wait for ever for what cannot be sent
    else:
        # Threads would share torch's generator, which training seeds.
        with joblib.parallel_config("loky", inner_max_num_threads=n_threads):
            parallel = joblib.Parallel(n_jobs=n_workers, return_as="generator")
    call = joblib.delayed(_in_worker)
    results = parallel(call(function, task, n_threads) for task in tasks)
    try:
        for result in results:  # noqa: UP028, since closing must be silent
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*have been cancelled")
            results.close()


def _in_worker(
    function: Callable[..., Any], task: tuple[Any, ...], n_threads: int
) -> Any:
    if threading.current_thread() is not threading.main_thread():
        # Of a worker of Dask: it is not in the user's terminal.
        with limited_threads(n_threads):
            return function(*task)
    # Ctrl-C reaches every process of a terminal, and training would return what it has
    # so far. It is for the process of the user, which ends this one.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with limited_threads(n_threads):
            return function(*task)
    finally:
        signal.signal(signal.SIGINT, before)
