"""sklgm.losses: the terms of the L-GM loss and their sum."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sklgm.gaussian import (
    COVARIANCE_TYPES,
    claimed_squared_mahalanobis,
    log_determinant,
    log_variances_shape,
    squared_mahalanobis,
)
from sklgm.losses import (
    diag_lgm_loss,
    fixed_variance_lgm_loss,
    lgm_classification_loss,
    lgm_likelihood_loss,
    lgm_loss,
    softmax_loss,
    weighted_mean,
)

SEEDS = [0, 1, 2]


def random_case(covariance_type="identity", *, seed=0, n=7, n_classes=3, dim=4):
    """Features, labels, means, log-variances and log-priors in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return (
        normal(n, dim),
        torch.randint(n_classes, (n,), generator=generator),
        normal(n_classes, dim),
        0.5 * normal(*log_variances_shape(covariance_type, n_classes, dim)),
        torch.log_softmax(normal(n_classes), dim=0),
    )


def literal_loss(
    features,
    y,
    means,
    log_variances,
    log_priors,
    covariance_type,
    margin,
    likelihood_weight,
):
    """L = L_cls + lambda L_lkd, row by row and class by class."""
    n_classes, dim = means.shape
    losses = []
    for f, z in zip(features.tolist(), y.tolist(), strict=True):
        exponents, distances, log_dets = [], [], []
        for k in range(n_classes):
            index = {
                "identity": lambda k, j: (),
                "spherical": lambda k, j: (k,),
                "diag": lambda k, j: (k, j),
                "tied_diag": lambda k, j: (j,),
            }[covariance_type]
            variances = [math.exp(log_variances[index(k, j)]) for j in range(dim)]
            distance = sum(
                (f[j] - float(means[k, j])) ** 2 / variances[j] for j in range(dim)
            )
            log_det = sum(math.log(variance) for variance in variances)
            enlarged = distance * (1.0 + margin) if k == z else distance
            exponents.append(float(log_priors[k]) - 0.5 * (enlarged + log_det))
            distances.append(distance)
            log_dets.append(log_det)
        total = sum(math.exp(exponent) for exponent in exponents)
        classification = -math.log(math.exp(exponents[z]) / total)
        likelihood = 0.5 * (distances[z] + log_dets[z])
        losses.append(classification + likelihood_weight * likelihood)
    return sum(losses) / len(losses)


class Operations(TorchDispatchMode):
    """Record the largest number of elements and the types of what operations return."""

    def __init__(self):
        super().__init__()
        self.n_elements, self.dtypes = 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.n_elements = max(self.n_elements, value.numel())
                self.dtypes.add(value.dtype)
        return result


# lgm_loss


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("likelihood_weight", [0.0, 0.1])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_lgm_loss_matches_the_literal_loop(
    covariance_type, margin, likelihood_weight, seed
):
    case = random_case(covariance_type, seed=seed)
    found = lgm_loss(
        *case[:4],
        covariance_type=covariance_type,
        log_priors=case[4],
        margin=margin,
        likelihood_weight=likelihood_weight,
    )
    expected = literal_loss(*case, covariance_type, margin, likelihood_weight)
    assert float(found) == pytest.approx(expected, rel=1e-12)


# The losses with a gradient of their own

FUSED = ("identity", "diag")


def fused_loss(covariance_type, features, y, means, log_variances, log_priors, **terms):
    """The fused loss of a covariance type, with gradients in what is learnt."""
    if covariance_type == "diag":
        return diag_lgm_loss(features, y, means, log_variances, log_priors, **terms)
    return fixed_variance_lgm_loss(
        features, y, means, float(log_variances), log_priors, **terms
    )


def learnt(covariance_type, case):
    """What of a case has a gradient."""
    features, _, means, log_variances, _ = case
    inputs = [features, means] + [log_variances] * (covariance_type == "diag")
    return [values.requires_grad_() for values in inputs]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("margin", "weight"), [(0.0, 0.0), (0.7, 0.0), (0.7, 0.2)])
@pytest.mark.parametrize("covariance_type", FUSED)
def test_fused_losses_match_the_literal_loop(covariance_type, margin, weight, seed):
    case = random_case(covariance_type, seed=seed)
    features, y, means, log_variances, log_priors = case
    found, logits, distances = fused_loss(
        covariance_type, *case, margin=margin, likelihood_weight=weight
    )
    expected = literal_loss(*case, covariance_type, margin, weight)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    of_classes = squared_mahalanobis(features, means, log_variances, covariance_type)
    own = of_classes.gather(1, y[:, None])[:, 0]
    unit = torch.exp(log_variances) if covariance_type == "identity" else 1.0
    torch.testing.assert_close(distances, own * unit)
    log_determinants = log_determinant(log_variances, covariance_type, *means.shape)
    densities = log_priors - 0.5 * (of_classes + log_determinants)
    torch.testing.assert_close(logits.softmax(dim=1), densities.softmax(dim=1))


