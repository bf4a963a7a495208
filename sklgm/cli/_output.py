"""What commands share: progress, the folder of an unfinished run, errors."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklgm._running import (
    Progress,
    import_extra,
    interrupts_raised,
    progress_bar,
    stages_folder,
)

if TYPE_CHECKING:
    import typer
else:
    typer = import_extra("typer", "cli")

__all__ = [
    "DEVICES",
    "command_line",
    "completed",
    "errors_in_one_line",
    "in_options",
    "loading",
    "output_folder",
    "progress_bar",
]

#: Exit code of an audit that has more suspects than ``--fail-over`` allows.
OVER = 3
#: Exit code of a program that Ctrl-C ended: 128 and the number of the signal.
INTERRUPTED = 130

#: What an interrupted command says, if finished stages wait in the cache.
_GOES_ON = (
    "Interrupted: nothing was written. Run the same command again to resume, or with "
    "--restart to start over."
)
_ARE_THERE = "Interrupted: the results had been written."
_ARE_WRITTEN = ContextVar("results_are_written", default=False)
JSON_HELP = "Print the summary as one line of JSON, and nothing else, to stdout."
QUIET_HELP = "Show no progress and no summary; warnings and errors go to stderr."
#: Devices that shells offer.
DEVICES = ("auto", "cpu", "cuda")

#: What a command answers with one line, and not with a traceback.
_EXPECTED = (OSError, ValueError, TypeError, ImportError, RuntimeError)


def completed(values: Sequence[str]) -> Callable[[str], list[str]]:
    """Make what a shell asks for the values of an argument.

    Parameters
    ----------
    values : sequence of str
        All values.

    Returns
    -------
    callable
        Takes what was typed and gives the values that begin with it.
    """

    def begin_with(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return begin_with


@contextmanager
def errors_in_one_line(
    options: Mapping[str, str],
    *,
    interrupted: str = _GOES_ON,
    result: Path | None = None,
) -> Iterator[None]:
    """End the command with one line where input, data or an extra will not do.

    Likewise where the user interrupts it: with exit code 130.

    Parameters
    ----------
    options : mapping of str to str
        Option by parameter: what the user typed, by what the message calls it.
    interrupted : str
        What to say after Ctrl-C, unless :func:`written_at_once` had written by then.
    result : Path or None, default=None
        File or folder that appears when all is written, if it is one.
    """
    token = _ARE_WRITTEN.set(False)
    was_there = _is_there(result)  # never raises
    try:
        with interrupts_raised():
            yield
    except KeyboardInterrupt:
        is_written = _ARE_WRITTEN.get() or (_is_there(result) and not was_there)
        typer.echo(_ARE_THERE if is_written else interrupted, err=True)
        raise typer.Exit(code=INTERRUPTED) from None
    except _EXPECTED as error:
        typer.echo(f"Error: {printable(in_options(str(error), options))}", err=True)
        raise typer.Exit(code=1) from error
    finally:
        _ARE_WRITTEN.reset(token)


def _is_there(result: Path | None) -> bool:
    """Whether there is a file, or a folder with anything in it."""
    if result is None:
        return False
    try:
        return any(result.iterdir()) if result.is_dir() else result.exists()
    except OSError:  # it may not be read, or its name is too long
        return False


@contextmanager
def loading(quiet: bool) -> Iterator[Progress]:
    """Show progress from the start of a command: importing torch takes seconds.

    Parameters
    ----------
    quiet : bool
        Whether to show nothing.

    Yields
    ------
    callable
        Takes the name of a stage, steps done and steps in all.
    """
    with progress_bar(quiet) as show, interrupts_raised():
        show("load libraries", 0, 1)
        with interrupts_raised():
            import torch  # noqa: F401
        show("load libraries", 1, 1)
        yield show


@contextmanager
def warnings_in_one_line(options: Mapping[str, str]) -> Iterator[list[str]]:
    """Print what the package warns of as one line, without a place in the code.

    Parameters
    ----------
    options : mapping of str to str
        Option by parameter.

    Yields
    ------
    list of str
        The lines so far.
    """
    said: list[str] = []
    show = warnings.showwarning

    def show_line(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if not issubclass(category, UserWarning):
            show(message, category, *place, **more)
            return
        line = printable(in_options(str(message), options))
        if line not in said:  # loading and judging may notice the same
            said.append(line)
            # Not err=True, which would write past a bar that is shown.
            typer.echo(f"Warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show_line
        yield said


def print_json(value: Any) -> None:
    """Print a summary as one line of JSON.

    Parameters
    ----------
    value : object
        Dicts, lists, texts and numbers; of numbers that JSON lacks null is printed.
    """
    typer.echo(json.dumps(_finite(value), allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(text: str) -> str:
    """Escape what is not Unicode, such as a name of a file in another encoding.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        Text that can be printed.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def in_options(message: str, options: Mapping[str, str]) -> str:
    """Name options where a message names parameters.

    Parameters
    ----------
    message : str
        Such as ``"cv must be at least 2 folds, got 1"``.
    options : mapping of str to str
        Option by parameter.

    Returns
    -------
    str
        Such as ``"--cv must be at least 2 folds, got 1"``.
    """
    nothing = "(?!)"
    names = "|".join(options) or nothing
    # One plain word is a parameter only where it has a value or a sentence starts.
    clear = "|".join(name for name in options if "_" in name) or nothing
    return re.sub(
        rf"\b(?P<set>{names})=|^(?P<first>{names})\b|\b(?P<any>{clear})\b",
        lambda m: options[m[m.lastgroup or 0]] + (" " if m.lastgroup == "set" else ""),
        message,
    )


