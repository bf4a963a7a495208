"""Seeded tiny data for all tests."""

import os
import signal
from pathlib import Path

# One thread: two-thread convolutions of tiny batches are slower, and summation
# order then depends on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# scikit-learn skips its array API checks otherwise.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris

from sklgm.datasets import get_data_home

torch.set_num_threads(1)
# Ignored where a shell runs the tests in the background; tests interrupt themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    # What has the device "auto" computes on the CPU, as tests expect, except in those
    # of a GPU.
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    # joblib takes torch, imported by a worker that is reused, for a leak, and replaces
    # the worker; as an error the warning ends the thread that would do it, and all
    # waits. Marks hold whatever -W says.
    mark = pytest.mark.filterwarnings(
        "ignore:A worker stopped while some jobs were given to the executor:UserWarning"
    )
    for item in items:
        item.add_marker(mark)


def read_only(array):
    array.setflags(write=False)
    return array


@pytest.fixture(scope="session")
def blobs():
    """Three separable Gaussian classes of 20 rows, 4 columns."""
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(3), 20)
    X = 5.0 * np.eye(3, 4)[y] + rng.normal(size=(60, 4))
    return read_only(X), read_only(y)


@pytest.fixture(scope="session")
def iris():
    X, y = load_iris(return_X_y=True)
    return read_only(X), read_only(y)


@pytest.fixture(scope="session")
def tiny_images():
    """Twelve images of each of the digits 0, 1 and 2, values in [0, 1]."""
    digits = load_digits(n_class=3)
    rows = np.concatenate([np.flatnonzero(digits.target == k)[:12] for k in range(3)])
    X = (digits.images[rows, None] / 16.0).astype(np.float32)
    return read_only(X), read_only(digits.target[rows])


@pytest.fixture
def data_home(request):
    """Folder with the file that the test's ``data`` mark names.

    A test without its data is skipped; with SKLGM_REQUIRE_DATA=1 it fails.
    """
    (needed,) = request.node.get_closest_marker("data").args
    if "SKLGM_DATA" not in os.environ:
        reason = "SKLGM_DATA is not set"
    elif not (get_data_home() / needed).is_file():
        reason = f"SKLGM_DATA lacks {needed}"
    else:
        return Path(get_data_home())
    if os.environ.get("SKLGM_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
