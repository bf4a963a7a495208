"""A tiny image data set on disk and one small run over it."""

import numpy as np
import pytest

from sklgm.datasets import make_stripe_images
from sklgm.experiments import ExperimentConfig, run

#: Kinds of score that class Gaussians give.
KINDS = {"likelihood", "posterior", "combined"}


def tiny_config(path, **overrides):
    """Settings with which a run takes seconds."""
    settings = {
        "dataset": str(path),
        "seed": 0,
        "device": "cpu",
        "feature_dim": 8,
        "n_backbone": 200,
        "n_refit": 90,
        "n_targets": 4,
        "n_poisons": (1, 5),
        "n_pairs": 8,
        "max_iter": 10,
        "warmup_epochs": 3,
        "finetune_epochs": 2,
        "refit_epochs": 2,
        "converged_epochs": 1,
        "batch_size": 32,
        "n_scatter": 60,
        **overrides,
    }
    return ExperimentConfig(**settings)


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory):
    """An .npz file of 420 images of 3 classes, 300 of them for training."""
    X, y = make_stripe_images(420, 3, (1, 8, 8), noise=0.2, random_state=0)
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    np.savez(path, X=X[:300], y=y[:300], X_test=X[300:], y_test=y[300:])
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_npz):
    """Result and figure data of a run of both protocols; do not mutate."""
    config = tiny_config(tiny_npz)
    return run(config, command="sklgm reproduce stripes.npz", n_jobs=1)
