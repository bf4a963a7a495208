"""Recipes of training, by name: parameters that were found to go together."""

from collections.abc import Mapping
from typing import Any

# Step size, momentum, decay and smoothing are those of K. Jordan, "94% on CIFAR-10 in
# 3.29 Seconds on a Single GPU", 2024, for a mean loss over batches of 500 rows.
_NATURAL_IMAGES: Mapping[str, Any] = {
    "backbone": "airbench",
    "max_epochs": 13,
    "batch_size": 500,
    "optimizer": "sgd",
    "lr": 0.73,
    "lr_schedule": "triangle",
    "optimizer__momentum": 0.85,
    "optimizer__nesterov": True,
    "optimizer__weight_decay": 0.00133,
    "label_smoothing": 0.2,
    "augment": "crop+flip",
    "test_time_flip": True,
    "autocast": "auto",
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "natural_images": _NATURAL_IMAGES,
    "natural_images_long": {**_NATURAL_IMAGES, "max_epochs": 45},
    "natural_images_quick": {
        **_NATURAL_IMAGES,
        "backbone": "airbench_narrow",
        "max_epochs": 10,
    },
    "natural_images_small": {
        **_NATURAL_IMAGES,
        "max_epochs": 20,
        "batch_size": 250,
        "lr": 0.73 / 2,
    },
}
