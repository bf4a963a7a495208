from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from sklgm._inputs import some_rows
from sklgm.outliers._decisions import discovery_rates
from sklgm.outliers._likely_reading import likely_reading
from sklgm.outliers._log_posteriors import LOWEST, precise_log_softmax, without_floor
from sklgm.outliers._people import likeness_to_people
from sklgm.outliers._right_claims import RightClaimModel, _misfit
from sklgm.outliers._transitions import TransitionModel
from tests.outliers.claims import N_CLASSES, labelled_rows, long_tailed, rows_of_people


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("noise_share", [0.02, 0.1])
def test_sure_errors_of_long_tails_do_not_pass_for_wrong_claims(seed, noise_share):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 1.0, seed=seed)
    log_proba = long_tailed(log_proba, 0.7)
    model = RightClaimModel.fit(log_proba, claimed)
    flags = discovery_rates(model.p_right(log_proba, claimed)) <= 0.1
    assert np.count_nonzero(flags & ~is_wrong) <= 0.1 * flags.sum()
    if noise_share == 0.1:
        assert np.count_nonzero(flags & is_wrong) > 0.1 * is_wrong.sum()


@pytest.mark.parametrize("power", [0.7, 1.0])
@pytest.mark.parametrize("order", ["by class", "in turn", "by certainty"])
def test_order_of_the_rows_tells_nothing(power, order):
    # More than a first search takes, of classes that may take turns.
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=50_000, n_classes=2)
    rank = np.zeros(len(claimed), dtype=int)
    for label in range(2):
        is_label = claimed == label
        rank[is_label] = np.arange(is_label.sum())
    keys = {
        "by class": claimed,
        "in turn": 2 * rank + claimed,
        "by certainty": log_proba.max(axis=1),
    }
    if power < 1.0:
        log_proba = long_tailed(log_proba, power)
    models = [RightClaimModel.fit(log_proba, claimed)]
    rows = np.argsort(keys[order], kind="stable")
    models.append(RightClaimModel.fit(log_proba[rows], claimed[rows]))
    powers = [model.likely.power for model in models]
    assert powers == pytest.approx([power, power], abs=0.07)
    assert powers[1] == pytest.approx(powers[0], abs=0.02)
    assert models[1].temperature == pytest.approx(models[0].temperature, rel=0.05)
    p_right = [model.p_right(log_proba, claimed) for model in models]
    flags = [discovery_rates(p) <= 0.1 for p in p_right]
    assert min(np.count_nonzero(f) for f in flags) > 500
    assert np.mean(flags[0] != flags[1]) < 0.15 * np.mean(flags[0])
    assert max(model.misfit for model in models) < 0.02


@pytest.mark.parametrize("noise_share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("level", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("seed", [0, 1])
def test_right_claims_are_flagged_at_most_at_the_level_whatever_share_is_wrong(
    noise_share, level, seed
):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 2.0, seed=seed)
    model = RightClaimModel.fit(log_proba, claimed)
    p_values = model.p_values(model.scores(log_proba, claimed))
    n_right = np.count_nonzero(~is_wrong)
    error = 3 * np.sqrt(level * (1 - level) / n_right)
    # Temperature and noise are estimates: a tenth of the level besides chance. Below
    # it, as rows are allowed for of whose class the classifier has no clue.
    assert np.mean(p_values[~is_wrong] <= level) <= 1.1 * level + error
    if level == 0.1:
        assert np.mean(p_values[~is_wrong] <= level) >= 0.8 * level


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
    model = RightClaimModel.fit(learnt, claimed)
    assert model.noise_share == pytest.approx(noise_share, abs=0.02)
    p_values = model.p_values(model.scores(learnt, claimed))
    clean = RightClaimModel.fit(log_proba, claimed)
    expected = clean.p_values(clean.scores(log_proba, claimed))
    flagged = np.mean(p_values[is_wrong] <= 0.01)
    assert flagged > 0.8 * np.mean(expected[is_wrong] <= 0.01)
    assert np.mean(p_values[~is_wrong] <= 0.01) < 0.015


