"""The attacker who knows the defence, and what he makes of the settings."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone

from sklgm.experiments._attacker import Attacker, _attack_of
from sklgm.experiments._settings import AttackSettings, PlannedAttack
from sklgm.experiments._victims import defence, make_victims
from sklgm.poisoning import make_surrogate


@pytest.fixture(params=["softmax", "lgm"])
def attacker(request, tiny_context):
    clf, partition = tiny_context.networks[request.param], tiny_context.partition
    features = clf.transform(partition.X_refit)
    head = clone(defence(make_victims(tiny_context), request.param).head)
    head.fit(features, partition.y_refit)
    return Attacker(AttackSettings(), clf, head, features, partition.y_refit)


def test_every_attack_is_planned_with_every_bound():
    settings = AttackSettings(
        attacks=("watermark", "gradient_matching"), bounds=(None, 0.1)
    )
    planned = settings.plan(has_images=True)
    assert [(a.name, a.bound, a.is_watermarked) for a in planned] == [
        ("watermark", None, True),
        ("watermark", 0.1, True),
        ("gradient_matching", None, False),
        ("gradient_matching", 0.1, False),
    ]
    assert {a.bound for a in settings.plan(has_images=False)} == {None}


@pytest.mark.parametrize("matched", ["head", "all"])
def test_gradient_matching_matches_what_the_victims_train(matched):
    planned = PlannedAttack("gradient_matching", matched_parameters=matched)
    assert _attack_of(planned).parameters == matched


@pytest.mark.parametrize(
    ("planned", "text"),
    [
        (PlannedAttack("feature_collision"), "feature_collision"),
        (
            PlannedAttack("feature_collision", 8 / 255),
            "feature_collision, at most 8/255",
        ),
        (
            PlannedAttack("adaptive_posterior", reach=0.5),
            "adaptive_posterior, reach 0.5",
        ),
    ],
)
def test_the_text_of_an_attack_tells_it_from_others(planned, text):
    assert str(planned) == text


@pytest.mark.parametrize("reach", [None, 0.5])
def test_the_likelihood_attack_reaches_as_far_as_it_may(attacker, reach):
    model, attack = attacker.prepare(PlannedAttack("adaptive_likelihood", reach=reach))
    head, y = attacker.defence, attacker.y
    claimed = np.searchsorted(head.classes_, y)
    own = ((attacker.features - head.means_[claimed]) ** 2).sum(axis=1)
    own /= head.covariances_
    for z, label in enumerate(head.classes_):
        trimmed_from = np.quantile(own[y == label], 1 - head.trim)
        expected = (reach or 0.95) ** 2 * trimmed_from
        assert attack.max_distance[z] == pytest.approx(expected)
    found = make_surrogate(model).claimed_distances(
        torch.from_numpy(attacker.features), torch.from_numpy(claimed)
    )
    np.testing.assert_allclose(found.numpy(), own, rtol=1e-4)


def test_the_posterior_attack_knows_the_threshold_of_the_score(attacker):
    model, attack = attacker.prepare(PlannedAttack("adaptive_posterior"))
    head, features = attacker.defence, attacker.features
    joint = head.predict_joint_log_proba(features)
    is_claimed = np.eye(len(head.classes_), dtype=bool)[
        np.searchsorted(head.classes_, attacker.y)
    ]
    others = logsumexp(np.where(is_claimed, -np.inf, joint), axis=1)
    surprisal = np.logaddexp(0.0, others - joint[is_claimed])
    flagged_from = np.quantile(surprisal, 0.99)
    assert attack.max_surprisal == pytest.approx(0.95 * flagged_from, rel=1e-6)
    assert attack.likelihood_weight == 0.0
    logits = make_surrogate(model).log_joint(torch.from_numpy(features))
    np.testing.assert_allclose(
        logits.log_softmax(dim=1).numpy(), head.predict_log_proba(features), atol=1e-3
    )


@pytest.mark.parametrize(
    "covariance_type", ["identity", "spherical", "tied_diag", "diag"]
)
def test_a_pipeline_of_network_and_gaussians_is_attacked_as_one(
    attacker, tiny_context, covariance_type
):
    attacker.defence.set_params(covariance_type=covariance_type)
    attacker.defence.fit(attacker.features, attacker.y)
    model, _ = attacker.prepare(PlannedAttack("adaptive_likelihood"))
    surrogate = make_surrogate(model)
    X = tiny_context.partition.X_refit
    features = surrogate.features(torch.from_numpy(X))
    np.testing.assert_allclose(
        features.numpy(), attacker.features, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        surrogate.log_joint(features).log_softmax(dim=1).numpy(),
        attacker.defence.predict_log_proba(attacker.features),
        atol=2e-3,
    )


def test_other_attacks_are_made_for_the_network_as_it_is(attacker):
    planned = PlannedAttack("feature_collision")
    assert attacker.prepare(planned) == (attacker.clf, _attack_of(planned))


def test_without_a_reach_poisons_go_as_far_as_their_base(attacker):
    attacker.settings = AttackSettings(reach=None)
    _, attack = attacker.prepare(PlannedAttack("adaptive_likelihood"))
    assert attack.max_distance is None


@pytest.mark.parametrize("name", ["feature_collision", "bullseye_polytope"])
def test_fewer_poisons_are_those_of_the_first_bases(attacker, tiny_context, name):
    """So strong a penalty leaves each poison at the blend of base and target."""
    attacker.settings = AttackSettings(
        similarity_weight=1e6, max_iter=5, watermark_opacity=0.5
    )
    partition = tiny_context.partition
    base_rows = np.flatnonzero(partition.y_refit == 1)[:6].reshape(2, 3)
    X_target = partition.X_test[partition.y_test == 0][:2]
    crafted = attacker.craft(
        PlannedAttack(name, is_watermarked=True),
        partition.X_refit,
        base_rows,
        X_target,
        np.array([1, 1]),
        (1, 3),
        lambda n_done, n_all: None,
    )
    for n, result in crafted.items():
        bases = partition.X_refit[base_rows[:, :n].ravel()]
        blend = 0.5 * (bases + np.repeat(X_target, n, axis=0))
        np.testing.assert_allclose(result.X_poison, blend, atol=0.01)
