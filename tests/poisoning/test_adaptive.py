"""Adaptive attacks: their penalties, and poisons that trimming and scores pass."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

from sklgm import LGMClassifier, LGMOutlierDetector
from sklgm.nn import GaussianMixtureHead
from sklgm.poisoning import (
    AdaptiveLikelihood,
    AdaptivePosterior,
    FeatureCollision,
    Problem,
    claimed_likelihood_penalty,
    claimed_posterior_penalty,
    craft,
    make_surrogate,
)
from tests.poisoning.conftest import gaussian_head

BASE_LABEL = np.array([0, 1, 2, 0, 1])


def claimed_distances(network, head, X, labels):
    """Squared Mahalanobis distances in the words of their definition."""
    features = network.backbone(torch.tensor(X)).detach().numpy()
    means = head.means.detach().numpy()[labels]
    return ((features - means) ** 2 / 0.5).sum(axis=1)


def test_the_penalty_is_what_lies_beyond_the_allowed_distance():
    found = claimed_likelihood_penalty(
        torch.tensor([3.0, 1.0, 8.0]), torch.tensor([1.0, 2.0, 8.0]), torch.ones(3) * 4
    )
    assert found.tolist() == [0.5, 0.0, 0.0]


def test_the_posterior_penalty_is_what_lies_beyond_the_allowed_odds():
    found = claimed_posterior_penalty(
        torch.tensor([1.0, -6.0, 2.0]),
        torch.tensor([-3.0, -5.0, 1.0]),
        torch.tensor([5.0, 9.0, 1.2]),
    )
    assert found.tolist() == [0.5, 0.0, 1.0]


def test_a_target_at_the_claimed_mean_keeps_the_penalty_finite():
    zero = torch.zeros(1)
    assert claimed_likelihood_penalty(zero, zero, zero).tolist() == [0.0]


@pytest.mark.parametrize("max_distance", [None, 0.25, (0.1, 0.2, 0.3)])
def test_the_objective_is_that_of_a_literal_loop(relu_network, rows, max_distance):
    X_base, X_target = rows
    head = gaussian_head(relu_network, X_base)
    result = craft(
        (relu_network.backbone, head),
        X_base,
        X_target,
        attack=AdaptiveLikelihood(max_distance, likelihood_weight=3.0),
        base_label=BASE_LABEL,
        similarity_weight=0.01,
        max_iter=20,
    )
    for X, found in (
        (X_base, result.objective_initial),
        (result.X_poison, result.objective_final),
    ):
        for i, z in enumerate(BASE_LABEL):
            f, f_base, f_target = (
                relu_network.backbone(torch.tensor(x)).detach().numpy()
                for x in (X[i], X_base[i], X_target[i])
            )
            of = [
                claimed_distances(relu_network, head, x[i : i + 1], [z])[0]
                for x in (X, X_base, X_target)
            ]
            allowed = {None: of[1], 0.25: 0.25}.get(max_distance)
            allowed = max_distance[z] if allowed is None else allowed
            expected = ((f - f_target) ** 2).sum() / ((f_base - f_target) ** 2).sum()
            expected += 3.0 * max(0.0, of[0] - allowed) / of[2]
            expected += 0.01 * ((X[i] - X_base[i]) ** 2).sum()
            assert found[i] == pytest.approx(expected)


@pytest.mark.parametrize("max_surprisal", [None, 0.25, (0.1, 0.2, 0.3)])
def test_the_posterior_term_is_that_of_a_literal_loop(
    relu_network, rows, max_surprisal
):
    X_base, X_target = rows
    head = gaussian_head(relu_network, X_base)
    priors = np.array([0.2, 0.5, 0.3])
    head.set_priors(torch.tensor(priors))

    def log_odds(x, z):
        distances = [
            claimed_distances(relu_network, head, x[None], [k])[0] for k in range(3)
        ]
        joint = priors * np.exp(-0.5 * np.array(distances))  # equal determinants
        return np.log((joint.sum() - joint[z]) / joint[z])

    result = craft(
        (relu_network.backbone, head),
        X_base,
        X_target,
        attack=AdaptivePosterior(0.5, 3.0, max_surprisal, posterior_weight=2.0),
        base_label=BASE_LABEL,
        similarity_weight=0.01,
        max_iter=20,
    )
    penalties = []
    for X, found in (
        (X_base, result.objective_initial),
        (result.X_poison, result.objective_final),
    ):
        for i, z in enumerate(BASE_LABEL):
            f, f_base, f_target = (
                relu_network.backbone(torch.tensor(x)).detach().numpy()
                for x in (X[i], X_base[i], X_target[i])
            )
            expected = ((f - f_target) ** 2).sum() / ((f_base - f_target) ** 2).sum()
            distance, of_target = (
                claimed_distances(relu_network, head, x[i : i + 1], [z])[0]
                for x in (X, X_target)
            )
            expected += 3.0 * max(0.0, distance - 0.5) / of_target
            expected += 0.01 * ((X[i] - X_base[i]) ** 2).sum()
            allowed = log_odds(X_base[i], z)
            if max_surprisal is not None:
                p = np.exp(-np.broadcast_to(max_surprisal, 3)[z])
                allowed = np.log((1 - p) / p)
            unit = max(1.0, log_odds(X_target[i], z) - allowed)
            penalties.append(max(0.0, log_odds(X[i], z) - allowed) / unit)
            assert found[i] == pytest.approx(expected + 2.0 * penalties[-1])
    assert max(penalties) > 0.0


@pytest.mark.parametrize(
    "attack", [AdaptiveLikelihood(0.5, 3.0), AdaptivePosterior(0.5, 3.0, 0.2)], ids=repr
)
def test_gradients_are_those_of_finite_differences(relu_network, rows, attack):
    head = gaussian_head(relu_network, rows[0])
    surrogate = make_surrogate((relu_network.backbone, head))
    X_base, X_target = (torch.tensor(X)[:, None] for X in rows)
    with torch.no_grad():
        features = [surrogate.features(X[:, 0])[:, None] for X in (X_base, X_target)]
    problem = Problem(surrogate, X_base, X_target, *features, torch.tensor(BASE_LABEL))
    smooth = attack.objective(problem)
    groups = torch.arange(len(X_base))
    assert torch.autograd.gradcheck(
        lambda X: smooth(X, groups), X_base.requires_grad_()
    )


def test_without_its_penalty_the_posterior_attack_is_the_likelihood_attack(
    relu_network, rows
):
    head = gaussian_head(relu_network, rows[0])
    found = [
        craft(
            (relu_network.backbone, head),
            *rows,
            attack=attack,
            base_label=BASE_LABEL,
            max_iter=20,
        ).X_poison
        for attack in (
            AdaptiveLikelihood(0.5),
            AdaptivePosterior(0.5, 10.0, max_surprisal=0.1, posterior_weight=0.0),
        )
    ]
    np.testing.assert_allclose(*found)


@pytest.mark.parametrize("surprisal", [-np.log(0.8), 0.01, 1e-4])
def test_poisons_stop_at_the_allowed_posterior_next_to_the_target(surprisal):
    # Features are the pixels: the log odds fall linearly from one mean to the other.
    head = GaussianMixtureHead(4, 2, variance=0.05).double()
    means = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.8, 0.8]])
    head.set_gaussians(means)
    result = craft(
        (torch.nn.Identity(), head),
        np.full((1, 4), 0.25),
        np.full((1, 4), 0.8),
        attack=AdaptivePosterior(max_surprisal=surprisal),
        base_label=0,
        similarity_weight=0.0,
        max_iter=500,
    )
    log_odds = head(torch.tensor(result.X_poison))[0].detach().numpy()
    log_odds = log_odds[0, 0] - log_odds[0, 1]
    assert log_odds == pytest.approx(-np.log(np.expm1(surprisal)), abs=0.1)
    np.testing.assert_allclose(result.X_poison, result.X_poison[0, 0], atol=0.02)


def test_it_is_not_flagged_where_the_likelihood_attack_is(training_set):
    X, y = training_set
    clf = LGMClassifier("identity", variance=0.01, max_epochs=0, random_state=0)
    detector = LGMOutlierDetector(FrozenEstimator(clf.fit(X, y)), false_alarm_rate=0.05)
    detector.fit(X, y)
    assert detector.score_kind == "posterior"
    bases = np.flatnonzero(y == 0)[:5]
    flagged = {}
    for attack in (
        AdaptiveLikelihood(max_distance=1e3),
        AdaptivePosterior(max_surprisal=-0.9 * detector.label_offset_),
    ):
        result = craft(
            clf,
            X[bases],
            X[y == 1][:1],
            attack=attack,
            base_label=0,
            similarity_weight=1e-6,
            pixel_range=(X.min(axis=0), X.max(axis=0)),
            max_iter=200,
        )
        is_inlier = detector.predict(result.X_poison, np.zeros(5, dtype=int)) == 1
        flagged[attack.name] = float(np.mean(~is_inlier))
        # They did not stay where they were.
        assert np.median(result.collision_ratio) < 0.7
    assert flagged == {"adaptive_likelihood": 1.0, "adaptive_posterior": 0.0}


def test_without_the_penalty_it_is_feature_collision(relu_network, rows):
    head = gaussian_head(relu_network, rows[0])
    adaptive, collision = (
        craft(
            (relu_network.backbone, head),
            *rows,
            attack=attack,
            base_label=BASE_LABEL,
            max_iter=20,
        )
        for attack in (AdaptiveLikelihood(likelihood_weight=0.0), FeatureCollision())
    )
    np.testing.assert_allclose(adaptive.X_poison, collision.X_poison)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_poisons_stop_at_the_allowed_distance_next_to_the_target(share):
    # Features are the pixels: the nearest plausible point is on the way to the target.
    head = GaussianMixtureHead(4, 2, variance=0.5).double()
    means = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.8, 0.8]])
    head.set_gaussians(means)
    target = np.array([[0.9, 0.7, 0.8, 0.6]])
    distance = float((((target[0] - 0.2) ** 2) / 0.5).sum())
    result = craft(
        (torch.nn.Identity(), head),
        np.full((1, 4), 0.25),
        target,
        attack=AdaptiveLikelihood(max_distance=share * distance),
        base_label=0,
        similarity_weight=0.0,
        max_iter=500,
    )
    expected = 0.2 + np.sqrt(share) * (target - 0.2)
    np.testing.assert_allclose(result.X_poison, expected, atol=0.02)


def test_it_survives_the_trimming_that_drops_a_collision(training_set, new_rows):
    X, y = training_set
    clf = LGMClassifier(feature_dim=8, max_epochs=8, random_state=0).fit(X, y)
    distances = clf.head_.mahalanobis(clf.transform(X))
    own = distances[np.arange(len(y)), y]
    kept = tuple(float(np.quantile(own[y == z], 0.75)) for z in clf.classes_)
    bases = np.flatnonzero(y == 0)[:5]
    target = X[y == 1][:1]  # the worst case: well inside the other class
    survived = {}
    for attack in (FeatureCollision(), AdaptiveLikelihood(kept, 100.0)):
        result = craft(
            clf,
            X[bases],
            target,
            attack=attack,
            base_label=0,
            similarity_weight=1e-6,
            pixel_range=(X.min(axis=0), X.max(axis=0)),
            max_iter=200,
        )
        claimed = clf.head_.mahalanobis(clf.transform(result.X_poison))[:, 0]
        survived[attack.name] = float(np.mean(claimed <= 1.05 * kept[0]))
        assert (result.objective_final < result.objective_initial).all()
    assert survived == {"feature_collision": 0.0, "adaptive_likelihood": 1.0}


def test_the_posterior_attack_takes_any_head(relu_network, rows):
    settings = {"base_label": BASE_LABEL, "similarity_weight": 0.0, "max_iter": 50}
    result = craft(relu_network, *rows, attack=AdaptivePosterior(), **settings)
    logits = relu_network.head(relu_network.backbone(torch.tensor(result.X_poison)))
    of_bases = relu_network.head(relu_network.backbone(torch.tensor(rows[0])))
    claimed = torch.tensor(BASE_LABEL)
    surprisal, allowed = (
        torch.nn.functional.cross_entropy(z, claimed, reduction="none").detach().numpy()
        for z in (logits, of_bases)
    )
    assert (surprisal <= allowed + 0.02).all()
    assert (result.objective_final < result.objective_initial).all()
    with pytest.raises(TypeError, match="must have class Gaussians"):
        craft(relu_network, *rows, attack=AdaptivePosterior(None, 10.0), **settings)


def test_a_network_without_gaussians_is_an_error(relu_network, rows):
    with pytest.raises(TypeError, match="must have class Gaussians .* Linear"):
        craft(relu_network, *rows, attack="adaptive_likelihood", base_label=BASE_LABEL)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_distance": -1.0}, "max_distance must be a finite float >= 0"),
        ({"max_distance": (1.0, float("nan"))}, "max_distance must be"),
        ({"max_distance": ()}, "max_distance must be"),
        ({"likelihood_weight": -1.0}, "likelihood_weight must be"),
        ({"max_surprisal": 0.0}, "max_surprisal must be a finite float > 0"),
        ({"max_surprisal": (1.0, "a")}, "max_surprisal must be"),
        ({"posterior_weight": float("inf")}, "posterior_weight must be"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        AdaptivePosterior(**options)


def test_classes_are_the_columns_of_the_gaussians(relu_network, rows):
    head = gaussian_head(relu_network, rows[0])
    for n_distances, is_right in ((2, False), (3, True)):
        attack = AdaptiveLikelihood((1.0,) * n_distances)
        settings = {"attack": attack, "base_label": 0, "max_iter": 1}
        if is_right:
            craft((relu_network.backbone, head), *rows, **settings)
        else:
            with pytest.raises(ValueError, match="holds 2 values for 3 classes"):
                craft((relu_network.backbone, head), *rows, **settings)


def test_distances_must_be_one_a_class(training_set):
    X, y = training_set
    clf = LGMClassifier(feature_dim=8, max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="max_distance holds 2 values for 3"):
        craft(
            clf,
            X[y == 0][:1],
            X[y == 1][:1],
            attack=AdaptiveLikelihood((1.0, 2.0)),
            base_label=0,
            pixel_range=(X.min(axis=0), X.max(axis=0)),
        )
