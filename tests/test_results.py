"""sklgm.results: records, their schema and the file on disk."""

import dataclasses
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from sklgm.results import (
    MODELS,
    PROTOCOLS,
    Record,
    RunResult,
    Trial,
    describe_environment,
    results_schema,
)

RECORD = {
    "protocol": "transfer",
    "dataset": "digits",
    "model": "lgm_trim",
    "attack": "feature_collision",
    "n_poisons": 5,
    "arm": "attack",
    "metric": "attack_success_rate",
    "value": 0.25,
    "low": 0.1,
    "high": 0.5,
    "n": 20,
    "seed": 0,
}
TRIAL = {
    "protocol": "transfer",
    "dataset": "digits",
    "model": "softmax",
    "attack": "feature_collision",
    "n_poisons": 5,
    "seed": 0,
    "target_index": 7,
    "target_label": 3,
    "base_label": 8,
}


@pytest.fixture
def result():
    return RunResult(
        command="sklgm reproduce digits",
        config={"n_poisons": (1, 5), "device": None},
        environment={"python": "3.11"},
        records=(Record(**RECORD), Record(**RECORD | {"low": None, "high": None})),
        trials=(Trial(**TRIAL), Trial(**TRIAL, success=True, stop_reason="max_iter")),
    )


def validate(mapping):
    schema = results_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(mapping)


def test_saved_file_is_strict_json_and_valid_under_the_schema(result, tmp_path):
    path = result.save(tmp_path / "new" / "results.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    validate(json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse))
    assert RunResult.load(path) == result


def test_save_replaces_and_leaves_nothing_else_behind(result, tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    result.save(path)
    assert RunResult.load(str(path)) == result
    assert list(tmp_path.iterdir()) == [path]


def test_failed_save_keeps_the_old_file(result, tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text("old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        result.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, np.nan])
def test_unknown_value_is_null_on_disk_and_nan_in_memory(value):
    record = Record(**RECORD | {"value": value, "low": math.nan, "high": math.inf})
    assert math.isnan(record.value)
    mapping = record.to_dict()
    assert (mapping["value"], mapping["low"], mapping["high"]) == (None, None, None)
    again = Record.from_dict(mapping)
    assert math.isnan(again.value)
    assert again.to_dict() == mapping


def test_numpy_scalars_become_python_scalars():
    record = Record(
        **RECORD
        | {
            "value": np.float32(0.5),
            "low": np.float64(0.25),
            "n": np.int64(20),
            "seed": np.uint8(3),
            "dataset": np.str_("digits"),
        }
    )
    trial = Trial(
        **TRIAL | {"target_label": np.int64(3), "base_label": np.str_("eight")},
        success=np.bool_(True),
        l2=np.float32(1.5),
        n_iter=np.int32(9),
    )
    for item in (record, trial):
        for value in dataclasses.asdict(item).values():
            assert type(value) in {str, int, float, bool, type(None)}
    assert record.value == 0.5
    assert trial.success is True


def test_config_is_converted_to_what_json_returns():
    config = {
        "grid": np.array([1.0, np.nan]),
        "counts": (np.int64(1), 2),
        "nested": {"flag": np.bool_(False), "path": Path("images"), "lr": np.inf},
        "name": np.str_("x"),
        "wide": np.longdouble(0.5),
    }
    result = RunResult("c", config, {}, ())
    assert result.config == {
        "grid": [1.0, None],
        "counts": [1, 2],
        "nested": {"flag": False, "path": "images", "lr": None},
        "name": "x",
        "wide": 0.5,
    }
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_config_is_not_shared_with_the_caller():
    config = {"list": [1]}
    result = RunResult("c", config, {}, ())
    config["list"].append(2)
    result.to_dict()["config"]["list"].append(3)
    assert result.config == {"list": [1]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"a": [0, {1, 2}]}, r"config\.a\[1\]=\{1, 2\} is of no type"),
        ({"a": {1: 2}}, r"config\.a has the key 1"),
        ([1], r"config=\[1\] must be a dict"),
    ],
)
def test_config_that_json_cannot_hold_raises(config, message):
    with pytest.raises(TypeError, match=message):
        RunResult("c", config, {}, ())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"protocol": "white_box"}, ValueError, "protocol='white_box' must be one of"),
        ({"model": "svm"}, ValueError, "model='svm' must be one of softmax, softmax_t"),
        ({"dataset": ""}, ValueError, "dataset='' must not be empty"),
        ({"metric": 3}, TypeError, "metric=3 must be a string"),
        ({"n_poisons": -1}, ValueError, "n_poisons=-1 must be at least 0"),
        ({"n": 1.0}, TypeError, r"n=1\.0 must be an integer"),
        ({"seed": True}, TypeError, "seed=True must be an integer"),
        ({"value": "0.5"}, TypeError, r"value='0\.5' must be a number or None"),
    ],
)
def test_record_rejects_what_the_schema_does_not_know(change, error, message):
    with pytest.raises(error, match=message):
        Record(**RECORD | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"target_label": 1.5}, TypeError, r"target_label=1\.5 must be a string or an"),
        ({"base_label": True}, TypeError, "base_label=True must be a string or an"),
        ({"success": 1}, TypeError, "success=1 must be True, False or None"),
        ({"target_index": -3}, ValueError, "target_index=-3 must be at least 0"),
        ({"stop_reason": ""}, ValueError, "stop_reason='' must not be empty"),
    ],
)
def test_trial_rejects_what_the_schema_does_not_know(change, error, message):
    with pytest.raises(error, match=message):
        Trial(**TRIAL | change)


