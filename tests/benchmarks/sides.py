"""Sides that are measured in turns, the rows that they get, and records of them."""

import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from sklgm._running import describe_environment


def process_time(call):
    """Seconds of this process: others that run disturb it less than the clock."""
    start = time.process_time()
    call()
    return time.process_time() - start


def ratios_in_turns(first, second, n_repeats):
    """Times of the second in those of the first, after one turn of each."""
    first(), second()
    return [process_time(second) / process_time(first) for _ in range(n_repeats)]


def noisy_digits(n_rows):
    digits = load_digits()
    rng = np.random.RandomState(0)
    drawn = rng.randint(len(digits.target), size=n_rows)
    images = np.kron(digits.images / 16.0, np.ones((1, 4, 4)))[:, 2:30, 2:30]
    X = images.reshape(-1, 784).astype(np.float32)[drawn]
    for start in range(0, n_rows, 4096):
        part = X[start : start + 4096]
        part += 0.5 * rng.normal(size=part.shape)
    return X, digits.target[drawn]


def processor():
    """Name of the processor, where the system says."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def write_record(path, command, *, load_at_start, **measured):
    """Write what a command measured, and on which machine."""
    record = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "load_at_start": round(load_at_start, 2),
        "environment": describe_environment(),
        **measured,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
