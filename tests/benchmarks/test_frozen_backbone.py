"""Passes of an image through a frozen ResNet-18, and the time they take.

Run alone: ``OMP_NUM_THREADS=1 pytest -n 0 -m benchmark -s
tests/benchmarks/test_frozen_backbone.py``. The first version passed each of 60 images
9.5 times (572 in all) at 224 pixels, 3 epochs and ``cv=3``.
"""

import time

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from sklgm import LGMClassifier, LGMOutlierDetector, SoftmaxClassifier, audit

pytestmark = pytest.mark.benchmark

N_IMAGES, N_EPOCHS, N_FOLDS = 60, 3, 3
# Rows of zeros that ask for the number of features.
N_ASKED = 2


class Counting(nn.Module):
    n_passed = 0

    def __init__(self):
        super().__init__()
        self.network = resnet18(weights=None)
        self.network.fc = nn.Identity()

    def forward(self, X):
        Counting.n_passed += len(X)
        return self.network(X)


@pytest.mark.filterwarnings("ignore::UserWarning")  # random features tell nothing
@pytest.mark.parametrize("job", ["softmax", "lgm", "detector", "audit"])
def test_each_image_passes_once(job):
    torch.manual_seed(0)
    X = np.random.RandomState(0).rand(N_IMAGES, 3, 224, 224).astype(np.float32)
    y = np.arange(N_IMAGES) % 3
    kind = SoftmaxClassifier if job == "softmax" else LGMClassifier
    estimator = kind(
        Counting(), freeze_backbone=True, max_epochs=N_EPOCHS, random_state=0
    )
    Counting.n_passed = 0
    start = time.perf_counter()
    if job == "detector":
        LGMOutlierDetector(estimator, cv=N_FOLDS, random_state=0).fit(X, y)
    elif job == "audit":
        audit(X, y, estimator=estimator, cv=N_FOLDS, random_state=0)
    else:
        estimator.fit(X, y)
    seconds = time.perf_counter() - start
    n_passes = (Counting.n_passed - N_ASKED) / N_IMAGES
    print(f"{job}: {n_passes:.2f} passes of an image, {seconds:.1f} s")
    assert n_passes == 1.0
