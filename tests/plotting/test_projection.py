"""Affine maps to the plane."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sklgm.plotting._projection import fit_projection

SEEDS = [0, 1]
N_CLASSES, FEATURE_DIM = 3, 5
SHAPES = {
    "identity": (),
    "spherical": (N_CLASSES,),
    "diag": (N_CLASSES, FEATURE_DIM),
    "tied_diag": (FEATURE_DIM,),
}


def clouds(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(N_CLASSES), 20)
    means = rng.normal(scale=4, size=(N_CLASSES, FEATURE_DIM))
    return means[labels] + rng.normal(size=(len(labels), FEATURE_DIM)), labels


def full_matrices(rng):
    roots = rng.normal(size=(N_CLASSES, FEATURE_DIM, FEATURE_DIM))
    return roots @ roots.transpose(0, 2, 1)


def matrix_of_class(covariances, covariance_type, k):
    """Covariance matrix of a class, spelt out."""
    if covariance_type == "identity":
        return float(covariances) * np.eye(FEATURE_DIM)
    if covariance_type == "tied_diag":
        return np.diag(covariances)
    if covariance_type == "spherical":
        return covariances[k] * np.eye(FEATURE_DIM)
    return np.diag(covariances[k]) if covariance_type == "diag" else covariances[k]


@pytest.mark.parametrize("projection", ["pca", "lda"])
@pytest.mark.parametrize("covariance_type", [*SHAPES, "full"])
@pytest.mark.parametrize("seed", SEEDS)
def test_means_and_covariances_are_projected_exactly(projection, covariance_type, seed):
    features, labels = clouds(seed)
    rng = np.random.default_rng(seed)
    covariances = (
        full_matrices(rng)
        if covariance_type == "full"
        else rng.uniform(0.5, 4, size=SHAPES[covariance_type])
    )
    plane = fit_projection(features, labels, projection)
    A, c = plane.components, plane.center
    means = features[:N_CLASSES]
    projected = plane.covariances(np.asarray(covariances), covariance_type, N_CLASSES)
    assert projected.shape == (N_CLASSES, 2, 2)
    for k in range(N_CLASSES):
        S = matrix_of_class(covariances, covariance_type, k)
        np.testing.assert_allclose(plane.points(means)[k], A @ (means[k] - c))
        np.testing.assert_allclose(projected[k], A @ S @ A.T, atol=1e-12)


@pytest.mark.parametrize("projection", ["pca", "lda"])
def test_sample_moments_project_like_the_gaussians(projection):
    features, labels = clouds(0)
    plane = fit_projection(features, labels, projection)
    moments = np.array([np.cov(features[labels == k].T) for k in range(N_CLASSES)])
    projected = plane.covariances(moments, "full", N_CLASSES)
    for k in range(N_CLASSES):
        points = plane.points(features[labels == k])
        np.testing.assert_allclose(projected[k], np.cov(points.T), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_pca_is_that_of_scikit_learn(seed):
    features, labels = clouds(seed)
    pca = PCA(n_components=2).fit(features)
    plane = fit_projection(features, labels, "pca")
    np.testing.assert_allclose(plane.points(features), pca.transform(features))
    first, second = 100 * pca.explained_variance_ratio_
    assert plane.axis_labels == (
        f"principal component 1 ({first:.0f} % of variance)",
        f"principal component 2 ({second:.0f} % of variance)",
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_lda_is_that_of_scikit_learn_for_labels_of_any_type(seed):
    features, labels = clouds(seed)
    lda = LinearDiscriminantAnalysis(n_components=2).fit(features, labels)
    for same in (labels, labels + 0.5, np.array(["a", "b", "c"])[labels]):
        plane = fit_projection(features, same, "lda")
        np.testing.assert_allclose(plane.points(features), lda.transform(features))
    first, second = 100 * lda.explained_variance_ratio_
    assert plane.axis_labels == (
        f"discriminant 1 ({first:.0f} % of between-class variance)",
        f"discriminant 2 ({second:.0f} % of between-class variance)",
    )


def test_many_columns_are_projected_the_same_way_each_time():
    # Where scikit-learn's PCA is randomised.
    features = np.random.default_rng(0).normal(size=(550, 1200))
    first, second = (fit_projection(features, np.zeros(550), "pca") for _ in range(2))
    np.testing.assert_array_equal(first.components, second.components)


@pytest.mark.parametrize("projection", ["pca", "lda"])
def test_two_columns_stay_as_they_are(projection):
    features = np.random.default_rng(0).normal(size=(6, 2))
    plane = fit_projection(features, np.zeros(6), projection)
    np.testing.assert_array_equal(plane.points(features), features)
    variances = np.array([1.0, 4.0])
    np.testing.assert_array_equal(
        plane.covariances(variances, "tied_diag", 1), [np.diag(variances)]
    )
    assert plane.axis_labels == ("feature 1", "feature 2")


def test_equal_rows_have_no_share_of_variance():
    plane = fit_projection(np.ones((4, 3)), np.zeros(4), "pca")
    np.testing.assert_array_equal(plane.points(np.ones((1, 3))), [[0, 0]])
    assert plane.axis_labels == ("principal component 1", "principal component 2")


LINE = np.repeat([[0.0, 0, 0], [4, 0, 0], [8, 0, 0]], 4, axis=0)
SPREAD = np.tile([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 1]], (3, 1))
THREE = np.repeat([0, 1, 2], 4)


@pytest.mark.parametrize(
    ("features", "labels", "projection", "message"),
    [
        (SPREAD, THREE, "umap", "projection='umap' must be 'pca' or 'lda'"),
        (SPREAD[:, :2], THREE, "umap", "projection='umap' must be 'pca' or 'lda'"),
        (SPREAD[:1], THREE[:1], "pca", "projection='pca' needs at least 2 rows"),
        (SPREAD, THREE == 0, "lda", "projection='lda' needs rows of at least 3 classe"),
        (LINE, THREE, "lda", "projection='lda' needs rows that differ within a class"),
        (LINE + SPREAD, THREE, "lda", "projection='lda' finds fewer than 2 direction"),
        (SPREAD, THREE, "lda", "projection='lda' finds fewer than 2 directions"),
    ],
    ids=["name", "name of 2", "1 row", "2 classes", "points", "line", "equal means"],
)
def test_what_determines_no_plane_is_refused(features, labels, projection, message):
    with pytest.raises(ValueError, match=message):
        fit_projection(features, labels, projection)
