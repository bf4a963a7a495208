"""Protocol search: settings of L-GM training, one at a time."""

import pytest

from sklgm.experiments import search
from sklgm.experiments._victims import Victim
from sklgm.experiments.search import TRIED, _list_networks
from tests.experiments.conftest import chosen, tiny_run, tiny_settings

FEW = {"normalize_features": (False, True), "means_lr_factor": (10.0, 100.0)}
DEFENCES = {"softmax": "softmax_trimmed_gaussians", "lgm": "lgm_trim"}
METRICS = {"backbone_accuracy", "attack_success_rate", "auroc", "tpr_at_1pct_fpr"}


@pytest.fixture(scope="module")
def search_run(tiny_npz):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "TRIED", FEW)
        return tiny_run(tiny_npz, "search", seeds=(3, 4), n_targets=2, n_poisons=(5,))[
            0
        ].table


def test_settings_differ_from_the_runs_in_one_value(tiny_context):
    networks = list(_list_networks(tiny_context))
    assert [(name, variant) for name, variant, _ in networks[:2]] == [
        ("softmax", None),
        ("lgm", None),
    ]
    as_set = {name: clf.get_params() for name, _, clf in networks[:2]}
    for name, variant, clf in networks[2:]:
        parameter, _, value = variant.partition("=")
        own = clf.get_params()
        changed = [k for k in own if own[k] != as_set[name][k]]
        assert changed == [parameter]
        assert str(own[parameter]).removesuffix(".0") == value
    variants = [(name, variant) for name, variant, _ in networks]
    assert len(set(variants)) == len(variants)


def test_every_factor_is_tried_and_softmax_has_those_it_has(tiny_context):
    tried = {"softmax": set(), "lgm": set()}
    for name, variant, _ in _list_networks(tiny_context):
        tried[name].add(variant and variant.partition("=")[0])
    assert tried["lgm"] == {None, *TRIED}
    assert tried["softmax"] == {None, "feature_dim", "normalize_features"}


@pytest.mark.slow
def test_every_setting_is_recorded_for_every_seed(search_run):
    keys = search_run.select("victim", "variant", "metric", "seed").rows()
    variants = {
        "softmax": (None, "normalize_features=True"),
        "lgm": (None, "normalize_features=True", "means_lr_factor=100"),
    }
    assert len(set(keys)) == len(keys)
    assert set(keys) == {
        (DEFENCES[network], variant, metric, seed)
        for network, of_network in variants.items()
        for variant in of_network
        for metric in METRICS
        for seed in (3, 4)
    }


@pytest.mark.slow
def test_settings_are_scored_on_training_rows(search_run):
    # 300 training rows, of which a sixth stands in for the 120 of the test set.
    accuracies = chosen(search_run, metric="backbone_accuracy")
    assert set(accuracies["n"]) == {50}
    assert set(accuracies["attack"]) == {None}
    assert set(chosen(search_run, metric="auroc")["score"]) == {"posterior"}


def test_all_settings_of_a_seed_meet_the_same_targets(tiny_npz, monkeypatch):
    seen = []

    class Stub:
        def __init__(self, *args, targets, **kwargs):
            seen.append(targets)
            self.targets, self.has_images = targets or object(), True

        def clean_rows(self):
            return ()

        def attack(self, attacks):
            return ()

    monkeypatch.setattr(search, "TRIED", {"means_lr_factor": (1.0, 100.0)})
    monkeypatch.setattr(search, "Comparison", Stub)
    monkeypatch.setattr(search.Context, "trained", lambda self, name, clf: clf)
    monkeypatch.setattr(search, "trimmed_gaussians", lambda *_: Victim("x", "lgm"))
    settings = tiny_settings(tiny_npz, seed=9)
    tiny_run(tiny_npz, "search", settings, seeds=(3, 4))
    first, *others = seen[:4]
    assert first is None
    assert len(set(map(id, others))) == 1
    assert seen[4] is None  # another seed, other rows


@pytest.mark.slow
def test_search_of_one_seed_gives_what_it_gives_among_others(search_run, tiny_npz):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "TRIED", {})
        alone = tiny_run(tiny_npz, "search", seeds=(4,), n_targets=2, n_poisons=(5,))[
            0
        ].table
    among = chosen(search_run, seed=4, variant=None)
    assert alone.equals(among)
