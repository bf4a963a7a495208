"""Commands that are interrupted stop, write nothing, and go on where they were."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
import typer
from sklearn.datasets import load_digits

from sklgm.cli._output import errors_in_one_line, loading, written_at_once

SECONDS_TO_STOP = 30.0  # on a loaded machine; alone it takes less than two


@pytest.fixture(scope="module")
def digits_npz(tmp_path_factory):
    """Digits with some wrong labels, in a file."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    digits = load_digits()
    X = (digits.images[:600, None] / 16.0).astype(np.float32)
    y = digits.target[:600].copy()
    y[:20] = (y[:20] + 1) % 10
    np.savez(path, X=X, y=y)
    return path


class Command:
    """A command in a process of its own, with a cache of its own."""

    def __init__(self, folder, *arguments):
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sklgm", *map(str, arguments)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, timeout=900.0):
        try:
            out, err = self.process.communicate(timeout=timeout)
        finally:
            self.process.kill()
        return self.process.returncode, out, err

    def interrupt(self, number):
        begun = time.monotonic()
        self.process.send_signal(number)
        code, out, err = self.end()
        return code, err, time.monotonic() - begun


def stages(folder):
    """Finished stages that wait in the cache."""
    return sorted((folder / "cache").rglob("*.sklgm"))


def wait_for(condition, command, limit=300.0):
    begun = time.monotonic()
    while not condition():
        assert command.process.poll() is None, command.end()
        assert time.monotonic() - begun < limit
        time.sleep(0.05)


def results(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted((folder / "out").rglob("*"))
        if path.suffix in (".csv", ".parquet")
    }


AUDIT = ("audit", "digits.npz", "--cv", 3, "--max-epochs", 20, "--out", "out")
REPRODUCE = (
    "reproduce",
    "digits.npz",
    "--out",
    "out",
    *("--protocol", "transfer", "--n-targets", 2, "--n-poisons", 2, "--n-jobs", 1),
    *("--set", "run.max_epochs=3", "--set", "transfer.max_iter=10"),
)


@pytest.fixture
def folder(tmp_path, digits_npz):
    (tmp_path / "digits.npz").symlink_to(digits_npz)
    return tmp_path


@pytest.fixture(scope="module", params=[AUDIT, REPRODUCE], ids=["audit", "reproduce"])
def uninterrupted(request, tmp_path_factory, digits_npz):
    """A command, and its results when nothing interrupts it."""
    place = tmp_path_factory.mktemp("uninterrupted")
    (place / "digits.npz").symlink_to(digits_npz)
    code, _, err = Command(place, *request.param).end()
    assert code == 0, err
    return request.param, results(place)


def test_an_interrupt_inside_a_dataclass_ends_by_the_exit_code(tmp_path):
    # Python would kill its own process by the signal, though the command handled it.
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from sklgm.cli import _app, main\n"
        "def app():\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n"
        "_app.app = app\n"
        "main()\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("n_finished", [0, 1])
def test_an_interrupted_command_goes_on_to_the_same_bytes(
    uninterrupted, number, n_finished, folder
):
    arguments, expected = uninterrupted
    command = Command(folder, *arguments)
    if n_finished == 0:
        wait_for((folder / "out").exists, command)
        time.sleep(1.0)
    else:
        wait_for(lambda: len(stages(folder)) >= n_finished, command)
        time.sleep(0.3)  # in the middle of the next
    code, err, seconds = command.interrupt(number)

    assert seconds < SECONDS_TO_STOP
    assert results(folder) == {}
    assert os.listdir(folder / "out") == []
    if number == signal.SIGINT:
        assert code == 130
        assert "Traceback" not in err
        assert err.strip().splitlines()[-1] == (
            "Interrupted: nothing was written. Run the same command again to resume, "
            "or with --restart to start over."
        )
    n_before = len(stages(folder))
    assert n_before >= n_finished

    code, _, err = Command(folder, *arguments).end()
    assert code == 0, err
    assert "is not taken" not in err
    assert ("Resuming the run that was interrupted" in err) is (n_before > 0)
    assert results(folder) == expected
    assert stages(folder) == []


@pytest.mark.parametrize("is_written", [False, True])
def test_it_is_said_whether_results_were_written(is_written, tmp_path, capsys):
    def command():
        with errors_in_one_line({}):
            with written_at_once(tmp_path) as partial:
                (partial / "suspects.csv").write_text("row\n")
                if not is_written:
                    raise KeyboardInterrupt
            raise KeyboardInterrupt  # such as while figures are closed

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 130
    said = capsys.readouterr().err
    if is_written:
        assert said == "Interrupted: the results had been written.\n"
        assert os.listdir(tmp_path) == ["suspects.csv"]
    else:
        assert said.startswith("Interrupted: nothing was written. Run the same command")
        assert os.listdir(tmp_path) == []


def swallow_an_interrupt():
    """Press Ctrl-C where the exception is cleared, as compiled code may do."""
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_command_loses_no_interrupt(capsys):
    with pytest.raises(typer.Exit) as ended, errors_in_one_line({}, interrupted="No."):
        swallow_an_interrupt()
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "No.\n"


def test_an_interrupt_while_a_command_loads_stops_it_there(capsys):
    begun = []

    def command():
        with errors_in_one_line({}, interrupted="No."):
            with loading(quiet=True):
                swallow_an_interrupt()
            begun.append("the work")

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 130
    assert begun == []


def test_an_interrupt_while_results_are_made_writes_none(tmp_path, capsys):
    def command():
        with errors_in_one_line({}, interrupted="No."):
            with written_at_once(tmp_path) as partial:
                (partial / "suspects.csv").write_text("row\n")
                swallow_an_interrupt()

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "No.\n"
    assert os.listdir(tmp_path) == []


def test_what_one_command_wrote_is_not_said_by_the_next(tmp_path, capsys):
    with errors_in_one_line({}), written_at_once(tmp_path) as partial:
        (partial / "suspects.csv").write_text("row\n")
    with pytest.raises(typer.Exit), errors_in_one_line({}, interrupted="Nothing."):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "Nothing.\n"
