"""sklgm.gaussian: distances, densities and trimmed estimates."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from sklgm.gaussian import (
    COVARIANCE_TYPES,
    claimed_squared_mahalanobis,
    class_logits,
    estimate_gaussians,
    log_density,
    log_determinant,
    log_variances_shape,
    squared_mahalanobis,
)

SEEDS = [0, 1, 2]
LEARNED_TYPES = ["spherical", "diag", "tied_diag"]


def random_gaussians(covariance_type, *, seed=0, n=6, n_classes=3, dim=4):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    shape = log_variances_shape(covariance_type, n_classes, dim)
    return normal(n, dim), normal(n_classes, dim), normal(*shape)


def variance_of(log_variances, covariance_type, k, j):
    """Variance of class k in dimension j."""
    index = {"identity": (), "spherical": (k,), "diag": (k, j), "tied_diag": (j,)}
    return math.exp(float(log_variances[index[covariance_type]]))


def literal_distances(features, means, log_variances, covariance_type):
    """D[i, k] = sum_j (f_ij - mu_kj)^2 / sigma_kj^2, in loops of Python floats."""
    distances = torch.zeros(len(features), len(means), dtype=torch.float64)
    for i, f in enumerate(features.tolist()):
        for k, mu in enumerate(means.tolist()):
            distances[i, k] = sum(
                (f[j] - mu[j]) ** 2 / variance_of(log_variances, covariance_type, k, j)
                for j in range(len(f))
            )
    return distances


def n_chosen(share_kept, n_rows):
    """Exact ceil of a share given as a decimal string."""
    return math.ceil(Fraction(share_kept) * n_rows)


class LargestTensor(TorchDispatchMode):
    """Record the number of elements of the largest tensor any operation returns."""

    def __init__(self):
        super().__init__()
        self.n_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.n_elements = max(self.n_elements, value.numel())
        return result


# squared_mahalanobis


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_squared_mahalanobis_matches_the_literal_loop(covariance_type, seed):
    features, means, log_variances = random_gaussians(covariance_type, seed=seed)
    torch.testing.assert_close(
        squared_mahalanobis(features, means, log_variances, covariance_type),
        literal_distances(features, means, log_variances, covariance_type),
        rtol=1e-12,
        atol=1e-12,
    )


def test_squared_mahalanobis_of_unit_covariance_is_the_squared_euclidean_distance():
    features, means, _ = random_gaussians("identity")
    torch.testing.assert_close(
        squared_mahalanobis(features, means, torch.tensor(0.0)),
        torch.cdist(features, means).square(),
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_squared_mahalanobis_is_exact_where_rows_lie_far_from_the_origin(
    covariance_type,
):
    # In float32 the expanded square would lose |f|^2 eps = 4e8 * 6e-8 = 24 units.
    features, means, log_variances = random_gaussians(covariance_type, n=20)
    features, means = (features + 1e4).float(), (means + 1e4).float()
    torch.testing.assert_close(
        squared_mahalanobis(features, means, log_variances.float(), covariance_type),
        literal_distances(features, means, log_variances.float(), covariance_type),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_squared_mahalanobis_is_exact_where_the_means_lie_far_apart(covariance_type):
    # Centring cannot help here: |mu|^2 = 1e8, D = 0.01. Float32 products would be
    # wrong by |mu|^2 eps = 10; those in float64 by a few times 2e-8.
    _, means, log_variances = random_gaussians(covariance_type)
    means = 1e4 * means.float()
    features = means.clone()
    features[:, 0] += 0.1
    expected = literal_distances(features, means, log_variances, covariance_type)
    found = squared_mahalanobis(features, means, log_variances.float(), covariance_type)
    origin = means.mean(dim=0, keepdim=True)
    squares = literal_distances(origin, means, log_variances, covariance_type)
    rounding = 8 * torch.finfo(torch.float64).eps * float(squares.max())
    assert rounding < 0.01 * float(expected.diagonal().min())
    torch.testing.assert_close(
        found.diagonal(), expected.diagonal(), rtol=1e-6, atol=rounding
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_distance_of_a_mean_to_itself_is_zero_and_none_is_negative(covariance_type):
    _, means, log_variances = random_gaussians(covariance_type)
    means = (means + 1e6).float()
    distances = squared_mahalanobis(
        means, means, log_variances.float(), covariance_type
    )
    assert bool((distances >= 0).all())
    torch.testing.assert_close(
        distances.diagonal(), torch.zeros(3).double(), rtol=0.0, atol=1e-9
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_squared_mahalanobis_never_makes_the_array_of_differences(covariance_type):
    n, n_classes, dim = 20_000, 100, 512
    features, means = torch.zeros(n, dim), torch.zeros(n_classes, dim)
    shape = log_variances_shape(covariance_type, n_classes, dim)
    with LargestTensor() as largest:
        squared_mahalanobis(features, means, torch.zeros(shape), covariance_type)
    assert largest.n_elements == n * dim  # the features themselves


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_squared_mahalanobis_has_the_right_gradients(covariance_type):
    inputs = random_gaussians(covariance_type)
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, m, v: squared_mahalanobis(f, m, v, covariance_type), inputs
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_extreme_features_keep_distances_and_gradients_finite(covariance_type, dtype):
    features, means, log_variances = random_gaussians(covariance_type)
    features = (1e15 * features).to(dtype).requires_grad_()
    distances = squared_mahalanobis(
        features, means.to(dtype), log_variances.to(dtype), covariance_type
    )
    distances.sum().backward()
    assert distances.dtype is torch.float64  # float32 could not compare classes
    assert bool(torch.isfinite(distances).all())
    assert bool(torch.isfinite(features.grad).all())


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_squared_mahalanobis_leaves_its_inputs_alone(covariance_type):
    inputs = random_gaussians(covariance_type)
    before = [tensor.clone() for tensor in inputs]
    squared_mahalanobis(*inputs, covariance_type)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


# claimed_squared_mahalanobis, class_logits


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_claimed_distances_are_those_of_the_claimed_classes(covariance_type, seed):
    features, means, log_variances = random_gaussians(covariance_type, seed=seed)
    y = torch.arange(len(features)) % len(means)
    expected = literal_distances(features, means, log_variances, covariance_type)
    torch.testing.assert_close(
        claimed_squared_mahalanobis(features, y, means, log_variances, covariance_type),
        expected[torch.arange(len(y)), y],
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_class_logits_are_log_joint_densities_up_to_a_constant_per_row(
    covariance_type, seed
):
    features, means, log_variances = random_gaussians(covariance_type, seed=seed)
    log_priors = torch.log_softmax(torch.arange(3.0, dtype=torch.float64), dim=0)
    distances = literal_distances(features, means, log_variances, covariance_type)
    determinants = [
        sum(
            math.log(variance_of(log_variances, covariance_type, k, j))
            for j in range(4)
        )
        for k in range(3)
    ]
    determinants = torch.tensor(determinants, dtype=torch.float64)
    expected = log_priors - 0.5 * (distances + determinants)
    found = class_logits(features, means, log_variances, covariance_type, log_priors)
    differences = found - expected
    torch.testing.assert_close(
        differences, differences[:, :1].expand_as(differences), rtol=0.0, atol=1e-12
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_claimed_distances_and_logits_have_the_right_gradients(covariance_type):
    inputs = random_gaussians(covariance_type)
    y = torch.arange(len(inputs[0])) % 3
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, m, v: claimed_squared_mahalanobis(f, y, m, v, covariance_type), inputs
    )
    # Up to the constant of the row, which has a gradient of its own.
    assert torch.autograd.gradcheck(
        lambda f, m, v: class_logits(f, m, v, covariance_type).log_softmax(dim=1),
        inputs,
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_distances_tell_classes_apart_for_rows_far_from_all_of_them(covariance_type):
    # Regression (issue 1 of 6): cast to float32, D = 9e8 is rounded to steps of 64.
    features, means, log_variances = random_gaussians(covariance_type, n=200)
    log_variances = 0.0 * log_variances
    features = (features + 1.5e4).float()
    distances = squared_mahalanobis(
        features, means.float(), log_variances.float(), covariance_type
    )
    exact = literal_distances(features, means.float(), log_variances, covariance_type)
    assert torch.equal(distances.argmin(dim=1), exact.argmin(dim=1))


def test_wrong_shape_of_log_variances_is_named():
    features, means, _ = random_gaussians("diag")
    message = (
        r"log_variances must have shape \(3, 4\) for covariance_type='diag', "
        r"got \(4,\)"
    )
    with pytest.raises(ValueError, match=message):
        squared_mahalanobis(features, means, torch.zeros(4), "diag")


def test_unknown_covariance_type_is_named():
    with pytest.raises(ValueError, match="covariance_type must be one of .*'full'"):
        log_variances_shape("full", 3, 4)


# log_determinant, log_density


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_determinant_matches_that_of_the_full_matrix(covariance_type):
    _, means, log_variances = random_gaussians(covariance_type)
    n_classes, dim = means.shape
    expected = [
        torch.linalg.slogdet(
            torch.diag(
                torch.tensor(
                    [
                        variance_of(log_variances, covariance_type, k, j)
                        for j in range(dim)
                    ],
                    dtype=torch.float64,
                )
            )
        ).logabsdet
        for k in range(n_classes)
    ]
    found = log_determinant(log_variances, covariance_type, n_classes, dim)
    assert found.shape == (n_classes,)
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_density_matches_scipy(covariance_type, seed):
    features, means, log_variances = random_gaussians(covariance_type, seed=seed)
    n_classes, dim = means.shape
    found = log_density(
        squared_mahalanobis(features, means, log_variances, covariance_type),
        log_determinant(log_variances, covariance_type, n_classes, dim),
        dim,
    )
    for k in range(n_classes):
        variances = [
            variance_of(log_variances, covariance_type, k, j) for j in range(dim)
        ]
        expected = stats.multivariate_normal.logpdf(
            features.numpy(), means[k].numpy(), np.diag(variances)
        )
        np.testing.assert_allclose(found[:, k].numpy(), expected, rtol=1e-10)


def test_standard_normal_density_at_its_mean():
    density = log_density(torch.zeros(1, 1), torch.zeros(1), 1)
    assert float(density) == pytest.approx(-0.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_density_has_the_right_gradients(covariance_type):
    inputs = random_gaussians(covariance_type)
    for tensor in inputs:
        tensor.requires_grad_()

    def density(features, means, log_variances):
        return log_density(
            squared_mahalanobis(features, means, log_variances, covariance_type),
            log_determinant(log_variances, covariance_type, *means.shape),
            means.shape[1],
        )

    assert torch.autograd.gradcheck(density, inputs)


# estimate_gaussians


def labelled_rows(seed, *, n_per_class=(30, 50), dim=3):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(n_per_class)), n_per_class)
    scales = np.linspace(0.5, 2.0, dim)
    features = 10.0 * y[:, None] + scales * rng.normal(size=(len(y), dim))
    return torch.from_numpy(features), torch.from_numpy(y)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_without_trim_the_estimate_is_weighted_maximum_likelihood(
    covariance_type, seed
):
    features, y = labelled_rows(seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3.0, size=len(y))
    estimate = estimate_gaussians(
        features,
        y,
        2,
        covariance_type=covariance_type,
        variance=0.7,
        sample_weight=torch.from_numpy(weights),
    )
    f, labels = features.numpy(), y.numpy()
    means = [np.average(f[labels == k], axis=0, weights=weights[labels == k])
             for k in range(2)]  # fmt: skip
    spreads = np.stack(
        [
            np.average(
                (f[labels == k] - means[k]) ** 2, axis=0, weights=weights[labels == k]
            )
            for k in range(2)
        ]
    )  # (n_classes, dim)
    masses = np.array([weights[labels == k].sum() for k in range(2)])
    pooled = np.average(spreads, axis=0, weights=masses)
    expected = {
        "identity": 0.7,
        "spherical": spreads.mean(axis=1),
        # Shrunk towards the pooled variance, which stands for ten rows.
        "diag": (masses[:, None] * spreads + 10 * pooled) / (masses[:, None] + 10),
        "tied_diag": np.average(spreads, axis=0, weights=masses),
    }[covariance_type]
    np.testing.assert_allclose(estimate.means.numpy(), means, rtol=1e-12)
    np.testing.assert_allclose(
        estimate.log_variances.exp().numpy(), expected, rtol=1e-12
    )
    assert bool(estimate.is_kept.all())


@pytest.mark.parametrize("trim", [0.0, 0.2])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_of_weight_zero_do_not_enter_the_estimate(covariance_type, trim):
    features, y = labelled_rows(0)
    is_used = torch.arange(len(y)) % 5 != 0
    settings = {"covariance_type": covariance_type, "trim": trim}
    changed = torch.where(is_used[:, None], features, torch.tensor(1e6).double())
    weighted = estimate_gaussians(
        changed, y, 2, sample_weight=is_used.double(), **settings
    )
    removed = estimate_gaussians(features[is_used], y[is_used], 2, **settings)
    assert torch.equal(weighted.means, removed.means)
    assert torch.equal(weighted.log_variances, removed.log_variances)
    assert torch.equal(weighted.is_kept[is_used], removed.is_kept)
    assert not bool(weighted.is_kept[~is_used].any())


@pytest.mark.parametrize("trim", [0.0, 0.25])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_doubled_rows_and_doubled_weights_are_the_same(covariance_type, trim):
    features, y = labelled_rows(1, n_per_class=(20, 40))
    settings = {"covariance_type": covariance_type, "trim": trim}
    doubled = estimate_gaussians(features.repeat(2, 1), y.repeat(2), 2, **settings)
    weighted = estimate_gaussians(
        features, y, 2, sample_weight=torch.full((len(y),), 2.0), **settings
    )
    torch.testing.assert_close(doubled.means, weighted.means)
    torch.testing.assert_close(doubled.log_variances, weighted.log_variances)


@pytest.mark.parametrize("trim", ["0.05", "0.1", "0.2", "0.3", "0.45"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_each_class_keeps_the_rounded_up_share_of_its_rows(covariance_type, trim):
    n_per_class = (1, 2, 3, 10, 20, 41)
    features, y = labelled_rows(0, n_per_class=n_per_class)
    estimate = estimate_gaussians(
        features,
        y,
        len(n_per_class),
        covariance_type=covariance_type,
        trim=float(trim),
    )
    kept = [int(estimate.is_kept[y == k].sum()) for k in range(len(n_per_class))]
    assert kept == [n_chosen(1 - Fraction(trim), n) for n in n_per_class]


@pytest.mark.parametrize("trim", ["0.05", "0.1", "0.2", "0.25", "0.3", "0.4"])
@pytest.mark.parametrize("weight", [0.1, 1 / 3, 0.7, 1e-3])
def test_rounding_of_equal_weights_does_not_keep_a_row_too_many(trim, weight):
    n_per_class = (4, 10, 20, 40)
    features, y = labelled_rows(0, n_per_class=n_per_class)
    estimate = estimate_gaussians(
        features,
        y,
        len(n_per_class),
        trim=float(trim),
        sample_weight=torch.full((len(y),), weight, dtype=torch.float64),
    )
    kept = [int(estimate.is_kept[y == k].sum()) for k in range(len(n_per_class))]
    assert kept == [n_chosen(1 - Fraction(trim), n) for n in n_per_class]


@pytest.mark.parametrize("trim", [0.1, 0.3])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_trimmed_means_are_the_means_of_the_kept_rows(covariance_type, trim):
    features, y = labelled_rows(0)
    estimate = estimate_gaussians(
        features, y, 2, covariance_type=covariance_type, trim=trim
    )
    for k in range(2):
        kept = features[estimate.is_kept & (y == k)]
        torch.testing.assert_close(estimate.means[k], kept.mean(dim=0))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_trim_that_leaves_out_no_row_is_maximum_likelihood(covariance_type):
    # ceil(0.8 * 3) = 3 and ceil(0.8 * 4) = 4: the median start must not remain.
    features, y = labelled_rows(0, n_per_class=(3, 4))
    trimmed = estimate_gaussians(
        features, y, 2, covariance_type=covariance_type, trim=0.2
    )
    plain = estimate_gaussians(features, y, 2, covariance_type=covariance_type)
    assert bool(trimmed.is_kept.all())
    torch.testing.assert_close(trimmed.means, plain.means)
    torch.testing.assert_close(trimmed.log_variances, plain.log_variances)


@pytest.mark.parametrize("trim", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_kept_rows_are_the_likeliest_under_the_estimate(covariance_type, seed, trim):
    features, y = labelled_rows(seed)
    estimate = estimate_gaussians(
        features, y, 2, covariance_type=covariance_type, trim=trim, max_iter=100
    )
    distances = squared_mahalanobis(
        features, estimate.means, estimate.log_variances, covariance_type
    )
    for k in range(2):
        claimed = distances[y == k, k]
        is_kept = estimate.is_kept[y == k]
        assert float(claimed[is_kept].max()) <= float(claimed[~is_kept].min())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_gross_outliers_move_the_plain_mean_but_not_the_trimmed_one(
    covariance_type, seed
):
    n, dim = 400, 8
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    n_outliers = n // 5
    features[:n_outliers] += 20.0
    y = torch.zeros(n, dtype=torch.long)
    plain = estimate_gaussians(features, y, 1, covariance_type=covariance_type)
    trimmed = estimate_gaussians(
        features, y, 1, covariance_type=covariance_type, trim=0.25
    )
    # The mean of 300 kept unit Gaussians: standard error 1 / sqrt(300) = 0.058 a
    # coordinate; five of them for the largest of 8. The plain mean moves by 4.
    assert float(trimmed.means.abs().max()) < 5 / math.sqrt(0.75 * n)
    assert float(plain.means.min()) > 3.0
    assert not bool(trimmed.is_kept[:n_outliers].any())


def contaminated(share, seed, *, n=2000, dim=16, far=8.0):
    """One Gaussian class, of which a share of the rows lies elsewhere, and which."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.2, 2.0, dim, dtype=torch.float64)
    features = scales * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    n_outliers = round(share * n)
    features[:n_outliers] = 0.3 * features[:n_outliers] + far
    is_outlier = torch.zeros(n, dtype=torch.bool)
    is_outlier[:n_outliers] = True
    return features, is_outlier


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_automatic_trim_leaves_out_outliers_and_a_hundredth_of_the_rest(
    covariance_type, share, seed
):
    features, is_outlier = contaminated(share, seed)
    y = torch.zeros(len(features), dtype=torch.long)
    estimate = estimate_gaussians(
        features, y, 1, covariance_type=covariance_type, trim="auto"
    )
    assert not bool(estimate.is_kept[is_outlier].any())
    left_out = float((~estimate.is_kept[~is_outlier]).double().mean())
    # Outliers move the median of the distances: with a fifth of them the cutoff is
    # that of the 0.6 quantile, and fewer clean rows are left out.
    error = 4 * math.sqrt(0.01 * 0.99 / 1600)
    assert left_out < 0.01 + error + 0.005
    if share <= 0.05:
        assert left_out > 0.001
    clean = features[~is_outlier].mean(dim=0)
    spread = features[~is_outlier].std(dim=0) / math.sqrt(1600)
    assert bool(((estimate.means[0] - clean).abs() < spread).all())


