"""Interruptions at random times: what goes on ends with the same bytes.

``audit``, ``reproduce`` and a training with ``checkpoint_dir`` are killed or
interrupted at times that are drawn from how long they take, over and over until they
end by themselves, and then once more from the start. After each interruption a result
is either not there or whole; in the end all results are those of a run that nothing
interrupted. Commands run in forks of a process that has imported everything: an
interruption hits work, not imports.
"""

import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tests.fuzz import _children

AUDIT = (
    *("audit", "digits.npz", "--cv", "3", "--max-epochs", "4", "--n-jobs", "1"),
    *("--out", "out", "--quiet"),
)
REPRODUCE = (
    *("reproduce", "digits.npz", "--out", "out", "--protocol", "transfer", "--quiet"),
    *("--n-targets", "1", "--n-poisons", "2", "--n-jobs", "1"),
    *("--set", "run.max_epochs=2", "--set", "transfer.max_iter=5"),
    *("--set", "transfer.refit_epochs=4", "--set", "transfer.converged_epochs=1"),
)
#: Name of the file to what of it must be the same; reports hold times.
_COMPARED = (".csv", ".parquet", ".npy")
#: What an interruption that was not sent comes to; it does not count.
_NOT_SENT = "not sent"
_ARE_THERE = "Interrupted: the results had been written."


def run(n, seed, minutes):
    """Interrupt `n` times: five of eight by SIGKILL, the others by SIGINT."""
    warnings.simplefilter("ignore")
    _children.import_all()
    draw = random.Random(seed)
    jobs = {
        "audit": lambda: _command(AUDIT),
        "reproduce": lambda: _command(REPRODUCE),
        "training": _training,
    }
    end = time.monotonic() + 60.0 * minutes
    signals = ["SIGKILL"] * (5 * n // 8)
    signals += ["SIGINT"] * (n - len(signals))
    draw.shuffle(signals)
    counts, wrong = Counter(), []
    with tempfile.TemporaryDirectory() as place:
        states = {name: _Job(name, job, Path(place)) for name, job in jobs.items()}
        for number, kind in enumerate(signals):
            if time.monotonic() > end:
                break
            # Training keeps the model so far after Ctrl-C, as it says.
            names = list(jobs) if kind == "SIGKILL" else ["audit", "reproduce"]
            job = states[names[number % len(names)]]
            fate = job.interrupted(getattr(signal, kind), draw)
            while fate == _NOT_SENT:
                counts[f"{job.name}: ended before, same bytes"] += 1
                fate = job.interrupted(getattr(signal, kind), draw)
            counts[f"{job.name}: {kind}, {fate}"] += 1
            if fate.startswith("wrong"):
                wrong.append(f"{number}, {job.name}, {kind}: {fate}")
            print(number + 1, job.name, kind, fate, flush=True)
        for job in states.values():
            fate = job.finished()
            counts[f"{job.name}: at last, {fate}"] += 1
            if fate.startswith("wrong"):
                wrong.append(f"{job.name}: {fate}")
    n_run = {
        kind: sum(n for name, n in counts.items() if f": {kind}, " in name)
        for kind in ("SIGKILL", "SIGINT")
    }
    return {
        "n_asked": n,
        "n": n_run,
        "counts": dict(counts),
        "n_wrong": len(wrong),
        "wrong": wrong,
    }


class _Job:
    """Something that is interrupted and goes on."""

    def __init__(self, name, function, place):
        self.name, self.function, self.place = name, function, place
        self.n_folders = 0
        self._begin_anew()
        status, seconds, _ = self._started().ended()
        assert status == 0, self.log()
        self.expected, self.seconds = self._results(), seconds
        assert self.expected
        self._begin_anew()

    def _begin_anew(self):
        self.n_folders += 1
        self.folder = self.place / f"{self.name} {self.n_folders}"
        self.folder.mkdir()
        digits = load_digits()
        X = (digits.images[:300, None] / 16.0).astype(np.float32)
        y = digits.target[:300].copy()
        y[:20] = (y[:20] + 1) % 10
        np.savez(self.folder / "digits.npz", X=X, y=y)

    def _started(self):
        return _Fork(self.function, self.folder)

    def log(self):
        return (self.folder / "log").read_text()

    def _results(self):
        return {
            path.name: path.read_bytes()
            for path in sorted((self.folder / "out").rglob("*"))
            if path.suffix in _COMPARED and not _is_partial(path)
        }

    def interrupted(self, number, draw):
        """Begin or go on, and interrupt; what became of it, or that it had ended."""
        before = self._results()
        fork = self._started()
        status, _, was_sent = fork.ended(number, draw.uniform(0.02, self.seconds))
        results = self._results()
        halves = [n for n, c in results.items() if c != self.expected.get(n)]
        if halves:
            return f"wrong: half-written {halves}"
        if not was_sent:
            fate = self._checked(status, results)
            self._begin_anew()
            return fate if fate.startswith("wrong") else _NOT_SENT
        if number == signal.SIGKILL:
            if len(results) < len(self.expected):
                return "nothing written"
            self._begin_anew()
            return "results there"
        if "Traceback" in self.log():
            return f"wrong: {self.log()[-500:]}"
        if results == self.expected and (status == 0 or _ARE_THERE in self.log()):
            self._begin_anew()
            return "too late, same bytes"
        if status != 130 or "Interrupted: nothing was written." not in self.log():
            return f"wrong: exit code {status}, {self.log()[-300:]}"
        if results != before:
            return "wrong: written"
        return "stopped with 130, nothing written"

    def finished(self):
        """Go on to the end."""
        status, _, _ = self._started().ended()
        return self._checked(status, self._results())

    def _checked(self, status, results):
        if status != 0:
            return f"wrong: exit code {status}, {self.log()[-300:]}"
        return "same bytes" if results == self.expected else "wrong: other bytes"


def _is_partial(path):
    return any(part.startswith(".") for part in path.parts)


class _Fork:
    """A function in a process of its own."""

    def __init__(self, function, folder):
        self.begun = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(function, folder)

    def _run(self, function, folder):
        code = 1
        try:
            os.chdir(folder)
            os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
            log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            function()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def ended(self, number=None, after=0.0):
        """Exit code, seconds of the processor, and whether a signal was sent.

        The signal is sent after so many seconds of the processor, whatever else the
        machine does.
        """
        was_sent = False
        while True:
            done, status, used = os.wait4(self.pid, os.WNOHANG)
            if done:
                break
            if number is not None and not was_sent and self._used() >= after:
                os.kill(self.pid, number)
                was_sent = True
            if time.monotonic() - self.begun > 1800.0:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(status)
        return code, used.ru_utime + used.ru_stime, was_sent

    def _used(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return (int(fields[11]) + int(fields[12])) / ticks


def _command(arguments):
    from sklgm.cli import main

    sys.argv = ["sklgm", *arguments]
    main()


def _training():
    from sklgm import LGMClassifier
    from sklgm._net import _training_checkpoint

    _training_checkpoint._SECONDS_BETWEEN = 0.0
    archive = np.load("digits.npz")
    X, y = archive["X"].reshape(300, -1), archive["y"]
    clf = LGMClassifier(
        max_epochs=8, batch_size=32, random_state=0, checkpoint_dir="kept"
    )
    found = clf.fit(X, y).predict_proba(X)
    Path("out").mkdir(exist_ok=True)
    partial = Path("out/.partial.npy")
    np.save(partial, found)
    partial.replace("out/found.npy")
