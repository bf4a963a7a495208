"""A tiny image data set on disk, its context, and one small run over it."""

import numpy as np
import polars as pl
import pytest

from sklgm._running import Runner
from sklgm.datasets import make_stripe_images
from sklgm.experiments import RunSettings, get_protocol, run
from sklgm.experiments._protocol import Context

#: Kinds of score that class Gaussians give.
KINDS = {"likelihood", "posterior", "combined"}
VICTIMS = ("softmax", "softmax_trimmed_gaussians", "lgm", "lgm_trim")

# What makes a protocol end in seconds, where it has such a setting.
_TINY = {
    "n_targets": 4,
    "n_poisons": (1, 5),
    "n_pairs": 8,
    "max_iter": 10,
    "refit_epochs": 2,
    "converged_epochs": 1,
    "n_scatter": 60,
    "bounds": (None,),
    "n_rows": 150,
}


def tiny_settings(path, **changes):
    """Settings of a run that takes seconds."""
    settings = {
        "dataset": str(path),
        "device": "cpu",
        "feature_dim": 8,
        "n_backbone": 200,
        "n_refit": 90,
        "max_epochs": 20,
        "margin": 0.3,
    }
    return RunSettings(**settings | changes)


def tiny(protocol, **changes):
    """Settings of a protocol with which it takes seconds."""
    cls = get_protocol(protocol).settings
    own = {name: value for name, value in _TINY.items() if name in cls.model_fields}
    return cls(**own | changes)


def tiny_run(path, protocol, settings=None, **changes):
    """Table of one protocol alone, in this process; changes are of its settings."""
    own = {protocol: tiny(protocol, **changes)}
    return run(settings or tiny_settings(path), own, command="c", n_jobs=1)


def make_context(settings):
    """Context whose stages are carried out in this process."""
    return Context(settings, Runner(n_jobs=1))


def chosen(frame, **values):
    """Rows of a table with these values; None is not a value."""
    return frame.filter(
        pl.lit(True),
        *(pl.col(name).eq_missing(pl.lit(value)) for name, value in values.items()),
    )


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory):
    """An .npz file of 420 images of 3 classes, 300 of them for training."""
    X, y = make_stripe_images(420, 3, (1, 8, 8), noise=0.2, random_state=0)
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    np.savez(path, X=X[:300], y=y[:300], X_test=X[300:], y_test=y[300:])
    return path


@pytest.fixture(scope="session")
def tiny_context(tiny_npz):
    """Context with trained networks; do not fit them again."""
    return make_context(tiny_settings(tiny_npz))


@pytest.fixture(scope="session")
def transfer_run(tiny_npz):
    """Result and arrays of the transfer protocol; do not mutate."""
    return tiny_run(tiny_npz, "transfer")


@pytest.fixture(scope="session")
def white_box_run(tiny_npz):
    """Result and arrays of the white-box protocol; do not mutate."""
    return tiny_run(tiny_npz, "white-box")