def test_classifier_that_knows_nothing_says_so():
    rng = np.random.default_rng(0)
    log_proba = log_softmax(0.01 * rng.normal(size=(2000, 2)), axis=1)
    model = RightClaimModel.fit(log_proba, rng.integers(2, size=2000))
    assert not model.is_informative
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=2000)
    assert RightClaimModel.fit(log_proba, claimed).is_informative


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_classifier_that_predicts_few_claims_calls_hardly_any_wrong(sharpness, seed):
    # Ten classes, a fifth of which it gets right, however sure it is of itself.
    rng = np.random.default_rng(seed)
    y = rng.integers(10, size=1000)
    scores = rng.normal(size=(1000, 10))
    scores[np.arange(1000), y] += 0.5
    log_proba = log_softmax(sharpness * scores, axis=1)
    claimed = np.where(rng.random(1000) < 0.1, (y + 1) % 10, y)
    assert np.mean(np.argmax(log_proba, axis=1) != claimed) > 0.6
    model = RightClaimModel.fit(log_proba, claimed)
    assert not model.is_informative
    assert model.noise_share_interval[0] == 0.0
    assert model.noise_share_interval[1] > 0.6
    assert np.mean(model.p_right(log_proba, claimed) < 0.5) < 0.01


def test_threshold_does_not_part_scores_that_tie():
    rng = np.random.default_rng(0)
    p = rng.choice([0.999, 0.9, 0.6], size=500)
    log_proba = np.log(np.column_stack([p, 1 - p]))
    model = RightClaimModel.fit(log_proba, np.zeros(500, dtype=int))
    claimed = (rng.random(500) < 0.1).astype(int)
    scores = model.scores(log_proba, claimed)
    for level in (0.01, 0.05, 0.3):
        is_flagged = model.p_values(scores) <= level
        np.testing.assert_array_equal(scores < model.thresholds(level)[0], is_flagged)


def test_wrong_claims_have_low_p_values():
    log_proba, claimed, is_wrong = labelled_rows(0.05, 1.0)
    model = RightClaimModel.fit(log_proba, claimed)
    p_values = model.p_values(model.scores(log_proba, claimed))
    assert np.mean(p_values[is_wrong] <= 0.05) > 0.85


def literal_q(model, log_proba, stray_share=0.0):
    """Probabilities of the classes, row by row."""
    rows = []
    for values in without_floor(log_proba, model.floor):
        powers = [
            np.exp(-((values.max() - value) ** model.likely.power) / model.temperature)
            for value in values
        ]
        rows.append(
            [
                (1 - stray_share) * power / sum(powers) + stray_share * prior
                for power, prior in zip(powers, model.likely.priors, strict=True)
            ]
        )
    return rows


def test_p_values_match_the_formula_in_loops():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=40)
    model = RightClaimModel.fit(log_proba, claimed)
    delta, T = model.classifier_error, model.noise_matrix
    q = literal_q(model, log_proba)
    strays = literal_q(model, log_proba, (0.05 + 0.3 * delta) * delta)

    def odds(i, k):
        wrong = sum(q[i][y] * T[y, k] for y in range(N_CLASSES) if y != k)
        return q[i][k] * T[k, k] / wrong

    expected, whole = [], 0.0
    for i in range(len(q)):
        whole += sum(strays[i][k] * T[k, k] for k in range(N_CLASSES))
    for row, z in enumerate(claimed):
        total = 0.0
        for i in range(len(q)):
            for k in range(N_CLASSES):
                if odds(i, k) <= odds(row, z) * (1 + 1e-9):
                    total += strays[i][k] * T[k, k]
        expected.append(total / whole)
    scores = model.scores(log_proba, claimed)
    own = [np.log(odds(row, z)) for row, z in enumerate(claimed)]
    np.testing.assert_allclose(scores, own, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.p_values(scores), expected, rtol=1e-6)