@pytest.mark.parametrize("seed", SEEDS)
def test_variances_of_automatic_trim_are_those_of_the_clean_rows(seed):
    features, is_outlier = contaminated(0.1, seed)
    y = torch.zeros(len(features), dtype=torch.long)
    estimate = estimate_gaussians(features, y, 1, covariance_type="diag", trim="auto")
    expected = features[~is_outlier].var(dim=0)
    torch.testing.assert_close(
        estimate.log_variances[0].exp(), expected, rtol=0.05, atol=0.0
    )


def test_automatic_trim_keeps_at_least_half_of_every_class():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(43, 3, generator=generator, dtype=torch.float64).exp() ** 3
    y = torch.tensor([0] * 1 + [1] * 2 + [2] * 40)
    estimate = estimate_gaussians(features, y, 3, covariance_type="diag", trim="auto")
    for k in range(3):
        assert float(estimate.is_kept[y == k].double().mean()) >= 0.5


def test_automatic_trim_ignores_rows_of_weight_zero():
    features, is_outlier = contaminated(0.1, 0, n=300)
    y = torch.zeros(len(features), dtype=torch.long)
    weights = torch.where(is_outlier, 0.0, 1.0)
    weighted = estimate_gaussians(features, y, 1, trim="auto", sample_weight=weights)
    clean = features[~is_outlier]
    alone = estimate_gaussians(clean, y[~is_outlier], 1, trim="auto")
    torch.testing.assert_close(weighted.means, alone.means)
    assert torch.equal(weighted.is_kept[~is_outlier], alone.is_kept)
    assert not bool(weighted.is_kept[is_outlier].any())


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_automatic_trim_does_not_depend_on_the_scale_of_the_features(scale):
    features, _ = contaminated(0.1, 0, n=300)
    y = torch.zeros(len(features), dtype=torch.long)
    plain = estimate_gaussians(features, y, 1, covariance_type="diag", trim="auto")
    scaled = estimate_gaussians(
        scale * features, y, 1, covariance_type="diag", trim="auto"
    )
    assert torch.equal(plain.is_kept, scaled.is_kept)


