"""The real data sets, where the machine has them."""

import os
from pathlib import Path

import pytest

from sklgm.datasets import get_data_home


@pytest.fixture
def data_home(request):
    """Folder with the file that the test's ``data`` mark names.

    A test without its data is skipped; with SKLGM_REQUIRE_DATA=1 it fails.
    """
    (needed,) = request.node.get_closest_marker("data").args
    if "SKLGM_DATA" not in os.environ:
        reason = "SKLGM_DATA is not set"
    elif not (get_data_home() / needed).is_file():
        reason = f"SKLGM_DATA lacks {needed}"
    else:
        return Path(get_data_home())
    if os.environ.get("SKLGM_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def no_network(monkeypatch):
    """Make every download fail as it does without a network."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)
