"""What an epoch costs beside a hand-written loop, and the estimates beside an epoch.

Run alone: ``OMP_NUM_THREADS=1 pytest -n 0 -m benchmark -s
tests/benchmarks/test_training_speed.py``. Times are of the process, in turns, so that
other processes disturb all sides alike; ratios are medians.
"""

import time
from statistics import median

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._net import BatchDataset
from sklgm.gaussian import estimate_gaussians

pytestmark = pytest.mark.benchmark

N_ROWS, BATCH_SIZE, N_REPEATS = 12_800, 128, 15


@pytest.fixture(scope="module")
def rows():
    """Noisy digits of 28 x 28 pixels: a task whose gradients do not vanish at once."""
    digits = load_digits()
    rng = np.random.RandomState(0)
    drawn = rng.randint(len(digits.target), size=N_ROWS)
    images = np.kron(digits.images[drawn] / 16.0, np.ones((1, 4, 4)))[:, 2:30, 2:30]
    images = images + 0.5 * rng.normal(size=images.shape)
    return images.reshape(N_ROWS, 784).astype(np.float32), digits.target[drawn]


def process_time(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def ratios_in_turns(first, second, n_repeats=N_REPEATS):
    """Times of the second in those of the first."""
    first(), second()
    return [process_time(second) / process_time(first) for _ in range(n_repeats)]


def backbone():
    return nn.Sequential(nn.Linear(784, 100), nn.ReLU())


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


def report(what, ratios):
    print(f"{what}: {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def test_softmax_epoch_costs_a_hand_written_one(rows):
    X, y = rows
    ratios = ratios_in_turns(
        epoch_by_hand(X, y), epoch_of(SoftmaxClassifier, X, y, backbone())
    )
    report("softmax epoch / hand-written loop", ratios)
    assert median(ratios) <= 1.05


MISSED = "1.2 measured: about 20 more small operations per step than softmax"


@pytest.mark.parametrize(
    ("network", "bound"),
    [
        pytest.param("mlp", 1.08, marks=pytest.mark.xfail(reason=MISSED)),
        ("cnn", 1.02),
    ],
)
def test_lgm_epoch_costs_a_softmax_one(network, bound, rows):
    X, y = rows
    if network == "cnn":
        X, y = X[:2560].reshape(-1, 1, 28, 28), y[:2560]
    networks = [backbone() if network == "mlp" else "cnn" for _ in range(2)]
    ratios = ratios_in_turns(
        epoch_of(SoftmaxClassifier, X, y, networks[0]),
        epoch_of(LGMClassifier, X, y, networks[1]),
        N_REPEATS if network == "mlp" else 5,
    )
    report(f"L-GM epoch / softmax epoch, {network}", ratios)
    assert median(ratios) <= bound


def test_the_start_of_the_gaussians_costs_a_tenth_of_an_epoch(rows, monkeypatch):
    X, y = rows
    spent = []
    start = LGMClassifier._start_head

    def timed(*args):
        spent.append(process_time(lambda: start(*args)))

    monkeypatch.setattr(LGMClassifier, "_start_head", timed)
    epoch = epoch_of(SoftmaxClassifier, X, y, backbone())
    epoch()
    ratios = []
    for _ in range(5):
        LGMClassifier(backbone(), max_epochs=2, random_state=0).fit(X, y)
        ratios.append(spent[-1] / process_time(epoch))
    report("start of the Gaussians / softmax epoch", ratios)
    assert median(ratios) <= 0.15


def test_trimmed_estimates_of_38000_rows():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (38_000,), generator=generator)
    features = torch.randn(38_000, 64, generator=generator)
    features += 2.0 * torch.randn(10, 64, generator=generator)[y]
    ratios = ratios_in_turns(
        lambda: estimate_gaussians(features, y, 10, variance="within"),
        lambda: estimate_gaussians(features, y, 10, variance="within", trim=0.1),
        5,
    )
    report("trimmed estimate / plain estimate, 38,000 x 64", ratios)
    assert median(ratios) <= 15.0