@pytest.mark.parametrize("covariance_type", LEARNED_TYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_consistency_factor_lets_a_one_percent_threshold_fire_at_one_percent(
    covariance_type, seed
):
    n, dim, trim = 20_000, 64, 0.2
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    y = torch.zeros(n, dtype=torch.long)
    estimate = estimate_gaussians(
        features, y, 1, covariance_type=covariance_type, trim=trim
    )
    distances = squared_mahalanobis(
        features, estimate.means, estimate.log_variances, covariance_type
    )[:, 0]
    threshold = stats.chi2.ppf(0.99, dim)
    fired = float((distances > threshold).double().mean())
    # Four standard errors of a share: 0.28 points here, 0.47 below.
    assert fired == pytest.approx(0.01, abs=4 * math.sqrt(0.01 * 0.99 / n))

    quantile = stats.chi2.ppf(1 - trim, dim)
    factor = stats.chi2.cdf(quantile, dim + 2) / (1 - trim)
    uncorrected = float((distances / factor > threshold).double().mean())
    assert uncorrected == pytest.approx(0.029, abs=4 * math.sqrt(0.029 * 0.971 / n))


@pytest.mark.parametrize("trim", [0.0, 0.2])
def test_class_of_one_row_is_its_own_mean_and_has_the_pooled_variance(trim):
    features, y = labelled_rows(0, n_per_class=(30, 1))
    settings = {"trim": trim, "variance": 0.3}
    tied = estimate_gaussians(features, y, 2, covariance_type="tied_diag", **settings)
    pooled = tied.log_variances.exp()
    for covariance_type in ("spherical", "diag"):
        estimate = estimate_gaussians(
            features, y, 2, covariance_type=covariance_type, **settings
        )
        torch.testing.assert_close(estimate.means[1], features[-1])
        variances = estimate.log_variances.exp()[1]
        is_spherical = covariance_type == "spherical"
        torch.testing.assert_close(variances, pooled.mean() if is_spherical else pooled)


@pytest.mark.parametrize("trim", [0.0, 0.2])
@pytest.mark.parametrize("covariance_type", LEARNED_TYPES)
def test_classes_of_one_row_each_all_have_the_given_variance(covariance_type, trim):
    features = torch.tensor([[0.0, 1.0], [5.0, 6.0]])
    estimate = estimate_gaussians(
        features,
        torch.arange(2),
        2,
        covariance_type=covariance_type,
        variance=0.3,
        trim=trim,
    )
    torch.testing.assert_close(estimate.means, features.double())
    assert estimate.log_variances.exp().unique().tolist() == pytest.approx([0.3])


def test_pooled_variance_ignores_classes_of_one_row():
    features, y = labelled_rows(0, n_per_class=(30, 1))
    pooled = estimate_gaussians(features, y, 2, covariance_type="tied_diag")
    alone = estimate_gaussians(features[:30], y[:30], 1, covariance_type="tied_diag")
    torch.testing.assert_close(pooled.log_variances, alone.log_variances)


@pytest.mark.parametrize("trim", [0.0, 0.2])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_constant_features_have_a_small_positive_variance(covariance_type, trim):
    features, y = labelled_rows(0)
    features[:, 1] = 4.0
    estimate = estimate_gaussians(
        features, y, 2, covariance_type=covariance_type, trim=trim
    )
    distances = squared_mahalanobis(
        features, estimate.means, estimate.log_variances, covariance_type
    )
    assert bool(torch.isfinite(estimate.log_variances).all())
    assert bool(torch.isfinite(distances).all())
    if covariance_type in ("diag", "tied_diag"):
        variances = estimate.log_variances.exp()
        # A thousandth of the average variance, as the floor says.
        assert bool((variances[..., 1] <= 2e-3 * variances[..., 2]).all())


@pytest.mark.parametrize("trim", [0.0, 0.2])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_identical_rows_give_finite_log_variances(covariance_type, trim):
    estimate = estimate_gaussians(
        torch.ones(6, 2),
        torch.tensor([0, 0, 0, 1, 1, 1]),
        2,
        covariance_type=covariance_type,
        trim=trim,
    )
    assert bool((estimate.means == 1.0).all())
    assert bool(torch.isfinite(estimate.log_variances).all())


@pytest.mark.parametrize("trim", [0.0, 0.2])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("scale", [1e-3, 1e8])
def test_estimate_scales_with_the_features(covariance_type, trim, scale):
    features, y = labelled_rows(0)
    settings = {"covariance_type": covariance_type, "trim": trim}
    plain = estimate_gaussians(features, y, 2, variance=1.0, **settings)
    scaled = estimate_gaussians(scale * features, y, 2, variance=scale**2, **settings)
    torch.testing.assert_close(scaled.means, scale * plain.means)
    torch.testing.assert_close(
        scaled.log_variances, plain.log_variances + 2 * math.log(scale)
    )
    assert torch.equal(scaled.is_kept, plain.is_kept)


def test_class_without_rows_of_positive_weight_is_named():
    message = "class index 1 has no row of positive weight"
    with pytest.raises(ValueError, match=message):
        estimate_gaussians(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), 2)
    with pytest.raises(ValueError, match=message):
        estimate_gaussians(
            torch.zeros(3, 2),
            torch.tensor([0, 0, 1]),
            2,
            sample_weight=torch.tensor([1.0, 1.0, 0.0]),
        )


