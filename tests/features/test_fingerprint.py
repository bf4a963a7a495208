import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from sklgm.features._fingerprint import fingerprint

CODE = """
import functools, torch
from torch import nn
from torchvision.transforms import v2
from sklgm.features._fingerprint import fingerprint
class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.sizes = 2.0, (1, 2)
        self.layer = nn.Linear(2, 2)
    def forward(self, X):
        return self.layer(X[..., :2]) * self.scale if "a" in {"a", "b", "c"} else X
torch.manual_seed(0)
own = Own()
def embed(X, factor=3):
    return [row for row in own(X) * factor]
print(fingerprint(
    own, embed, own.forward, functools.partial(embed, factor=4),
    v2.Compose([v2.Resize(8), v2.Normalize([0.5], [0.5])]), {"a": {1, 2}, "b": ...},
))
"""


def test_it_is_the_same_in_every_process():
    runs = [
        subprocess.run(
            [sys.executable, "-c", CODE],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(runs[0].strip()) == 32
    assert runs[0] == runs[1]


def test_it_tells_things_apart():
    torch.manual_seed(0)
    layer = nn.Linear(2, 2)
    things = [
        1, 1.0, "1", True, None, ..., [1], (1,), {1}, {1: 1}, np.array([1]),
        np.array([1.0]), torch.tensor([1]), torch.tensor([[1]]), torch.float32,
        layer, nn.Sequential(layer), nn.Sequential(layer, nn.ReLU()), nn.ReLU,
        layer.forward, nn.Linear(2, 2), abs, len, lambda X: X, lambda X: X + 1,
        lambda X: layer(X), lambda X: [row for row in X if row in {1, 2}],
        lambda X: [row for row in X if row in {1, 3}],
    ]  # fmt: skip
    prints = [fingerprint(thing) for thing in things]
    assert len(set(prints)) == len(things)
    assert prints == [fingerprint(thing) for thing in things]


def test_things_that_hold_themselves_end():
    row = [1]
    row.append(row)
    assert fingerprint(row) == fingerprint(row)


def test_what_has_no_content_is_refused():
    with pytest.raises(ValueError, match="cache cannot tell one generator"):
        fingerprint(i for i in range(3))
