"""Rows for tests of detectors, and the model of one fold alone."""

import numpy as np

from sklgm._random import draw_seed
from sklgm.outliers._folds import make_folds


def gaussian_rows(seed, n, *, dim=4, separation=5.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    return separation * np.eye(3, dim)[y] + rng.normal(size=(n, dim)), y


def mislabelled(seed, n, n_wrong=10):
    """Rows of class 0 of which some claim to be of class 2."""
    X, y = gaussian_rows(seed, n)
    claimed = y.copy()
    claimed[np.flatnonzero(y == 0)[:n_wrong]] = 2
    return X, claimed, claimed != y


def first_fold(detector, X, y):
    """The first fold: its training rows and the detector's model of them."""
    train, _ = make_folds(y, len(y), cv=5, seed=draw_seed(detector.random_state))[0]
    return train, detector.estimators_[0]


def scores_of_first_fold(detector, X, y):
    """Scores of rows by the model of the first fold alone."""
    model = detector.estimators_[0]
    evidence = detector._read(model, X)
    return detector._claimed_scores(model, evidence, y)