def test_estimate_leaves_its_inputs_alone_and_carries_no_gradient():
    features, y = labelled_rows(0)
    features.requires_grad_()
    before = features.detach().clone()
    estimate = estimate_gaussians(features, y, 2, covariance_type="diag", trim=0.2)
    assert torch.equal(features, before)
    assert not estimate.means.requires_grad
    assert estimate.means.dtype is torch.float64


# locations


def quantile_mean(values, low, high):
    """Mean of the quantile function of values over [low, high], by exact fractions."""
    ordered, n = sorted(values), len(values)
    total = Fraction(0)
    for i, value in enumerate(ordered):
        overlap = min(Fraction(i + 1, n), high) - max(Fraction(i, n), low)
        total += max(overlap, Fraction(0)) * Fraction(value)
    return float(total / (high - low))


@pytest.mark.parametrize("n_rows", [7, 8, 20])
@pytest.mark.parametrize("trim", ["0.1", "0.25", "0.4"])
def test_trimmed_mean_averages_the_middle_of_each_coordinate(trim, n_rows):
    features, y = labelled_rows(0, n_per_class=(n_rows, 5))
    estimate = estimate_gaussians(
        features, y, 2, location="trimmed_mean", trim=float(trim)
    )
    t = Fraction(trim)
    expected = [
        quantile_mean(features[:n_rows, j].tolist(), t, 1 - t)
        for j in range(features.shape[1])
    ]
    assert estimate.means[0].tolist() == pytest.approx(expected)
    assert bool(estimate.is_kept.all())