@pytest.mark.parametrize("level", [1e-12, 0.01, 0.5])
def test_threshold_parts_scores_as_the_level_parts_p_values(level):
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=2000)
    model = RightClaimModel.fit(log_proba, claimed)
    scores = model.scores(log_proba, claimed)
    is_flagged = model.p_values(scores) <= level
    np.testing.assert_array_equal(scores < model.thresholds(level)[0], is_flagged)


def test_extreme_posteriors_stay_finite():
    log_proba = np.array([[0.0, -1e100], [-1e100, 0.0], [0.0, -800.0], [-1e-9, -21.0]])
    model = RightClaimModel.fit(log_proba, np.array([0, 1, 1, 0]))
    p_values = model.p_values(model.scores(log_proba, np.array([0, 1, 1, 1])))
    assert np.all((p_values >= 0) & (p_values <= 1))
    assert np.isfinite(model.temperature)


def test_certain_and_right_classifier_flags_what_is_impossible():
    log_proba = np.where(np.eye(2)[np.arange(200) % 2] > 0, 0.0, -1e100)
    claimed = np.arange(200) % 2
    claimed[0] = 1
    model = RightClaimModel.fit(log_proba, claimed)
    p_values = model.p_values(model.scores(log_proba, claimed))
    assert p_values[0] == 0.0
    assert p_values[1:].min() == 1.0


def test_relabelling_classes_changes_nothing():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=500)
    order = np.array([3, 0, 4, 1, 2])
    model = RightClaimModel.fit(log_proba, claimed)
    other = RightClaimModel.fit(log_proba[:, order], np.argsort(order)[claimed])
    assert other.temperature == pytest.approx(model.temperature, rel=1e-3)
    assert other.noise_share == pytest.approx(model.noise_share, abs=1e-3)


@pytest.mark.parametrize("noise_share", [0.02, 0.2])
def test_likely_probability_of_being_right_is_calibrated(noise_share):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 1.5)
    model = RightClaimModel.fit(log_proba, claimed)
    p_right = model.likely.p_right(without_floor(log_proba, model.floor), claimed)
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        of_bin = (p_right >= low) & (p_right <= high)
        n_wrong = is_wrong[of_bin].sum()
        expected = (1.0 - p_right[of_bin]).sum()
        # Three deviations of a count, and a tenth for the estimated parameters.
        assert abs(n_wrong - expected) <= 3 * np.sqrt(expected + 1) + 0.1 * expected


@pytest.mark.parametrize("noise_share", [0.02, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_cautious_probability_keeps_the_false_discovery_rate(noise_share, seed):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 1.5, seed=seed)
    model = RightClaimModel.fit(log_proba, claimed)
    p_right = model.p_right(log_proba, claimed)
    is_flagged = discovery_rates(p_right) <= 0.1
    n_flagged = np.count_nonzero(is_flagged)
    n_right = np.count_nonzero(~is_wrong[is_flagged])
    assert n_right <= 0.1 * n_flagged + 3 * np.sqrt(0.1 * n_flagged)
    # Where noise is no more than the classifier's own lapses may be, nothing is sure.
    assert noise_share < 0.1 or np.mean(is_flagged[is_wrong]) > 0.5


def test_cautious_probability_matches_the_formula():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=40)
    model = RightClaimModel.fit(log_proba, claimed)
    delta, T = model.classifier_error, model.cautious.noise_matrix
    assert model.cautious.stray_share == pytest.approx((0.02 + 0.3 * delta) * delta)
    assert model.cautious.temperature == pytest.approx(1.15 * model.temperature)
    right, wrong = model.cautious.right_and_wrong(
        without_floor(log_proba, model.floor), claimed
    )
    expected = right / (right + wrong)
    np.testing.assert_allclose(model.p_right(log_proba, claimed), expected)
    assert T.shape == (N_CLASSES, N_CLASSES)


