"""ClassMahalanobisDetector: distances under one covariance."""

import numpy as np
import pytest
from scipy import stats

from sklgm import ClassMahalanobisDetector
from tests.outliers.rows import first_fold, gaussian_rows, scores_of_first_fold

SEEDS = [0, 1, 2]
seeds = pytest.mark.parametrize("seed", SEEDS)


@seeds
def test_distances_match_the_literal_formula(seed):
    X, y = gaussian_rows(seed, 90)
    detector = ClassMahalanobisDetector(
        covariance="empirical", contamination=0.1, random_state=seed
    ).fit(X, y)
    train, _ = first_fold(detector, X, y)
    means = [X[train][y[train] == k].mean(axis=0) for k in range(3)]
    residuals = [X[i] - means[y[i]] for i in train]
    inverse = np.linalg.inv(sum(np.outer(r, r) for r in residuals) / len(train))
    X_new, y_new = gaussian_rows(seed + 50, 20)
    distances = [
        [(x - means[k]) @ inverse @ (x - means[k]) for k in range(3)] for x in X_new
    ]
    scores = (4 - np.array(distances)) / np.sqrt(8)
    np.testing.assert_allclose(
        scores_of_first_fold(detector, X_new, y_new), scores[np.arange(20), y_new]
    )
    model = detector.estimators_[0]
    label_free = detector._label_free_scores(model, detector._read(model, X_new))
    np.testing.assert_allclose(label_free, scores.max(axis=1))


def test_chi2_p_values_of_rows_from_one_covariance_are_close_to_uniform():
    mix = np.random.default_rng(7).normal(size=(4, 4))
    X, y = gaussian_rows(0, 6_000)
    X_new, y_new = gaussian_rows(1, 2_000)
    detector = ClassMahalanobisDetector(calibration="chi2", random_state=0)
    detector.fit(X @ mix, y)
    p_values = detector.p_values(X_new @ mix, labels=y_new)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_more_features_than_rows_have_finite_scores(covariance):
    X, y = gaussian_rows(0, 30, dim=80)
    detector = ClassMahalanobisDetector(
        covariance=covariance, contamination=0.1, random_state=0
    ).fit(X, y)
    assert np.isfinite(detector.score_samples(X, labels=y)).all()


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_one_column_is_one_dimension(covariance):
    X, y = gaussian_rows(0, 90, dim=3)
    detector = ClassMahalanobisDetector(
        covariance=covariance, contamination=0.1, random_state=0
    ).fit(X[:, :1], y)
    train, _ = first_fold(detector, X, y)
    means = np.array([X[train][y[train] == k, 0].mean() for k in range(3)])
    variance = np.mean((X[train, 0] - means[y[train]]) ** 2)
    expected = (1 - (X[:, 0] - means[y]) ** 2 / variance) / np.sqrt(2)
    np.testing.assert_allclose(
        scores_of_first_fold(detector, X[:, :1], y), expected, atol=1e-9
    )


def empirical_scores(X, y):
    detector = ClassMahalanobisDetector(
        covariance="empirical", contamination=0.1, random_state=0
    ).fit(X, y)
    return scores_of_first_fold(detector, X, y)


def test_a_constant_column_changes_nothing():
    X, y = gaussian_rows(0, 90)
    np.testing.assert_allclose(
        empirical_scores(np.c_[X, np.full(90, 7.0)], y), empirical_scores(X, y)
    )


def test_a_column_that_varies_by_its_rounding_alone_is_constant():
    X, y = gaussian_rows(0, 90)
    column = np.full(90, 1e-3, dtype=np.float32)
    column[::2] = np.nextafter(column[0], np.float32(1.0))
    small = (1e-6 * X).astype(np.float32)
    np.testing.assert_allclose(
        empirical_scores(np.c_[small, column], y),
        empirical_scores(small, y),
        atol=1e-2,
    )