@pytest.mark.parametrize(("n_rows", "rank"), [(7, 3), (8, 3)])
def test_median_is_the_lower_middle_value_of_each_coordinate(n_rows, rank):
    features, y = labelled_rows(0, n_per_class=(n_rows, 5))
    estimate = estimate_gaussians(features, y, 2, location="median")
    expected = features[:n_rows].sort(dim=0).values[rank]
    torch.testing.assert_close(estimate.means[0], expected)


@pytest.mark.parametrize("location", ["mean", "trimmed_mean", "median"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_weights_of_a_location_count_rows(covariance_type, location):
    features, y = labelled_rows(0, n_per_class=(12, 9))
    counts = torch.tensor([1, 2, 3] * 7)
    settings = {
        "location": location,
        "trim": 0.2,
        "covariance_type": covariance_type,
        "variance": "within",
    }
    weighted = estimate_gaussians(features, y, 2, sample_weight=counts, **settings)
    repeated = estimate_gaussians(
        features.repeat_interleave(counts, dim=0),
        y.repeat_interleave(counts),
        2,
        **settings,
    )
    torch.testing.assert_close(weighted.means, repeated.means)
    torch.testing.assert_close(weighted.log_variances, repeated.log_variances)


@pytest.mark.parametrize("location", ["median", "trimmed_mean", "kept_mean"])
def test_robust_locations_withstand_a_fifth_of_far_rows(location):
    features, y = labelled_rows(0, n_per_class=(50, 50))
    clean = features[:50].mean(dim=0)
    features = features.clone()
    features[:10] += 1e6
    estimate = estimate_gaussians(features, y, 2, location=location, trim=0.25)
    assert float((estimate.means[0] - clean).abs().max()) < 1.0


@pytest.mark.parametrize("location", ["trimmed_mean", "median", "kept_mean"])
def test_variances_are_those_of_gaussian_rows(location):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
    y = torch.zeros(20_000, dtype=torch.long)
    estimate = estimate_gaussians(
        features, y, 1, location=location, trim=0.25, covariance_type="diag"
    )
    # Standard error of a trimmed variance of 20,000 rows: about 0.02.
    assert bool((estimate.log_variances.exp() - 1.0).abs().max() < 0.08)


def test_variance_within_is_the_pooled_variance_averaged_over_dimensions():
    features, y = labelled_rows(0, n_per_class=(30, 10))
    tied = estimate_gaussians(features, y, 2, covariance_type="tied_diag")
    estimate = estimate_gaussians(features, y, 2, variance="within")
    torch.testing.assert_close(
        estimate.log_variances.exp(), tied.log_variances.exp().mean()
    )


def test_a_class_of_three_rows_keeps_its_own_rows():
    # Regression (issue 1 of 6): the variances of three rows are far too small or
    # large, and the recall of a well separated class was 0.03.
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0] * 200 + [1] * 200 + [2] * 3)
    means = 4.0 * torch.eye(3, 16)
    rows = means[y] + torch.randn(len(y), 16, generator=generator)
    estimate = estimate_gaussians(rows, y, 3, covariance_type="diag", trim=0.25)
    new = means[2] + torch.randn(500, 16, generator=generator)
    logits = class_logits(new.double(), estimate.means, estimate.log_variances, "diag")
    assert float((logits.argmax(dim=1) == 2).double().mean()) > 0.95


