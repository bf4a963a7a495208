"""Features of own and pretrained networks, computed once and kept."""

from sklgm.features._extract import extract
from sklgm.features._pretrained import PretrainedNetwork, load_torchvision
from sklgm.features._removal import remove_classifier

__all__ = [
    "PretrainedNetwork",
    "extract",
    "load_torchvision",
    "remove_classifier",
]
