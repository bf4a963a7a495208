"""Memory of `fit` on a memory-mapped array, measured in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="reads RssAnon of /proc"
    ),
]

MIB = 2**20

SCRIPT = """
import json, sys, threading
import numpy as np
from sklgm import {classifier}

def rss_anon():
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

X = np.load(sys.argv[1], mmap_mode="r")
y = np.load(sys.argv[2])
warm = {classifier}(max_epochs=1, random_state=0, **{settings})
warm.fit(np.array(X[:200]), y[:200])  # libraries allocate at their first use

peak = before = rss_anon()
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, rss_anon())
watcher = threading.Thread(target=watch)
watcher.start()
clf = {classifier}(max_epochs=1, random_state=0, **{settings}).fit(X, y)
done.set()
watcher.join()
print(json.dumps({{"above": peak - before, "n_iter": clf.n_iter_}}))
"""


def peak_above(directory, n_rows, classifier, settings):
    X_path, y_path = directory / f"X{n_rows}.npy", directory / f"y{n_rows}.npy"
    if not X_path.exists():
        X = np.lib.format.open_memmap(
            X_path, mode="w+", dtype=np.float32, shape=(n_rows, 784)
        )
        y = np.arange(n_rows) % 10
        for start in range(0, n_rows, 2000):
            rng = np.random.RandomState(start)
            X[start : start + 2000] = rng.normal(size=(2000, 784))
            X[start : start + 2000, :10] += 3.0 * np.eye(10)[y[start : start + 2000]]
        X.flush()
        np.save(y_path, y)
    script = SCRIPT.format(classifier=classifier, settings=settings)
    ended = subprocess.run(
        [sys.executable, "-c", script, str(X_path), str(y_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(ended.stdout.splitlines()[-1])
    assert measured["n_iter"] == 1
    return measured["above"]


@pytest.mark.parametrize(
    ("classifier", "settings"),
    [
        ("LGMClassifier", {}),
        ("LGMClassifier", {"early_stopping": True}),
        ("LGMClassifier", {"trim": 0.1}),
        ("SoftmaxClassifier", {}),
    ],
    ids=["lgm", "lgm-early_stopping", "lgm-trim", "softmax"],
)
def test_a_memory_mapped_array_is_never_held(
    classifier, settings, tmp_path_factory, record_property
):
    directory = tmp_path_factory.getbasetemp() / "memory"
    directory.mkdir(exist_ok=True)
    small = peak_above(directory, 2_000, classifier, settings)
    large = peak_above(directory, 200_000, classifier, settings)
    record_property("small_mib", small / MIB)
    record_property("large_mib", large / MIB)
    print(f"{classifier} {settings}: {small / MIB:.0f} and {large / MIB:.0f} MiB")
    assert large - small <= 150 * MIB
