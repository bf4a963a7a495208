"""Small problems of robust locations, and by brute force what poisons do to them."""

import itertools

import numpy as np

from sklgm import RobustGaussianClassifier
from sklgm.gaussian import LocationBounds
from sklgm.poisoning._location_attack import _AttackedClass

FAR = 1e7
#: Sizes of poisons that rounding could make felt, where exact numbers would not.
OUTRAGEOUS = (1e3, 1e8, 1e12, 1e17, 1e30, 1e100)
TRIMS = (None, 0.2, 0.25, 0.4)


class Problem:
    """A classifier of a few rows, rows to predict, and a threat.

    By its seed: location, threat, change, whether priors are equal and the variance is
    estimated, and whether all numbers are whole, so that there are ties.
    """

    def __init__(self, seed, *, n_classes=(2, 4), n_rows=(2, 8), dim=(1, 5)):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(*n_classes)), int(rng.integers(*dim))
        self.trim = TRIMS[seed % 4]
        self.threat = ["one_class", "any"][seed // 4 % 2]
        self.change = ["replace", "insert"][seed // 8 % 2]
        self.y = np.repeat(np.arange(n), rng.integers(*n_rows, size=n))
        centres = rng.normal(scale=2.0, size=(n, d))
        noise = rng.normal(size=(len(self.y), d))
        self.is_plain, self.is_whole = seed // 16 % 2 == 1, seed // 32 % 2 == 1
        n_decimals = 0 if self.is_whole else 1
        self.X = np.round(centres[self.y] + noise, n_decimals)  # with ties
        self.X_new = rng.normal(scale=2.5, size=(4, d))
        if self.is_whole:
            self.X_new = np.round(self.X_new)
        variance, priors = float(rng.uniform(0.5, 2.0)), rng.uniform(0.5, 1.5, size=n)
        self.clf = RobustGaussianClassifier(
            location="median" if self.trim is None else "trimmed_mean",
            trim=self.trim or 0.0,
            variance="within" if self.is_plain else variance,
            priors=np.ones(n) if self.is_plain else priors,
        ).fit(self.X, self.y)
        self.predicted = self.clf.predict(self.X_new)
        self.kind = {"threat": self.threat, "change": self.change}
        self.certified = self.clf.certified_poisons(self.X_new, **self.kind)
        self.n_poisons = int(rng.integers(1, 4))

    def refitted(self, X, y):
        return RobustGaussianClassifier(**self.clf.get_params()).fit(X, y)

    @property
    def setting(self):
        """Location, threat and change in words."""
        location = "median" if self.trim is None else f"trimmed mean, {self.trim}"
        return f"{location}; {self.threat}; {self.change}"

    def outrageous(self, r, rng):
        """Training rows of which r of a class, or of each, are far beyond all others.

        All of a class lie at one corner, so that they pull one way.
        """
        X, y = self.X.copy(), self.y
        classes = np.unique(y)
        chosen = classes if self.threat == "any" else [rng.choice(classes)]
        for k in chosen:
            corner = rng.choice([-1.0, 1.0], size=X.shape[1]) * rng.choice(OUTRAGEOUS)
            own = np.flatnonzero(self.y == k)
            if self.change == "insert":
                X = np.concatenate([X, np.repeat(corner[None], r, axis=0)])
                y = np.concatenate([y, np.repeat(k, r)])
            else:
                X[rng.permutation(own)[:r]] = corner
        return X, y


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
    """Whether some poisons change each prediction, by more than rounding."""
    return true_margins(problem, r) < -1e-6


def true_margins(problem, r):
    """By how much no poisons change each prediction: every choice of rows is tried.

    Of each choice the location of a column reaches all values between that with the
    poisons below all rows and that with them above. Below 0 some poisons change it,
    by so much of its score; at 0 they reach a tie.
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
        return others_least.min(axis=1) - greatest[every, own]
    return np.minimum(
        others_least.min(axis=1) - scores[every, own],
        others.min(axis=1) - greatest[every, own],
    )


def strong_search(problem, k, row, r, rng, n_swaps):
    """Hill climbing over the replaced rows, by literal locations; squared distance."""
    is_own = problem.clf.classes_[k] == problem.predicted[row]
    rows, x = problem.X[problem.y == k], problem.X_new[row]
    bounds = LocationBounds(np.sort(rows, axis=0), problem.trim)
    attacked = _AttackedClass(
        rows, bounds, r, problem.change, 50, np.random.RandomState(0)
    )
    removed, _ = attacked.search(x[None], is_own)

    def squares(removed):
        kept = np.delete(rows, removed, axis=0)
        ends = [
            location_of(np.vstack([kept, np.full((r, len(x)), e)]), problem.trim)
            for e in (-FAR, FAR)
        ]
        if is_own:
            return np.maximum((x - ends[0]) ** 2, (x - ends[1]) ** 2).sum()
        return np.square(x - np.clip(x, *ends)).sum()

    best, best_squares = removed[0].copy(), squares(removed[0])
    for _ in range(n_swaps if problem.change == "replace" else 0):
        tried = best.copy()
        kept = np.setdiff1d(np.arange(len(rows)), best)
        tried[rng.integers(len(best))] = rng.choice(kept)
        found = squares(tried)
        if (found > best_squares) if is_own else (found < best_squares):
            best, best_squares = tried, found
    return best_squares, is_own


def strongly_searched(seed, n_swaps):
    """Attack one certified prediction of a larger problem at its own count.

    None if no prediction is certified; else whether it was changed.
    """
    problem = Problem(seed, n_rows=(20, 40), dim=(3, 9))
    rng = np.random.default_rng(seed)
    certified = np.flatnonzero(problem.certified > 0)
    if len(certified) == 0:
        return None
    row = certified[0]
    r, n_classes = int(problem.certified[row]), len(problem.clf.classes_)
    variance, log_priors = float(problem.clf.covariances_), np.log(problem.clf.priors_)
    squares = np.square(problem.X_new[row] - problem.clf.means_).sum(axis=1)
    scores = 0.5 * squares / variance - log_priors
    own = int(scores.argmin())
    reached = scores.copy()
    for k in range(n_classes):
        found, is_own = strong_search(problem, k, row, r, rng, n_swaps)
        score = 0.5 * found / variance - log_priors[k]
        if problem.threat == "any":
            reached[k] = score
        elif is_own and score >= np.delete(scores, k).min():
            return True
        elif not is_own and score <= scores[own]:
            return True
    return bool(reached.argmin() != own)
