"""Further victims, and attackers who know more or less: JPEG, locations, black box."""

import numpy as np
import pytest

from sklgm.experiments._attacker import Attacker
from sklgm.experiments._networks import CompressedNetwork
from sklgm.experiments._settings import DefenceSettings, PlannedAttack
from sklgm.experiments._victims import defend, location_victims, make_victims
from sklgm.poisoning import JpegSurrogate, compress_jpeg
from tests.experiments.conftest import VICTIMS, chosen, tiny_run

FROG = {"attack": "feature_collision"}
LOCATED = {
    f"{network}_{location}"
    for network in ("softmax", "lgm")
    for location in ("median", "trimmed_mean")
}


@pytest.fixture(scope="module")
def defended_run(tiny_npz):
    return tiny_run(
        tiny_npz,
        "transfer",
        n_targets=3,
        n_poisons=(3,),
        locations=("median", "trimmed_mean"),
        jpeg_quality=75,
        surrogate_backbones=("mlp", "cnn"),
        attacks=("feature_collision", "adaptive_joint"),
    )[0]


def test_every_victim_meets_every_attack(defended_run):
    rates = chosen(defended_run.table, metric="attack_success_rate")
    for attack in ("feature_collision", "adaptive_joint"):
        own = chosen(rates, attack=attack)
        plain = set(chosen(own, variant=None)["victim"])
        assert plain == {*VICTIMS, *LOCATED, "jpeg"}
        assert set(chosen(own, variant="unaware")["victim"]) == {"jpeg"}
    assert (
        defended_run.table.drop("value", "low", "high", "n").is_duplicated().sum() == 0
    )


def test_poisons_for_another_network_are_not_counted_as_effort_twice(defended_run):
    effort = chosen(defended_run.table, metric="collision_ratio", **FROG)
    assert sorted(effort["victim"]) == ["jpeg", "lgm", "softmax"]


def test_only_rows_that_are_left_out_whole_are_shares_that_were_kept(defended_run):
    kept = chosen(defended_run.table, metric="kept_share")
    assert set(kept["victim"]) == {"softmax_trimmed_gaussians", "lgm_trim"}


def test_by_default_there_are_no_further_victims(tiny_context):
    victims, settings = make_victims(tiny_context, 1), DefenceSettings()
    assert list(location_victims(victims, settings)) == []
    defended = defend(tiny_context, victims, settings)
    assert defended.networks == tiny_context.networks
    assert defended.crafted_on == defended.surrogates == {}
    assert defended.jpeg == ()


def test_the_attacker_has_networks_of_another_backbone_and_seed(tiny_context):
    settings = DefenceSettings(surrogate_backbones=("mlp",), jpeg_quality=50)
    defended = defend(tiny_context, make_victims(tiny_context, 1), settings)
    assert set(defended.surrogates) == {"softmax", "lgm", "jpeg"}
    for name in ("softmax", "lgm"):
        (own,) = defended.surrogates[name]
        assert own.backbone == "mlp"
        assert own.random_state == tiny_context.settings.seed + 1
        assert own is not tiny_context.networks[name]
    assert defended.surrogates["jpeg"][0].quality == 50
    assert defended.crafted_on == {"jpeg_unaware": "softmax"}


def test_training_images_are_compressed_and_test_images_are_not(tiny_context):
    clf, X = tiny_context.networks["softmax"], tiny_context.partition.X_test[:20]
    compressed = CompressedNetwork(clf, 40)
    np.testing.assert_array_equal(
        compressed.transform(X), clf.transform(compress_jpeg(X, 40))
    )
    np.testing.assert_array_equal(compressed.predict(X), clf.predict(X))


@pytest.mark.parametrize(
    "name", ["feature_collision", "adaptive_joint", "adaptive_posterior"]
)
def test_one_who_knows_of_the_compression_crafts_through_it(name, tiny_context):
    victims = make_victims(tiny_context, 1)
    partition, clf = tiny_context.partition, tiny_context.networks["lgm"]
    features = clf.transform(partition.X_refit)
    known = victims[2].head.fit(features, partition.y_refit)
    from sklgm.experiments import get_protocol

    settings = get_protocol("transfer").settings()
    of = [
        Attacker(settings, network, known, features, partition.y_refit)
        for network in (clf, CompressedNetwork(clf, 60))
    ]
    plain, behind = (attacker.prepare(PlannedAttack(name))[0] for attacker in of)
    assert not isinstance(plain, JpegSurrogate)
    assert isinstance(behind, JpegSurrogate)
    assert behind.quality == 60
    attack = of[0].prepare(PlannedAttack("adaptive_joint"))[1]
    assert attack.n_rows == round(0.75 * 30)
    assert len(attack.max_distance) == 3


def test_victims_that_train_from_scratch_have_weights_of_their_own(tiny_npz):
    table = tiny_run(
        tiny_npz,
        "end-to-end",
        n_targets=2,
        n_poisons=(50,),
        from_scratch=True,
        jpeg_quality=75,
        locations=("median",),
        attacks=("gradient_matching",),
        augment=True,
        n_restarts=2,
        bounds=(0.2,),
    )[0].table
    rates = chosen(table, metric="attack_success_rate", attack="gradient_matching")
    found = set(rates.select("victim", "variant").rows())
    assert {("jpeg", None), ("jpeg", "unaware"), ("softmax_median", None)} <= found
    assert {("lgm_median", None), ("lgm_trim", None), ("softmax", "filtered")} <= found
    linf = chosen(table, metric="linf")["value"]
    assert (linf > 0).all()
    assert (linf <= 0.2).all()
    accuracy = chosen(table, metric="clean_accuracy", attack=None, victim="softmax")
    assert accuracy["value"].min() > 0.5