def test_unknown_location_is_named():
    with pytest.raises(ValueError, match="location must be one of .*'mode'"):
        estimate_gaussians(torch.zeros(2, 1), torch.zeros(2).long(), 1, location="mode")


# Against a literal loop


def lower_weighted_median(values, weights):
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    return values[order][np.argmax(cumulated >= 0.5 * cumulated[-1] * (1 - 1e-12))]


def central_factor(share, dim):
    if share >= 1.0 - 1e-12:
        return 1.0
    return stats.chi2.cdf(stats.chi2.ppf(share, dim), dim + 2) / share


class LiteralEstimate:
    """The iterated trimming of class Gaussians, class by class, row by row."""

    def __init__(self, features, y, n_classes, weights, covariance_type, trim):
        self.f, self.w, self.type = features, weights, covariance_type
        self.rows = [np.flatnonzero((y == k) & (weights > 0)) for k in range(n_classes)]
        self.dim = features.shape[1]
        start = []
        for rows in self.rows:
            columns = features[rows].T
            median = [lower_weighted_median(c, weights[rows]) for c in columns]
            mad = [
                lower_weighted_median(abs(c - m), weights[rows])
                for c, m in zip(columns, median, strict=True)
            ]
            start.append((median, (1.4826 * np.array(mad)) ** 2))
        self.set([np.array(m) for m, _ in start], [v for _, v in start], self.rows)
        share = 0.25 if trim == "auto" else trim
        self.repeat(lambda D, rows: self.most_likely(D, rows, share), None)
        if trim == "auto":
            self.repeat(self.of_bulk, 0.99)

    def set(self, means, variances, kept):
        self.means = means
        masses = np.array([self.w[rows].sum() for rows in kept])
        pooled = masses @ np.array(variances) / masses.sum()
        own = {
            "identity": [np.full(self.dim, pooled.mean())] * len(means),
            "spherical": [np.full(self.dim, v.mean()) for v in variances],
            "tied_diag": [pooled] * len(means),
            "diag": [
                (n * v + 10 * pooled) / (n + 10)
                for n, v in zip(masses, variances, strict=True)
            ],
        }[self.type]
        self.variances = [np.maximum(v, 1e-3 * pooled.mean()) for v in own]

    def repeat(self, choose, central_share):
        kept = None
        for _ in range(20):
            before, kept = kept, []
            for k, rows in enumerate(self.rows):
                D = ((self.f[rows] - self.means[k]) ** 2 / self.variances[k]).sum(
                    axis=1
                )
                kept.append(np.sort(choose(D, rows)))
            if before and all(map(np.array_equal, before, kept)):
                break
            means, variances = [], []
            for chosen, rows in zip(kept, self.rows, strict=True):
                w = self.w[chosen]
                mean = w @ self.f[chosen] / w.sum()
                share = w.sum() / self.w[rows].sum()
                if central_share and len(rows) >= 20 and share < 1 - 1e-12:
                    share = max(share, central_share)
                spread = w @ (self.f[chosen] - mean) ** 2 / w.sum()
                means.append(mean)
                variances.append(spread / central_factor(share, self.dim))
            self.set(means, variances, kept)
        self.kept = np.concatenate(kept)

    def most_likely(self, D, rows, share):
        order = np.argsort(D, kind="stable")
        cumulated = np.cumsum(self.w[rows][order])
        needed = (1 - share) * cumulated[-1] * (1 - 1e-12)
        return rows[order[: np.argmax(cumulated >= needed) + 1]]

    def of_bulk(self, D, rows):
        roots, w = D ** (1 / 3), self.w[rows]
        median = lower_weighted_median(roots, w)
        below = roots < median
        if len(rows) < 20 or not below.any():
            return self.most_likely(D, rows, 0.25)
        scale = 1.4826 * lower_weighted_median(median - roots[below], w[below])
        return rows[roots <= median + stats.norm.ppf(0.99) * scale]