@pytest.mark.parametrize(("margin", "weight"), [(0.0, 0.0), (0.7, 0.0), (0.7, 0.2)])
@pytest.mark.parametrize("covariance_type", FUSED)
def test_fused_losses_have_the_right_gradients(covariance_type, margin, weight):
    case = random_case(covariance_type)
    features, y, means, log_variances, log_priors = case

    def loss(features, means, log_variances=log_variances):
        return fused_loss(
            covariance_type,
            features,
            y,
            means,
            log_variances,
            log_priors,
            margin=margin,
            likelihood_weight=weight,
        )[0]

    assert torch.autograd.gradcheck(loss, learnt(covariance_type, case))


@pytest.mark.parametrize("covariance_type", FUSED)
def test_weights_of_the_fused_losses_are_those_of_the_loss(covariance_type):
    case = random_case(covariance_type)
    features, y, means, log_variances, log_priors = case
    weight = torch.tensor([0.0, 1.0, 2.5, 0.0, 1.0, 0.5, 2.0], dtype=torch.float64)
    inputs = learnt(covariance_type, case)
    settings = {"margin": 0.7, "likelihood_weight": 0.2, "sample_weight": weight}
    found, *_ = fused_loss(covariance_type, *case, **settings)
    expected = lgm_loss(
        *(features, y, means, log_variances),
        covariance_type=covariance_type,
        log_priors=log_priors,
        **settings,
    )
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(3.0 * found, inputs),
        torch.autograd.grad(3.0 * expected, inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_log_variances_below_the_floor_count_as_the_floor_and_have_no_gradient():
    features, y, means, log_variances, log_priors = random_case("diag")
    floor = torch.tensor(0.1, dtype=torch.float64)
    is_below = log_variances < floor
    assert is_below.any()
    assert not is_below.all()
    log_variances.requires_grad_()
    settings = {"margin": 0.7, "likelihood_weight": 0.2}
    found, *_ = diag_lgm_loss(
        *(features, y, means, log_variances, log_priors),
        min_log_variance=floor,
        **settings,
    )
    floored = torch.where(is_below, floor, log_variances)
    expected = lgm_loss(
        *(features, y, means, floored),
        covariance_type="diag",
        log_priors=log_priors,
        **settings,
    )
    torch.testing.assert_close(found, expected)
    (one,) = torch.autograd.grad(found, log_variances)
    (other,) = torch.autograd.grad(expected, log_variances)
    torch.testing.assert_close(one, other)
    assert (one[is_below] == 0).all()


class Cut(torch.autograd.Function):
    """A step that passes values on and no gradient back."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None


@pytest.mark.parametrize("covariance_type", FUSED)
def test_a_loss_that_nothing_follows_from_has_no_gradients(covariance_type):
    case = random_case(covariance_type)
    inputs = learnt(covariance_type, case)
    terms = {"margin": 0.7, "likelihood_weight": 0.2}
    loss, *_ = fused_loss(covariance_type, *case, **terms)
    Cut.apply(loss).backward()
    assert all(values.grad is None for values in inputs)


@pytest.mark.parametrize("covariance_type", FUSED)
def test_the_fused_losses_leave_a_frozen_backbone_alone(covariance_type):
    case = random_case(covariance_type)
    features, _, means, *_ = case
    means.requires_grad_()
    terms = {"margin": 0.7, "likelihood_weight": 0.2}
    loss, *_ = fused_loss(covariance_type, *case, **terms)
    loss.backward()
    assert features.grad is None
    assert (means.grad != 0).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e12])
@pytest.mark.parametrize("covariance_type", FUSED)
def test_extreme_features_keep_the_fused_losses_finite(covariance_type, scale):
    features, y, means, log_variances, log_priors = random_case(covariance_type)
    features = scale * features
    case = [v.float() if v.is_floating_point() else v for v in (features, y, means)]
    case += [log_variances.float(), log_priors.float()]
    inputs = learnt(covariance_type, case)
    loss, *_ = fused_loss(covariance_type, *case, margin=0.3, likelihood_weight=0.1)
    loss.backward()
    for values in (loss, *(values.grad for values in inputs)):
        assert torch.isfinite(values).all()


@pytest.mark.parametrize(("deviation", "spread"), [(0.1, 10.0), (0.001, 10.0)])
def test_the_gradients_of_diag_lgm_loss_keep_their_digits(deviation, spread):
    # Classes that are narrow against their spread: sums of squares would cancel.
    generator = torch.Generator().manual_seed(0)
    means = spread * torch.randn(10, 16, generator=generator)
    y = torch.randint(10, (128,), generator=generator)
    features = means[y] + deviation * torch.randn(128, 16, generator=generator)
    log_variances = torch.full((10, 16), 2.0 * math.log(deviation))
    terms = {"margin": 0.1, "likelihood_weight": 0.1}
    gradients = []
    for dtype in (torch.float64, torch.float32):
        inputs = [v.to(dtype) for v in (features, means, log_variances)]
        features_, means_, log_variances_ = (v.requires_grad_() for v in inputs)
        priors = torch.zeros(10, dtype=dtype)
        loss, *_ = diag_lgm_loss(features_, y, means_, log_variances_, priors, **terms)
        gradients.append(torch.autograd.grad(loss, inputs))
    for exact, single in zip(*gradients, strict=True):
        assert (single.double() - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("covariance_type", FUSED)
def test_a_fused_loss_cannot_be_differentiated_twice(covariance_type):
    case = random_case(covariance_type)
    inputs = learnt(covariance_type, case)
    terms = {"margin": 0.7, "likelihood_weight": 0.2}
    loss, *_ = fused_loss(covariance_type, *case, **terms)
    with pytest.raises(RuntimeError, match="use sklgm.losses.lgm_loss"):
        torch.autograd.grad(loss, inputs, create_graph=True)


def test_diag_lgm_loss_is_computed_outside_autocast():
    case = [v.float() if v.is_floating_point() else v for v in random_case("diag")]
    terms = {"margin": 0.7, "likelihood_weight": 0.2}
    expected, *_ = diag_lgm_loss(*case, **terms)
    with torch.autocast("cpu", torch.bfloat16):
        found, *_ = diag_lgm_loss(*case, **terms)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("covariance_type", FUSED)
@pytest.mark.parametrize("name", ["margin", "likelihood_weight"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_terms_of_fused_losses_must_be_finite_and_not_negative(
    covariance_type, name, value
):
    terms = {"margin": 0.7, "likelihood_weight": 0.2, name: value}
    with pytest.raises(ValueError, match=f"{name} must be a finite float >= 0, got"):
        fused_loss(covariance_type, *random_case(covariance_type), **terms)


def test_log_variances_of_another_shape_are_named():
    features, y, means, log_variances, log_priors = random_case("diag")
    with pytest.raises(ValueError, match=r"log_variances must have shape \(3, 4\)"):
        diag_lgm_loss(
            *(features, y, means, log_variances[0], log_priors),
            margin=0.7,
            likelihood_weight=0.2,
        )


def test_margin_and_weight_zero_match_the_cross_entropy_of_half_the_distances():
    features, y, means, _, _ = random_case()
    found = lgm_loss(features, y, means, margin=0.0, likelihood_weight=0.0)
    logits = -0.5 * torch.cdist(features, means).square()
    torch.testing.assert_close(found, F.cross_entropy(logits, y))


def test_unset_variances_and_priors_are_ones_and_equal_shares():
    features, y, means, _, _ = random_case()
    for covariance_type in COVARIANCE_TYPES:
        shape = log_variances_shape(covariance_type, *means.shape)
        settings = {"covariance_type": covariance_type, "margin": 0.5}
        torch.testing.assert_close(
            lgm_loss(features, y, means, **settings),
            lgm_loss(
                features,
                y,
                means,
                torch.zeros(shape, dtype=torch.float64),
                log_priors=torch.full((3,), -math.log(3), dtype=torch.float64),
                **settings,
            ),
        )


def test_rows_on_their_means_pay_no_margin():
    _, _, means, _, _ = random_case()
    y = torch.arange(3)
    losses = [lgm_loss(means, y, means, margin=margin) for margin in (0.0, 5.0)]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_lgm_loss_has_the_right_gradients(covariance_type):
    features, y, means, log_variances, log_priors = random_case(covariance_type)
    inputs = (features, means, log_variances, log_priors)
    for tensor in inputs:
        tensor.requires_grad_()

    def loss(features, means, log_variances, log_priors):
        return lgm_loss(
            features,
            y,
            means,
            log_variances,
            covariance_type=covariance_type,
            log_priors=log_priors,
            margin=0.7,
            likelihood_weight=0.2,
        )

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e15])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_extreme_features_keep_loss_and_gradients_finite(covariance_type, scale, dtype):
    features, y, means, log_variances, _ = random_case(covariance_type)
    features = (scale * features).to(dtype).requires_grad_()
    means = means.to(dtype).requires_grad_()
    loss = lgm_loss(
        features,
        y,
        means,
        log_variances.to(dtype),
        covariance_type=covariance_type,
        margin=1.0,
    )
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(features.grad).all())
    assert bool(torch.isfinite(means.grad).all())


@pytest.mark.parametrize("log_variance", [-30.0, 60.0])
def test_extreme_variances_keep_loss_and_gradients_finite(log_variance):
    features, y, means, _, _ = random_case()
    features = features.float().requires_grad_()
    log_variances = torch.full((3, 4), log_variance).requires_grad_()
    loss = lgm_loss(
        features, y, means.float(), log_variances, covariance_type="diag", margin=1.0
    )
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(features.grad).all())
    assert bool(torch.isfinite(log_variances.grad).all())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [0.01, 3.0, 100.0])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_loss_changes_by_a_constant_when_features_means_and_deviations_are_scaled(
    covariance_type, scale, seed
):
    # The constant is lambda d log c: it comes from log|Sigma| in the likelihood.
    features, y, means, log_variances, log_priors = random_case(
        covariance_type, seed=seed
    )
    settings = {
        "covariance_type": covariance_type,
        "log_priors": log_priors,
        "margin": 0.4,
        "likelihood_weight": 0.1,
    }
    plain = lgm_loss(features, y, means, log_variances, **settings)
    scaled = lgm_loss(
        scale * features,
        y,
        scale * means,
        log_variances + 2 * math.log(scale),
        **settings,
    )
    expected = plain + 0.1 * features.shape[1] * math.log(scale)
    torch.testing.assert_close(scaled, expected, rtol=1e-10, atol=1e-10)


def test_sample_weights_multiply_the_rows_losses():
    features, y, means, _, _ = random_case()
    weight = torch.tensor([0.0, 2.0, 1.0, 0.5, 0.5, 1.5, 1.5], dtype=torch.float64)
    by_row = torch.stack(
        [lgm_loss(features[i : i + 1], y[i : i + 1], means) for i in range(len(y))]
    )
    torch.testing.assert_close(
        lgm_loss(features, y, means, sample_weight=weight), (weight * by_row).mean()
    )


@pytest.mark.parametrize("name", ["margin", "likelihood_weight"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_margin_and_weight_must_be_finite_and_not_negative(name, value):
    features, y, means, _, _ = random_case()
    with pytest.raises(ValueError, match=f"{name} must be a finite float >= 0, got"):
        lgm_loss(features, y, means, **{name: value})


def test_lgm_loss_leaves_its_inputs_alone():
    case = random_case("diag")
    before = [tensor.clone() for tensor in case]
    lgm_loss(*case[:4], covariance_type="diag", log_priors=case[4], margin=1.0)
    assert all(torch.equal(a, b) for a, b in zip(case, before, strict=True))


@pytest.mark.parametrize("covariance_type", ["spherical", "diag", "tied_diag"])
@pytest.mark.parametrize("seed", SEEDS)
def test_learned_variances_of_unit_gaussians_do_not_collapse(covariance_type, seed):
    # Without the covariance in the likelihood term (the published code) the mean
    # log-variance ends at -1.82.
    n_classes, dim, n_rows = 3, 8, 600
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n_rows) % n_classes
    means = 4.0 * torch.eye(n_classes, dim)
    features = means[y] + torch.randn(n_rows, dim, generator=generator)
    shape = log_variances_shape(covariance_type, n_classes, dim)
    log_variances = torch.full(shape, 1.0, requires_grad=True)
    optimizer = torch.optim.Adam([log_variances], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        lgm_loss(
            features,
            y,
            means,
            log_variances,
            covariance_type=covariance_type,
            likelihood_weight=1.0,
        ).backward()
        optimizer.step()
    # The mean log of dim * n_classes variances of 200 rows each: standard error
    # sqrt(2 / 4800) = 0.02; bias -1 / 200; the classification term adds little.
    assert abs(float(log_variances.detach().mean())) < 0.1


# the terms


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_margin_lowers_the_claimed_logit_by_half_the_margin_times_the_distance(margin):
    features, y, means, log_variances, _ = random_case()
    distances = squared_mahalanobis(features, means, log_variances)
    expected = -0.5 * distances
    for i, z in enumerate(y.tolist()):
        expected[i, z] = -0.5 * (1.0 + margin) * distances[i, z]
    claimed = distances.gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(
        lgm_classification_loss(-0.5 * distances, claimed, y, margin),
        F.cross_entropy(expected, y, reduction="none"),
    )


def test_margin_zero_matches_cross_entropy():
    logits, y, _, _, _ = random_case(dim=3)
    distances = torch.ones(len(y), dtype=torch.float64)
    torch.testing.assert_close(
        lgm_classification_loss(logits, distances, y, 0.0),
        F.cross_entropy(logits, y, reduction="none"),
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_likelihood_loss_is_the_negative_log_density_without_its_constant(
    covariance_type,
):
    features, y, means, log_variances, _ = random_case(covariance_type)
    n_classes, dim = means.shape
    distances = claimed_squared_mahalanobis(
        features, y, means, log_variances, covariance_type
    )
    log_dets = log_determinant(log_variances, covariance_type, n_classes, dim)
    found = lgm_likelihood_loss(distances, log_dets, y)
    variances = log_variances.exp()
    expected = []
    for f, z in zip(features, y.tolist(), strict=True):
        by_class = covariance_type in ("spherical", "diag")
        variance = (variances[z] if by_class else variances).expand(dim)
        normal = torch.distributions.Normal(means[z], variance.sqrt())
        expected.append(-normal.log_prob(f).sum() - 0.5 * dim * math.log(2 * math.pi))
    torch.testing.assert_close(found, torch.stack(expected))


def test_terms_have_the_right_gradients():
    logits, y, _, _, _ = random_case(dim=3)
    logits.requires_grad_()
    distances = torch.rand(len(y), dtype=torch.float64, requires_grad=True)
    log_dets = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    gradcheck = torch.autograd.gradcheck
    assert gradcheck(
        lambda j, d: lgm_classification_loss(j, d, y, 0.5), (logits, distances)
    )
    assert gradcheck(lambda d, s: lgm_likelihood_loss(d, s, y), (distances, log_dets))
    assert gradcheck(lambda j: softmax_loss(j, y), (logits,))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_no_array_of_samples_classes_and_features_nor_float64_is_made(covariance_type):
    n, n_classes, dim = 512, 40, 64
    features = torch.zeros(n, dim, requires_grad=True)
    y, means = torch.zeros(n, dtype=torch.long), torch.zeros(n_classes, dim)
    shape = log_variances_shape(covariance_type, n_classes, dim)
    with Operations() as operations:
        lgm_loss(
            features,
            y,
            means,
            torch.zeros(shape),
            covariance_type=covariance_type,
            margin=1.0,
        ).backward()
    assert operations.n_elements == n * max(dim, n_classes)
    assert operations.dtypes <= {torch.float32, torch.int64, torch.bool}


# softmax_loss, weighted_mean


def test_softmax_loss_matches_the_literal_formula():
    logits, y, _, _, _ = random_case(n=5, dim=3)
    expected = [
        -math.log(math.exp(row[z]) / sum(math.exp(value) for value in row))
        for row, z in zip(logits.tolist(), y.tolist(), strict=True)
    ]
    assert softmax_loss(logits, y).tolist() == pytest.approx(expected)


def test_smoothed_softmax_loss_matches_the_literal_formula():
    logits, eps = [[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], 0.2
    expected = []
    for row, z in zip(logits, [0, 2], strict=True):
        log_proba = [x - math.log(sum(math.exp(j) for j in row)) for x in row]
        expected.append(-(1 - eps) * log_proba[z] - eps / 3 * sum(log_proba))
    loss = softmax_loss(torch.tensor(logits), torch.tensor([0, 2]), eps)
    assert loss.tolist() == pytest.approx(expected)


def test_softmax_loss_of_equal_logits_is_the_log_of_the_number_of_classes():
    loss = softmax_loss(torch.zeros(2, 5), torch.tensor([0, 4]))
    assert loss.tolist() == pytest.approx([math.log(5)] * 2)


def test_softmax_loss_of_extreme_logits_is_finite():
    logits = torch.tensor([[1e30, -1e30], [-1e30, 1e30]])
    assert softmax_loss(logits, torch.tensor([0, 0])).tolist() == pytest.approx(
        [0.0, 2e30]
    )


def test_weighted_mean_is_over_rows_and_not_over_weights():
    loss, weight = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0])
    assert float(weighted_mean(loss, weight)) == 1.0
    assert float(weighted_mean(loss, None)) == 2.0
