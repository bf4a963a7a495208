"""A training that was cut off goes on to the same bits."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from skorch.callbacks import Callback

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._net import _training_checkpoint

X, Y = load_iris(return_X_y=True)
TINY = {"feature_dim": 4, "batch_size": 32, "max_epochs": 6, "random_state": 0}


class CutOff(Exception):
    """Ends a training where no one is asked."""


class CutAt(Callback):
    """Ends the training of a net at the start of an epoch, if it is told to."""

    def on_epoch_begin(self, net, **kwargs):
        phase = type(net.criterion_).__name__
        if os.environ.get("CUT_AT") == f"{phase} {len(net.history)}":
            raise CutOff


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(_training_checkpoint, "_SECONDS_BETWEEN", 0.0)


def weights(clf):
    return [p.detach().numpy() for p in clf.net_.module_.parameters()]


def assert_same(clf, other, rows):
    for ours, theirs in zip(weights(clf), weights(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(clf.predict_proba(rows), other.predict_proba(rows))
    assert clf.n_iter_ == other.n_iter_
    assert clf.history_[:, "train_loss"] == other.history_[:, "train_loss"]


SETTINGS = {
    "softmax": (SoftmaxClassifier(**TINY), "SoftmaxCriterion 4"),
    "lgm, softmax epochs": (LGMClassifier(**TINY), "SoftmaxCriterion 3"),
    "lgm": (LGMClassifier(**TINY), "LGMCriterion 2"),
    "lgm, trimmed": (
        LGMClassifier(**TINY | {"max_epochs": 10}, trim=0.1), "LGMCriterion 3"
    ),
    "lgm, step": (LGMClassifier(**TINY, lr_schedule="step"), "LGMCriterion 3"),
    "lgm, sgd": (
        LGMClassifier(**TINY, optimizer="sgd", optimizer__momentum=0.9),
        "LGMCriterion 3",
    ),
    "lgm, stopped early": (
        LGMClassifier(**TINY, early_stopping=True, patience=2), "LGMCriterion 3"
    ),
    "lgm, learned": (LGMClassifier(**TINY, covariance_type="diag"), "LGMCriterion 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_training_goes_on_to_the_same_bits(name, tmp_path, monkeypatch):
    estimator, cut_at = SETTINGS[name]
    estimator.set_params(checkpoint_dir=tmp_path, callbacks=[CutAt()])
    monkeypatch.setenv("CUT_AT", cut_at)
    with pytest.raises(CutOff):
        estimator.fit(X, Y)
    monkeypatch.setenv("CUT_AT", "")
    epochs = []
    monkeypatch.setattr(
        CutAt, "on_epoch_begin", lambda self, net, **kwargs: epochs.append(1)
    )
    estimator.fit(X, Y)
    n_resumed = len(epochs)
    epochs.clear()
    expected = estimator.set_params(checkpoint_dir=None)
    resumed = pickled(estimator)
    expected.fit(X, Y)
    assert_same(resumed, expected, X)
    assert 0 < n_resumed < len(epochs)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def pickled(estimator):
    import pickle

    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize("augment", [None, "flip"])
def test_images_and_what_is_drawn_from_the_global_generator(
    augment, tiny_images, tmp_path, monkeypatch
):
    rows, labels = tiny_images
    settings = {"augment": augment, "callbacks": [CutAt()], **TINY}
    monkeypatch.setenv("CUT_AT", "LGMCriterion 2")
    with pytest.raises(CutOff):
        LGMClassifier("cnn", checkpoint_dir=tmp_path, **settings).fit(rows, labels)
    monkeypatch.setenv("CUT_AT", "")
    resumed = LGMClassifier("cnn", checkpoint_dir=tmp_path, **settings)
    expected = LGMClassifier("cnn", **settings)
    assert_same(resumed.fit(rows, labels), expected.fit(rows, labels), rows)


@pytest.mark.parametrize("change", ["data", "lr", "random_state", "class"])
def test_another_fit_takes_nothing(change, tmp_path, monkeypatch):
    monkeypatch.setenv("CUT_AT", "LGMCriterion 3")
    settings = {**TINY, "callbacks": [CutAt()], "checkpoint_dir": tmp_path}
    with pytest.raises(CutOff):
        LGMClassifier(**settings).fit(X, Y)
    monkeypatch.setenv("CUT_AT", "")
    rows = X + 1.0 if change == "data" else X
    if change == "lr":
        settings["lr"] = 0.01
    if change == "random_state":
        settings["random_state"] = 1
    cls = SoftmaxClassifier if change == "class" else LGMClassifier
    clf = cls(**settings).fit(rows, Y)
    assert_same(clf, cls(**settings | {"checkpoint_dir": None}).fit(rows, Y), rows)


def test_a_damaged_checkpoint_is_told_and_training_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("CUT_AT", "SoftmaxCriterion 3")
    clf = SoftmaxClassifier(**TINY, callbacks=[CutAt()], checkpoint_dir=tmp_path)
    with pytest.raises(CutOff):
        clf.fit(X, Y)
    (path,) = tmp_path.rglob("*.sklgm")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setenv("CUT_AT", "")
    with pytest.warns(UserWarning, match="is not taken, it is done again"):
        clf.fit(X, Y)
    assert_same(clf, SoftmaxClassifier(**TINY).fit(X, Y), X)


def test_a_fit_that_would_never_be_the_same_again_is_refused(tmp_path):
    clf = LGMClassifier(checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint_dir='.*' keeps .* random_state"):
        clf.fit(X, Y)
    clf = LGMClassifier(checkpoint_dir=tmp_path, **TINY, augment=lambda rows: rows)
    with pytest.raises(ValueError, match="checkpoint_dir needs parameters that can be"):
        clf.fit(X, Y)


KILLED = """
import os, signal, sys
import numpy as np
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from sklgm import LGMClassifier
from sklgm._net import _training_checkpoint

_training_checkpoint._SECONDS_BETWEEN = 0.0

class KillAt(Callback):
    def on_batch_begin(self, net, **kwargs):
        phase = type(net.criterion_).__name__
        if sys.argv[3] == f"{phase} {len(net.history)}":
            os.kill(os.getpid(), signal.SIGKILL)

X, y = load_digits(return_X_y=True)
clf = LGMClassifier(max_epochs=6, batch_size=256, random_state=0,
                    callbacks=[KillAt()], checkpoint_dir=sys.argv[1] or None)
np.save(sys.argv[2], clf.fit(X, y).predict_proba(X))
"""


@pytest.mark.slow
def test_killed_processes_go_on_to_the_same_bits(tmp_path):
    def run(place, out, at):
        arguments = [sys.executable, "-c", KILLED, place, tmp_path / out, at]
        return subprocess.run([str(a) for a in arguments], check=False).returncode

    for at in ("SoftmaxCriterion 2", "LGMCriterion 1", "LGMCriterion 3"):
        assert run(tmp_path / "kept", "none.npy", at) == -9
        assert not (tmp_path / "none.npy").exists()
    assert run(tmp_path / "kept", "resumed.npy", "") == 0
    assert run("", "expected.npy", "") == 0
    resumed, expected = (
        np.load(tmp_path / f"{name}.npy") for name in ("resumed", "expected")
    )
    np.testing.assert_array_equal(resumed, expected)
    assert len(resumed) == len(load_digits().target)
