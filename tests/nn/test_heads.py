"""sklgm.nn: heads, and the network of backbone and head."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from sklgm.gaussian import COVARIANCE_TYPES, log_variances_shape
from sklgm.nn import FeatureNetwork, GaussianMixtureHead, LinearHead

LEARNED_TYPES = ["spherical", "diag", "tied_diag"]


def seeded_head(covariance_type="identity", **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = GaussianMixtureHead(4, 3, covariance_type=covariance_type, **settings)
        if covariance_type != "identity":
            with torch.no_grad():
                head.log_variances += 0.3 * torch.randn_like(head.log_variances)
    return head.double()


def random_features(n=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64)


# GaussianMixtureHead


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_logits_are_log_prior_plus_log_density(covariance_type):
    priors = [0.5, 0.3, 0.2]
    head = seeded_head(covariance_type, variance=0.6, priors=priors)
    features = random_features()
    (logits,) = head(features)
    variances = head.log_variances.exp()
    expected = []
    for k, prior in enumerate(priors):
        by_class = covariance_type in ("spherical", "diag")
        variance = (variances[k] if by_class else variances).expand(4)
        density = Normal(head.means[k], variance.sqrt()).log_prob(features).sum(dim=1)
        expected.append(math.log(prior) + density)
        torch.testing.assert_close(
            head.claimed_squared_mahalanobis(features, torch.full((5,), k)),
            ((features - head.means[k]) ** 2 / variance).sum(dim=1),
        )
    # Logits have no scale of their own: a constant per row is left out.
    torch.testing.assert_close(
        logits.log_softmax(dim=1),
        torch.stack(expected, dim=1).log_softmax(dim=1),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_variances_start_at_the_variance_and_are_learned_unless_identity(
    covariance_type,
):
    head = GaussianMixtureHead(4, 3, covariance_type=covariance_type, variance=0.25)
    assert head.log_variances.shape == log_variances_shape(covariance_type, 3, 4)
    assert head.log_variances.exp().unique().tolist() == pytest.approx([0.25])
    learned = {name for name, _ in head.named_parameters()}
    assert ("log_variances" in learned) == (covariance_type != "identity")


def test_priors_are_normalised():
    head = GaussianMixtureHead(4, 3, priors=[2, 2, 4])
    assert head.log_priors.exp().tolist() == pytest.approx([0.25, 0.25, 0.5])


@pytest.mark.parametrize("covariance_type", LEARNED_TYPES)
def test_variances_in_the_density_have_a_floor(covariance_type):
    head = seeded_head(covariance_type, variance=2.0)
    with torch.no_grad():
        head.log_variances.fill_(-1e4)
    floor = head.floored_log_variances().exp()
    assert floor.unique().tolist() == pytest.approx([2.0 * 1e-4], rel=1e-6)
    assert bool(torch.isfinite(head(random_features())[0]).all())


@pytest.mark.parametrize("covariance_type", LEARNED_TYPES)
def test_estimated_variances_below_the_floor_are_kept_and_still_learned(
    covariance_type,
):
    head = seeded_head(covariance_type)
    low = torch.full_like(head.log_variances, math.log(1e-6))
    head.set_gaussians(torch.zeros(3, 4), low)
    torch.testing.assert_close(head.floored_log_variances().detach(), low)
    claimed = torch.arange(5) % 3
    head.claimed_squared_mahalanobis(random_features(), claimed).sum().backward()
    assert bool((head.log_variances.grad != 0).all())


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_state_dict_holds_all_that_the_densities_need(covariance_type):
    head = seeded_head(covariance_type, variance=0.5, priors=[1, 2, 3])
    log_variances = torch.full_like(head.log_variances, math.log(1e-7))
    head.set_gaussians(torch.ones(3, 4), log_variances)
    other = seeded_head(covariance_type)
    other.load_state_dict(head.state_dict())
    for found, expected in zip(
        other(random_features()), head(random_features()), strict=True
    ):
        assert torch.equal(found, expected)


def test_set_gaussians_leaves_a_fixed_variance_alone():
    head = seeded_head("identity", variance=0.5)
    head.set_gaussians(torch.ones(3, 4), torch.tensor(3.0))
    assert float(head.log_variances.exp()) == pytest.approx(0.5)
    assert bool((head.means == 1.0).all())


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_head_has_the_right_gradients(covariance_type):
    head = seeded_head(covariance_type)
    features = random_features().requires_grad_()
    parameters = dict(head.named_parameters())

    def logits(features, *values):
        replaced = dict(zip(parameters, values, strict=True))
        called = torch.func.functional_call(head, replaced, (features,))
        return called[0].log_softmax(dim=1)  # the constant of the row has no meaning

    assert torch.autograd.gradcheck(logits, (features, *parameters.values()))


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan])
def test_variance_must_be_finite_and_positive(variance):
    with pytest.raises(ValueError, match="variance must be a finite float > 0, got"):
        GaussianMixtureHead(4, 3, variance=variance)


@pytest.mark.parametrize("priors", [[0.5, 0.5], [0.5, 0.5, 0.0], [1.0, 1.0, -1.0]])
def test_priors_must_be_positive_and_one_a_class(priors):
    with pytest.raises(ValueError, match="priors must be 3 positive numbers, got"):
        GaussianMixtureHead(4, 3, priors=priors)


def test_unknown_covariance_type_is_named():
    with pytest.raises(ValueError, match="covariance_type must be one of .*'full'"):
        GaussianMixtureHead(4, 3, covariance_type="full")


# LinearHead


def test_linear_head_is_an_affine_map():
    head = LinearHead(4, 3).double()
    features = random_features()
    (logits,) = head(features)
    expected = features @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(logits, expected)


# FeatureNetwork


def test_network_returns_logits_and_features():
    head = seeded_head()
    network = FeatureNetwork(nn.Identity(), head)
    logits, features = network(random_features())
    assert torch.equal(features, random_features())
    assert torch.equal(logits, head(random_features())[0])


def test_learning_starts_from_the_means_and_the_variance_that_are_set():
    head = seeded_head("identity", variance=0.5)
    head.start_from(torch.ones(3, 4), 8.0)
    assert float(head.floored_log_variances().exp()) == pytest.approx(8.0)
    assert bool((head.means == 1.0).all())


def test_normalised_features_have_unit_root_mean_square():
    network = FeatureNetwork(nn.Identity(), seeded_head(), normalize_features=True)
    features = network.features(7.0 * random_features())
    torch.testing.assert_close(
        features.square().mean(dim=1), torch.ones(5, dtype=torch.float64)
    )
    # The same directions, whatever the length.
    torch.testing.assert_close(features, network.features(random_features()))


def test_normalised_zero_features_stay_zero():
    network = FeatureNetwork(nn.Identity(), seeded_head(), normalize_features=True)
    assert bool((network.features(torch.zeros(2, 4)) == 0).all())


def test_frozen_backbone_has_no_gradient_and_stays_in_evaluation_mode():
    backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    network = FeatureNetwork(backbone, LinearHead(4, 3), freeze_backbone=True).train()
    assert not any(module.training for module in backbone.modules())
    assert network.head.training
    network(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))[
        0
    ].sum().backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert network.head.linear.weight.grad.abs().sum() > 0


def test_thawed_backbone_is_trained_again():
    network = FeatureNetwork(nn.Linear(4, 4), LinearHead(4, 3), freeze_backbone=True)
    network.set_frozen(False)
    assert network.train().backbone.training
    assert all(p.requires_grad for p in network.backbone.parameters())


def test_unfrozen_backbone_keeps_layers_that_were_frozen_before():
    backbone = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4))
    network = FeatureNetwork(backbone, LinearHead(4, 3))
    network.set_frozen(False)
    assert [p.requires_grad for p in backbone.parameters()] == [
        False,
        False,
        True,
        True,
    ]
