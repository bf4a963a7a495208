"""Audit of given probabilities beside cleanlab: seconds, and memory at its peak."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

SCRIPT = """
import json, resource, sys, time, warnings
import numpy as np
from scipy.special import softmax

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

rng = np.random.default_rng(0)
n, n_classes = int(sys.argv[2]), 10
logits = rng.normal(size=(n, n_classes))
logits[np.arange(n), rng.integers(n_classes, size=n)] += rng.uniform(3, 9, size=n)
proba = softmax(logits, axis=1)
del logits
labels = (proba.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, n_classes - 1)
is_wrong = rng.random(n) < 0.05
claimed = (labels + is_wrong * rng.integers(1, n_classes, size=n)) % n_classes
if sys.argv[1] == "sklgm":
    from sklgm import audit as judge
    kwargs = {"X": None, "y": claimed, "pred_probs": proba}
else:
    from cleanlab.filter import find_label_issues as judge
    kwargs = {"labels": claimed, "pred_probs": proba, "n_jobs": 1}
before, start, cpu = peak(), time.perf_counter(), time.process_time()
result = judge(**kwargs)
flags = result.is_suspect if sys.argv[1] == "sklgm" else result
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - cpu,
    "MiB_before": before,
    "MiB_more": peak() - before,
    "found": float(flags[is_wrong].mean()),
    "right_among_flagged": float((~is_wrong)[flags].mean()),
}))
"""


def measured(judge, n_samples):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, judge, str(n_samples)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_million_rows_take_no_longer_than_cleanlab():
    pytest.importorskip("cleanlab")
    ours, theirs = (measured(judge, 1_000_000) for judge in ("sklgm", "cleanlab"))
    print(f"\nsklgm {ours}\ncleanlab {theirs}")
    assert ours["cpu_seconds"] <= theirs["cpu_seconds"]
    assert ours["MiB_more"] <= theirs["MiB_more"]
