"""Loaders without a network."""

import pytest


@pytest.fixture
def no_network(monkeypatch):
    """Make every download fail as it does without a network."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)
