"""Small problems of robust locations, and by brute force what poisons do to them."""

import itertools

import numpy as np

from sklgm import RobustGaussianClassifier

FAR = 1e7


class Problem:
    """A classifier of a few rows, rows to predict, and a threat."""

    def __init__(self, seed, *, n_classes=(2, 4), n_rows=(2, 8), dim=(1, 5)):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(*n_classes)), int(rng.integers(*dim))
        self.trim = [None, 0.2, 0.25, 0.4][seed % 4]
        self.threat = ["one_class", "any"][seed // 4 % 2]
        self.change = ["replace", "insert"][seed // 8 % 2]
        self.y = np.repeat(np.arange(n), rng.integers(*n_rows, size=n))
        centres = rng.normal(scale=2.0, size=(n, d))
        noise = rng.normal(size=(len(self.y), d))
        self.X = np.round(centres[self.y] + noise, 1)  # with ties
        self.X_new = rng.normal(scale=2.5, size=(4, d))
        self.clf = RobustGaussianClassifier(
            location="median" if self.trim is None else "trimmed_mean",
            trim=self.trim or 0.0,
            variance=float(rng.uniform(0.5, 2.0)),
            priors=rng.uniform(0.5, 1.5, size=n),
        ).fit(self.X, self.y)
        self.predicted = self.clf.predict(self.X_new)
        self.kind = {"threat": self.threat, "change": self.change}
        self.certified = self.clf.certified_poisons(self.X_new, **self.kind)
        self.n_poisons = int(rng.integers(1, 4))

    def refitted(self, X, y):
        return RobustGaussianClassifier(**self.clf.get_params()).fit(X, y)


def location_of(rows, trim):
    """Location by the literal definition, in float64, of rows (n, d)."""
    ordered, n = np.sort(rows, axis=0), len(rows)
    if trim is None:
        return ordered[-(-n // 2) - 1]
    ranks = np.arange(n)
    overlap = np.minimum(ranks + 1, (1 - trim) * n) - np.maximum(ranks, trim * n)
    overlap = np.clip(overlap, 0, 1)
    return overlap @ ordered / overlap.sum()


def true_changes(problem, r):
    """Whether some poisons change each prediction: every choice of rows is tried.

    Of each choice the location of a column reaches all values between that with the
    poisons below all rows and that with them above.
    """
    clf, X_new = problem.clf, problem.X_new
    n, n_classes = len(X_new), len(clf.classes_)
    nearest, farthest = np.full((n, n_classes), np.inf), np.zeros((n, n_classes))
    for k in range(n_classes):
        rows = problem.X[problem.y == k]
        replaces = problem.change == "replace"
        m = min(r, len(rows)) if replaces else r
        for removed in itertools.combinations(range(len(rows)), m if replaces else 0):
            kept = np.delete(rows, removed, axis=0)
            low, high = (
                location_of(
                    np.vstack([kept, np.full((m, rows.shape[1]), end)]), problem.trim
                )
                for end in (-FAR, FAR)
            )
            near = np.square(X_new - np.clip(X_new, low, high)).sum(axis=1)
            far = np.maximum((X_new - low) ** 2, (X_new - high) ** 2).sum(axis=1)
            nearest[:, k] = np.minimum(nearest[:, k], near)
            farthest[:, k] = np.maximum(farthest[:, k], far)
    variance, log_priors = float(clf.covariances_), np.log(clf.priors_)
    least, greatest = (
        0.5 * squares / variance - log_priors for squares in (nearest, farthest)
    )
    squares = np.square(X_new[:, None] - clf.means_).sum(axis=2)
    scores = 0.5 * squares / variance - log_priors
    own = np.searchsorted(clf.classes_, problem.predicted)
    every = np.arange(n)
    others, others_least = scores.copy(), least.copy()
    others[every, own] = others_least[every, own] = np.inf
    if problem.threat == "any":
        return others_least.min(axis=1) < greatest[every, own] - 1e-6
    by_other = others_least.min(axis=1) < scores[every, own] - 1e-6
    return by_other | (others.min(axis=1) < greatest[every, own] - 1e-6)
