"""DeepKNNDetector: the vote of the nearest training rows."""

import numpy as np
import pytest

from sklgm import DeepKNNDetector
from tests.outliers.rows import gaussian_rows, scores_of_first_fold

SEEDS = [0, 1, 2]
seeds = pytest.mark.parametrize("seed", SEEDS)


@seeds
def test_neighbours_vote_by_the_literal_formula(seed):
    X, y = gaussian_rows(seed, 60, separation=1.0)
    detector = DeepKNNDetector(
        n_neighbors=5, false_alarm_rate=0.1, random_state=seed
    ).fit(X, y)
    train = detector.estimators_[0].statistics.index._fit_X
    y_train = detector.estimators_[0].statistics.y_encoded
    assert {tuple(row) for row in train} < {tuple(row) for row in X}
    X_new, y_new = gaussian_rows(seed + 50, 20, separation=1.0)
    shares, distances = [], []
    for x, z in zip(X_new, y_new, strict=True):
        distance = np.sqrt(((train - x) ** 2).sum(axis=1))
        nearest = np.argsort(distance)[:5]
        shares.append(sum(y_train[i] == z for i in nearest) / 5)
        distances.append(np.sort(distance)[4])
    np.testing.assert_allclose(scores_of_first_fold(detector, X_new, y_new), shares)
    model = detector.estimators_[0]
    label_free = detector._label_free_scores(model, detector._read(model, X_new))
    np.testing.assert_allclose(label_free, -np.array(distances))


def test_more_neighbours_than_rows_are_all_rows():
    X, y = gaussian_rows(0, 60)
    detector = DeepKNNDetector(n_neighbors=1000, false_alarm_rate=0.1, random_state=0)
    scores = detector.fit(X, y).score_samples(X, labels=y)
    np.testing.assert_allclose(scores, 1.0)


def test_a_small_clean_class_is_kept():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [300, 300, 8])
    X = 30.0 * np.eye(3, 4)[y] + rng.normal(size=(608, 4))
    claimed = y.copy()
    claimed[:6], claimed[300:306] = 1, 0
    detector = DeepKNNDetector(contamination=12 / 608, cv=5, random_state=0)
    flags = detector.fit_predict(X, claimed)
    np.testing.assert_array_equal(flags == -1, claimed != y)
    assert (detector.train_scores_[y == 2] == 1.0).all()


@pytest.mark.parametrize("n_wrong", [15, 30, 60])
def test_contamination_flags_neighbours_that_all_disagree(n_wrong):
    X, y = gaussian_rows(0, 600, separation=12.0)
    claimed = y.copy()
    claimed[:n_wrong] = (claimed[:n_wrong] + 1) % 3
    detector = DeepKNNDetector(contamination=0.05, cv=3, random_state=0)
    is_flagged = detector.set_params(n_neighbors=3).fit_predict(X, claimed) == -1
    assert 15 <= is_flagged.sum() <= 45  # 30 were asked for
    assert is_flagged[:n_wrong].mean() > 0.45
