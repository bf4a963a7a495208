"""Fits in worker processes: joblib's loky, and dask."""

import os
import pickle
from functools import partial

import distributed
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import LGMClassifier, LGMOutlierDetector, SoftmaxClassifier, audit
from sklgm._running._workers import ByFileName, run_tasks

both = pytest.mark.parametrize("classifier", [LGMClassifier, SoftmaxClassifier])
GRID = {"clf__margin": [0.0, 0.5], "clf__variance": [1.0, 4.0]}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=4, return_X_y=True)
    return (X / 16.0).astype(np.float32), y


def network(classifier):
    return classifier(feature_dim=8, max_epochs=2, random_state=0)


def probabilities(clf, X, y):
    import torch

    assert torch.get_num_threads() == 1
    return clf.fit(X, y).predict_proba(X)


@pytest.fixture(scope="module")
def _workers():
    """Start two workers and import what they need, before anything is measured."""
    Parallel(n_jobs=2)(delayed(network)(LGMClassifier) for _ in range(2))


@both
@pytest.mark.usefixtures("_workers")
def test_a_worker_fits_the_same_bits(classifier, digits):
    X, y = digits
    here = network(classifier).fit(X, y).predict_proba(X)
    there = Parallel(n_jobs=2)(
        delayed(probabilities)(network(classifier), X, y) for _ in range(2)
    )
    for proba in there:
        np.testing.assert_array_equal(proba, here)


@pytest.mark.usefixtures("_workers")
def test_a_parallel_search_is_the_sequential_one(digits):
    X, y = digits
    pipe = make_pipeline(StandardScaler(), network(LGMClassifier))
    grid = {name.replace("clf", "lgmclassifier"): v for name, v in GRID.items()}
    first, second, sequential = (
        GridSearchCV(pipe, grid, cv=3, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (2, 2, None)
    )
    for other in (second, sequential):
        np.testing.assert_array_equal(
            first.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
        )
        np.testing.assert_array_equal(
            first.best_estimator_.predict_proba(X),
            other.best_estimator_.predict_proba(X),
        )


@pytest.mark.slow
# distributed 2026 leaves sockets to the garbage collector when a cluster closes.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_cluster_of_processes_fits_the_same_bits(digits, monkeypatch):
    X, y = digits
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the worker processes
    sequential = cross_validate(network(LGMClassifier), X, y, cv=3)["test_score"]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = set(client.run(os.getpid).values())
        assert len(pids) == 2
        assert os.getpid() not in pids
        with parallel_config("dask"):
            used = Parallel()(delayed(os.getpid)() for _ in range(8))
            assert set(used) <= pids
            found = cross_validate(network(LGMClassifier), X, y, cv=3)["test_score"]
            search = GridSearchCV(network(LGMClassifier), {"margin": [0.0, 0.5]}, cv=3)
            search.fit(X, y)
    np.testing.assert_allclose(found, sequential, atol=1e-5)
    expected = GridSearchCV(network(LGMClassifier), {"margin": [0.0, 0.5]}, cv=3)
    expected.fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"],
        expected.cv_results_["mean_test_score"],
        atol=1e-5,
    )


def process_and_first_row(rows):
    return os.getpid(), type(rows), float(rows[0, 0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_cluster_does_the_folds_of_an_audit(digits, tmp_path, monkeypatch):
    X, y = digits
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here = audit(X, y, estimator=network(LGMClassifier), cv=3, random_state=0)
    detector = LGMOutlierDetector(network(LGMClassifier), cv=3, random_state=0)
    decided = detector.fit(X, y).decision_function(X, labels=y)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = set(client.run(os.getpid).values())
        with parallel_config("dask"):
            call = partial(process_and_first_row, mapped)
            tasks = ((),) * 6
            ran = list(run_tasks(call, tasks, n_workers=2, n_threads=1))
            there = audit(
                mapped, y, estimator=network(LGMClassifier), cv=3, random_state=0
            )
            again = detector.fit(X, y).decision_function(X, labels=y)
    assert {pid for pid, _, _ in ran} <= pids
    assert {kind for _, kind, _ in ran} == {np.memmap}
    assert there.environment["n_workers"] == 2
    np.testing.assert_array_equal(there.folds, here.folds)
    np.testing.assert_allclose(there.log_proba, here.log_proba, atol=1e-5)
    np.testing.assert_array_equal(there.suspects, here.suspects)
    np.testing.assert_allclose(again, decided, atol=1e-4)


def test_a_mapped_array_travels_as_the_name_of_its_file(tmp_path):
    rows = np.lib.format.open_memmap(
        tmp_path / "X.npy", mode="w+", dtype=np.float32, shape=(10_000, 20)
    )
    rows[:] = np.arange(20)
    rows.flush()
    part = rows[5:]  # its values are sent: it says not where it begins
    for sent, is_short in ((rows, True), (part, False), (np.zeros((9, 9)), True)):
        content = pickle.dumps(ByFileName(partial(np.sum, sent)))
        assert (len(content) < 5_000) == is_short
        assert pickle.loads(content)() == sent.sum()


def test_a_mapped_array_that_was_changed_in_memory_travels_by_value(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(4.0))
    rows = np.load(path, mmap_mode="c")
    rows /= 10.0
    sent = pickle.loads(pickle.dumps(ByFileName(partial(np.sum, rows))))
    assert sent() == pytest.approx(0.6)
