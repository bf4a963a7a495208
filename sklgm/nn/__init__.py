"""Networks: backbones, heads, and the two together."""

from sklgm.nn._backbones import (
    BACKBONES,
    BackboneFactory,
    airbench,
    airbench_narrow,
    automatic_backbone,
    cnn,
    identity,
    make_backbone,
    mlp,
    output_dim,
    resnet18,
    vgg19,
)
from sklgm.nn._feature_network import FeatureNetwork, backbone_output
from sklgm.nn._heads import GaussianMixtureHead, LinearHead

__all__ = [
    "BACKBONES",
    "BackboneFactory",
    "FeatureNetwork",
    "GaussianMixtureHead",
    "LinearHead",
    "airbench",
    "airbench_narrow",
    "automatic_backbone",
    "backbone_output",
    "cnn",
    "identity",
    "make_backbone",
    "mlp",
    "output_dim",
    "resnet18",
    "vgg19",
]
