"""Tasks in worker processes: threads, memory, errors, and the same bits."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from sklgm import DeepKNNDetector, LGMClassifier, LGMOutlierDetector, audit
from sklgm._running import Runner, count_workers, divided_threads, limited_threads
from sklgm.poisoning import flip_labels


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def flipped():
    X, y = load_digits(n_class=4, return_X_y=True)
    return (X / 16.0).astype(np.float32), flip_labels(y, 0.05, random_state=0)


@pytest.fixture
def two_threads():
    with limited_threads(2):
        yield


def network():
    return LGMClassifier(feature_dim=8, max_epochs=2, random_state=0)


def place(_):
    return os.getpid(), torch.get_num_threads()


def workers_within():
    return count_workers(2, 4)


def kind(X):
    return type(X).__name__, X.flags.writeable


def refuse(number):
    raise ValueError(f"n_rows must be even, got {number}")


@pytest.mark.parametrize(
    ("n_jobs", "n_tasks", "expected"), [(1, 5, 1), (2, 5, 2), (4, 3, 3), (None, 5, 1)]
)
def test_there_are_no_more_workers_than_tasks(n_jobs, n_tasks, expected):
    assert count_workers(n_jobs, n_tasks) == expected


@pytest.mark.parametrize("n_jobs", [0, 1.5, True, "2"])
def test_what_is_no_number_of_processes_is_refused(n_jobs):
    with pytest.raises(ValueError, match="n_jobs must be an int but 0, or None, got"):
        count_workers(n_jobs, 2)


def test_a_worker_starts_no_workers_of_its_own():
    counts = Parallel(n_jobs=2)(delayed(workers_within)() for _ in range(2))
    assert counts == [1, 1]


@pytest.mark.usefixtures("two_threads")
def test_threads_are_divided_among_the_workers():
    assert [divided_threads(n) for n in (1, 2, 3)] == [2, 1, 1]
    tasks = [(i,) for i in range(4)]
    places = Runner(n_jobs=2).map("ask", place, tasks, 4, n_threads=None)
    assert {n_threads for _, n_threads in places} == {1}
    assert os.getpid() not in {pid for pid, _ in places}
    alone = Runner(n_jobs=1).map("ask", place, tasks, 4, n_threads=None)
    assert set(alone) == {(os.getpid(), 2)}
    assert torch.get_num_threads() == 2


def test_workers_are_kept_for_the_next_tasks():
    runner, tasks = Runner(n_jobs=2), [(i,) for i in range(4)]
    first, second = (
        {pid for pid, _ in runner.map("ask", place, tasks, 4)} for _ in range(2)
    )
    assert first & second


def test_large_arrays_are_memory_mapped_and_read_only():
    X = np.zeros((1000, 300))
    kinds = Runner(n_jobs=2).map("ask", kind, [(X,), (X,)], 2)
    assert kinds == [("memmap", False)] * 2


def test_an_error_of_a_task_is_raised_as_it_is():
    with pytest.raises(ValueError, match="n_rows must be even, got 1"):
        Runner(n_jobs=2).map("ask", refuse, [(1,), (1,)], 2)


@pytest.mark.usefixtures("two_threads")
def test_an_audit_in_workers_gives_the_bits_of_one_worker(flipped):
    X, claimed = flipped
    settings = {"estimator": network(), "cv": 3, "random_state": 0}
    there = audit(X, claimed, n_jobs=2, **settings)
    with limited_threads(1):
        here = audit(X, claimed, n_jobs=1, **settings)
    for name in ("p_values", "scores", "log_proba", "map_features"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    assert there.environment["n_workers"] == 2
    assert there.environment["n_threads"] == here.environment["n_threads"] == 1


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    "detector",
    [
        LGMOutlierDetector(network(), cv=3, random_state=0),
        DeepKNNDetector(network(), cv=3, random_state=0),
    ],
    ids=["lgm", "deep_knn"],
)
def test_a_detector_in_workers_gives_the_bits_of_one_worker(detector, flipped):
    X, claimed = flipped
    there = detector.set_params(n_jobs=2).fit(X, claimed)
    found = [there.train_p_values_, there.score_samples(X, claimed)]
    with limited_threads(1):
        here = detector.set_params(n_jobs=None).fit(X, claimed)
        expected = [here.train_p_values_, here.score_samples(X, claimed)]
    for of_workers, of_one in zip(found, expected, strict=True):
        np.testing.assert_array_equal(of_workers, of_one)


def test_a_frozen_model_is_asked_without_workers(flipped, monkeypatch):
    X, claimed = flipped
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X, claimed))
    monkeypatch.setattr("joblib.Parallel", None)
    LGMOutlierDetector(frozen, n_jobs=2).fit(X, claimed)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_epochs_of_all_folds_are_shown(flipped, n_jobs):
    seen = []
    estimator = network().set_params(max_epochs=15, softmax_warmup=0.2)
    audit(
        *flipped,
        estimator=estimator,
        cv=2,
        n_jobs=n_jobs,
        random_state=0,
        progress=lambda *step: seen.append(step),
    )
    epochs = [step[1:] for step in seen if step[0] == "epochs of all folds"]
    assert epochs == sorted(epochs)
    assert epochs[-1] == (30, 30)
    if n_jobs == 1:
        assert [n_done for n_done, _ in epochs[:30]] == list(range(1, 31))


def test_an_error_of_a_callback_in_the_thread_of_epochs_reaches_the_caller(flipped):
    def refuse_epochs(stage, n_done, n_steps):
        if stage == "epochs of all folds":
            raise Interrupted

    estimator = network().set_params(max_epochs=60)
    with pytest.raises(Interrupted):
        audit(*flipped, estimator=estimator, cv=2, n_jobs=2, progress=refuse_epochs)


def test_an_interrupted_audit_goes_on_in_workers(flipped, tmp_path):
    X, claimed = flipped
    settings = {"estimator": network(), "cv": 3, "random_state": 0, "n_jobs": 2}

    def interrupt(stage, n_done, n_steps):
        if (stage, n_done) == ("train and score folds", 2):
            raise Interrupted

    with pytest.raises(Interrupted):
        audit(X, claimed, progress=interrupt, resume_from=tmp_path, **settings)
    seen = []
    again = audit(
        X,
        claimed,
        progress=lambda *step: seen.append(step),
        resume_from=tmp_path,
        **settings,
    )
    folds = [step[1:] for step in seen if step[0] == "train and score folds"]
    assert folds == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert seen[1] == ("train and score folds (finished before)", 2, 3)
    assert len(list(tmp_path.rglob("*.sklgm"))) == 3
    uninterrupted = audit(X, claimed, **settings)
    np.testing.assert_array_equal(again.p_values, uninterrupted.p_values)


INTERRUPTED = """
import numpy as np
from sklgm import LGMClassifier, audit

X = np.random.RandomState(0).normal(size=(2000, 784)).astype("float32")
y = np.arange(2000) % 10
print("started", flush=True)
audit(X, y, estimator=LGMClassifier(max_epochs=10**6), cv=2, n_jobs=2, random_state=0)
"""


def test_ctrl_c_ends_the_workers(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal makes
        env={**os.environ, "JOBLIB_TEMP_FOLDER": str(tmp_path)},
    )
    try:
        assert process.stdout.readline() == "started\n"
        deadline = time.monotonic() + 120
        while len(workers_of(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = workers_of(process.pid)
        assert len(workers) >= 2
        time.sleep(5)  # they import torch and begin to train
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_running(pid) for pid in workers)


def workers_of(pid):
    # -ww: not cut at $COLUMNS, which the path of the interpreter may fill alone.
    listed = subprocess.run(
        ["ps", "-ww", "--ppid", str(pid), "-o", "pid=,args="],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if "popen_loky" in line]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
