from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from sklgm.outliers._transitions import TransitionModel, _even, _mostly_right

N_CLASSES = 4
PRIORS = np.full(N_CLASSES, 1 / N_CLASSES)


def confused_rows(matrix, n=6000, seed=0):
    """Log probabilities of the classes, and claims made of them by a noise matrix."""
    rng = np.random.default_rng(seed)
    n_classes = len(matrix)
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), rng.integers(n_classes, size=n)] += rng.uniform(3, 9, size=n)
    log_proba = log_softmax(logits, axis=1)

    def drawn(proba):
        shares = proba.cumsum(axis=1)
        return (shares < rng.random((n, 1))).sum(axis=1).clip(0, n_classes - 1)

    labels = drawn(np.exp(log_proba))
    return log_proba, drawn(matrix[labels]), labels


def model_of(matrix, *, temperature=1.0, stray_share=0.0):
    return TransitionModel(temperature, np.asarray(matrix), stray_share, PRIORS)


MATRIX = np.array(
    [
        [0.7, 0.3, 0.0, 0.0],
        [0.05, 0.9, 0.05, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.1, 0.0, 0.1, 0.8],
    ]
)


def test_noise_matrix_is_recovered():
    log_proba, claimed, labels = confused_rows(MATRIX)
    fitted, _ = TransitionModel.start(N_CLASSES, PRIORS).fit(log_proba, claimed)
    np.testing.assert_allclose(fitted.noise_matrix.sum(axis=1), 1.0)
    # Three standard errors of shares of 1,500 rows, and what evenness takes away.
    np.testing.assert_allclose(fitted.noise_matrix, MATRIX, atol=0.045)
    p_right = fitted.p_right(log_proba, claimed)
    assert 1 - p_right.mean() == pytest.approx(np.mean(claimed != labels), abs=0.02)


