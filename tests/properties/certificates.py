"""Count certificates on random small problems, and how many of them are broken.

::

    python -m tests.properties.certificates --n-problems 10000 --n-searches 200 \
        --seed 0 --out docs/results/checks/certificates.json

Each problem is a classifier of a few rows with a median or a trimmed mean, with ties
and even counts among them, and four rows to predict. For every number of poisons that
is certified somewhere, what all poisons could do is found by brute force, and the
classifier is fitted anew on rows of which so many are far beyond all others, where
rounding could be felt; for every ninth problem ``attack_locations`` stands beside it. A
search is hill
climbing over the replaced rows of a larger problem. The command fails if a certificate
is broken, or if the attack finds more than there is.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np

from sklgm._running import describe_environment
from sklgm.poisoning import attack_locations
from tests.poisoning.location_problems import (
    Problem,
    strongly_searched,
    true_margins,
)
from tests.properties._record import write_record

#: Of a rounding of scores: a tie counts as a change.
_TIE = 1e-12
_ATTACKED_EVERY = 9
_N_SWAPS = 300


def check_problem(seed):
    """Counts of one problem, over its rows and numbers of poisons."""
    problem, rng = Problem(seed), np.random.default_rng([seed, 1])
    counts = Counter(n_predictions=len(problem.X_new))
    most = int(problem.certified.max())
    # One more than is certified says how often a certificate could be larger.
    for r in range(1, min(most + 1, 5) + 1):
        is_certified = problem.certified >= r
        margins = true_margins(problem, r)
        is_changed, could_change = margins < -1e-6, margins < _TIE
        counts["n_cases"] += len(is_certified)
        counts["n_certified"] += int(is_certified.sum())
        counts["n_changed"] += int(is_changed.sum())
        counts["n_broken"] += int((is_certified & could_change).sum())
        if seed % _ATTACKED_EVERY == 0:
            attacked = attack_locations(
                problem.clf,
                problem.X,
                problem.y,
                problem.X_new,
                r,
                **problem.kind,
                random_state=0,
            ).is_changed
            counts["n_attacked_cases"] += len(attacked)
            counts["n_changed_of_attacked"] += int(is_changed.sum())
            counts["n_attacked"] += int(attacked.sum())
            counts["n_attacks_beyond_the_truth"] += int((attacked & ~is_changed).sum())
        if r <= most:
            found = problem.refitted(*problem.outrageous(r, rng))
            is_other = found.predict(problem.X_new) != problem.predicted
            counts["n_refits"] += 1
            counts["n_broken_by_refits"] += int((is_certified & is_other).sum())
    return problem.setting, counts


def check(n_problems, n_searches, seed):
    """Counts of all problems by setting, and of the searches."""
    rng = np.random.default_rng(seed)
    first = int(rng.integers(2**20))
    by_setting, total = {}, Counter()
    for own in range(first, first + n_problems):
        setting, counts = check_problem(own)
        by_setting.setdefault(setting, Counter()).update(counts, n_problems=1)
        total.update(counts)
    n_searched, n_broken, own = 0, 0, first
    while n_searched < n_searches:
        is_broken = strongly_searched(own, _N_SWAPS)
        n_searched += is_broken is not None
        n_broken += bool(is_broken)
        own += 1
    return {
        "n_problems": n_problems,
        **total,
        "n_searches": n_searched,
        "n_broken_by_searches": n_broken,
        "by_setting": {name: dict(by_setting[name]) for name in sorted(by_setting)},
    }


def is_sound(counts):
    """Whether nothing was broken, and the attack claims no more than there is."""
    names = ("n_broken", "n_broken_by_refits", "n_broken_by_searches")
    return not any(counts[name] for name in (*names, "n_attacks_beyond_the_truth"))


def main():
    """Write the counts; fail if one of them should be 0 and is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-problems", type=int, default=10_000)
    parser.add_argument("--n-searches", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    counts = check(options.n_problems, options.n_searches, options.seed)
    command = "python -m tests.properties.certificates "
    command += f"--n-problems {options.n_problems} --n-searches {options.n_searches} "
    command += f"--seed {options.seed}"
    found = {
        "command": command,
        **counts,
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "environment": describe_environment(),
    }
    write_record(found, options.out)
    if not is_sound(counts):
        raise SystemExit("a certificate is broken")


if __name__ == "__main__":
    main()
