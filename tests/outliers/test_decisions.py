"""sklgm.outliers: decisions by level, by share and by q-value, and ties."""

import warnings

import numpy as np
import pytest

from sklgm.metrics._levels import is_flagged, share_threshold
from sklgm.outliers._decisions import (
    Thresholds,
    discovery_rates,
    q_values,
    upper_median,
    warn_of_ties,
)


def test_a_level_of_exactly_one_rank_is_not_lost_to_rounding():
    p_values = np.arange(1, 301) / 300
    for n in range(1, 300):
        assert is_flagged(p_values, n / 300).sum() == n


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_q_values_match_the_literal_procedure(seed):
    p_values = np.random.default_rng(seed).random(50) ** 3
    order = np.argsort(p_values)
    expected = np.empty(50)
    for i, row in enumerate(order):
        expected[row] = min(p_values[order[j]] * 50 / (j + 1) for j in range(i, 50))
    np.testing.assert_allclose(q_values(p_values), np.minimum(expected, 1.0))


@pytest.mark.parametrize("n_folds", [1, 2, 3, 4])
def test_a_median_is_low_only_where_most_folds_are(n_folds):
    for n_low in range(n_folds + 1):
        of_folds = [np.array([float(i >= n_low)]) for i in range(n_folds)]
        assert (upper_median(of_folds)[0] == 0.0) == (n_low > n_folds / 2)


def test_folds_with_thresholds_of_their_own_are_compared_at_these():
    thresholds = Thresholds.of_folds(np.array([[1.0], [5.0], [9.0]]))
    assert thresholds.offsets.tolist() == [5.0]
    groups = np.zeros(2, dtype=np.int64)
    # The first row is below the thresholds of two folds, the second of one.
    scores = [np.array([0.0, 2.0]), np.array([4.0, 4.0]), np.array([20.0, 20.0])]
    decisions = thresholds.decisions(scores, groups)
    np.testing.assert_array_equal(decisions < 0, [True, False])
    np.testing.assert_allclose(
        thresholds.levelled(scores, groups) - thresholds.offsets[0], decisions
    )


def test_thresholds_that_no_score_reaches_flag_nothing():
    thresholds = Thresholds.of_folds(np.full((3, 1), -np.inf))
    scores = [np.array([-1e300])] * 3
    assert thresholds.decisions(scores, np.zeros(1, dtype=np.int64))[0] > 0


@pytest.mark.parametrize(
    ("n_tied", "n_above", "contamination", "n_flagged"),
    [
        (0, 100, 0.1, 10),
        (5, 95, 0.1, 10),  # ties below the threshold do not matter
        (20, 80, 0.1, 20),  # none would be flagged
        (40, 60, 0.05, 40),
        (51, 49, 0.1, 0),  # not more than half
        (100, 0, 0.1, 0),
        (0, 0, 0.1, 0),
    ],
)
def test_lowest_scores_that_tie_are_flagged_together(
    n_tied, n_above, contamination, n_flagged
):
    for lowest in (0.0, 3.7, np.finfo(np.float64).min):
        scores = np.r_[np.full(n_tied, lowest), 4.0 + np.arange(n_above)]
        threshold = share_threshold(scores, contamination)
        assert (scores < threshold).sum() == n_flagged
        assert (scores - threshold < 0).sum() == n_flagged


@pytest.mark.parametrize(("n_lowest", "n_flagged"), [(5, 5), (4, 24)])
def test_ties_at_the_threshold_are_flagged_where_half_would_be_missed(
    n_lowest, n_flagged
):
    scores = np.r_[-2.0 - np.arange(n_lowest), np.zeros(20), 1.0 + np.arange(80)]
    scores = scores[:100]
    threshold = share_threshold(scores, 0.1)
    assert (scores < threshold).sum() == n_flagged


def test_discovery_rates_are_means_of_all_that_are_more_suspect():
    p_right = np.array([0.3, 0.0, 0.1, 0.9, 0.1])
    expected = [
        np.mean([other for other in p_right if other <= own]) for own in p_right
    ]
    np.testing.assert_allclose(discovery_rates(p_right), expected)


def test_discovery_rates_flag_the_largest_set_that_keeps_the_promise():
    p_right = np.random.default_rng(0).beta(0.3, 0.6, size=500)
    is_flagged = discovery_rates(p_right) <= 0.1
    assert p_right[is_flagged].mean() <= 0.1
    nxt = np.sort(p_right[~is_flagged])[0]
    assert np.mean(np.r_[p_right[is_flagged], nxt]) > 0.1


@pytest.mark.parametrize(
    ("n_rows", "n_flagged", "warns"),
    [
        (100, 4, True),
        (100, 5, False),  # half of 10
        (100, 15, False),
        (100, 16, True),
        (5, 1, False),  # of one half of a row
        (5, 2, True),
        (9, 0, False),
        (10, 0, True),
    ],
)
def test_ties_warn_below_half_and_above_three_halves(n_rows, n_flagged, warns):
    scores = np.r_[np.zeros(n_flagged), np.ones(n_rows - n_flagged)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_ties([scores], np.array([0.5]), 0.1, [], stacklevel=1)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == warns
    assert all(f"{n_flagged} of {n_rows} rows are flagged" in m for m in messages)
