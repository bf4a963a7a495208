"""Digits, and some of them with wrong labels."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklgm.poisoning import flip_labels


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    X.setflags(write=False)
    return X, y


@pytest.fixture(scope="module")
def flipped(digits):
    X, y = digits
    claimed = flip_labels(y, 0.05, random_state=0)
    return X, claimed, claimed != y
