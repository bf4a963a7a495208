import numpy as np
import pytest
from scipy.special import log_softmax

from sklgm.outliers._posterior_null import PosteriorNull, _without_floor

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


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("noise_share", [0.05, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise_that_the_classifier_has_learnt_is_taken_out(
    n_classes, noise_share, seed
):
    # It says (1 - e) p + e (1 - p) / (K - 1): calibrated to the labels it was given.
    log_proba, claimed, is_wrong = labelled_rows(
        noise_share, 1.0, seed=seed, n_classes=n_classes
    )
    p = np.exp(log_proba)
    learnt = np.log((1 - noise_share) * p + noise_share * (1 - p) / (n_classes - 1))
    null = PosteriorNull.fit(learnt, claimed)
    assert null.noise_share == pytest.approx(noise_share, abs=0.02)
    p_values = null.p_values(null.scores(learnt, claimed))
    clean = PosteriorNull.fit(log_proba, claimed)
    expected = clean.p_values(clean.scores(log_proba, claimed))
    found = np.mean(p_values[is_wrong] <= 0.01)
    assert found > 0.8 * np.mean(expected[is_wrong] <= 0.01)
    assert np.mean(p_values[~is_wrong] <= 0.01) < 0.015


def test_classifier_that_knows_nothing_says_so():
    rng = np.random.default_rng(0)
    log_proba = log_softmax(0.01 * rng.normal(size=(2000, 2)), axis=1)
    null = PosteriorNull.fit(log_proba, rng.integers(2, size=2000))
    assert not null.is_informative
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=2000)
    assert PosteriorNull.fit(log_proba, claimed).is_informative


def test_threshold_does_not_part_scores_that_tie():
    rng = np.random.default_rng(0)
    p = rng.choice([0.999, 0.9, 0.6], size=500)
    log_proba = np.log(np.column_stack([p, 1 - p]))
    null = PosteriorNull.fit(log_proba, np.zeros(500, dtype=int))
    claimed = (rng.random(500) < 0.1).astype(int)
    scores = null.scores(log_proba, claimed)
    for level in (0.01, 0.05, 0.3):
        is_flagged = null.p_values(scores) <= level
        np.testing.assert_array_equal(scores <= null.threshold(level), is_flagged)


def test_wrong_claims_have_low_p_values():
    log_proba, claimed, is_wrong = labelled_rows(0.05, 1.0)
    null = PosteriorNull.fit(log_proba, claimed)
    p_values = null.p_values(null.scores(log_proba, claimed))
    assert np.mean(p_values[is_wrong] <= 0.05) > 0.9


def test_p_values_match_the_formula_in_loops():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=40)
    null = PosteriorNull.fit(log_proba, claimed)
    p = np.exp(
        log_softmax(_without_floor(log_proba, null.floor) / null.temperature, axis=1)
    )
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
