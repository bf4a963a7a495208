"""Fits in two workers of one thread against one process of two threads.

Run alone: ``OMP_NUM_THREADS=2 pytest -m benchmark -s tests/benchmarks``.
"""

import time
from statistics import median

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed

from sklgm import LGMClassifier

N_FITS, N_REPEATS = 4, 3


def fit(X, y, seed):
    clf = LGMClassifier(max_epochs=20, random_state=seed)
    return clf.fit(X, y).n_iter_


@pytest.mark.benchmark
def test_two_workers_are_not_slower_than_one_process_with_their_threads():
    rng = np.random.RandomState(0)
    y = np.arange(10_000) % 10
    X = rng.normal(size=(10_000, 784)).astype(np.float32)
    X[:, :10] += 3.0 * np.eye(10)[y]
    torch.set_num_threads(2)
    Parallel(n_jobs=2)(delayed(fit)(X[:200], y[:200], k) for k in range(2))  # warm
    fit(X[:200], y[:200], 0)

    ratios, of_one_fit = [], []
    for _ in range(N_REPEATS):
        start = time.perf_counter()
        for seed in range(N_FITS):
            fit(X, y, seed)
        sequential = time.perf_counter() - start
        start = time.perf_counter()
        Parallel(n_jobs=2)(delayed(fit)(X, y, seed) for seed in range(N_FITS))
        parallel = time.perf_counter() - start
        ratios.append(parallel / sequential)
        of_one_fit.append(sequential / N_FITS)
    print(
        f"one fit {median(of_one_fit):.2f} s; two workers / one process: "
        f"median {median(ratios):.2f} of {', '.join(f'{r:.2f}' for r in ratios)}"
    )
    assert median(of_one_fit) > 1.0
    assert median(ratios) <= 1.0
