"""Seeded fits in four threads: each the same bits as the one before the threads."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from tests.test_global_state import PARTS


def run(n, seed, minutes):
    """Fit `n` times, in turn over the kinds of estimators."""
    del seed, minutes
    warnings.simplefilter("ignore")
    kinds = list(PARTS)
    expected = {kind: PARTS[kind]() for kind in kinds}
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    asked = [kinds[i % len(kinds)] for i in range(n)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda kind: PARTS[kind](), asked))
    wrong = [
        kind
        for kind, values in zip(asked, results, strict=True)
        if not np.array_equal(values, expected[kind])
    ]
    after = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    moved = [not torch.equal(before[0], after[0]), not (before[1] == after[1]).all()]
    return {
        "n": n,
        "counts": {"equal": n - len(wrong), "other": len(wrong)},
        "n_wrong": len(wrong) + sum(moved),
        "wrong": wrong,
        "kinds": kinds,
    }
