"""sklgm.outliers: conformal p-values and thresholds, weighted or not."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklgm.outliers._conformal import ConformalLaw, n_rows_for_level

SEEDS = [0, 1, 2]


def one_group(scores):
    return np.zeros(len(scores), dtype=np.int64)


def law_of(scores, weights=None):
    scores = np.asarray(scores, dtype=float)
    return ConformalLaw.from_rows(scores, one_group(scores), 1, weights)


def p_values(calibration, scores):
    return law_of(calibration).p_values(np.asarray(scores, float), one_group(scores))


@pytest.mark.parametrize("seed", SEEDS)
def test_p_values_match_the_literal_formula(seed):
    rng = np.random.default_rng(seed)
    calibration = rng.integers(0, 8, size=20).astype(float)  # with ties
    scores = rng.integers(-2, 10, size=30).astype(float)
    expected = [(1 + sum(c <= s for c in calibration)) / 21 for s in scores]
    np.testing.assert_allclose(p_values(calibration, scores), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_p_values_match_the_literal_formula(seed):
    rng = np.random.default_rng(seed)
    calibration = rng.integers(0, 8, size=20).astype(float)
    weights = rng.random(20)
    law = law_of(calibration, weights)
    scores = rng.integers(-2, 10, size=30).astype(float)
    expected = [
        (1 + sum(w for c, w in zip(calibration, weights, strict=True) if c <= s))
        / (1 + sum(weights))
        for s in scores
    ]
    np.testing.assert_allclose(law.p_values(scores, one_group(scores)), expected)
    own = [
        (1 + sum(weights[j] for j in range(20) if j != i and calibration[j] <= c))
        / (1 + sum(weights) - weights[i])
        for i, c in enumerate(calibration)
    ]
    np.testing.assert_allclose(
        law.own_p_values(calibration, one_group(calibration), weights), own
    )


def test_rows_without_weight_set_no_threshold():
    scores = np.r_[np.full(50, -9.0), np.arange(200.0)]
    weights = np.r_[np.zeros(50), np.ones(200)]
    level = np.array([0.05])
    assert law_of(scores, weights).thresholds(0.05) == law_of(scores[50:]).thresholds(
        0.05
    )
    assert (
        law_of(scores, weights).own_p_values(scores, one_group(scores), weights)[:50]
        <= level
    ).all()
    assert (law_of(scores).own_p_values(scores, one_group(scores))[:50] > level).all()


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), max_size=30),
    st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 2)), min_size=1, max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_p_values_count_the_rows_of_the_own_group(calibration, new):
    scores = np.array([float(s) for s, _ in calibration])
    groups = np.array([g for _, g in calibration], dtype=np.int64)
    law = ConformalLaw.from_rows(scores, groups, 3)
    p_values = law.p_values(
        np.array([float(s) for s, _ in new]), np.array([g for _, g in new])
    )
    for p, (s, g) in zip(p_values, new, strict=True):
        own = [c for c, of in calibration if of == g]
        assert p == (1 + sum(c <= s for c in own)) / (len(own) + 1)


def test_p_values_lie_between_one_rank_and_one():
    extreme = p_values(np.arange(9.0), [-np.inf, -1.0, 99.0, np.inf])
    assert extreme.tolist() == [0.1, 0.1, 1.0, 1.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_p_values_of_exchangeable_scores_are_uniform(seed):
    # Every p-value of one row among 20 is equally likely among 1/20 ... 20/20. In
    # 4,000 draws a count of 200 has a standard error of 14; five of them.
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(4_000, 20))
    ranks = [law_of(d).own_p_values(d, one_group(d))[0] for d in draws]
    counts = np.bincount(np.round(20 * np.array(ranks)).astype(int), minlength=21)
    assert np.all(np.abs(counts[1:] - 200) < 5 * math.sqrt(200))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_calibration", [1, 9, 19, 99])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.1, 0.3, 0.5, 0.9])
def test_threshold_flags_exactly_the_p_values_up_to_the_level(
    seed, n_calibration, level
):
    rng = np.random.default_rng(seed)
    calibration = rng.integers(0, 30, size=n_calibration).astype(float)
    scores = np.arange(-2.0, 33.0)
    threshold = law_of(calibration).thresholds(level)[0]
    exact = [
        Fraction(1 + int((calibration <= s).sum()), n_calibration + 1) for s in scores
    ]
    expected = [p <= Fraction(str(level)) for p in exact]
    assert (scores < threshold).tolist() == expected


@pytest.mark.parametrize("level", [0.02, 0.1, 0.5])
def test_weighted_threshold_parts_scores_as_the_level_parts_p_values(level):
    rng = np.random.default_rng(0)
    calibration = rng.integers(0, 30, size=200).astype(float)
    law = law_of(calibration, rng.random(200))
    scores = np.arange(-2.0, 33.0)
    is_low = law.p_values(scores, one_group(scores)) <= level
    np.testing.assert_array_equal(scores < law.thresholds(level)[0], is_low)


@pytest.mark.parametrize(("level", "n_rows"), [(0.01, 98), (0.05, 18), (0.3, 2)])
def test_level_that_no_p_value_can_reach_gives_minus_infinity(level, n_rows):
    assert law_of(np.zeros(n_rows)).thresholds(level) == [-np.inf]
    assert law_of(np.zeros(n_rows + 1)).thresholds(level) == [0.0]
    assert law_of(np.zeros(n_rows)).smallest_p_values()[0] > level


@pytest.mark.parametrize(
    "level", ["0.001", "0.01", "0.05", "0.07", "0.1", "0.3", "0.5"]
)
def test_fewest_rows_for_a_level_are_exact(level):
    n_rows = n_rows_for_level(float(level))
    assert Fraction(1, n_rows + 1) <= Fraction(level)
    assert n_rows == 0 or Fraction(1, n_rows) > Fraction(level)


def test_groups_without_weights_are_refused():
    scores = np.arange(5.0)
    law = ConformalLaw((scores, scores), (np.arange(6.0),))
    for method in (
        lambda: law.thresholds(0.2),
        lambda: law.p_values(scores, np.zeros(5, dtype=np.int64)),
    ):
        with pytest.raises(ValueError, match="zip"):
            method()
