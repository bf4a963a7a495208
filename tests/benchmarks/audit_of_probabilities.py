"""Audit of given probabilities beside cleanlab: seconds, and memory at its peak.

``python tests/benchmarks/audit_of_probabilities.py --out FILE`` judges the same
1,000,000 rows of 10 classes by :func:`sklgm.audit` and by cleanlab's
``find_label_issues`` and ``find_label_issues_batched`` (where cleanlab is installed),
in turns, each in a process of its own with one thread, and prints medians. Linux.
"""

import argparse
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from scipy.special import softmax

SIDES = ("sklgm", "find_label_issues", "find_label_issues_batched")


def made_rows(n_samples, n_classes):
    """Claims, which of them are wrong, and probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n_samples, n_classes))
    likely = rng.integers(n_classes, size=n_samples)
    logits[np.arange(n_samples), likely] += rng.uniform(3, 9, size=n_samples)
    proba = softmax(logits, axis=1)
    drawn = proba.cumsum(axis=1) < rng.random((n_samples, 1))
    labels = drawn.sum(axis=1).clip(0, n_classes - 1)
    is_wrong = rng.random(n_samples) < 0.05
    other = rng.integers(1, n_classes, size=n_samples)
    return (labels + is_wrong * other) % n_classes, is_wrong, proba


def judge(side):
    """Function of claims and probabilities that returns flags."""
    if side == "sklgm":
        from sklgm import audit

        return lambda y, proba: audit(None, y, pred_probs=proba).is_suspect
    if side == "find_label_issues":
        from cleanlab.filter import find_label_issues

        return lambda y, proba: find_label_issues(y, proba, n_jobs=1)
    from cleanlab.experimental.label_issues_batched import find_label_issues_batched

    def of_batches(y, proba):
        flags = np.zeros(len(y), dtype=bool)
        flags[find_label_issues_batched(y, proba, n_jobs=1, verbose=False)] = True
        return flags

    return of_batches


def memory(name):
    """MiB of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def measured(side, n_samples, n_classes):
    """What one side takes and finds, in this process."""
    call = judge(side)
    # Imports that wait for the first call.
    some, _, few = made_rows(1_000, n_classes)
    call(some, few)
    claimed, is_wrong, proba = made_rows(n_samples, n_classes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS"), time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    flags = call(claimed, proba)
    now = resource.getrusage(resource.RUSAGE_SELF)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "cpu_seconds": now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime,
        "more_mib": memory("VmHWM") - before,
        "peak_mib": memory("VmHWM"),
        "found": float(flags[is_wrong].mean()),
        "right_among_flagged": float((~is_wrong)[flags].mean()),
    }


def in_turns(n_samples, n_repeats):
    """Medians of each side, which take turns."""
    names = SIDES if importlib.util.find_spec("cleanlab") else SIDES[:1]
    runs = {name: [] for name in names}
    for _ in range(n_repeats):
        for name in names:
            done = subprocess.run(
                [sys.executable, __file__, "--side", name, "--rows", str(n_samples)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=True,
                capture_output=True,
                text=True,
            )
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: {key: round(median(run[key] for run in of_side), 4) for key in of_side[0]}
        for name, of_side in runs.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help="measure one, once")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measured(options.side, options.rows, options.classes)))
        return
    from sklgm._running import describe_environment, installed_version

    load = os.getloadavg()[0]
    sides = in_turns(options.rows, options.repeats)
    record = {
        "command": "python tests/benchmarks/audit_of_probabilities.py "
        f"--rows {options.rows} --repeats {options.repeats}",
        "n_samples": options.rows,
        "n_classes": options.classes,
        "n_repeats": options.repeats,
        "n_threads": 1,
        "load_at_start": round(load, 2),
        "machine": platform.machine(),
        "cleanlab": installed_version("cleanlab"),
        "environment": describe_environment(),
        "medians": sides,
    }
    text = json.dumps(record, indent=1) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
