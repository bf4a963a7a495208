from pathlib import Path

import pytest

from sklgm.datasets import get_data_home


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    monkeypatch.delenv("SKLGM_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def test_parameter_comes_before_environment(monkeypatch):
    monkeypatch.setenv("SKLGM_DATA", "/from/environment")
    assert get_data_home("/from/parameter") == Path("/from/parameter")


def test_environment_comes_before_cache_folder(monkeypatch):
    monkeypatch.setenv("SKLGM_DATA", "/from/environment")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert get_data_home() == Path("/from/environment")


def test_empty_environment_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("SKLGM_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert get_data_home() == Path("/cache/sklgm")


@pytest.mark.parametrize("xdg", [None, "", "relative"])
def test_default_is_in_the_users_cache(monkeypatch, xdg):
    if xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert get_data_home() == Path("~/.cache/sklgm").expanduser()


def test_tilde_is_expanded():
    assert get_data_home("~/data") == Path.home() / "data"


def test_folder_is_not_created(tmp_path):
    assert not get_data_home(tmp_path / "absent").exists()
