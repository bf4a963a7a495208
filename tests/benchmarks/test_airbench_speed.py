"""Training of the strong network beside the fastest convolutions of the machine.

Run alone: ``OMP_NUM_THREADS=2 pytest -n 0 -m benchmark -s
tests/benchmarks/test_airbench_speed.py``. Prints operations per image, images per
second, and which share of the ceiling that is: the rate of the fastest of three
convolutions of these sizes, forward, in the same type.
"""

import time
from statistics import median

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.nn import airbench

pytestmark = pytest.mark.benchmark

SHAPE, BATCH_SIZE, N_BATCHES, N_REPEATS = (3, 32, 32), 500, 3, 5


def images(n):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))


def operations_per_image():
    """Additions and multiplications of a training step, by torch's own count."""
    network = airbench(SHAPE, 64)
    with FlopCounterMode(display=False) as counter:
        network(images(10)).sum().backward()
    return counter.get_total_flops() / 10


def ceiling(dtype):
    """Operations per second of one convolution, best of several sizes."""
    rates = []
    for n_channels, side in ((64, 31), (256, 15), (256, 7)):
        X = torch.randn(BATCH_SIZE, n_channels, side, side, dtype=dtype)
        X = X.to(memory_format=torch.channels_last)
        W = torch.randn(256, n_channels, 3, 3, dtype=dtype)
        W = W.to(memory_format=torch.channels_last)
        n_operations = 2 * BATCH_SIZE * side * side * 256 * n_channels * 9
        with torch.no_grad():
            F.conv2d(X, W, padding=1)
            start = time.perf_counter()
            for _ in range(N_REPEATS):
                F.conv2d(X, W, padding=1)
        rates.append(N_REPEATS * n_operations / (time.perf_counter() - start))
    return max(rates)


@pytest.mark.parametrize("classifier", [SoftmaxClassifier, LGMClassifier])
@pytest.mark.parametrize("autocast", [False, True])
def test_images_per_second_and_share_of_the_ceiling(classifier, autocast):
    X, y = images(N_BATCHES * BATCH_SIZE).numpy(), np.arange(N_BATCHES * BATCH_SIZE)
    clf = classifier.from_preset(
        "natural_images", autocast=autocast, max_epochs=4, random_state=0
    ).fit(X, y % 10)
    seconds = median(clf.history_[1:, "dur"])
    speed = len(X) / seconds
    n_operations = operations_per_image()
    rate = ceiling(torch.bfloat16 if autocast else torch.float32)
    share = speed * n_operations / rate
    print(
        f"{classifier.__name__}, autocast={autocast}: {n_operations / 1e9:.2f} GFLOP "
        f"per image, {speed:.0f} images/s, {share:.0%} of {rate / 1e9:.0f} GFLOP/s"
    )
    assert share > 0.2
