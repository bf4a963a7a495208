"""The polytope objectives against literal loops, in limits, and by gradcheck."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sklgm.poisoning import bullseye_polytope_objective, convex_polytope_objective
from sklgm.poisoning._polytope import hull_coefficients, project_to_simplex

SEEDS = [0, 1, 2]


def drawn(seed, n_groups=3, n_poisons=4, n_targets=1, feature_dim=5):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(
            n_groups, n_poisons, feature_dim, generator=generator, dtype=torch.float64
        ),
        torch.randn(
            n_groups, n_targets, feature_dim, generator=generator, dtype=torch.float64
        ),
    )


# Bullseye polytope


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_targets", [1, 3])
def test_bullseye_is_the_distance_of_the_means_in_a_loop(seed, n_targets):
    features, targets = drawn(seed, n_targets=n_targets)
    found = bullseye_polytope_objective(features, targets)
    for g in range(len(features)):
        target = sum(targets[g]) / n_targets
        mean = sum(features[g]) / features.shape[1]
        expected = ((mean - target) ** 2).sum() / (target**2).sum()
        assert float(found[g]) == pytest.approx(float(expected))


def test_bullseye_is_zero_where_the_mean_is_the_target():
    features, _ = drawn(0)
    target = features.mean(dim=1, keepdim=True)
    found = bullseye_polytope_objective(features, target)
    torch.testing.assert_close(found, torch.zeros(3).double())


# Convex polytope


@pytest.mark.parametrize("seed", SEEDS)
def test_hull_coefficients_are_those_of_a_general_solver(seed):
    features, targets = drawn(seed)
    found = hull_coefficients(features, targets[:, 0]).numpy()
    for g in range(len(features)):
        corners, target = features[g].numpy(), targets[g, 0].numpy()
        solved = minimize(
            lambda c, corners=corners, target=target: (
                (c @ corners - target) ** 2
            ).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda c: c.sum() - 1},
            tol=1e-12,
        )
        np.testing.assert_allclose(found[g], solved.x, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_convex_polytope_is_the_residual_at_the_best_coefficients(seed):
    features, targets = drawn(seed)
    coefficients = hull_coefficients(features, targets[:, 0])
    found = convex_polytope_objective(features, targets)
    for g in range(len(features)):
        nearest = sum(
            coefficients[g, j] * features[g, j] for j in range(features.shape[1])
        )
        expected = ((nearest - targets[g, 0]) ** 2).sum() / (targets[g, 0] ** 2).sum()
        assert float(found[g]) == pytest.approx(float(expected))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_in_the_hull_has_no_distance(seed):
    features, _ = drawn(seed)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    target = (weights[:, None] * features).sum(dim=1, keepdim=True)
    assert float(convex_polytope_objective(features, target).max()) < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hull_is_never_farther_than_the_mean(seed):
    features, targets = drawn(seed)
    convex = convex_polytope_objective(features, targets)
    assert bool((convex <= bullseye_polytope_objective(features, targets)).all())


def test_one_poison_alone_makes_both_polytopes_the_same():
    features, targets = drawn(0, n_poisons=1)
    torch.testing.assert_close(
        convex_polytope_objective(features, targets),
        bullseye_polytope_objective(features, targets),
    )


def test_equal_corners_have_no_curvature_and_finite_coefficients():
    features = torch.ones(1, 3, 2, dtype=torch.float64)
    coefficients = hull_coefficients(features, torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(coefficients, torch.full((1, 3), 1 / 3).double())


@pytest.mark.parametrize("seed", SEEDS)
def test_projection_is_the_nearest_point_of_the_simplex(seed):
    values = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)).double()
    found = project_to_simplex(values)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6).double())
    others = torch.from_numpy(np.random.RandomState(seed).dirichlet(np.ones(5), 200))
    nearest = (values - found).square().sum(dim=1)
    assert bool(
        (torch.cdist(values, others).square().min(dim=1).values >= nearest).all()
    )


# Both


@pytest.mark.parametrize(
    "objective", [bullseye_polytope_objective, convex_polytope_objective]
)
def test_gradients_are_those_of_finite_differences(objective):
    features, targets = drawn(0)
    features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f: objective(f, targets), (features,), atol=1e-4
    )


@pytest.mark.parametrize(
    "objective", [bullseye_polytope_objective, convex_polytope_objective]
)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
def test_extreme_features_stay_finite(objective, scale):
    features, targets = drawn(0)
    features = (scale * features).requires_grad_()
    value = objective(features, scale * targets)
    (gradient,) = torch.autograd.grad(value.sum(), features)
    assert bool(value.isfinite().all())
    assert bool(gradient.isfinite().all())
