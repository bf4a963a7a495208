"""Public calls leave the process as it was, and threads do not disturb each other."""

import json
import os
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from torch import nn

import sklgm
from sklgm import (
    LGMClassifier,
    LGMOutlierDetector,
    PartitionedClassifier,
    PoisonCrafter,
    PoisonFilter,
    RobustGaussianClassifier,
    SoftmaxClassifier,
    audit,
)
from sklgm.poisoning import flip_labels
from sklgm.report import write_audit_report
from tests.persistence.test_models import TABLE

X, Y = load_iris(return_X_y=True)
TINY = {"feature_dim": 4, "max_epochs": 2, "batch_size": 16, "random_state": 0}


def numpy_state():
    return [str(part) for part in np.random.get_state()]  # noqa: NPY002 (that one)


def state():
    """All that belongs to the process and not to a call."""
    return {
        "numpy": numpy_state(),
        "numpy errors": np.geterr(),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "default type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "random": random.getstate(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "matplotlib": dict(mpl.rcParams),
        "backend": mpl.get_backend(),
    }


def estimator_call(name):
    def call(folder):
        model = sklgm.persistence.unpack(sklgm.persistence.pack(TABLE[name]), name)
        if name != "not fitted":
            model.fit(X, Y)
        for method in ("predict", "predict_proba", "transform"):
            if hasattr(model, method) and name != "not fitted":
                try:
                    getattr(model, method)(X)
                except ValueError:  # a detector without densities wants labels
                    model.predict(X, labels=Y)

    return call


def save_and_load(folder):
    SoftmaxClassifier(**TINY).fit(X, Y).save(folder / "model")
    sklgm.load(folder / "model")


def report(folder):
    figures = plt.get_fignums()
    result = audit(X, Y, estimator=LogisticRegression(max_iter=500), random_state=0)
    result.save(folder)
    write_audit_report(folder / "report.html", result, X, title="Audit")
    assert plt.get_fignums() == figures


def make_dropout(input_shape, feature_dim):
    return nn.Sequential(nn.Linear(*input_shape, feature_dim), nn.Dropout(0.5))


def dropout(folder):
    LGMClassifier(make_dropout, **TINY).partial_fit(X, Y, classes=[0, 1, 2]).score(X, Y)


def interrupted_by_an_error(folder):
    with pytest.raises(ValueError, match="X"):
        LGMClassifier(**TINY).fit(np.full((4, 2), np.nan), [0, 1, 0, 1])


CALLS = {
    **{name: estimator_call(name) for name in TABLE},
    "audit and report": report,
    "save and load": save_and_load,
    "dropout and partial_fit": dropout,
    "error": interrupted_by_an_error,
    "resuming": lambda folder: LGMClassifier(**TINY, checkpoint_dir=folder).fit(X, Y),
    "flip_labels": lambda folder: flip_labels(Y, 0.1, random_state=0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:false_alarm_rate", "ignore:contamination=")
def test_a_call_leaves_the_process_as_it_was(name, tmp_path):
    before = state()
    CALLS[name](tmp_path)
    after = state()
    assert before.keys() == after.keys()
    for what, value in before.items():
        assert after[what] == value, what


def test_the_first_fit_of_a_process_leaves_no_trace():
    code = (
        "import json, os, sys, warnings\n"
        "import numpy as np\n"
        "from sklgm import LGMClassifier\n"
        "def state():\n"
        "    return [dict(os.environ), [str(f) for f in warnings.filters]]\n"
        "X, y = np.random.RandomState(0).normal(size=(40, 3)), [0, 1] * 20\n"
        "before = state()\n"
        "LGMClassifier(max_epochs=2).fit(X, y).predict(X)\n"
        "print(json.dumps([before, state()]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    before, after = json.loads(run.stdout)
    assert before == after


def test_it_can_be_imported_and_trained_without_docstrings():
    code = (
        "import numpy as np, sklgm\n"
        "names = [getattr(sklgm, name) for name in sklgm.__all__]\n"
        "X, y = np.random.RandomState(0).normal(size=(40, 3)), [0, 1] * 20\n"
        "print(len(sklgm.LGMClassifier(max_epochs=1).fit(X, y).predict(X)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-OO", "-c", code], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "40\n"


# Threads

PARTS = {
    "lgm": lambda: LGMClassifier(**TINY).fit(X, Y).predict_proba(X),
    "dropout": lambda: (
        SoftmaxClassifier(make_dropout, **TINY).fit(X, Y).predict_proba(X)
    ),
    "detector": lambda: (
        LGMOutlierDetector(
            LGMClassifier(**TINY), cv=2, contamination=0.1, random_state=0
        )
        .fit(X, Y)
        .train_scores_
    ),
    "partitioned": lambda: (
        PartitionedClassifier(SoftmaxClassifier(**TINY), n_partitions=2, random_state=0)
        .fit(X, Y)
        .predict_proba(X)
    ),
    "gaussians": lambda: RobustGaussianClassifier().fit(X, Y).predict_proba(X),
    "filter": lambda: PoisonFilter(random_state=0).fit_resample(X, Y)[0],
    "crafter": lambda: (
        PoisonCrafter(SoftmaxClassifier(**TINY), max_iter=2, random_state=0)
        .fit(X, Y)
        .X_poison_
    ),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.filterwarnings("ignore:The estimator is certain of hardly")
@pytest.mark.filterwarnings("ignore:false_alarm_rate")
def test_a_seeded_fit_gives_the_same_bits_in_any_thread(name):
    expected = PARTS[name]()
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        others = list(pool.map(lambda _: PARTS[name](), range(8)))
    for values in others:
        np.testing.assert_array_equal(values, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_of_one_thread_do_not_move_the_training_of_another():
    model = LGMClassifier(**TINY).fit(X, Y)
    expected = PARTS["dropout"]()
    with ThreadPoolExecutor(2) as pool:
        stop = []

        def predict():
            while not stop:
                model.predict(X)

        busy = pool.submit(predict)
        try:
            np.testing.assert_array_equal(PARTS["dropout"](), expected)
        finally:
            stop.append(True)
        busy.result()


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.slow
def test_a_hundred_fits_of_joblib_are_the_same(backend):
    expected = PARTS["lgm"]()
    jobs = (delayed(PARTS["lgm"])() for _ in range(100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = Parallel(n_jobs=4, backend=backend)(jobs)
    for values in others:
        np.testing.assert_array_equal(values, expected)