def test_even_noise_orders_claims_by_their_posterior():
    # Where nothing is confused more than anything else, the matrix changes no order.
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=300)
    model = RightClaimModel.fit(log_proba, claimed)
    noise = np.full((N_CLASSES, N_CLASSES), 0.1 / (N_CLASSES - 1))
    np.fill_diagonal(noise, 0.9)
    even = replace(model, likely=replace(model.likely, noise_matrix=noise), floor=0.0)
    own = log_softmax(log_proba / model.temperature, axis=1)[np.arange(300), claimed]
    np.testing.assert_array_equal(
        np.argsort(even.scores(log_proba, claimed)), np.argsort(own)
    )


@pytest.mark.parametrize("noise_share", [0.0, 0.1, 0.3])
def test_interval_of_the_noise_share_covers_it(noise_share):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 1.0)
    low, high = RightClaimModel.fit(log_proba, claimed).noise_share_interval
    assert low <= is_wrong.mean() <= high


def test_classifier_that_is_unsure_leaves_the_noise_open():
    # Posteriors that are calibrated, but seldom sure: half of them say wrong classes.
    rng = np.random.default_rng(0)
    logits = 1.2 * rng.normal(size=(8000, N_CLASSES))
    log_proba = log_softmax(logits, axis=1)
    shares = np.exp(log_proba).cumsum(axis=1)
    claimed = (shares < rng.random((8000, 1))).sum(axis=1).clip(0, N_CLASSES - 1)
    model = RightClaimModel.fit(log_proba, claimed)
    low, high = model.noise_share_interval
    assert low == 0.0
    assert high > 0.3
    # No label is wrong: what is flagged must be next to nothing.
    is_flagged = discovery_rates(model.p_right(log_proba, claimed)) <= 0.1
    assert np.mean(is_flagged) < 0.002


def test_confusion_of_classes_is_taken_into_account():
    # One class in five is taken for the next in 30 % of its rows.
    log_proba, labels, _ = labelled_rows(0.0, 1.0, seed=3)
    rng = np.random.default_rng(1)
    is_wrong = (labels == 0) & (rng.random(len(labels)) < 0.3)
    claimed = np.where(is_wrong, 1, labels)
    model = RightClaimModel.fit(log_proba, claimed)
    assert model.noise_matrix[0, 1] == pytest.approx(0.3, abs=0.05)
    assert model.noise_matrix[2:, 1].max() < 0.03


def test_misfit_is_small_where_the_model_is_true_and_large_where_not():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5)
    assert RightClaimModel.fit(log_proba, claimed).misfit < 0.01
    # A quarter of the rows has the probabilities of other rows.
    broken = log_proba.copy()
    is_sure = np.argsort(-log_proba.max(axis=1))[:2000]
    broken[is_sure] = np.roll(log_proba[is_sure], 1, axis=1)
    assert RightClaimModel.fit(broken, claimed).misfit > 0.05


def test_disputed_rows_are_those_that_readings_differ_on():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=2000)
    model = RightClaimModel.fit(log_proba, claimed)
    disputed = model.disputed(log_proba, claimed)
    assert disputed.min() >= 0
    is_agreed = np.argmax(log_proba, axis=1) == claimed
    assert disputed[is_agreed].mean() < 0.2 * disputed[~is_agreed].mean()


def test_sure_rows_keep_their_order():
    log_scores = np.array([[0.0, -50.0], [0.0, -60.0], [-700.0, 0.0]])
    log_proba = precise_log_softmax(log_scores)
    np.testing.assert_allclose(log_proba[0, 0], -np.exp(-50.0), rtol=1e-9)
    assert log_proba[0, 0] < log_proba[1, 0] < log_proba[2, 1] < 0.0


def test_rows_that_have_no_class_score_lowest_and_teach_nothing():
    log_proba, claimed, _ = labelled_rows(0.1, 1.5, n=500)
    model = RightClaimModel.fit(log_proba, claimed)
    far = np.full((3, N_CLASSES), LOWEST)
    of_far = np.array([0, 1, 2])
    assert model.scores(far, of_far).tolist() == [LOWEST] * 3
    assert model.p_values(model.scores(far, of_far)).tolist() == [0.0] * 3
    again = RightClaimModel.fit(np.r_[log_proba, far], np.r_[claimed, of_far])
    assert again.temperature == model.temperature


