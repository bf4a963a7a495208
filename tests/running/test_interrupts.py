"""Ctrl-C ends a training early, or what the training is a part of."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from sklearn.datasets import load_iris
from skorch.callbacks import Callback

from sklgm import (
    DeepKNNDetector,
    FilteredClassifier,
    LGMClassifier,
    LGMOutlierDetector,
    PartitionedClassifier,
    PoisonCrafter,
    PoisonFilter,
    SoftmaxClassifier,
    audit,
)
from sklgm._running import interrupts_are_raised, interrupts_raised

X, Y = load_iris(return_X_y=True)


class PressCtrlC(Callback):
    """Sends this process the signal of Ctrl-C in the second epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)


def network(cls=SoftmaxClassifier):
    return cls(max_epochs=4, callbacks=[PressCtrlC()], random_state=0)


@pytest.mark.parametrize("cls", [LGMClassifier, SoftmaxClassifier])
def test_fit_by_itself_keeps_the_model_so_far(cls):
    clf = network(cls)
    with pytest.warns(UserWarning, match="interrupted after 1 complete epochs"):
        clf.fit(X, Y)
    assert len(clf.predict(X)) == len(X)


PARTS = {
    "audit": lambda: audit(X, Y, estimator=network(), cv=2, random_state=0),
    "detector": lambda: LGMOutlierDetector(network(), cv=2).fit(X, Y),
    "feature detector": lambda: DeepKNNDetector(network(LGMClassifier), cv=2).fit(X, Y),
    "filter": lambda: PoisonFilter(LGMOutlierDetector(network(), cv=2)).fit(X, Y),
    "filtered": lambda: FilteredClassifier(
        network(), LGMOutlierDetector(contamination=0.1)
    ).fit(X, Y),
    "partitioned": lambda: PartitionedClassifier(network(), n_partitions=2).fit(X, Y),
    "crafter": lambda: PoisonCrafter(network(), max_iter=2).fit(X, Y),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_a_training_is_part_of_stops(name):
    with pytest.raises(KeyboardInterrupt):
        PARTS[name]()


def test_a_cut_fold_is_not_kept(tmp_path):
    settings = {"cv": 2, "random_state": 0, "resume_from": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        audit(X, Y, estimator=network(), **settings)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_fit_after_an_interrupted_audit_keeps_the_model_so_far_again():
    with pytest.raises(KeyboardInterrupt):
        audit(X, Y, estimator=network(), cv=2, random_state=0)
    with pytest.warns(UserWarning, match="interrupted after 1 complete epochs"):
        clf = network().fit(X, Y)
    assert np.isfinite(clf.predict_proba(X)).all()


def swallow():
    """Press Ctrl-C where the exception is cleared, as by compiled code."""
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_swallowed_interrupt_is_raised_where_the_block_ends():
    after = []

    def outer():
        with interrupts_raised():
            with interrupts_raised():
                swallow()
            after.append("the outer block went on")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert after == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_block_without_an_interrupt_ends_quietly():
    with interrupts_raised(), suppress(KeyboardInterrupt):
        raise KeyboardInterrupt  # as early stopping does; nobody pressed anything
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_caller_is_left_alone():
    pressed = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        with interrupts_raised():
            swallow()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert pressed == [True]


def test_an_interrupt_that_became_another_error_is_one():
    def load():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half of a module") from None

    with pytest.raises(KeyboardInterrupt), interrupts_raised():
        load()


def test_an_error_without_an_interrupt_stays_what_it_is():
    with pytest.raises(ImportError, match="half"), interrupts_raised():
        raise ImportError("half of a module")


def test_a_second_interrupt_at_the_end_of_a_block_leaves_nothing(monkeypatch):
    set_handler = signal.signal

    def interrupted(number, handler):
        if handler is signal.default_int_handler:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return set_handler(number, handler)

    def press_twice():
        monkeypatch.setattr(signal, "signal", interrupted)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupts_raised():
        press_twice()
    assert not interrupts_are_raised()
    with interrupts_raised():  # nobody pressed anything
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_leave_the_handler_to_the_main_thread():
    def block():
        with interrupts_raised():
            return interrupts_are_raised()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(block).result()
