"""sklgm.outliers: split-conformal p-values and thresholds."""

import math
from fractions import Fraction

import numpy as np
import pytest

from sklgm.outliers._conformal import (
    conformal_p_values,
    conformal_threshold,
    n_rows_for_level,
)

SEEDS = [0, 1, 2]


@pytest.mark.parametrize("seed", SEEDS)
def test_p_values_match_the_literal_formula(seed):
    rng = np.random.default_rng(seed)
    calibration = np.sort(rng.integers(0, 8, size=20).astype(float))  # with ties
    scores = rng.integers(-2, 10, size=30).astype(float)
    expected = [(1 + sum(c <= s for c in calibration)) / 21 for s in scores]
    np.testing.assert_array_equal(conformal_p_values(calibration, scores), expected)


def test_p_values_lie_between_one_rank_and_one():
    calibration = np.arange(9.0)
    p_values = conformal_p_values(calibration, np.array([-np.inf, -1.0, 99.0, np.inf]))
    assert p_values.tolist() == [0.1, 0.1, 1.0, 1.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_p_values_of_exchangeable_scores_are_uniform(seed):
    # Every p-value of one new score is equally likely among 1/20 ... 20/20. In
    # 4,000 draws a count of 200 has a standard error of 14; five of them.
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(4_000, 20))
    p_values = [conformal_p_values(np.sort(d[1:]), d[:1])[0] for d in draws]
    counts = np.bincount(np.round(20 * np.array(p_values)).astype(int), minlength=21)
    assert np.all(np.abs(counts[1:] - 200) < 5 * math.sqrt(200))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_calibration", [1, 9, 19, 99])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.1, 0.3, 0.5, 0.9])
def test_threshold_flags_exactly_the_p_values_up_to_the_level(
    seed, n_calibration, level
):
    rng = np.random.default_rng(seed)
    calibration = np.sort(rng.integers(0, 30, size=n_calibration).astype(float))
    scores = np.arange(-2.0, 33.0)
    threshold = conformal_threshold(calibration, level)
    exact = [
        Fraction(1 + int((calibration <= s).sum()), n_calibration + 1) for s in scores
    ]
    expected = [p <= Fraction(str(level)) for p in exact]
    assert (scores < threshold).tolist() == expected


@pytest.mark.parametrize(("level", "n_rows"), [(0.01, 98), (0.05, 18), (0.3, 2)])
def test_level_that_no_p_value_can_reach_gives_minus_infinity(level, n_rows):
    assert conformal_threshold(np.zeros(n_rows), level) == -np.inf
    assert conformal_threshold(np.zeros(n_rows + 1), level) == 0.0


@pytest.mark.parametrize(
    "level", ["0.001", "0.01", "0.05", "0.07", "0.1", "0.3", "0.5"]
)
def test_fewest_rows_for_a_level_are_exact(level):
    n_rows = n_rows_for_level(float(level))
    assert Fraction(1, n_rows + 1) <= Fraction(level)
    assert n_rows == 0 or Fraction(1, n_rows) > Fraction(level)
