"""Poisons that move the mean of a class together."""

import numpy as np
import pytest
import torch

from sklgm.nn import GaussianMixtureHead
from sklgm.poisoning import (
    AdaptiveJoint,
    AdaptiveLikelihood,
    Problem,
    craft,
    make_surrogate,
    moved_mean_objective,
)
from tests.poisoning.conftest import gaussian_head


def identity_model():
    """Features are the pixels; means at 0.2 and 0.8."""
    head = GaussianMixtureHead(4, 2, variance=0.5).double()
    head.set_gaussians(torch.tensor([[0.2] * 4, [0.8] * 4]))
    return torch.nn.Identity(), head


def test_the_objective_is_distance_plus_mean_penalty():
    found = moved_mean_objective(
        torch.tensor([2.0, 0.0]),
        torch.tensor([4.0, 0.0]),
        torch.tensor([[1.0, 3.0], [0.0, 0.0]]),
    )
    assert found.tolist() == [2.5, 0.0]


@pytest.mark.parametrize("max_distance", [None, 0.25, (0.1, 0.2, 0.3)])
def test_the_objective_is_that_of_means_that_are_estimated_again(
    relu_network, rows, max_distance
):
    X_base, X_target = rows[0], rows[1][:1]
    head = gaussian_head(relu_network, X_base)
    others = np.random.default_rng(0).normal(size=(15, 8))

    def features(X):
        return relu_network.backbone(torch.tensor(X)).detach().numpy()

    # The mean of the class is that of 20 rows, 5 of them the bases.
    of_class = np.concatenate([features(X_base), others])
    mean = head.means.detach().numpy()[1]
    of_class += mean - of_class.mean(axis=0)
    result = craft(
        (relu_network.backbone, head),
        X_base,
        X_target,
        attack=AdaptiveJoint(20, max_distance, likelihood_weight=3.0),
        base_label=1,
        similarity_weight=0.0,
        max_iter=20,
    )
    f_t = features(X_target)[0]
    f_b = features(X_base)
    before = ((f_t - mean) ** 2).sum()
    for X, found in (
        (X_base, result.objective_initial),
        (result.X_poison, result.objective_final),
    ):
        moved = of_class.copy()
        moved[:5] += features(X) - f_b
        expected = ((f_t - moved.mean(axis=0)) ** 2).sum() / before
        own = ((features(X) - mean) ** 2).sum(axis=1) / 0.5
        base = ((f_b - mean) ** 2).sum(axis=1) / 0.5
        allowed = {None: base, 0.25: 0.25}.get(max_distance, 0.2)
        excess = np.maximum(0.0, own - allowed) / (before / 0.5)
        np.testing.assert_allclose(found, expected + 3.0 * excess.mean())


def test_gradients_are_those_of_finite_differences(relu_network, rows):
    head = gaussian_head(relu_network, rows[0])
    surrogate = make_surrogate((relu_network.backbone, head))
    X_base = torch.tensor(rows[0])[None, :4]
    X_target = torch.tensor(rows[1])[None, :1]
    with torch.no_grad():
        features = [surrogate.features(X[0])[None] for X in (X_base, X_target)]
    problem = Problem(surrogate, X_base, X_target, *features, torch.tensor([1]))
    smooth = AdaptiveJoint(10, 0.3, 2.0).objective(problem)
    assert torch.autograd.gradcheck(
        lambda X: smooth(X, torch.arange(1)), X_base.clone().requires_grad_()
    )


def test_together_they_move_the_mean_farther_than_single_collisions():
    model, target = identity_model(), np.array([[0.9, 0.2, 0.2, 0.2]])
    rng = np.random.default_rng(0)
    X_base = np.clip(0.2 + rng.normal(scale=0.05, size=(6, 4)), 0, 1)
    allowed = 0.3
    moved = {}
    for attack in (
        AdaptiveJoint(20, allowed, 100.0),
        AdaptiveLikelihood(allowed, 100.0),
    ):
        result = craft(
            model,
            X_base,
            target,
            attack=attack,
            base_label=0,
            similarity_weight=0.0,
            max_iter=400,
        )
        distances = ((result.X_poison - 0.2) ** 2).sum(axis=1) / 0.5
        assert distances.max() <= 1.05 * allowed  # likely as asked
        mean = 0.2 + (result.X_poison - X_base).sum(axis=0) / 20
        moved[attack.name] = ((target[0] - mean) ** 2).sum()
    assert moved["adaptive_joint"] <= 1.01 * moved["adaptive_likelihood"]
    assert moved["adaptive_joint"] < ((target[0] - 0.2) ** 2).sum()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_rows": 0}, "n_rows must be an int >= 1, got 0"),
        ({"max_distance": -1.0}, "max_distance must be"),
        ({"likelihood_weight": -1.0}, "likelihood_weight must be"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        AdaptiveJoint(**options)


def test_a_network_without_gaussians_is_an_error(relu_network, rows):
    with pytest.raises(TypeError, match="must have class Gaussians"):
        craft(relu_network, rows[0], rows[1][:1], attack="adaptive_joint", base_label=1)
