"""What epochs cost beside a hand-written loop, L-GM beside softmax, trim beside both.

Run by ``python tests/benchmarks/run.py``, or alone: ``OMP_NUM_THREADS=1 pytest -n 0
-m benchmark -s tests/benchmarks/test_training_speed.py``. Times are of the process, in
turns, so that other processes disturb all sides alike; ratios are medians.
"""

import time
from statistics import median

import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._net import BatchDataset
from tests.benchmarks.sides import noisy_digits, process_time, ratios_in_turns

pytestmark = pytest.mark.benchmark

BATCH_SIZE, N_REPEATS = 128, 15


def backbone():
    return nn.Sequential(nn.Linear(784, 100), nn.ReLU())


def network_and_rows(network, X, y, n_images):
    if network == "mlp":
        return backbone(), X, y
    return "cnn", X[:n_images].reshape(-1, 1, 28, 28), y[:n_images]


def epoch_of(classifier, X, y, network):
    settings = {"lr": 1e-3, "lr_schedule": "constant", "random_state": 0}
    net = classifier(network, max_epochs=2, **settings).fit(X, y).net_
    rows = BatchDataset(X, y, None, torch.float32)
    return lambda: net.partial_fit(rows, epochs=1)


def epoch_by_hand(X, y):
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    network = nn.Sequential(backbone(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def epoch():
        for batch in torch.randperm(len(X)).split(BATCH_SIZE):
            optimizer.zero_grad()
            F.cross_entropy(network(X[batch]), y[batch]).backward()
            optimizer.step()

    return epoch


def test_softmax_epoch_costs_a_hand_written_one(rows, measured):
    X, y = rows
    ratios = ratios_in_turns(
        epoch_by_hand(X, y), epoch_of(SoftmaxClassifier, X, y, backbone()), N_REPEATS
    )
    measured("softmax epoch / hand-written loop, MLP", ratios, 1.05)


@pytest.mark.parametrize(("network", "asked"), [("mlp", 1.08), ("cnn", 1.02)])
def test_lgm_epoch_costs_a_softmax_one(network, asked, rows, measured):
    network_, X, y = network_and_rows(network, *rows, 2560)
    ratios = ratios_in_turns(
        epoch_of(SoftmaxClassifier, X, y, network_),
        epoch_of(LGMClassifier, X, y, network_),
        N_REPEATS if network == "mlp" else 5,
    )
    measured(f"L-GM epoch / softmax epoch, {network.upper()}", ratios, asked)


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_start_of_the_gaussians_costs_a_tenth_of_an_epoch(
    network, rows, measured, monkeypatch
):
    network_, X, y = network_and_rows(network, *rows, 5120)
    spent = []
    start = LGMClassifier._start_head

    def timed(*args):
        spent.append(process_time(lambda: start(*args)))

    monkeypatch.setattr(LGMClassifier, "_start_head", timed)
    epoch = epoch_of(SoftmaxClassifier, X, y, network_)
    epoch()
    ratios = []
    for _ in range(3):
        LGMClassifier(network_, max_epochs=2, random_state=0).fit(X, y)
        ratios.append(spent[-1] / process_time(epoch))
    what = f"start of the Gaussians / softmax epoch, {network.upper()}"
    measured(what, ratios, 0.15)


class Ends(Callback):
    """Process time at the end of every epoch, of all nets of a fit."""

    times = ()

    def on_epoch_end(self, net, **kwargs):
        Ends.times = (*Ends.times, time.process_time())


def times_of_fit(classifier, network, X, y, n_epochs, **settings):
    """Seconds of a fit, and of each of its epochs but the first."""
    Ends.times = ()
    clf = classifier(
        network, max_epochs=n_epochs, random_state=0, callbacks=[Ends()], **settings
    )
    whole = process_time(lambda: clf.fit(X, y))
    return whole, [b - a for a, b in zip(Ends.times, Ends.times[1:], strict=False)]


@pytest.mark.parametrize(
    ("network", "trim", "asked", "asked_once"),
    [("mlp", 0.1, 1.10, 0.5), ("mlp", "auto", 1.25, None), ("cnn", 0.1, 1.10, 0.5)],
)
def test_trim_costs_next_to_nothing(network, trim, asked, asked_once, measured):
    n_rows, n_epochs = (60_000, 8) if network == "mlp" else (5120, 6)
    network_, X, y = network_and_rows(network, *noisy_digits(n_rows), n_rows)
    times_of_fit(LGMClassifier, network_, X[:512], y[:512], 2, trim=trim)
    per_epoch, once = [], []
    for _ in range(3):
        softmax, epochs = times_of_fit(SoftmaxClassifier, network_, X, y, n_epochs)
        whole, of_lgm = times_of_fit(LGMClassifier, network_, X, y, n_epochs, trim=trim)
        epoch = median(epochs)
        # Half of the epochs are softmax; the first L-GM epoch follows the start.
        n_half = n_epochs // 2
        of_trim = median(of_lgm[n_half:])
        per_epoch.append(of_trim / epoch)
        extra = whole - softmax - (n_epochs - n_half) * (of_trim - epoch)
        once.append(extra / epoch)
    what = f"L-GM with trim={trim!r} / softmax, {network.upper()}"
    try:
        measured(f"{what}, per epoch", per_epoch, asked)
    finally:
        if asked_once is not None:
            measured(f"{what}, once", once, asked_once, "epochs of softmax")