@pytest.mark.parametrize("weighting", ["ones", "unequal", "per_class"])
@pytest.mark.parametrize("trim", [0.1, "auto"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_kept_means_are_those_of_the_literal_loop(
    covariance_type, trim, weighting, seed
):
    rng = np.random.RandomState(seed)
    y = rng.permutation(np.repeat(np.arange(5), [3, 12, 70, 41, 300]))
    features = rng.normal(size=(len(y), 4)) * (0.5 + rng.rand(5, 4))[y]
    features += 4.0 * rng.normal(size=(5, 4))[y]
    features[rng.rand(len(y)) < 0.08] += 5.0
    weights = {
        "ones": np.ones(len(y)),
        "unequal": np.where(
            (y > 0) & (rng.rand(len(y)) < 0.1), 0.0, 0.1 + rng.rand(len(y))
        ),
        "per_class": (0.2 + rng.rand(5))[y],
    }[weighting]
    expected = LiteralEstimate(features, y, 5, weights, covariance_type, trim)
    found = estimate_gaussians(
        torch.from_numpy(features),
        torch.from_numpy(y),
        5,
        covariance_type=covariance_type,
        variance="within",
        trim=trim,
        sample_weight=torch.from_numpy(weights),
    )
    assert np.flatnonzero(found.is_kept).tolist() == sorted(expected.kept.tolist())
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-12, atol=1e-12)
    variances = np.array(expected.variances)
    variances = {
        "identity": variances[0, 0],
        "spherical": variances[:, 0],
        "diag": variances,
        "tied_diag": variances[0],
    }[covariance_type]
    np.testing.assert_allclose(found.log_variances.exp(), variances, rtol=1e-11)


def test_classes_of_every_size_are_estimated_at_once():
    sizes = np.array([1, 2, 3, 5, 9, 17, 33, 1000])
    y = np.random.RandomState(0).permutation(np.repeat(np.arange(8), sizes))
    features = np.random.RandomState(1).normal(size=(len(y), 3))
    for location in ("median", "trimmed_mean", "kept_mean"):
        together, alone = (
            estimate_gaussians(
                torch.from_numpy(features[rows]),
                torch.from_numpy(labels),
                n_classes,
                location=location,
                trim=0.2,
            ).means
            for rows, labels, n_classes in (
                (np.arange(len(y)), y, 8),
                (y == 4, np.zeros((y == 4).sum(), dtype=np.int64), 1),
            )
        )
        torch.testing.assert_close(together[4], alone[0])
