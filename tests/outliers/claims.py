"""Claims of rows, right and wrong ones, with the posteriors of a classifier."""

import numpy as np
from scipy.special import log_softmax

N_CLASSES = 5


def labelled_rows(noise_share, temperature, *, n=8000, seed=0, n_classes=N_CLASSES):
    """Log posteriors that are off by a temperature, claims, and which are wrong."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, n_classes))
    logits[np.arange(n), rng.integers(n_classes, size=n)] += rng.uniform(3, 9, size=n)
    log_proba = log_softmax(logits, axis=1)
    shares = np.exp(log_proba).cumsum(axis=1)
    labels = (shares < rng.random((n, 1))).sum(axis=1).clip(0, n_classes - 1)
    is_wrong = rng.random(n) < noise_share
    shift = np.where(is_wrong, rng.integers(1, n_classes, size=n), 0)
    claimed = (labels + shift) % n_classes
    return log_softmax(temperature * log_proba, axis=1), claimed, is_wrong


def long_tailed(log_proba, power):
    """Log posteriors of a classifier whose log odds are too far apart at the ends."""
    top = log_proba.max(axis=1, keepdims=True)
    return log_softmax(-((top - log_proba) ** (1.0 / power)), axis=1)


def rows_of_people(n=20_000, *, share=0.03, excess=10.0, sure=(3.0, 9.0)):
    """Log posteriors, and claims that are wrong where classes are alike."""
    n_classes = 4
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), rng.integers(n_classes, size=n)] += rng.uniform(*sure, size=n)
    log_proba = log_softmax(logits, axis=1)
    shares = np.exp(log_proba).cumsum(axis=1)
    labels = (shares < rng.random((n, 1))).sum(axis=1).clip(0, n_classes - 1)
    factor = 1.0 + excess * (1.0 - np.exp(log_proba).max(axis=1))
    is_wrong = rng.random(n) < share * factor / factor.mean()
    shift = np.where(is_wrong, rng.integers(1, n_classes, size=n), 0)
    return log_proba, (labels + shift) % n_classes
