"""Gradient matching: the cosine, and the gradients of groups."""

import pytest
import torch
from torch.nn import functional as F

from sklgm import LGMClassifier
from sklgm.poisoning import (
    GradientMatching,
    Problem,
    craft,
    gradient_matching_objective,
    make_surrogate,
)
from sklgm.poisoning._gradient_matching import _views


def test_the_objective_is_one_minus_the_cosine():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4, 7, generator=generator).double()
    b = torch.randn(4, 7, generator=generator).double()
    found = gradient_matching_objective(a, b)
    for g in range(4):
        cosine = (a[g] * b[g]).sum() / (a[g].norm() * b[g].norm())
        assert float(found[g]) == pytest.approx(float(1 - cosine))


@pytest.mark.parametrize(("factor", "expected"), [(2.0, 0.0), (-0.5, 2.0)])
def test_only_the_direction_counts(factor, expected):
    a = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).double()
    found = gradient_matching_objective(a, factor * a)
    torch.testing.assert_close(found, torch.full((3,), expected).double())


def test_a_zero_gradient_points_nowhere():
    zero, a = torch.zeros(1, 5).requires_grad_(), torch.ones(1, 5)
    value = gradient_matching_objective(zero, a)
    (gradient,) = torch.autograd.grad(value.sum(), zero)
    assert value.tolist() == [1.0]
    assert bool(gradient.isfinite().all())
    assert gradient_matching_objective(a, zero.detach()).tolist() == [1.0]


def test_its_gradient_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, 5, generator=generator).double().requires_grad_()
    b = torch.randn(2, 5, generator=generator).double()
    assert torch.autograd.gradcheck(lambda g: gradient_matching_objective(g, b), (a,))


@pytest.mark.parametrize("parameters", ["all", "head"])
def test_gradients_of_a_network_are_those_of_a_loop(relu_network, parameters):
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(3, 2, 6, generator=generator).double()
    labels = torch.tensor([2, 0, 1])
    found = make_surrogate(relu_network).parameter_gradients(
        X, labels, parameters=parameters
    )
    chosen = relu_network if parameters == "all" else relu_network.head
    for g in range(3):
        logits = relu_network.head(relu_network.backbone(X[g]))
        loss = F.cross_entropy(logits, labels[g].repeat(2))
        parts = torch.autograd.grad(loss, list(chosen.parameters()))
        expected = torch.cat([part.flatten() for part in parts])
        torch.testing.assert_close(found[g], expected)


@pytest.mark.parametrize("covariance_type", ["identity", "diag"])
def test_gradients_of_a_classifier_are_those_of_its_training_loss(
    covariance_type, training_set
):
    X, y = training_set
    clf = LGMClassifier(
        feature_dim=4,
        max_epochs=2,
        margin=0.5,
        covariance_type=covariance_type,
        dtype="float64",
        random_state=0,
    ).fit(X, y)
    rows, label = torch.tensor(X[:3]), 1
    found = make_surrogate(clf).parameter_gradients(rows[None], torch.tensor([label]))
    network = clf.net_.module_.eval()
    loss = clf.net_.criterion_(
        network(rows), torch.full((3,), label), network.head, True
    ).mean()
    parameters = [p for p in network.parameters() if p.requires_grad]
    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    expected = torch.cat([part.flatten() for part in parts])
    torch.testing.assert_close(found[0], expected)


def test_views_are_mirrored_and_shifted_images(image_network, images):
    X = torch.tensor(images[0])[None]
    views = _views(X)
    assert len(views) == 4
    assert all(view.shape == X.shape for view in views)
    assert torch.equal(views[0], X)
    assert torch.equal(views[1], X.flip(-1))
    assert torch.equal(views[2][..., 2:, 2:], X[..., :-2, :-2])
    assert torch.equal(views[3][..., :-2, 2:], X[..., 2:, 2:].flip(-1))
    surrogate, labels = make_surrogate(image_network), torch.tensor([1])
    target = torch.tensor(images[1])[None, :1]
    with torch.no_grad():
        features = [
            surrogate.features(x.flatten(0, 1))[None].detach() for x in (X, target)
        ]
    problem = Problem(surrogate, X, target, *features, labels)
    found = GradientMatching(augment=True).objective(problem)(X, torch.arange(1))
    mean = torch.stack(
        [surrogate.parameter_gradients(view, labels) for view in views]
    ).mean(dim=0)
    expected = gradient_matching_objective(
        mean, surrogate.parameter_gradients(target, labels)
    )
    torch.testing.assert_close(found, expected)


def test_rows_that_are_no_images_have_no_views(relu_network, rows):
    with pytest.raises(ValueError, match="augment=True needs images"):
        craft(
            relu_network,
            *rows,
            attack=GradientMatching(augment=True),
            base_label=1,
            poison_group=range(5),
        )


@pytest.mark.parametrize("bound", [None, 0.2])
def test_more_restarts_never_do_worse_and_keep_their_bounds(relu_network, rows, bound):
    found = [
        craft(
            relu_network,
            *rows,
            attack="gradient_matching",
            base_label=1,
            poison_group=range(5),
            similarity_weight=0.0,
            max_perturbation=bound,
            max_iter=10,
            n_restarts=n,
            random_state=0,
        )
        for n in (1, 4, 4)
    ]
    assert (found[1].objective_final <= found[0].objective_final).all()
    assert (found[1].objective_final < found[0].objective_final).any()
    assert (found[1].X_poison == found[2].X_poison).all()
    assert (found[1].n_iter > found[0].n_iter).all()
    assert (found[1].objective_initial == found[0].objective_initial).all()
    assert found[1].linf.max() <= (1.0 if bound is None else bound)
