"""ClassDistances: distances of many rows, in float32 where that is accurate enough."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklgm.gaussian import COVARIANCE_TYPES, ClassDistances, log_variances_shape
from sklgm.gaussian import _distances as module

TOLERANCE = 0.01


def literal_distances(features, means, log_variances, covariance_type):
    """(n_samples, n_classes), by the definition."""
    shape = {"spherical": (-1, 1), "identity": (1, 1)}.get(covariance_type)
    variances = torch.exp(log_variances.double())
    variances = variances if shape is None else variances.reshape(shape)
    differences = features.double()[:, None] - means.double()
    return (differences**2 / variances).sum(dim=2)


def rows_around_means(covariance_type, *, dim, scale, spread, seed=0, n_samples=40):
    """Rows of float32 around means that lie ``scale`` apart, far from the origin."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    means = scale * (5.0 + normal(4, dim))
    labels = torch.arange(n_samples) % 4
    deviation = torch.exp(0.5 * torch.tensor(spread))
    features = (means[labels] + deviation * normal(n_samples, dim)).float()
    log_variances = spread + 0.3 * normal(
        *log_variances_shape(covariance_type, len(means), dim)
    )
    return features, labels, means, log_variances


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@settings(max_examples=60, deadline=None)
@given(
    dim=st.sampled_from([1, 3, 64, 300]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4, 1e12, 1e25]),
    spread=st.sampled_from([-60.0, -12.0, 0.0, 6.0]),
    seed=st.integers(0, 1000),
)
def test_rows_of_float32_are_within_the_tolerance(
    covariance_type, dim, scale, spread, seed
):
    features, labels, means, log_variances = rows_around_means(
        covariance_type, dim=dim, scale=scale, spread=spread, seed=seed
    )
    literal = literal_distances(features, means, log_variances, covariance_type)
    to_classes = ClassDistances(
        means, log_variances, covariance_type, tolerance=TOLERANCE
    )
    to_all = to_classes.to_all(features)
    to_claimed = to_classes.to_claimed(features, labels)
    assert to_all.dtype == to_claimed.dtype == torch.float64
    own = literal.gather(1, labels[:, None])[:, 0]
    # In float64 the expanded squares themselves are rounded.
    sizes = literal + literal_distances(
        means.mean(dim=0)[None], means, log_variances, covariance_type
    )
    allowed = TOLERANCE + 1e-13 * sizes
    assert ((to_all.T - literal).abs() <= allowed).all()
    assert ((to_claimed - own).abs() <= TOLERANCE + 1e-13 * own).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_typical_features_are_multiplied_as_they_are(covariance_type, monkeypatch):
    features, labels, means, log_variances = rows_around_means(
        covariance_type, dim=64, scale=0.3, spread=0.0
    )
    means = means - means.mean()
    features = features - float(features.mean())
    types = []
    expanded = ClassDistances._expanded
    claimed = module._claimed_squares

    def watched(self, f, *parts):
        types.append(f.dtype)
        return expanded(self, f, *parts)

    def watched_claimed(f, *others):
        types.append(f.dtype)
        return claimed(f, *others)

    monkeypatch.setattr(ClassDistances, "_expanded", watched)
    monkeypatch.setattr(module, "_claimed_squares", watched_claimed)
    to_classes = ClassDistances(
        means, log_variances, covariance_type, tolerance=TOLERANCE
    )
    to_classes.to_all(features)
    to_classes.to_claimed(features, labels)
    assert types == [torch.float32, torch.float32]


def test_only_rows_beyond_the_tolerance_are_computed_again(monkeypatch):
    means = torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    features = torch.zeros(10, 2)
    features[3] = 1e6
    features[7] = 1e25  # its square is infinite in float32
    again = []
    expanded = ClassDistances._expanded

    def watched(self, f, *parts):
        again.append(len(f))
        return expanded(self, f, *parts)

    monkeypatch.setattr(ClassDistances, "_expanded", watched)
    to_classes = ClassDistances(means, torch.zeros(()), tolerance=TOLERANCE)
    distances = to_classes.to_all(features).T
    assert again == [10, 2]
    literal = literal_distances(features, means, torch.zeros(()), "identity")
    np.testing.assert_allclose(distances, literal, rtol=1e-12)


def test_without_a_tolerance_rows_of_float32_are_exact():
    features, labels, means, log_variances = rows_around_means(
        "diag", dim=64, scale=1.0, spread=0.0
    )
    to_classes = ClassDistances(means, log_variances, "diag")
    literal = literal_distances(features, means, log_variances, "diag")
    np.testing.assert_allclose(to_classes.to_all(features).T, literal, rtol=1e-10)
    own = literal.gather(1, labels[:, None])[:, 0]
    np.testing.assert_allclose(to_classes.to_claimed(features, labels), own, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dim", [10, 150, 4096])
def test_small_terms_beside_a_large_one_are_not_lost(covariance_type, dim):
    # Sums that add one term after the other lose what is below half of the last digit.
    shape = log_variances_shape(covariance_type, 2, dim)
    to_classes = ClassDistances(
        torch.zeros(2, dim).double(),
        torch.zeros(shape),
        covariance_type,
        tolerance=TOLERANCE,
    )
    features = torch.full((3, dim), 2.9e-5**0.5)
    features[:, 0] = 980**0.5
    literal = features.double().square().sum(dim=1)
    for found in (
        to_classes.to_all(features)[0],
        to_classes.to_claimed(features, torch.zeros(3, dtype=torch.long)),
    ):
        np.testing.assert_allclose(found, literal, rtol=0, atol=TOLERANCE)


def test_float32_is_not_tried_where_it_is_too_coarse(monkeypatch):
    types = []
    expanded = ClassDistances._expanded

    def watched(self, f, *parts):
        types.append(f.dtype)
        return expanded(self, f, *parts)

    monkeypatch.setattr(ClassDistances, "_expanded", watched)
    wide = ClassDistances(
        torch.zeros(2, 1000), torch.zeros(()), "identity", tolerance=TOLERANCE
    )
    wide.to_all(torch.zeros(5, 1000))
    assert types == [torch.float64]
    far = ClassDistances(torch.zeros(2, 3), torch.zeros(()), tolerance=TOLERANCE)
    types.clear()
    for _ in range(2):
        far.to_all(torch.full((5, 3), 1e6))
    assert types == [torch.float32, torch.float64, torch.float64]


def test_means_that_float32_cannot_hold_are_those_of_float64():
    means = torch.tensor([[1e39], [3e39]], dtype=torch.float64)
    log_variances = torch.tensor(2.0 * np.log(1e39))
    to_classes = ClassDistances(means, log_variances, tolerance=TOLERANCE)
    for features in (means, torch.zeros(2, 1)):
        literal = literal_distances(features, means, log_variances, "identity")
        np.testing.assert_allclose(to_classes.to_all(features).T, literal, rtol=1e-9)
        claimed = to_classes.to_claimed(features, torch.tensor([0, 1]))
        np.testing.assert_allclose(claimed, literal.diagonal(), rtol=1e-9)
