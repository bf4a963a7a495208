import re

import pydantic
import pytest

from sklgm.experiments import PROTOCOLS, RunSettings, get_protocol

KINDS = ("digits", "mnist", "cifar10", "path")


def settings_of(protocol):
    return get_protocol(protocol).settings


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_a_run_has_presets_for_every_named_data_set(dataset, preset):
    settings = RunSettings.of_dataset(dataset, preset)
    assert (settings.dataset, settings.preset) == (dataset, preset)
    assert settings.kind == dataset


def test_a_path_is_a_kind_of_its_own(tmp_path):
    assert RunSettings.of_dataset(str(tmp_path)).kind == "path"


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_presets(protocol, kind, preset):
    settings = settings_of(protocol).for_preset(kind, preset)
    assert settings == settings_of(protocol)(**settings.model_dump())


@pytest.mark.parametrize(
    ("protocol", "kind", "preset", "expected"),
    [
        ("transfer", "mnist", "quick", {"n_targets": 50, "refit_epochs": 40}),
        ("transfer", "digits", "quick", {"n_targets": 25, "refit_epochs": 120}),
        ("transfer", "digits", "full", {"n_targets": 100, "refit_epochs": 240}),
        ("transfer", "cifar10", "quick", {"n_targets": 25, "bounds": (None, 8 / 255)}),
        ("end-to-end", "mnist", "full", {"n_targets": 20, "max_epochs": 2}),
        ("end-to-end", "digits", "quick", {"n_targets": 20, "max_epochs": 8}),
        ("white-box", "digits", "quick", {"n_pairs": 100, "reach": None}),
        ("white-box", "digits", "full", {"n_pairs": 200}),
        ("white-box", "mnist", "full", {"n_pairs": 500}),
        ("label-noise", "mnist", "full", {"cv": 3, "max_epochs": 5}),
        ("label-noise", "digits", "full", {"cv": 5, "max_epochs": None}),
        ("search", "cifar10", "full", {"bounds": (None,), "n_targets": 100}),
    ],
)
def test_presets_are_merged_from_the_general_to_the_particular(
    protocol, kind, preset, expected
):
    settings = settings_of(protocol).for_preset(kind, preset)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_full_has_all_attacks_but_where_settings_are_chosen():
    n_attacks = {
        protocol: len(settings_of(protocol).for_preset("mnist", "full").attacks)
        for protocol in ("transfer", "white-box", "end-to-end", "peers", "search")
    }
    assert n_attacks.pop("search") == 1
    assert set(n_attacks.values()) == {8}


def test_changes_go_before_the_preset():
    settings = settings_of("transfer").for_preset("digits", "quick", n_targets=7)
    assert settings.n_targets == 7
    assert RunSettings.of_dataset("mnist", n_backbone=None).n_backbone is None


def test_the_margin_is_smaller_on_natural_images(tmp_path):
    margins = {
        dataset: RunSettings.of_dataset(dataset).margin
        for dataset in ("digits", "mnist", "cifar10", str(tmp_path))
    }
    assert margins == {"digits": 0.3, "mnist": 0.3, "cifar10": 0.1, str(tmp_path): 0.1}


@pytest.mark.parametrize("cls", [RunSettings, settings_of("transfer")])
def test_settings_are_frozen(cls):
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        cls().max_iter = 1


@pytest.mark.parametrize(
    ("protocol", "name", "value"),
    [
        ("run", "preset", "slow"),
        ("run", "evaluation", "train"),
        ("run", "dataset", "nowhere"),
        ("run", "n_refit", 0),
        ("run", "n_backbone", 0),
        ("run", "seed", -1),
        ("run", "seed", 2**31),
        ("run", "margin", -0.1),
        ("run", "max_epochs", 1.5),
        ("transfer", "n_targets", 0),
        ("transfer", "n_poisons", ()),
        ("transfer", "n_poisons", (0, 5)),
        ("transfer", "n_poisons", (5, 5)),
        ("transfer", "n_poisons", (1.5,)),
        ("transfer", "bounds", (-1.0,)),
        ("transfer", "bounds", ()),
        ("transfer", "bounds", (0.5, 0.5)),
        ("transfer", "refit_epochs", 0),
        ("transfer", "similarity_weight", -1.0),
        ("transfer", "similarity_weight", float("nan")),
        ("transfer", "reach", 0.0),
        ("transfer", "attacks", ()),
        ("transfer", "attacks", ("frog",)),
        ("transfer", "attacks", ("feature_collision", "feature_collision")),
        ("transfer", "attacks", "watermark"),
        ("frontier", "reaches", (1.0, 1.0)),
        ("contamination", "shares", (0.0,)),
        ("contamination", "shares", (0.5,)),
        ("contamination", "shares", (-0.1, 0.2)),
        ("end-to-end", "n_rows", 0),
        ("end-to-end", "lr", float("inf")),
        ("end-to-end", "watermark_opacity", 1.0),
        ("label-noise", "shares", (1.0,)),
        ("label-noise", "shares", ()),
        ("label-noise", "rivals", ("art",)),
        ("label-noise", "cv", 1),
        ("label-noise", "max_epochs", 0),
        ("search", "seeds", ()),
        ("search", "seeds", (1, 1)),
        ("search", "seeds", (-1,)),
        ("search", "seeds", (0.5,)),
    ],
)
def test_bad_settings_name_the_field(protocol, name, value):
    cls = RunSettings if protocol == "run" else settings_of(protocol)
    with pytest.raises(ValueError, match=rf"(?m)^{name}\b"):
        cls(**{name: value})


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=re.escape("n_target\n")):
        settings_of("transfer")(n_target=3)
