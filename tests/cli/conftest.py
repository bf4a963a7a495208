import pytest
from typer.testing import CliRunner

from sklgm.cli._app import app


@pytest.fixture
def invoke():
    """Run the command line with these arguments."""

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Unfinished runs of a test are not looked for in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Commands start no workers unless they are told to: starting them takes longer."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
