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
