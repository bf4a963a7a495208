"""Count what rows that a person has checked add to audits of labels of people.

::

    SKLGM_DATA=DATA python -m tests.properties.checked_rows --n-draws 20 \
        --n-checked 100 --seed 0 --out docs/results/checks/checked_rows.json

Of every set of ``human-labels`` rows are drawn at random, and what their labels are is
given as ``decisions``. Counted is how often ``noise_share_interval`` covers the share
of the labels that are wrong, how wide it is, and what is found at a false discovery
rate of 0.1, beside the audit without them. A second count draws smaller sets of rows
from each set, in random order, as other data would be.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

from sklgm import audit
from sklgm._running import describe_environment
from sklgm.datasets import get_data_home
from tests.properties._record import write_record

SIZES = (2_000, 10_000)


def sets_of_people():
    """Yield names, probabilities, claims and true labels."""
    for path in sorted((get_data_home() / "human-labels").glob("*.npz")):
        with np.load(path) as archive:
            if "pred_probs" not in archive:
                continue
            proba = archive["pred_probs"].astype(np.float64)
            claimed, y = archive["claimed"].astype(int), archive["true"].astype(int)
        yield path.stem, proba / proba.sum(axis=1, keepdims=True), claimed, y


def judged(proba, claimed, y, rows=()):
    """What an audit says that was told of some rows whether their labels are right."""
    is_wrong = claimed != y
    told = {int(i): "relabel" if is_wrong[i] else "keep" for i in rows}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model of right and wrong labels")
        result = audit(None, claimed, pred_probs=proba, decisions=told or None)
    low, high = result.noise_share_interval
    flags = result.is_suspect
    return {
        "is_covered": bool(low <= is_wrong.mean() <= high),
        "width": float(high - low),
        "found": float(flags[is_wrong].mean()),
        "right_among_flagged": float((~is_wrong)[flags].mean()) if flags.any() else 0.0,
    }


def summary(of_draws):
    """Counts, ranges and means of draws."""
    values = {name: [draw[name] for draw in of_draws] for name in of_draws[0]}
    return {
        "n_covered": int(np.sum(values["is_covered"])),
        "greatest_width": round(max(values["width"]), 4),
        "mean_found": round(float(np.mean(values["found"])), 4),
        "least_found": round(min(values["found"]), 4),
        "mean_right_among_flagged": round(
            float(np.mean(values["right_among_flagged"])), 4
        ),
        "most_right_among_flagged": round(max(values["right_among_flagged"]), 4),
    }


def count(n_draws, n_checked, seed):
    """Count over draws of checked rows, and of smaller sets, of each set."""
    found = {}
    for name, proba, claimed, y in sets_of_people():
        rng = np.random.default_rng(seed)
        n = len(claimed)
        checked = [
            judged(proba, claimed, y, rng.choice(n, n_checked, replace=False))
            for _ in range(n_draws)
        ]
        smaller = {}
        for size in SIZES:
            draws = (rng.choice(n, size, replace=False) for _ in range(n_draws))
            smaller[str(size)] = summary(
                [judged(proba[rows], claimed[rows], y[rows]) for rows in draws]
            )
        found[name] = {
            "n_rows": n,
            "n_wrong": int(np.count_nonzero(claimed != y)),
            "without": judged(proba, claimed, y),
            "with_checked_rows": summary(checked),
            "of_fewer_rows": smaller,
        }
    return found


def main():
    """Write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-draws", type=int, default=20)
    parser.add_argument("--n-checked", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    command = f"python -m tests.properties.checked_rows --n-draws {options.n_draws} "
    command += f"--n-checked {options.n_checked} --seed {options.seed}"
    record = {
        "command": command,
        "n_draws": options.n_draws,
        "n_checked": options.n_checked,
        "sets": count(options.n_draws, options.n_checked, options.seed),
        "environment": describe_environment(),
    }
    write_record(record, options.out)


if __name__ == "__main__":
    main()
