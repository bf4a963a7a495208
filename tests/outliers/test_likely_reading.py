import numpy as np
import pytest

from sklgm.outliers._likely_reading import _evenness
from sklgm.outliers._right_claims import RightClaimModel
from sklgm.outliers._transitions import TransitionModel
from tests.outliers.claims import N_CLASSES, labelled_rows, long_tailed


@pytest.mark.parametrize("noise_share", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_and_noise_are_recovered(noise_share, temperature):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, temperature)
    model = RightClaimModel.fit(log_proba, claimed)
    assert model.temperature == pytest.approx(temperature, rel=0.15)
    error = 4 * np.sqrt(0.2 / len(claimed))
    assert model.noise_share == pytest.approx(is_wrong.mean(), abs=error)


@pytest.mark.parametrize("noise_share", [0.0, 0.1])
@pytest.mark.parametrize("power", [0.5, 0.7])
def test_power_of_long_tails_is_recovered(noise_share, power):
    log_proba, claimed, is_wrong = labelled_rows(noise_share, 1.0, seed=1)
    model = RightClaimModel.fit(long_tailed(log_proba, power), claimed)
    assert model.likely.power == pytest.approx(power, abs=0.1)
    # By two standard errors lower, and to the power of 1.25.
    least, most = model.likely.power - 0.15, model.likely.power - 0.01
    assert least**1.25 < model.cautious.power < most**1.25
    error = 4 * np.sqrt(0.2 / len(claimed))
    assert model.noise_share == pytest.approx(is_wrong.mean(), abs=error)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("noise_share", [0.0, 0.1])
def test_power_is_one_where_a_temperature_is_enough(noise_share, temperature):
    log_proba, claimed, _ = labelled_rows(noise_share, temperature, seed=2)
    model = RightClaimModel.fit(log_proba, claimed)
    assert model.likely.power == model.cautious.power == 1.0


def test_evenness_matches_the_formula_in_loops():
    log_proba, claimed, _ = labelled_rows(0.1, 1.0, n=500)
    rng = np.random.default_rng(0)
    even_noise = np.full((N_CLASSES, N_CLASSES), 0.02)
    np.fill_diagonal(even_noise, 1.0 - 0.02 * (N_CLASSES - 1))
    priors = np.full(N_CLASSES, 1.0 / N_CLASSES)
    for power in (0.0, 1.0, 3.0):  # how unlike habits are
        matrix = even_noise * rng.uniform(size=(N_CLASSES, N_CLASSES)) ** power
        np.fill_diagonal(matrix, 0.0)
        np.fill_diagonal(matrix, 1.0 - matrix.sum(axis=1))
        model = TransitionModel(1.0, matrix, 0.0, priors)
        q = np.exp(log_proba)
        noise = sum(
            q[i, y] * matrix[y, z]
            for i in range(len(q))
            for y in range(N_CLASSES)
            for z in range(N_CLASSES)
            if y != z
        ) / len(q)
        own = habits = 0.0
        for y in range(N_CLASSES):
            for z in range(N_CLASSES):
                if y == z:
                    continue
                n_y = q[:, y].sum()
                own += (0.25 * sum(q[i, y] * q[i, z] for i in range(len(q)))) ** 2
                habits += (n_y * (matrix[y, z] - noise / (N_CLASSES - 1))) ** 2
        expected = min(own / (habits - own), 0.2) if habits > own else 0.2
        assert _evenness(model, log_proba) == pytest.approx(expected)


def test_few_wrong_claims_are_spread_evenly_unless_they_are_a_habit():
    log_proba, claimed, _ = labelled_rows(0.05, 1.0, n=400)
    even = RightClaimModel.fit(log_proba, claimed)
    assert even.likely.prior_wrong == even.cautious.prior_wrong > 0
    # As many, but all of one class, and with the same label.
    right = np.argmax(log_proba, axis=1)
    with_habit = right.copy()
    with_habit[np.flatnonzero(right == 0)[:20]] = 1
    habit = RightClaimModel.fit(log_proba, with_habit)
    assert habit.likely.prior_wrong == habit.cautious.prior_wrong == 0
    off = habit.noise_matrix - np.diag(np.diag(habit.noise_matrix))
    assert np.unravel_index(off.argmax(), off.shape) == (0, 1)


def test_a_habit_is_one_in_whatever_order_the_rows_come():
    log_proba, _, _ = labelled_rows(0.0, 1.0, n=800, n_classes=4)
    y = np.argmax(log_proba, axis=1)
    claimed = np.where((y == 0) & (np.arange(len(y)) % 7 == 0), 1, y)
    by_turns = np.argsort(np.argsort(np.argsort(y, kind="stable")) % 200, kind="stable")
    shuffled = np.random.default_rng(0).permutation(len(y))
    for order in (np.argsort(y, kind="stable"), by_turns, shuffled):
        model = RightClaimModel.fit(log_proba[order], claimed[order])
        assert model.likely.prior_wrong == 0.0
