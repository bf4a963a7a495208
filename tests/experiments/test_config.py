import dataclasses
import re

import pytest

from sklgm.experiments import ExperimentConfig, preset_config


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_presets_exist_for_every_named_data_set(dataset, preset):
    config = preset_config(dataset, preset)
    assert (config.dataset, config.preset) == (dataset, preset)


def test_full_takes_more_targets_than_quick():
    quick, full = (preset_config("mnist", preset) for preset in ("quick", "full"))
    assert full.n_targets >= 100 > quick.n_targets >= 50


def test_overrides_replace_the_preset_and_none_keeps_it():
    config = preset_config("digits", n_targets=7, n_pairs=None)
    assert config.n_targets == 7
    assert config.n_pairs == preset_config("digits").n_pairs


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExperimentConfig().seed = 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("preset", "slow"),
        ("evaluation", "train"),
        ("covariance_type", "full"),
        ("protocols", ("black-box",)),
        ("protocols", ()),
        ("n_targets", 0),
        ("n_refit", 0),
        ("n_poisons", ()),
        ("n_poisons", (0, 5)),
        ("seed", -1),
        ("trim", 0.6),
        ("trim", 0.0),
        ("max_perturbations", (-1.0,)),
        ("max_perturbations", ()),
        ("max_perturbations", (0.5, 0.5)),
        ("n_backbone", 0),
        ("refit_epochs", 0),
        ("similarity_weight", -1.0),
        ("n_poisons", (1.5,)),
        ("n_poisons", (5, 5)),
        ("frontier_bounds", (0.1, None)),
        ("frontier_reaches", (1.0, 1.0000001)),
        ("adaptive_reach", 0.0),
        ("means_lr_factor", 0.0),
        ("attacks", "watermark"),
    ],
)
def test_bad_settings_name_the_field_and_the_value(field, value):
    with pytest.raises(ValueError, match=rf"{field} .*{re.escape(repr(value))}"):
        ExperimentConfig(**{field: value})


def test_the_means_learn_faster_on_natural_images_only(tmp_path):
    factors = {
        dataset: preset_config(dataset).means_lr_factor
        for dataset in ("digits", "mnist", "cifar10", str(tmp_path))
    }
    assert factors == {"digits": 1, "mnist": 1, "cifar10": 10, str(tmp_path): 10}


def test_unknown_preset_is_named():
    with pytest.raises(ValueError, match="preset must be one of .*'huge'"):
        preset_config("digits", "huge")


def test_unknown_data_set_is_named(tmp_path):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="dataset must be one of .*nowhere"):
        preset_config(missing)
