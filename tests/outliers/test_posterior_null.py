import numpy as np
import pytest
from scipy.special import log_softmax

from sklgm.outliers._posterior_null import PosteriorNull

N_CLASSES = 5


def labelled_rows(noise_share, temperature, *, n=20_000, seed=0):
    """Log posteriors that are off by a temperature, claims, and which are wrong."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, N_CLASSES))
    logits[np.arange(n), rng.integers(N_CLASSES, size=n)] += rng.uniform(3, 9, size=n)
    log_proba = log_softmax(logits, axis=1)
    shares = np.exp(log_proba).cumsum(axis=1)
    labels = (shares < rng.random((n, 1))).sum(axis=1).clip(0, N_CLASSES - 1)
    is_wrong = rng.random(n) < noise_share
    shift = np.where(is_wrong, rng.integers(1, N_CLASSES, size=n), 0)
    claimed = (labels + shift) % N_CLASSES
    return log_softmax(temperature * log_proba, axis=1), claimed, is_wrong


@pytest.mark.parametrize("noise_share", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_and_noise_are_recovered(noise_share, temperature):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, temperature)
    null = PosteriorNull.fit(log_proba, claimed)
    assert null.temperature == pytest.approx(temperature, rel=0.15)
    error = 4 * np.sqrt(0.2 / len(claimed))
    assert null.noise_share == pytest.approx(is_wrong.mean(), abs=error)


@pytest.mark.parametrize("noise_share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("level", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("seed", [0, 1])
def test_right_claims_are_flagged_at_the_level_whatever_share_is_wrong(
    noise_share, level, seed
):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 2.0, seed=seed)
    null = PosteriorNull.fit(log_proba, claimed)
    p_values = null.p_values(null.scores(log_proba, claimed))
    n_right = np.count_nonzero(~is_wrong)
    error = 3 * np.sqrt(level * (1 - level) / n_right)
    # Temperature and noise share are estimates: a tenth of the level besides chance.
    flagged = np.mean(p_values[~is_wrong] <= level)
    assert flagged == pytest.approx(level, abs=error + 0.1 * level)


def test_wrong_claims_have_low_p_values():
    log_proba, claimed, is_wrong = labelled_rows(0.05, 1.0)
    null = PosteriorNull.fit(log_proba, claimed)
    p_values = null.p_values(null.scores(log_proba, claimed))
    assert np.mean(p_values[is_wrong] <= 0.05) > 0.9


def test_p_values_match_the_formula_in_loops():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=40)
    null = PosteriorNull.fit(log_proba, claimed)
    p = np.exp(log_softmax(log_proba / null.temperature, axis=1))
    expected = []
    for row, z in enumerate(claimed):
        total = 0.0
        for i in range(len(p)):
            for k in range(N_CLASSES):
                if p[i, k] <= p[row, z] * (1 + 1e-12):
                    total += p[i, k]
        expected.append(total / len(p))
    scores = null.scores(log_proba, claimed)
    np.testing.assert_allclose(null.p_values(scores), expected, rtol=1e-9)


@pytest.mark.parametrize("level", [1e-12, 0.01, 0.5])
def test_threshold_parts_scores_as_the_level_parts_p_values(level):
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=2000)
    null = PosteriorNull.fit(log_proba, claimed)
    scores = null.scores(log_proba, claimed)
    is_flagged = null.p_values(scores) <= level
    np.testing.assert_array_equal(scores <= null.threshold(level), is_flagged)


def test_extreme_posteriors_stay_finite():
    log_proba = np.array([[0.0, -1e100], [-1e100, 0.0], [0.0, -800.0], [-1e-9, -21.0]])
    null = PosteriorNull.fit(log_proba, np.array([0, 1, 1, 0]))
    p_values = null.p_values(null.scores(log_proba, np.array([0, 1, 1, 1])))
    assert np.all((p_values >= 0) & (p_values <= 1))
    assert np.isfinite(null.temperature)


def test_certain_and_right_classifier_flags_what_is_impossible():
    log_proba = np.where(np.eye(2)[np.arange(200) % 2] > 0, 0.0, -1e100)
    claimed = np.arange(200) % 2
    claimed[0] = 1
    null = PosteriorNull.fit(log_proba, claimed)
    p_values = null.p_values(null.scores(log_proba, claimed))
    assert p_values[0] == 0.0
    assert p_values[1:].min() == 1.0


def test_relabelling_classes_changes_nothing():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=500)
    order = np.array([3, 0, 4, 1, 2])
    null = PosteriorNull.fit(log_proba, claimed)
    other = PosteriorNull.fit(log_proba[:, order], np.argsort(order)[claimed])
    assert other.temperature == pytest.approx(null.temperature, rel=1e-3)
    assert other.noise_share == pytest.approx(null.noise_share, abs=1e-3)
