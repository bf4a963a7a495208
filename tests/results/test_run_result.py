"""The files of a run."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sklgm.results import SCHEMA_VERSION, TRIALS_SCHEMA, RunResult
from tests.tidy_rows import result_of, row, trial


@pytest.fixture
def result():
    return result_of([row(), row("softmax", value=math.nan)], [trial(7, True)])


def assert_same(first, second):
    assert first.table.equals(second.table)
    assert first.trials.equals(second.trials)
    for name in ("command", "settings", "environment", "sklgm_version"):
        assert getattr(first, name) == getattr(second, name)


def test_a_result_is_read_as_it_was_written(result, tmp_path):
    folder = result.save(tmp_path / "new" / "run")
    assert sorted(path.name for path in folder.iterdir()) == [
        "run.json",
        "table.parquet",
        "trials.parquet",
    ]
    assert_same(RunResult.load(str(folder)), result)


def test_run_json_is_strict_and_says_its_version(result, tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (result.save(tmp_path) / "run.json").read_text(encoding="utf-8")
    run = json.loads(text, parse_constant=refuse)
    assert run["schema_version"] == SCHEMA_VERSION == 2
    assert run["settings"] == {"run": {"preset": "full"}}


def test_without_trials_there_is_no_file_of_them(result, tmp_path):
    result.save(tmp_path)
    result_of([row()]).save(tmp_path)
    assert not (tmp_path / "trials.parquet").exists()
    assert RunResult.load(tmp_path).trials.equals(TRIALS_SCHEMA.to_frame())


def test_a_failed_save_keeps_the_old_files(result, tmp_path, monkeypatch):
    result.save(tmp_path)

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        result_of([]).save(tmp_path)
    assert_same(RunResult.load(tmp_path), result)
    assert len(list(tmp_path.iterdir())) == 3


def test_settings_become_what_json_holds():
    settings = {"run": {"a": (1, np.int64(2)), "b": np.arange(2), "c": Path("x")}}
    settings["run"] |= {"d": math.inf, "e": np.float32(0.5), "f": np.bool_(True)}
    assert result_of(settings=settings).settings == {
        "run": {"a": [1, 2], "b": [0, 1], "c": "x", "d": None, "e": 0.5, "f": True}
    }


@pytest.mark.parametrize("settings", [{"run": {1, 2}}, {"run": object()}])
def test_settings_that_json_cannot_hold_raise(settings):
    with pytest.raises(TypeError, match="settings holds .* no type that JSON knows"):
        result_of(settings=settings)


def test_a_table_of_other_columns_is_refused(result):
    with pytest.raises(ValueError, match="table must have the columns .* seed differs"):
        RunResult("c", {}, {}, result.table.drop("seed"))


def damaged_runs():
    run = {"schema_version": 2, "sklgm_version": "1", "command": "c"}
    run |= {"settings": {}, "environment": {}}
    return {
        "{": "is damaged",
        "[]": "is not a result of sklgm",
        '{"schema_version": "2"}': "is not a result of sklgm",
        '{"schema_version": 1}': "schema_version=1, but this version of sklgm reads 2",
        '{"schema_version": 3}': "use the version of sklgm that wrote it",
        json.dumps(run | {"settings": []}): "settings must be a dict",
        json.dumps(run | {"command": None}): "command must be a str",
    }


@pytest.mark.parametrize(("text", "message"), damaged_runs().items())
def test_a_foreign_run_file_is_one_clear_error(result, tmp_path, text, message):
    (result.save(tmp_path) / "run.json").write_text(text)
    with pytest.raises(ValueError, match=rf"run\.json .*{message}"):
        RunResult.load(tmp_path)


@pytest.mark.parametrize("name", ["table", "trials"])
def test_a_damaged_table_is_one_clear_error(result, tmp_path, name):
    path = result.save(tmp_path) / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=rf"{name}\.parquet is damaged"):
        RunResult.load(tmp_path)
    pl.DataFrame({"foreign": [1]}).write_parquet(path)
    with pytest.raises(ValueError, match=rf"{name}\.parquet is damaged.* columns"):
        RunResult.load(tmp_path)


def test_a_missing_table_keeps_its_own_error(result, tmp_path):
    (result.save(tmp_path) / "table.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"table\.parquet"):
        RunResult.load(tmp_path)


def test_version_is_read_from_the_installed_package(monkeypatch):
    monkeypatch.setattr("sklgm.results._run_result.installed_version", lambda _: None)
    assert result_of([row()]).sklgm_version == "unknown"
