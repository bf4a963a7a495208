import numpy as np
import pytest
import torch

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._inputs import column_offsets, to_float
from sklgm._inputs._precision import is_lost_in_float32
from sklgm._running import _scratch
from sklgm.datasets import make_gaussian_classes
from sklgm.poisoning._network_surrogate import make_surrogate

RNG = np.random.default_rng(0)
COLUMNS = {
    "times": (1.7e9 + RNG.normal(size=600), True),
    "clusters far apart": (1e9 * (RNG.random(600) < 0.5) + RNG.random(600), True),
    "wide integers": (2**40 + RNG.integers(0, 1000, 600), True),
    "days in seconds": (1.7e9 + 86400 * RNG.integers(0, 99, 600), False),
    "standard": (RNG.normal(size=600), False),
    "tiny": (1e-9 * RNG.normal(size=600), False),
    "constant": (np.full(600, 0.1), False),
    "counts": (RNG.integers(0, 1000, 600), False),
    "missing": (np.where(RNG.random(600) < 0.1, np.nan, RNG.normal(size=600)), False),
    "all missing": (np.full(600, np.nan), False),
}


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("name", COLUMNS)
def test_columns_that_float32_loses_are_told(name):
    column, is_lost = COLUMNS[name]
    assert is_lost_in_float32(column[:, None]).tolist() == [is_lost]
    kept = to_float(column[:, None])
    assert kept.dtype == (np.float64 if is_lost else np.float32)
    np.testing.assert_allclose(kept[:, 0], column.astype(float), rtol=1e-6)


def test_only_lost_columns_are_centred():
    X = np.c_[COLUMNS["times"][0], COLUMNS["standard"][0]]
    offsets = column_offsets(X)
    assert offsets == pytest.approx([X[:, 0].mean(), 0])
    assert column_offsets(X[:, 1:]) is None
    assert column_offsets(X.astype(np.float32)) is None
    assert column_offsets(X.reshape(-1, 1, 1, 2)) is None


@pytest.mark.parametrize("cls", [LGMClassifier, SoftmaxClassifier])
def test_networks_learn_from_columns_of_large_offset(cls):
    X, y = make_gaussian_classes(300, n_features=3, separation=6.0, random_state=0)
    shift = np.array([1.7e9, 0.0, -2e12])
    X = X.astype(np.float64)
    classifier = cls(max_epochs=15, lr=0.01, random_state=0).fit(X + shift, y)
    assert classifier.score(X + shift, y) > 0.95
    # An attack sees the same network.
    surrogate = make_surrogate(classifier)
    rows = torch.from_numpy(X + shift)
    predicted = classifier.classes_[surrogate.predict(rows).numpy()]
    np.testing.assert_array_equal(predicted, classifier.predict(X + shift))


def test_partial_fit_keeps_the_offsets_of_the_first_chunk():
    X, y = make_gaussian_classes(300, n_features=3, separation=6.0, random_state=0)
    X = X.astype(np.float64) + 1.7e9
    classifier = SoftmaxClassifier(lr=0.02, random_state=0)
    for _ in range(15):
        for rows in (slice(0, 150), slice(150, 300)):
            classifier.partial_fit(X[rows], y[rows], classes=np.unique(y))
    assert classifier.score(X, y) > 0.95


def test_a_lost_column_is_told_by_any_chunk_of_rows(monkeypatch):
    X = np.zeros((50, 3))
    X[:, 0] = np.arange(50.0)
    X[:, 1] = 1.7e9 + np.arange(50.0)
    X[40:, 2] = 1.7e9 + np.arange(10.0)  # the first chunks hold zeros
    expected = is_lost_in_float32(X)
    assert expected.tolist()[:2] == [False, True]
    monkeypatch.setattr(_scratch, "_CHUNK_ROWS", 7)
    np.testing.assert_array_equal(is_lost_in_float32(X), expected)