def test_classes_are_sharper_where_noise_is_that_of_people():
    log_proba, claimed = rows_of_people(share=0.06, excess=40.0, sure=(5.0, 12.0))
    model = RightClaimModel.fit(log_proba, claimed)
    chosen = without_floor(log_proba, model.floor)
    priors = np.bincount(claimed) / len(claimed)
    likely = likely_reading(chosen, claimed, priors, len(claimed))
    by_people = likeness_to_people(likely, model.classifier_error, chosen, claimed)
    assert 0.2 < by_people < 0.8
    assert model.temperature == pytest.approx(likely.temperature / 1.7**by_people)
    softer = 1.15 ** (1.0 - by_people)
    assert model.cautious.temperature == pytest.approx(softer * model.temperature)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_interval_of_the_noise_share_is_what_the_model_leaves_open(temperature):
    log_proba, claimed, _ = labelled_rows(0.2, temperature, n=2000)
    model = RightClaimModel.fit(log_proba, claimed)
    assert model.is_informative
    chosen = without_floor(log_proba, model.floor)
    noise = 1.0 - model.likely.p_right(chosen, claimed).mean()
    assert model.noise_share == pytest.approx(noise)
    low = noise - 0.5 * model.classifier_error
    high = max(np.mean(np.argmax(chosen, axis=1) != claimed), noise)
    sampling = 2.0 * np.sqrt(high * (1.0 - high) / 2000)
    expected = (low - sampling, high + sampling)
    assert expected[0] > 0.0
    assert model.noise_share_interval == pytest.approx(expected)


def literal_misfit(model, log_proba, claimed):
    known = some_rows(len(claimed), (len(claimed) + 1) // 2)
    halved, _ = model.fit(log_proba[known], claimed[known])
    held_out, claims = np.delete(log_proba, known, axis=0), np.delete(claimed, known)
    expected = halved.class_proba(held_out) @ halved.noise_matrix
    likeliest = expected.max(axis=1)
    is_top = expected.argmax(axis=1) == claims
    excess, deviations = [], []
    for rows in np.array_split(np.argsort(likeliest, kind="stable"), 10):
        excess.append(abs(is_top[rows].sum() - likeliest[rows].sum()))
        deviations.append(np.sqrt(sum(p * (1 - p) for p in likeliest[rows])))
    # Of a Gaussian of deviation s: E |x| = s sqrt(2 / pi), Var |x| = s^2 (1 - 2 / pi).
    chance = sum(np.sqrt(2 / np.pi) * s for s in deviations)
    chance += 3 * np.sqrt(sum((1 - 2 / np.pi) * s**2 for s in deviations))
    return max(sum(excess) - chance, 0.0) / len(claims)


@pytest.mark.parametrize("n", [200, 210, 2001])
def test_misfit_is_that_of_loops(n):
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=n)
    model = TransitionModel.start(N_CLASSES, np.full(N_CLASSES, 1 / N_CLASSES))
    model = replace(model, temperature=4.0)
    expected = literal_misfit(model, log_proba, claimed)
    assert expected > 0.01
    assert _misfit(model, log_proba, claimed) == pytest.approx(expected)
    # Of fewer rows chance alone would be anything.
    assert _misfit(model, log_proba[:199], claimed[:199]) == 0.0


def test_misfit_is_none_where_chance_explains_it():
    log_proba, claimed, _ = labelled_rows(0.0, 1.0, n=2000)
    model = TransitionModel.start(N_CLASSES, np.full(N_CLASSES, 1 / N_CLASSES))
    assert literal_misfit(model, log_proba, claimed) == 0.0
    assert _misfit(model, log_proba, claimed) == 0.0


def test_no_p_value_is_too_small_for_a_law_of_posteriors():
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=100)
    model = RightClaimModel.fit(log_proba, claimed)
    assert model.smallest_p_values().tolist() == [0.0]
