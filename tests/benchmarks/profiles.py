"""Where the time goes of what costs more than it should.

In a checkout: ``OMP_NUM_THREADS=1 python tests/benchmarks/profiles.py``. It writes
``docs/results/profiles.json``; ``--out`` names another file. Times are of one side
alone, by the profilers of torch and of Python, which cost time themselves: shares and
counts are what to read.
"""

import argparse
import cProfile
import os
import pstats
import time
from pathlib import Path

import torch
from sides import noisy_digits, write_record
from torch import nn

from sklgm import LGMClassifier, SoftmaxClassifier

N_SHOWN = 8


def of_operators(what, call, n_calls):
    """Shares of the operators of torch in so many calls, the longest first."""
    call()
    with torch.profiler.profile() as profile:
        start = time.process_time()
        for _ in range(n_calls):
            call()
        seconds = (time.process_time() - start) / n_calls
    events = [e for e in profile.key_averages() if e.self_cpu_time_total > 0]
    events.sort(key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    operators = [event for event in events if event.key.startswith("aten::")]
    return {
        "what": what,
        "seconds": round(seconds, 6),
        "n_operators": round(sum(event.count for event in operators) / n_calls),
        "shares": [
            [event.key, round(event.self_cpu_time_total / total, 4)]
            for event in events[:N_SHOWN]
        ],
    }


def of_functions(what, call, names):
    """Shares of some functions, with what they call."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(call)
    stats = pstats.Stats(profile)
    seconds = {name: 0.0 for name in names}
    for (_, _, function), (_, _, _, cumulated, _) in stats.stats.items():
        if function in seconds:
            # A method that calls that of its base class is counted once.
            seconds[function] = max(seconds[function], cumulated)
    return {
        "what": what,
        "seconds": round(stats.total_tt, 4),
        "shares": [
            [name, round(value / stats.total_tt, 4)] for name, value in seconds.items()
        ],
    }


def step_of(classifier, X, y):
    """A training step of the classifier's net, on one batch."""
    network = nn.Sequential(nn.Linear(784, 100), nn.ReLU())
    net = classifier(network, max_epochs=2, random_state=0).fit(X, y).net_
    batch = {"X": torch.from_numpy(X[:128])}, torch.from_numpy(y[:128])
    return lambda: net.train_step(batch)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[2] / "docs" / "results" / "profiles.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    load_at_start = os.getloadavg()[0]
    n_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(n_threads)
    X, y = noisy_digits(5120)
    images = X.reshape(-1, 1, 28, 28)
    profiles = [
        of_operators(f"a step of the MLP, {name}", step_of(classifier, X, y), 200)
        for name, classifier in (
            ("softmax", SoftmaxClassifier),
            ("L-GM", LGMClassifier),
        )
    ]
    trimmed = LGMClassifier("cnn", max_epochs=6, trim=0.1, random_state=0)
    # Training; passes over all rows or a sample; estimates from their features.
    names = ["run_single_epoch", "infer", "claimed_distances", "estimate_gaussians"]
    profiles.append(
        of_functions(
            "a fit of 6 epochs with trim=0.1, CNN",
            lambda: trimmed.fit(images, y),
            names,
        )
    )
    command = f"OMP_NUM_THREADS={n_threads} python tests/benchmarks/profiles.py"
    write_record(options.out, command, load_at_start=load_at_start, profiles=profiles)
    print(f"{len(profiles)} profiles in {options.out}")


if __name__ == "__main__":
    main()
