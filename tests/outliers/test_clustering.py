"""ActivationClusteringDetector: two clusters per class."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.metrics import roc_auc_score

from sklgm import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    SpectralSignatureDetector,
)
from tests.outliers.rows import gaussian_rows, mislabelled, scores_of_first_fold

SEEDS = [0, 1, 2]
seeds = pytest.mark.parametrize("seed", SEEDS)


@pytest.mark.parametrize("whiten", [False, True])
@seeds
def test_clusters_score_by_the_literal_formula(whiten, seed):
    X, claimed, _ = mislabelled(seed, 300, n_wrong=25)
    detector = ActivationClusteringDetector(
        n_components=2, whiten=whiten, contamination=0.1, random_state=seed
    ).fit(X, claimed)
    clusters = detector.estimators_[0].statistics
    scores = scores_of_first_fold(detector, X, claimed)
    for x, z, score in zip(X, claimed, scores, strict=True):
        of_class = clusters[z]
        reduced = of_class.reduction.transform(x[None])[0]
        a = np.linalg.norm(reduced - of_class.small_centre)
        b = np.linalg.norm(reduced - of_class.large_centre)
        c = np.linalg.norm(of_class.small_centre - of_class.large_centre)
        expected = (1 - 2 * of_class.small_share) * (a - b) / c
        assert score == pytest.approx(expected, abs=1e-12)
    assert np.all(np.abs(scores) <= 1)


def test_the_smaller_cluster_is_the_group_of_wrong_labels():
    X, claimed, is_wrong = mislabelled(0, 300, n_wrong=25)
    detector = ActivationClusteringDetector(contamination=0.1, random_state=0)
    scores = detector.fit(X, claimed).score_samples(X, labels=claimed)
    share = detector.estimators_[0].statistics[2].small_share
    assert share == pytest.approx(25 / 125, abs=0.05)
    assert scores[is_wrong].max() < scores[(claimed == 2) & ~is_wrong].min()


def test_whitened_clusters_are_those_of_independent_components():
    X, claimed, _ = mislabelled(0, 300, n_wrong=25)
    of_class = X[claimed == 2]
    clusters = ActivationClusteringDetector(n_components=3)._clusters(
        of_class, 0, 1e-16
    )
    whitened = clusters.reduction.transform(of_class)
    is_small = np.linalg.norm(whitened - clusters.small_centre, axis=1) < (
        np.linalg.norm(whitened - clusters.large_centre, axis=1)
    )
    components = FastICA(3, random_state=0, tol=1e-2).fit_transform(of_class)
    labels = KMeans(2, n_init=10, random_state=0).fit(components).labels_
    assert np.array_equal(is_small, labels) or np.array_equal(is_small, 1 - labels)


@pytest.mark.parametrize("constant", [0.1, 0.3, 0.7, 3.0, 1e9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "detector_class", [ActivationClusteringDetector, SpectralSignatureDetector]
)
def test_a_class_whose_rows_are_all_alike_scores_zero(detector_class, dtype, constant):
    X, y = gaussian_rows(0, 90)
    X[y == 1] = constant
    X = X.astype(dtype)
    detector = detector_class(false_alarm_rate=0.1, random_state=0)
    scores = detector.fit(X, y).score_samples(X, labels=y)
    assert (scores[y == 1] == 0.0).all()
    assert (scores[y == 0] != 0.0).any()
    claims = detector.score_samples(X, labels=np.ones(90, dtype=int))
    assert (claims == 0.0).all()


def low_rank_rows(dtype, rank=4, n=400):
    """A group of 40 rows of class 0 far from the rest, in 32 columns of low rank."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], n // 2)
    hidden = rng.normal(size=(n, rank))
    hidden[y == 1, 0] += 6.0
    hidden[:40] += 8.0 / np.sqrt(rank)
    weights = rng.normal(size=(rank, 32))
    return hidden.astype(dtype) @ weights.astype(dtype), y, np.arange(n) < 40


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_errors_are_no_components(dtype):
    X, y, is_group = low_rank_rows(dtype)
    detector = ActivationClusteringDetector(contamination=0.1, cv=3, random_state=0)
    detector.fit(X, y)
    for model in detector.estimators_:
        assert model.statistics[0].reduction.n_components_ == 4
    assert roc_auc_score(is_group, -detector.train_scores_) > 0.97


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
@pytest.mark.parametrize(
    "make",
    [
        lambda X: np.hstack([X, X]),
        lambda X: np.hstack([X, np.full_like(X, 0.1)]),
        lambda X: (
            X.astype(np.float32)
            @ np.random.default_rng(7).normal(size=(4, 64)).astype(np.float32)
        ),
    ],
    ids=["twice", "constant", "mixed_float32"],
)
def test_chi2_p_values_count_the_rank(make, covariance):
    X, y = gaussian_rows(0, 4_000)
    X_new, y_new = gaussian_rows(1, 2_000)
    detector = ClassMahalanobisDetector(
        covariance=covariance, calibration="chi2", random_state=0
    ).fit(make(X), y)
    assert all(model.statistics.rank == 4 for model in detector.estimators_)
    p_values = detector.p_values(make(X_new), labels=y_new)
    # Four standard errors of 2,000 rows.
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_distances_of_features_that_never_vary_are_zero(covariance):
    X, y = np.full((60, 3), 0.1), np.arange(60) % 2
    detector = ClassMahalanobisDetector(
        covariance=covariance, calibration="chi2", false_alarm_rate=0.1, random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(detector.p_values(X, labels=y), 1.0)
