"""Every attack by the same rules: one table of attacks against one of models."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklgm import LGMClassifier, PoisonCrafter
from sklgm.poisoning import (
    AdaptiveLikelihood,
    AdaptivePosterior,
    Attack,
    BullseyePolytope,
    ConvexPolytope,
    FeatureCollision,
    GradientMatching,
    craft,
    make_surrogate,
)
from tests.poisoning.conftest import assert_same, gaussian_head, snapshot

ATTACKS = [
    FeatureCollision(),
    FeatureCollision(scaling=None),
    FeatureCollision(squared=False),
    ConvexPolytope(),
    BullseyePolytope(),
    GradientMatching(),
    GradientMatching("head"),
    AdaptiveLikelihood(),
    AdaptiveLikelihood(max_distance=1.0),
    AdaptivePosterior(1.0, 10.0, max_surprisal=1.2),
]
all_attacks = pytest.mark.parametrize("attack", ATTACKS, ids=repr)
joint = pytest.mark.parametrize("attack", [a for a in ATTACKS if a.is_joint], ids=repr)

GROUP = np.array([0, 0, 1, 1])
LABELS = np.array([0, 0, 1, 1])


def crafted(model, X_base, X_target, attack, **settings):
    settings = {"poison_group": GROUP, "base_label": LABELS, "max_iter": 30} | settings
    if isinstance(attack, AdaptiveLikelihood | AdaptivePosterior):
        networks = model if isinstance(model, list) else [model]
        model = [(n.backbone, gaussian_head(n, X_base)) for n in networks]
    return craft(model, X_base, X_target, attack=attack, **settings)


@pytest.fixture(params=["rows", "images"])
def case(request, relu_network, image_network, rows, images):
    """A network, four bases, and two targets."""
    if request.param == "rows":
        return relu_network, rows[0][:4], rows[1][:2]
    return image_network, images[0], images[1][:2]


@all_attacks
def test_the_objective_falls_and_bounds_hold(attack, case):
    network, X_base, X_target = case
    result = crafted(network, X_base, X_target, attack, max_perturbation=0.1)
    assert (result.objective_final < result.objective_initial).all()
    assert (result.linf <= 0.1).all()
    assert result.X_poison.min() >= 0.0
    assert result.X_poison.max() <= 1.0
    assert result.X_poison.dtype == X_base.dtype


@all_attacks
def test_inputs_and_model_are_unchanged(attack, case):
    network, X_base, X_target = case
    network.train()
    before, state = snapshot(network), torch.get_rng_state()
    crafted(network, X_base, X_target, attack)  # read-only arrays
    assert_same(before, snapshot(network))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(state, torch.get_rng_state())


@all_attacks
def test_the_same_call_gives_the_same_poisons(attack, case):
    first, second = (crafted(*case, attack).X_poison for _ in range(2))
    np.testing.assert_array_equal(first, second)


@all_attacks
@pytest.mark.parametrize(
    "batch_size", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))]
)
def test_a_group_does_not_depend_on_what_is_in_the_batch(attack, case, batch_size):
    together = crafted(*case, attack, max_iter=10)
    apart = crafted(*case, attack, max_iter=10, batch_size=batch_size)
    tolerance = 1e-9 if case[1].dtype == np.float64 else 1e-3
    np.testing.assert_allclose(together.X_poison, apart.X_poison, atol=tolerance)


@all_attacks
def test_the_order_of_the_bases_does_not_matter(attack, case):
    network, X_base, X_target = case
    order = np.array([2, 0, 3, 1])
    straight = crafted(network, X_base, X_target, attack, max_iter=10)
    mixed = crafted(
        network,
        X_base[order],
        X_target,
        attack,
        max_iter=10,
        poison_group=GROUP[order],
        base_label=LABELS[order],
    )
    tolerance = 1e-9 if X_base.dtype == np.float64 else 1e-3
    np.testing.assert_allclose(mixed.X_poison, straight.X_poison[order], atol=tolerance)
    np.testing.assert_allclose(
        mixed.objective_final, straight.objective_final[order], rtol=1e-2
    )


def literal_value(attack, network, X, X_target, label):
    """The objective of one group in the words of its paper, a poison at a time."""

    def f(x):
        return network.backbone(torch.tensor(x)[None]).flatten().detach()

    target = f(X_target)
    if isinstance(attack, BullseyePolytope):
        mean = sum(f(x) for x in X) / len(X)
        return float((mean - target).square().sum() / target.square().sum())
    if isinstance(attack, ConvexPolytope):
        # Two poisons: the hull is a segment, and the nearest point is in closed form.
        a, b = f(X[0]), f(X[1])
        share = float(((target - a) @ (b - a)) / (b - a).square().sum())
        nearest = a + min(1.0, max(0.0, share)) * (b - a)
        return float((nearest - target).square().sum() / target.square().sum())
    chosen = network if attack.parameters == "all" else network.head

    def gradient(x):
        logits = network.head(network.backbone(torch.tensor(x)[None]))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        parts = torch.autograd.grad(loss, list(chosen.parameters()))
        return torch.cat([part.flatten() for part in parts])

    poison, wanted = sum(gradient(x) for x in X) / len(X), gradient(X_target)
    return float(1 - poison @ wanted / (poison.norm() * wanted.norm()))


@joint
def test_the_objective_is_that_of_a_literal_loop(attack, relu_network, rows):
    X_base, X_target = rows[0][:4], rows[1][:2]
    beta = 0.01
    result = crafted(
        relu_network, X_base, X_target, attack, similarity_weight=beta, max_iter=15
    )
    relu_network.eval()
    for g in (0, 1):
        of_group = GROUP == g
        for X, found in (
            (X_base[of_group], result.objective_initial),
            (result.X_poison[of_group], result.objective_final),
        ):
            penalty = beta * float(((X - X_base[of_group]) ** 2).sum())
            expected = penalty + literal_value(
                attack, relu_network, X, X_target[g], int(LABELS[of_group][0])
            )
            np.testing.assert_allclose(found[of_group], expected, rtol=1e-5)


def test_the_unsquared_collision_is_the_root_of_the_squared(relu_network, rows):
    X_base, X_target = rows[0][:4], rows[1][:2]
    values = [
        crafted(
            relu_network,
            X_base,
            X_target,
            FeatureCollision(scaling=None, squared=squared),
            similarity_weight=0.0,
            max_iter=1,
        ).objective_initial
        for squared in (True, False)
    ]
    np.testing.assert_allclose(values[1] ** 2, values[0])


# Ensembles


@all_attacks
def test_the_objective_of_an_ensemble_is_the_mean(attack, relu_network, rows):
    X_base, X_target = rows[0][:4], rows[1][:2]
    other = copy.deepcopy(relu_network)
    with torch.no_grad():
        other.backbone[0].weight.mul_(0.5)
    alone = [
        crafted(network, X_base, X_target, attack, max_iter=1).objective_initial
        for network in (relu_network, other)
    ]
    both = crafted([relu_network, other], X_base, X_target, attack)
    np.testing.assert_allclose(both.objective_initial, np.mean(alone, axis=0))
    assert (both.objective_final < both.objective_initial).all()


def test_an_ensemble_of_none_is_an_error(rows):
    with pytest.raises(ValueError, match="ensemble without members"):
        craft([], rows[0], rows[1])


# Several targets


@joint
def test_one_group_may_be_for_several_targets(attack, relu_network, rows):
    X_base, X_target = rows[0][:3], rows[1][:4]
    result = craft(
        relu_network,
        X_base,
        X_target,
        attack=attack,
        target_group=np.zeros(4, dtype=int),
        base_label=0,
        max_iter=30,
    )
    assert len(set(result.objective_final)) == 1  # of the group, at each poison
    assert (result.objective_final < result.objective_initial).all()


# A new attack, and bad input


class Towards(Attack):
    """A new attack writes one method: poisons drift to the target's pixels."""

    name = "towards"

    def objective(self, problem):
        target = problem.X_target

        def smooth(X, groups):
            return (X - target[groups]).flatten(1).square().sum(dim=1)

        return smooth


