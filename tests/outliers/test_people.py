from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from sklgm.outliers._people import (
    _between,
    _gain_of_ambiguous_noise,
    likeness_to_people,
)
from sklgm.outliers._transitions import TransitionModel
from tests.outliers.claims import rows_of_people


@pytest.mark.parametrize("is_of_people", [True, False], ids=["people", "chance"])
def test_noise_is_that_of_people_where_classes_are_alike(is_of_people):
    rng = np.random.default_rng(0)
    n, n_classes = 20_000, 4
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), rng.integers(n_classes, size=n)] += rng.uniform(3, 9, size=n)
    log_proba = log_softmax(logits, axis=1)
    shares = np.exp(log_proba).cumsum(axis=1)
    labels = (shares < rng.random((n, 1))).sum(axis=1).clip(0, n_classes - 1)
    # More often wrong where the classifier is unsure, as the model has it.
    factor = 1.0 + 10.0 * (1.0 - np.exp(log_proba).max(axis=1)) * is_of_people
    is_wrong = rng.random(n) < 0.03 * factor / factor.mean()
    shift = np.where(is_wrong, rng.integers(1, n_classes, size=n), 0)
    claimed = (labels + shift) % n_classes
    start = TransitionModel.start(n_classes, np.full(n_classes, 0.25))
    model, _ = start.fit(log_proba, claimed)
    right, wrong = model.right_and_wrong(log_proba, claimed)
    noise = 1.0 - np.mean(right / (right + wrong))

    def by_people(error):
        return likeness_to_people(model, error, log_proba, claimed)

    # By the share of the noise in all that is not as the classifier has it, ...
    errors = [noise / part - noise for part in (0.22, 0.26, 0.3, 0.9)]
    expected = np.array([0.0, 0.5, 1.0, 1.0]) if is_of_people else np.zeros(4)
    np.testing.assert_allclose([by_people(e) for e in errors], expected, atol=1e-9)
    # ... and of a strong classifier alone.
    assert by_people(0.15) == 0.0


def confused_model(n_classes=4):
    rng = np.random.default_rng(1)
    matrix = rng.uniform(0.0, 0.03, size=(n_classes, n_classes))
    matrix[0, 1] = 0.4
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, 1.0 - matrix.sum(axis=1))
    start = TransitionModel.start(n_classes, np.full(n_classes, 1 / n_classes))
    return replace(start, noise_matrix=matrix, stray_share=0.02)


def test_likelihood_of_noise_that_is_ambiguous_is_that_of_loops():
    log_proba, claimed = rows_of_people(300)
    model = confused_model()
    T, q = model.noise_matrix, model.class_proba(log_proba)
    n, n_classes = q.shape
    share = [sum(T[y, z] for z in range(n_classes) if z != y) for y in range(n_classes)]
    factor = [1.0 + 4.0 * (1.0 - max(q[i])) for i in range(n)]
    expected_wrong = sum(
        factor[i] * q[i, y] * share[y] for i in range(n) for y in range(n_classes)
    )
    scale = 1.0
    for _ in range(10):
        right, wrong = [], []
        for i, z in enumerate(claimed):
            kept = max(1.0 - scale * factor[i] * share[z], 0.1)
            right.append(q[i, z] * kept)
            others = sum(q[i, y] * T[y, z] for y in range(n_classes) if y != z)
            wrong.append(factor[i] * others)
        of_rows = zip(right, wrong, strict=True)
        scale = sum(scale * b / (scale * b + a) for a, b in of_rows) / expected_wrong
    of_rows = zip(right, wrong, strict=True)
    expected = np.mean([np.log(scale * b + a) for a, b in of_rows])
    found = _gain_of_ambiguous_noise(model, log_proba, claimed)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, 0.0), (2.0, 0.0), (3.0, 0.25), (6.0, 1.0), (9.0, 1.0)]
)
def test_between_is_linear_from_low_to_high(value, expected):
    assert _between(value, 2.0, 6.0) == expected


@pytest.mark.parametrize("n", [5_000, 8_000, 10_000, 14_000, 20_000])
def test_share_of_people_is_the_product_of_what_speaks_for_them(n):
    log_proba, claimed = (rows[:n] for rows in rows_of_people())
    start = TransitionModel.start(4, np.full(4, 0.25))
    model, _ = start.fit(log_proba, claimed)
    right, wrong = model.right_and_wrong(log_proba, claimed)
    noise = 1.0 - np.mean(right / (right + wrong))
    gain = _gain_of_ambiguous_noise(model, log_proba, claimed)
    gain -= np.log(right + wrong).mean()

    def ramp(value, low, high):
        return min(max((value - low) / (high - low), 0.0), 1.0)

    for error in (0.02, 0.08, 0.12):
        expected = (
            ramp(gain / noise, 0.01, 0.025)
            * ramp(gain * n, 4.0, 8.0)
            * (1.0 - ramp(error, 0.1, 0.15))
            * ramp(noise / (noise + error), 0.22, 0.3)
        )
        found = likeness_to_people(model, error, log_proba, claimed)
        assert found == pytest.approx(expected)
    assert likeness_to_people(model, 0.0, log_proba, claimed) == 0.0
