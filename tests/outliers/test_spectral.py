"""SpectralSignatureDetector: projections on the top singular vector."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from sklgm import SpectralSignatureDetector
from tests.outliers.rows import first_fold, gaussian_rows, scores_of_first_fold

SEEDS = [0, 1, 2]
seeds = pytest.mark.parametrize("seed", SEEDS)


@seeds
def test_signatures_match_the_literal_formula(seed):
    X, y = gaussian_rows(seed, 90)
    detector = SpectralSignatureDetector(contamination=0.1, random_state=seed)
    detector.fit(X, y)
    train, _ = first_fold(detector, X, y)
    X_new, y_new = gaussian_rows(seed + 50, 20)
    for x, z, score in zip(
        X_new, y_new, scores_of_first_fold(detector, X_new, y_new), strict=True
    ):
        of_class = X[train][y[train] == z]
        mean = of_class.mean(axis=0)
        # The top right singular vector is the first axis of the covariance.
        _, axes = np.linalg.eigh(np.cov(of_class.T))
        assert score == pytest.approx(-(np.dot(x - mean, axes[:, -1]) ** 2))


def test_a_class_on_a_line_has_its_direction():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    along = rng.normal(size=60)
    X = along[:, None] * np.array([0.6, 0.8]) + 5.0 * y[:, None]
    detector = SpectralSignatureDetector(contamination=0.1, random_state=0).fit(X, y)
    train, _ = first_fold(detector, X, y)
    centres = np.array([along[train][y[train] == k].mean() for k in range(2)])
    scores = scores_of_first_fold(detector, X, y)
    np.testing.assert_allclose(scores, -((along - centres[y]) ** 2), atol=1e-9)


def test_label_free_scores_of_folds_are_brought_to_one_scale():
    X, _ = gaussian_rows(0, 90)
    X[30:60] *= 3.0
    detector = SpectralSignatureDetector(contamination=0.1, cv=KFold(3)).fit(X)
    medians = np.median(detector.train_scores_.reshape(3, 30), axis=1)
    np.testing.assert_allclose(medians, medians[0])


def test_a_class_of_equal_rows_has_no_direction():
    X, y = gaussian_rows(0, 90)
    X[y == 1] = 2.0
    detector = SpectralSignatureDetector(contamination=0.1, random_state=0).fit(X, y)
    scores = scores_of_first_fold(detector, X + 3.0, np.ones(90, dtype=np.int64))
    assert (scores == 0.0).all()