def test_a_new_attack_writes_one_method(relu_network, rows):
    X_base, X_target = rows[0][:4], rows[1][:2]
    result = crafted(
        relu_network, X_base, X_target, Towards(), similarity_weight=0.0, max_iter=50
    )
    np.testing.assert_allclose(result.X_poison, X_target[GROUP], atol=1e-3)


class Negative(Attack):
    name = "negative"

    def objective(self, problem):
        return lambda X, groups: X.flatten(1).sum(dim=1) - 100


def test_an_objective_below_zero_is_an_error(relu_network, rows):
    with pytest.raises(ValueError, match="objective of an attack must be >= 0"):
        crafted(relu_network, rows[0][:4], rows[1][:2], Negative())


class FeaturesAlone:
    """A surrogate of the user's own, without training loss."""

    input_shape, classes, device, dtype = None, None, torch.device("cpu"), torch.float64

    def features(self, X):
        return 2.0 * X

    def log_joint(self, features):
        return features

    def predict(self, X):
        return X.argmax(dim=1)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"attack": "frog"}, ValueError, "attack must be one of .* got 'frog'"),
        ({"attack": 3}, TypeError, "attack must be a name or an Attack, got int"),
        ({"base_label": None}, ValueError, "needs base_label"),
        ({"base_label": [0, 1, 1, 1]}, ValueError, "base_label differs within"),
        ({"base_label": 3}, ValueError, "base_label must be one of the 3 columns"),
        ({"base_label": -1}, ValueError, "base_label must be >= 0"),
        (
            {"model": FeaturesAlone()},
            TypeError,
            "needs a surrogate with parameter_gradients; FeaturesAlone has none",
        ),
    ],
)
def test_bad_input_is_an_error_that_names_it(
    settings, error, match, relu_network, rows
):
    given = {
        "model": relu_network,
        "X_base": rows[0][:4],
        "X_target": rows[1][:2],
        "attack": "gradient_matching",
        "poison_group": GROUP,
        "base_label": LABELS,
    } | settings
    with pytest.raises(error, match=match):
        craft(**given)