@pytest.mark.parametrize("power", [1.0, 0.6])
@pytest.mark.parametrize("stray_share", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_probabilities_match_the_formula_in_loops(temperature, stray_share, power):
    log_proba, claimed, _ = confused_rows(MATRIX, n=20)
    model = model_of(MATRIX, temperature=temperature, stray_share=stray_share)
    model = replace(model, power=power)
    right, wrong = model.right_and_wrong(log_proba, claimed)
    all_right, all_wrong = model.of_all_claims(log_proba)
    for i, z in enumerate(claimed):
        top = max(log_proba[i])
        powers = [
            np.exp(-((top - value) ** power) / temperature) for value in log_proba[i]
        ]
        q = [
            (1 - stray_share) * power / sum(powers) + stray_share / N_CLASSES
            for power in powers
        ]
        others = sum(q[y] * MATRIX[y, z] for y in range(N_CLASSES) if y != z)
        assert right[i] == pytest.approx(q[z] * MATRIX[z, z], abs=1e-11)
        assert wrong[i] == pytest.approx(others, abs=1e-11)
        assert all_right[i, z] == pytest.approx(right[i])
        assert all_wrong[i, z] == pytest.approx(wrong[i], abs=1e-11)
    np.testing.assert_allclose((all_right + all_wrong).sum(axis=1), 1.0)
    np.testing.assert_allclose(
        model.p_right(log_proba, claimed), right / (right + wrong)
    )
    np.testing.assert_allclose(
        replace(model, stray_share=0.0).log_odds(log_proba, claimed),
        [literal_log_odds(model, log_proba[i], z) for i, z in enumerate(claimed)],
        rtol=1e-9,
    )


def literal_log_odds(model, log_proba, z):
    scores = [
        -((max(log_proba) - value) ** model.power) / model.temperature
        for value in log_proba
    ]
    off = np.maximum(model.noise_matrix[:, z], 1e-12)  # the least of a confusion
    wrong = sum(np.exp(scores[y]) * off[y] for y in range(N_CLASSES) if y != z)
    return scores[z] + np.log(model.noise_matrix[z, z]) - np.log(wrong)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_sure_rows_keep_their_order_whatever_the_power(power):
    log_odds = -np.logspace(1, 300, 40)
    log_proba = np.column_stack([np.zeros(40), *3 * [log_odds]])
    odds = replace(model_of(MATRIX), power=power).log_odds(
        log_proba, np.zeros(40, dtype=int)
    )
    assert np.isfinite(odds).all()
    assert (np.diff(odds) > 0).all()
    of_others = replace(model_of(MATRIX), power=power).log_odds(
        log_proba, np.ones(40, dtype=int)
    )
    assert (np.diff(of_others) < 0).all()


def test_share_of_the_rows_draws_the_matrix_to_evenness():
    log_proba, claimed, _ = confused_rows(MATRIX)
    start = TransitionModel.start(N_CLASSES, PRIORS)
    free, _ = start.fit(log_proba, claimed)
    drawn, _ = replace(start, prior_share=0.5).fit(log_proba, claimed)
    noise = 1 - free.p_right(log_proba, claimed).mean()
    assert 1 - drawn.p_right(log_proba, claimed).mean() == pytest.approx(
        noise, abs=0.02
    )
    # A third of each row is even noise, and what it takes from habits is noted anew.
    off = ~np.eye(N_CLASSES, dtype=bool)
    assert np.ptp(drawn.noise_matrix[off]) < 0.8 * np.ptp(free.noise_matrix[off])
    assert drawn.noise_matrix[off].min() > noise / 3 / (N_CLASSES - 1) * 0.8
    even, _ = replace(start, prior_share=1e6).fit(log_proba, claimed)
    assert np.ptp(even.noise_matrix[off]) < 1e-3


def test_even_noise_is_the_mixture_of_one_noise_share():
    log_proba, claimed, _ = confused_rows(MATRIX, n=50)
    epsilon = 0.2
    even = np.full((N_CLASSES, N_CLASSES), epsilon / (N_CLASSES - 1))
    np.fill_diagonal(even, 1 - epsilon)
    own = np.exp(log_proba[np.arange(50), claimed])
    right, wrong = model_of(even).right_and_wrong(log_proba, claimed)
    np.testing.assert_allclose(right, (1 - epsilon) * own)
    np.testing.assert_allclose(wrong, epsilon * (1 - own) / (N_CLASSES - 1))


def test_claims_without_noise_have_a_matrix_close_to_none():
    log_proba, claimed, _ = confused_rows(np.eye(N_CLASSES))
    fitted, _ = TransitionModel.start(N_CLASSES, PRIORS).fit(log_proba, claimed)
    assert np.diag(fitted.noise_matrix).min() > 0.99


def test_steps_raise_the_likelihood():
    log_proba, claimed, _ = confused_rows(MATRIX, n=500)
    start = TransitionModel.start(N_CLASSES, PRIORS)
    right, wrong = start.right_and_wrong(log_proba, claimed)
    _, likelihood = start.fit(log_proba, claimed)
    assert likelihood > np.log(right + wrong).mean()


def test_small_classes_borrow_the_noise_of_the_others():
    even = np.full((N_CLASSES, N_CLASSES), 0.1)
    np.fill_diagonal(even, 0.7)
    log_proba, claimed, _ = confused_rows(even, n=3000)
    is_last = np.argmax(log_proba, axis=1) == 3
    rows = np.r_[np.flatnonzero(~is_last), np.flatnonzero(is_last)[:2]]
    fitted, _ = TransitionModel.start(N_CLASSES, PRIORS).fit(
        log_proba[rows], claimed[rows]
    )
    # Of two rows nothing could be told; three standard errors of 0.3 at 20 rows.
    assert fitted.noise_matrix[3, 3] == pytest.approx(0.7, abs=0.3)
    assert fitted.noise_matrix[3, :3].min() > 0.02


def test_few_wrong_claims_do_not_pass_for_a_habit():
    # Sure rows of four classes: one in a hundred of each claims the next class, but
    # none of the last does.
    y = np.repeat(np.arange(N_CLASSES), 100)
    claimed = y.copy()
    claimed[[0, 100, 200]] += 1
    log_proba = np.full((len(y), N_CLASSES), np.log(1e-4))
    log_proba[np.arange(len(y)), y] = np.log(1.0 - 3e-4)
    start = replace(TransitionModel.start(N_CLASSES, PRIORS), prior_wrong=3.0)
    fitted, _ = start.fit(log_proba, claimed)
    off = fitted.noise_matrix[~np.eye(N_CLASSES, dtype=bool)]
    # As counts they would be 1, 1, 1 and nine times 0 of 100.
    assert off.min() > 0.001
    assert off.max() < 6 * off.min()
    # Of thirty times as many rows they are one.
    many, _ = start.fit(np.repeat(log_proba, 30, axis=0), np.repeat(claimed, 30))
    assert many.noise_matrix[0, 1] > 15 * many.noise_matrix[0, 2]


def test_relabelling_classes_permutes_the_matrix():
    log_proba, claimed, _ = confused_rows(MATRIX, n=1000)
    order = np.array([2, 0, 3, 1])
    start = TransitionModel.start(N_CLASSES, PRIORS)
    fitted, _ = start.fit(log_proba, claimed)
    other, _ = start.fit(log_proba[:, order], np.argsort(order)[claimed])
    np.testing.assert_allclose(
        other.noise_matrix, fitted.noise_matrix[np.ix_(order, order)], atol=1e-9
    )


def test_class_that_no_row_claims_is_no_problem():
    log_proba, claimed, _ = confused_rows(MATRIX, n=200)
    fitted, likelihood = TransitionModel.start(N_CLASSES, PRIORS).fit(
        log_proba, np.minimum(claimed, 2)
    )
    assert np.isfinite(fitted.noise_matrix).all()
    assert np.isfinite(likelihood)


def test_sure_rows_have_no_negative_or_lost_probability():
    log_proba = log_softmax(np.array([[0.0, -80.0, -90.0, -300.0]] * 2), axis=1)
    right, wrong = model_of(MATRIX).right_and_wrong(log_proba, np.array([0, 3]))
    assert right[0] == pytest.approx(0.7)
    assert 0 < wrong[0] < 1e-30  # 1 - right would have lost it
    assert 0 <= wrong[1] < 1e-11


def test_at_most_half_of_the_claims_of_a_label_count_as_wrong():
    # Class 2 is never found: its rows look like class 0 to the classifier.
    claimed = np.repeat([0, 1, 2], [50, 50, 40])
    found = np.repeat([0, 1, 0], [50, 50, 40])
    proba = np.full((140, 3), 0.01)
    proba[np.arange(140), found] = 0.98
    priors = np.bincount(claimed) / 140
    model, _ = TransitionModel.start(3, priors).fit(np.log(proba), claimed)
    # 40 of the 90 rows that look like class 0 claim class 2.
    assert model.noise_matrix[0, 2] < 0.1
    assert model.noise_matrix[2, 2] > 0.5


def test_wrong_claims_are_lessened_to_as_many_as_right_ones():
    counts = np.array([[50.0, 2.0, 30.0], [1.0, 40.0, 6.0], [0.0, 1.0, 9.0]])
    expected = counts.copy()
    expected[:2, 2] *= 9.0 / 36.0
    np.testing.assert_allclose(_mostly_right(counts), expected)


def test_scaled_noise_keeps_rows_that_sum_to_one():
    matrix = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]])
    model = replace(TransitionModel.start(3, np.full(3, 1 / 3)), noise_matrix=matrix)
    expected = [[0.95, 0.05, 0.0], [0.1, 0.85, 0.05], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(model.scaled_noise(0.5).noise_matrix, expected)
    assert model.noise_matrix is matrix


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_a_fit_ends_where_another_step_changes_little(share):
    matrix = (1.0 - share) * np.eye(N_CLASSES) + share * np.roll(np.eye(N_CLASSES), 1)
    log_proba, claimed, _ = confused_rows(matrix, n=3000)
    fitted, _ = TransitionModel.start(N_CLASSES, PRIORS).fit(log_proba, claimed)
    again, _ = fitted.fit(log_proba, claimed)
    np.testing.assert_allclose(again.noise_matrix, fitted.noise_matrix, atol=3e-4)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_even_noise_is_spread_over_the_other_classes(n_classes):
    matrix = _even(0.2, n_classes)
    np.testing.assert_allclose(np.diag(matrix), 0.8)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    others = matrix[~np.eye(n_classes, dtype=bool)]
    np.testing.assert_allclose(others, 0.2 / (n_classes - 1))