def default_folder(parent: str, path: Path) -> Path:
    """Choose a folder of results that is named after the data.

    Parameters
    ----------
    parent : str
        Folder of all results of a command.
    path : Path
        The data: a file, whose suffix is left out, or a folder.

    Returns
    -------
    Path
        It need not exist.
    """
    path = path.resolve()
    return Path(parent) / (path.name if path.is_dir() else path.stem)


@contextmanager
def output_folder(folder: Path, restart: bool) -> Iterator[Path]:
    """Make the folder of the results, and delete unfinished stages once they are there.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    restart : bool
        Whether to forget what was finished before.

    Yields
    ------
    Path
        Where finished stages of a run wait until it ends.
    """
    unfinished = stages_folder(folder)
    if restart:
        shutil.rmtree(unfinished, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib = import_extra("matplotlib", "cli")
    matplotlib.use("agg")  # no display is needed to write files
    matplotlib.rcParams["figure.max_open_warning"] = 0  # they are closed when written
    yield unfinished
    import_extra("matplotlib.pyplot", "cli").close("all")
    shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def written_at_once(
    folder: Path, *, may_be_absent: Collection[str] = ()
) -> Iterator[Path]:
    """Write results beside their folder, and move them into it when all are there.

    Parameters
    ----------
    folder : Path
        Folder of the results, which exists. What they do not replace stays.
    may_be_absent : collection of str, default=()
        Patterns of files that there are only sometimes; those of results before are
        deleted.

    Yields
    ------
    Path
        Where to write.
    """
    partial = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    try:
        with interrupts_raised():  # before anything is there
            yield partial
        with _uninterrupted():
            for pattern in may_be_absent:
                for old in folder.glob(pattern):
                    if not (partial / old.relative_to(folder)).exists():
                        old.unlink()
            for path in sorted(partial.rglob("*")):
                target = folder / path.relative_to(partial)
                if path.is_dir():
                    target.mkdir(exist_ok=True)
                else:
                    path.replace(target)
            _ARE_WRITTEN.set(True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for a few renames: half of them would be wrong results."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def command_line() -> str:
    """Return the command as it was typed, without the path of the program."""
    return shlex.join(["sklgm", *sys.argv[1:]])