def test_records_must_be_records():
    with pytest.raises(TypeError, match=r"records\[0\]=\{\} must be a Record"):
        RunResult("c", {}, {}, ({},))


def test_missing_and_unknown_fields_raise(result):
    mapping = result.to_dict()
    del mapping["records"][1]["seed"]
    with pytest.raises(ValueError, match="Record lacks seed"):
        RunResult.from_dict(mapping)
    with pytest.raises(ValueError, match="RunResult has no field extra"):
        RunResult.from_dict(result.to_dict() | {"extra": 1})


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_raises(result, version):
    mapping = result.to_dict() | {"schema_version": version}
    with pytest.raises(ValueError, match=f"schema_version={version!r} cannot be read"):
        RunResult.from_dict(mapping)


def test_load_rejects_a_file_without_an_object(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        RunResult.load(path)


def test_schema_lists_the_fields_and_choices_of_the_dataclasses():
    definitions = results_schema()["$defs"]
    for cls, name in [(Record, "record"), (Trial, "trial")]:
        names = [item.name for item in dataclasses.fields(cls)]
        assert list(definitions[name]["properties"]) == names
        later = {"control_margin", "margin", "auroc"} if cls is Trial else set()
        required = [field for field in names if field not in later]
        assert definitions[name]["required"] == required
    assert definitions["model"]["enum"] == list(MODELS)
    assert definitions["protocol"]["enum"] == list(PROTOCOLS)


def test_documents_from_before_margins_were_recorded_are_read(result):
    mapping = result.to_dict()
    for trial in mapping["trials"]:
        del trial["control_margin"], trial["margin"], trial["auroc"]
    jsonschema.validate(mapping, results_schema())
    read = RunResult.from_dict(mapping)
    assert len(read.trials) > 0
    assert all(trial.margin is None for trial in read.trials)


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("records", "model", "svm"),
        ("records", "n", -1),
        ("records", "value", "high"),
        ("trials", "target_label", 1.5),
        ("trials", "extra", 1),
    ],
)
def test_schema_refuses_invalid_files(result, place, key, value):
    mapping = result.to_dict()
    mapping[place][0][key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(mapping)


def test_environment_names_versions_without_importing():
    environment = describe_environment()
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["cpu_count"] >= 1
    RunResult("c", {}, environment, ())


def test_version_is_read_from_the_installed_package(monkeypatch):
    monkeypatch.setattr(
        "sklgm.results._run_result.installed_version", lambda name: None
    )
    assert RunResult("c", {}, {}, ()).sklgm_version == "unknown"
