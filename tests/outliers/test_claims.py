"""sklgm.outliers: what a fitted model says of features and claimed labels."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.naive_bayes import GaussianNB

from sklgm.outliers._claims import (
    ColumnGaussians,
    claimed_log_density,
    claimed_log_posterior,
    has_mixture_density,
    mixture_log_density,
)


@pytest.fixture
def unequal_blobs(blobs):
    """Classes of 5, 20 and 20 rows: the priors differ."""
    X, y = blobs
    return X[15:], y[15:]


def literal_densities(model, X):
    """log N_k(x) of naive Bayes, (n_samples, n_classes)."""
    return np.transpose(
        [
            multivariate_normal.logpdf(X, mean, np.diag(variances))
            for mean, variances in zip(model.theta_, model.var_, strict=True)
        ]
    )


def test_claimed_density_leaves_the_prior_out(unequal_blobs):
    X, y = unequal_blobs
    model = GaussianNB().fit(X, y)
    expected = literal_densities(model, X)[np.arange(45), y]
    np.testing.assert_allclose(claimed_log_density(model, X, y), expected)


def test_mixture_density_weighs_by_the_priors(unequal_blobs):
    X, y = unequal_blobs
    model = GaussianNB().fit(X, y)
    joint = literal_densities(model, X) + np.log([1 / 9, 4 / 9, 4 / 9])
    np.testing.assert_allclose(mixture_log_density(model, X), logsumexp(joint, axis=1))
    assert has_mixture_density(model)


def test_posterior_of_a_probability_that_underflowed_is_finite():
    class Sure:
        def predict_log_proba(self, X):
            return np.array([[0.0, -np.inf]])

    scores = claimed_log_posterior(Sure(), np.zeros((1, 1)), np.array([1]))
    assert scores.tolist() == [np.finfo(np.float64).min]


def test_model_without_probabilities_has_no_posterior():
    with pytest.raises(ValueError, match="with predict_proba; object has none"):
        claimed_log_posterior(object(), np.zeros((1, 1)), np.array([0]))


def test_column_gaussians_are_consistent_mixtures(unequal_blobs):
    X, y = unequal_blobs
    model = ColumnGaussians.from_rows(X, y)
    np.testing.assert_allclose(model.priors_, [1 / 9, 4 / 9, 4 / 9])
    joint = model.predict_joint_log_proba(X)
    expected = [
        np.log(prior) + multivariate_normal.logpdf(X, mean, np.diag(np.exp(variances)))
        for prior, mean, variances in zip(
            model.priors_, model.means_, model.log_variances_, strict=True
        )
    ]
    np.testing.assert_allclose(joint, np.transpose(expected))
    np.testing.assert_allclose(
        model.predict_log_proba(X), joint - logsumexp(joint, axis=1, keepdims=True)
    )


def test_column_gaussians_without_labels_are_one_gaussian(blobs):
    model = ColumnGaussians.from_rows(blobs[0], None)
    assert model.classes_.tolist() == [0]
    assert model.means_.shape == model.log_variances_.shape == (1, 4)


def test_column_gaussians_flatten_images(tiny_images):
    X, y = tiny_images
    flat = ColumnGaussians.from_rows(X.reshape(36, 64), y)
    np.testing.assert_array_equal(ColumnGaussians.from_rows(X, y).means_, flat.means_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_of_a_column_change_no_density_but_by_a_constant(dtype, unequal_blobs):
    X, y = unequal_blobs
    X = np.c_[X, np.full(45, 0.1), np.arange(45) % 9 == 0].astype(dtype)
    joint = ColumnGaussians.from_rows(X, y).predict_joint_log_proba(X + dtype(0.5))
    units = np.array([1024.0, 1.0, 2.0**-20, 1.0, 4096.0, 2.0**30], dtype=dtype)
    scaled = ColumnGaussians.from_rows(X * units, y)
    in_units = scaled.predict_joint_log_proba((X + dtype(0.5)) * units)
    np.testing.assert_allclose(
        in_units + np.log(units.astype(np.float64)).sum(), joint, rtol=1e-9
    )


def test_columns_that_are_constant_or_mostly_zero_decide_nothing():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = 4.0 * np.eye(3)[y] + rng.normal(size=(120, 3))
    dull = np.c_[np.full((120, 2), 0.1), rng.random((120, 5)) < 0.02]
    alone = ColumnGaussians.from_rows(X, y).predict_log_proba(X).argmax(axis=1)
    with_dull = ColumnGaussians.from_rows(np.c_[X, dull], y)
    joined = with_dull.predict_log_proba(np.c_[X, dull]).argmax(axis=1)
    assert (joined == alone).mean() > 0.9
    assert with_dull.n_dimensions_ == 8


def test_outliers_in_a_column_do_not_hide_it():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = (4.0 * y + rng.normal(size=120))[:, None].repeat(2, axis=1).astype(np.float32)
    X[:6, 1] = 1e9
    model = ColumnGaussians.from_rows(X, y)
    spread = np.exp(0.5 * model.log_variances_)
    np.testing.assert_allclose(spread[:, 1], spread[:, 0], rtol=0.3)


def test_densities_of_many_rows_are_those_of_a_few(unequal_blobs):
    X, y = unequal_blobs
    model = ColumnGaussians.from_rows(X, y)
    joint = model.predict_joint_log_proba(np.tile(X, (200, 1)))
    expected = np.tile(model.predict_joint_log_proba(X), (200, 1))
    np.testing.assert_allclose(joint, expected, rtol=1e-12)