@pytest.mark.parametrize(
    "make", [lambda: FeatureCollision(scaling="l2"), lambda: GradientMatching("body")]
)
def test_options_are_checked(make):
    with pytest.raises(ValueError, match="must be"):
        make()


# PoisonCrafter


@all_attacks
def test_the_crafter_takes_every_attack(attack, training_set, new_rows):
    X, y = training_set
    clf = LGMClassifier(feature_dim=8, max_epochs=3, random_state=0).fit(X, y)
    crafter = PoisonCrafter(
        FrozenEstimator(clf),
        attack=attack,
        X_target=new_rows[:2],
        target_label=[0, 1],
        base_label=2,
        budget=3,
        max_iter=20,
        random_state=0,
    )
    crafter.fit(X, y)
    assert (crafter.objective_final_ < crafter.objective_initial_).all()
    expected = craft(
        make_surrogate(clf),
        X[crafter.poison_indices_],
        new_rows[:2],
        attack=attack,
        poison_group=crafter.poison_target_,
        base_label=2,
        pixel_range=(X.min(axis=0), X.max(axis=0)),
        max_iter=20,
    )
    np.testing.assert_array_equal(crafter.X_poison_, expected.X_poison)
    assert clone(crafter).attack == attack


def test_joint_targets_share_the_poisons_of_their_base_label(training_set, new_rows):
    X, y = training_set
    clf = LGMClassifier(feature_dim=8, max_epochs=3, random_state=0).fit(X, y)
    crafter = PoisonCrafter(
        FrozenEstimator(clf),
        attack="bullseye_polytope",
        joint_targets=True,
        X_target=new_rows,
        target_label=[0, 1, 0, 0],
        base_label=[2, 2, 1, 2],
        budget=4,
        max_iter=10,
        random_state=0,
    )
    crafter.fit(X, y)
    assert np.bincount(y[crafter.poison_indices_]).tolist() == [0, 4, 4]
    claimed = y[crafter.poison_indices_]
    np.testing.assert_array_equal(crafter.poison_target_, np.where(claimed == 1, 2, 0))


def test_feature_collision_refuses_joint_targets(training_set, new_rows):
    crafter = PoisonCrafter(
        X_target=new_rows, target_label=0, base_label=1, joint_targets=True
    )
    with pytest.raises(ValueError, match="joint_targets=True .* takes one"):
        crafter.fit(*training_set)
