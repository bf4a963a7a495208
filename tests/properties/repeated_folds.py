"""Count what splitting few rows into folds several times adds to audits.

::

    python -m tests.properties.repeated_folds --n-seeds 5 \
        --out docs/results/checks/repeated_folds.json

Labels of small sets of scikit-learn are flipped, and audited by classifiers of
scikit-learn with one split into five folds and with five splits. Counted is how many of
the wrong labels are among as many most suspect rows, what is found at a false discovery
rate of 0.1, and how many right labels are among it.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import audit
from sklgm._running import describe_environment
from sklgm.poisoning import flip_labels
from tests.properties._record import write_record

SETS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "600 digits": load_digits,
}
MAX_ROWS = 600
ESTIMATORS = {
    "gradient boosting": HistGradientBoostingClassifier(max_iter=30, random_state=0),
    "random forest": RandomForestClassifier(100, random_state=0),
    "logistic regression": make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=500)
    ),
    "10 nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(10)),
}
SHARES, N_REPEATS = (0.05, 0.15), (1, 5)


def judged(X, claimed, is_wrong, estimator, n_repeats, seed):
    """What one audit finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # models that do not fit, and such
        result = audit(
            X,
            claimed,
            estimator=estimator,
            n_repeats=n_repeats,
            random_state=seed,
        )
    flags = result.is_suspect
    most_suspect = result.ranking[: np.count_nonzero(is_wrong)]
    low, high = result.noise_share_interval
    return {
        "auroc": float(roc_auc_score(is_wrong, result.p_wrong)),
        "wrong_among_as_many": float(is_wrong[most_suspect].mean()),
        "found": float(flags[is_wrong].mean()),
        "n_flagged": int(np.count_nonzero(flags)),
        "n_right_flagged": int(np.count_nonzero(flags & ~is_wrong)),
        "is_covered": bool(low <= is_wrong.mean() <= high),
    }


def summary(audits):
    """Means, and the share of right labels among all that were flagged."""
    values = {name: np.array([each[name] for each in audits]) for name in audits[0]}
    n_flagged = max(1, int(values["n_flagged"].sum()))
    return {
        "n_audits": len(audits),
        "mean_auroc": round(float(values["auroc"].mean()), 4),
        "mean_wrong_among_as_many": round(
            float(values["wrong_among_as_many"].mean()), 4
        ),
        "mean_found": round(float(values["found"].mean()), 4),
        "right_among_flagged": round(
            float(values["n_right_flagged"].sum()) / n_flagged, 4
        ),
        "n_covered": int(values["is_covered"].sum()),
    }


def count(n_seeds):
    """Audit every set by every classifier, with one split and with several."""
    audits = {}
    for seed in range(n_seeds):
        for of_set, load in SETS.items():
            X, y = load(return_X_y=True)
            rows = np.random.default_rng(seed).permutation(len(y))[:MAX_ROWS]
            X, y = X[rows], y[rows]
            for share in SHARES:
                claimed = flip_labels(y, share, random_state=seed)
                for name, estimator in ESTIMATORS.items():
                    for n_repeats in N_REPEATS:
                        found = judged(
                            X, claimed, claimed != y, estimator, n_repeats, seed
                        )
                        audits.setdefault((of_set, name, n_repeats), []).append(found)
    every = {
        n_repeats: [
            each
            for key, of_key in audits.items()
            if key[2] == n_repeats
            for each in of_key
        ]
        for n_repeats in N_REPEATS
    }
    return {
        "all": {str(n): summary(of_n) for n, of_n in every.items()},
        **{
            of_set: {
                name: {str(n): summary(audits[of_set, name, n]) for n in N_REPEATS}
                for name in ESTIMATORS
            }
            for of_set in SETS
        },
    }


def main():
    """Write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    record = {
        "command": f"python -m tests.properties.repeated_folds --n-seeds "
        f"{options.n_seeds}",
        "n_seeds": options.n_seeds,
        "shares": SHARES,
        "by_number_of_splits": count(options.n_seeds),
        "environment": describe_environment(),
    }
    write_record(record, options.out)


if __name__ == "__main__":
    main()
