import numpy as np
import pytest

from sklgm.outliers._checked import _posterior, recalibrate


def claims(n=20000, shift=0.0, seed=0):
    """Probabilities that claims are right, off by a shift of their log odds."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(4, 3, size=n)
    is_right = rng.random(n) < 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-odds - shift)), is_right


@pytest.mark.parametrize(
    "shift", [-1.5, pytest.param(0.0, marks=pytest.mark.slow), 1.5]
)
def test_interval_of_the_share_covers_it(shift):
    p_right, is_right = claims(shift=shift)
    n_covered = 0
    for seed in range(20):
        rows = np.random.default_rng(seed).choice(len(p_right), 100, replace=False)
        low, high = recalibrate(p_right, rows, is_right[rows]).noise_share_interval
        n_covered += low <= np.mean(~is_right) <= high
    assert n_covered >= 17  # of 20 at 95 %: fewer in 1 of 400 such tests


@pytest.mark.parametrize("slope", [pytest.param(0.3, marks=pytest.mark.slow), 0.5])
def test_interval_covers_where_a_classifier_is_sure_of_errors_that_it_learnt(slope):
    rng = np.random.default_rng(0)
    odds = np.concatenate(
        [rng.normal(7, 3, size=18_000), rng.normal(-3, 2, size=2_000)]
    )
    of_claims = np.where(odds > 0, slope * odds, odds)
    is_right = rng.random(len(odds)) < 1 / (1 + np.exp(-of_claims))
    p_right = 1 / (1 + np.exp(-odds))
    n_covered = 0
    for _ in range(40):
        rows = rng.choice(len(p_right), 100, replace=False)
        low, high = recalibrate(p_right, rows, is_right[rows]).noise_share_interval
        n_covered += low <= np.mean(~is_right) <= high
    assert n_covered >= 35  # of 40 at 95 %: fewer in 1 of 30 such tests


def test_probabilities_are_corrected():
    p_right, is_right = claims(shift=2.0)
    rows = np.random.default_rng(1).choice(len(p_right), 400, replace=False)
    corrected = recalibrate(p_right, rows, is_right[rows])
    is_unsure = (p_right > 0.3) & (p_right < 0.9)
    before = abs(p_right[is_unsure].mean() - is_right[is_unsure].mean())
    after = abs(corrected.p_right[is_unsure].mean() - is_right[is_unsure].mean())
    assert after < 0.5 * before
    assert corrected.noise_share == pytest.approx(np.mean(~is_right), abs=0.04)


def test_rows_chosen_by_their_probability_teach_the_same():
    p_right, is_right = claims(shift=1.5)
    rows = np.argsort(p_right)[:3000:10]
    corrected = recalibrate(p_right, rows, is_right[rows])
    low, high = corrected.noise_share_interval
    assert low <= np.mean(~is_right) <= high


def test_checked_rows_are_known():
    p_right, is_right = claims(n=500)
    rows = np.arange(0, 500, 7)
    corrected = recalibrate(p_right, rows, is_right[rows])
    np.testing.assert_array_equal(corrected.p_right[rows], is_right[rows])
    others = np.delete(corrected.p_right, rows)
    assert np.all((others > 0) & (others < 1))


def test_order_of_the_others_is_kept():
    p_right, is_right = claims(n=500)
    rows = np.arange(50)
    corrected = recalibrate(p_right, rows, is_right[rows]).p_right[50:]
    np.testing.assert_array_equal(np.argsort(corrected), np.argsort(p_right[50:]))


def test_all_rows_checked_give_the_share_itself():
    p_right, is_right = claims(n=60)
    corrected = recalibrate(p_right, np.arange(60), is_right)
    assert corrected.noise_share == pytest.approx(np.mean(~is_right))
    np.testing.assert_allclose(corrected.noise_share_interval, np.mean(~is_right))


def test_few_decisions_change_little():
    p_right, _ = claims(n=500)
    corrected = recalibrate(
        p_right, np.array([int(np.argmax(p_right))]), np.array([True])
    )
    assert abs(corrected.p_right[1:].mean() - p_right[1:].mean()) < 0.1


def literal_posterior(odds, is_right, grids):
    """Laws on a grid, and the probability of each, for grids of their parameters."""
    laws = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, len(grids))
    spreads = [1.5, 0.3] if len(grids) == 2 else [1.5, 0.7, 0.7]
    log_prior = -0.5 * ((laws / spreads) ** 2).sum(axis=1)
    corrected = literal_odds(laws, odds)
    log_likelihood = -np.logaddexp(0.0, np.where(is_right, -corrected, corrected))
    total = log_prior + 0.85 * log_likelihood.sum(axis=1)
    weights = np.exp(total - total.max())
    return laws, weights / weights.sum()


def literal_odds(laws, odds):
    slopes = np.where(odds > 0, np.exp(laws[:, 1:2]), np.exp(laws[:, -1:]))
    return laws[:, :1] + slopes * odds


def test_probabilities_and_share_are_means_over_the_posteriors_of_both_laws():
    rng = np.random.default_rng(0)
    odds = np.r_[rng.normal(2.0, 2.0, size=70), rng.uniform(0.1, 0.9, size=10)]
    is_right = rng.random(80) < 1 / (1 + np.exp(-np.where(odds > 0, 0.4, 1.5) * odds))
    rows, others = np.arange(0, 80, 3), np.setdiff1d(np.arange(80), np.arange(0, 80, 3))
    expected, shares, ends = [], [], []
    for sizes in ((101, 61), (61, 31, 31)):
        widths = (6.0, 1.2) if len(sizes) == 2 else (6.0, 2.4, 2.4)
        grids = [np.linspace(-w, w, n) for w, n in zip(widths, sizes, strict=True)]
        laws, weights = literal_posterior(odds[rows], is_right[rows], grids)
        of_laws = 1 / (1 + np.exp(-literal_odds(laws, odds[others])))
        expected.append(weights @ of_laws)
        share = (np.sum(~is_right[rows]) + (1 - of_laws).sum(axis=1)) / 80
        shares.append(weights @ share)
        order = np.argsort(share)
        below = np.cumsum(weights[order])
        ends.append([share[order][np.searchsorted(below, t)] for t in (0.025, 0.975)])
    found = recalibrate(1 / (1 + np.exp(-odds)), rows, is_right[rows])
    # 256 points of each posterior.
    np.testing.assert_allclose(found.p_right[others], np.mean(expected, 0), atol=0.02)
    assert found.noise_share == pytest.approx(np.mean(shares), abs=0.005)
    low, high = found.noise_share_interval
    assert low == pytest.approx(min(end[0] for end in ends), abs=0.015)
    assert high == pytest.approx(max(end[1] for end in ends), abs=0.015)


@pytest.mark.parametrize("spreads", [(0.3,), (0.7, 0.7)])
@pytest.mark.parametrize("n", [10, 100])
def test_points_of_a_posterior_lie_where_it_is(spreads, n):
    rng = np.random.default_rng(0)
    odds = rng.normal(2.0, 3.0, size=n)
    is_right = rng.random(n) < 1 / (1 + np.exp(-0.6 * odds))
    laws, weights = _posterior(odds, is_right, spreads)
    assert laws.shape == (len(weights), 1 + len(spreads))
    assert weights.sum() == pytest.approx(1.0)
    # As many points of equal weight; of twice the variance, 130 or 94 of 256.
    assert 1.0 / np.sum(weights**2) > 180
