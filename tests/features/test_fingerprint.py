import os
import subprocess
import sys
import types

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


def made(source):
    """Run code as that of a user's module, and take what it calls ``made``."""
    user = types.ModuleType("users_code")
    vars(user).update(np=np, nn=nn, torch=torch)
    exec(source, vars(user))
    return user.made


MODULE = """
class Made(nn.Module):
    levels, factor = [1, 2], 2
    def __init__(self):
        super().__init__()
        self.act, self._scale, self.sizes = torch.relu, 1.5, [3]
        self.table, self.extra = np.ones(2), torch.ones(1)
    @staticmethod
    def helped(X): return X + 1
    @property
    def shifted(self): return 4
    def forward(self, X): return X
made = Made()
"""


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("M = 0\ndef made(X): return X - M", "M = 0", "M = 5"),
        (
            "M = {'a': np.ones(2)}\ndef made(X): return X - M['a']",
            "ones(2)",
            "zeros(2)",
        ),
        ("class C:\n    k = 1\ndef made(X): return X + C.k", "k = 1", "k = 2"),
        (
            "class C:\n    def __call__(s, X): return X + 1\nmade = C()",
            "X + 1",
            "X + 2",
        ),
        ("class C:\n    k = 1\nmade = C()", "k = 1", "k = 2"),
        (
            "import types\nprep = types.ModuleType('prep')\n"
            "exec('def f(X): return X + 1', vars(prep))\n"
            "def made(X): return prep.f(X)",
            "X + 1",
            "X + 2",
        ),
        ("made = nn.ReLU()\nmade.forward = lambda X: X + 1", "X + 1", "X + 2"),
        (
            "class N(nn.Module):\n    def forward(self, X): return torch.relu(X)\n"
            "made = torch.fx.symbolic_trace(N())",
            "relu",
            "sigmoid",
        ),
        ("made = torch.ones(2, 2).matmul", "ones", "zeros"),
        ("made = {'a': 1}.get", "1", "2"),
        ("import re\nP = re.compile('a+')\ndef made(X): return P", "a+", "b+"),
        ("class C:\n    __slots__ = ('k',)\nmade = C()\nmade.k = 1", "k = 1", "k = 2"),
        ("import collections\nmade = collections.deque([1])", "[1]", "[2]"),
        ("M = np.float32(0.5)\ndef made(X): return X * M", "0.5", "0.7"),
        ("class L(list): pass\nmade = L([1])\nmade.k = 1", "k = 1", "k = 2"),
        (MODULE, "[1, 2]", "[1, 3]"),
        (MODULE, "factor = [1, 2], 2", "factor = [1, 2], 3"),
        (MODULE, "torch.relu", "torch.tanh"),
        (MODULE, "1.5", "1.6"),
        (MODULE, "[3]", "[4]"),
        (MODULE, "np.ones(2)", "np.zeros(2)"),
        (MODULE, "torch.ones(1)", "torch.zeros(1)"),
        (MODULE, "X + 1", "X + 2"),
        (MODULE, "return 4", "return 5"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_whatever_decides_features_is_told_apart(source, old, new):
    assert old in source
    assert fingerprint(made(source)) == fingerprint(made(source))
    assert fingerprint(made(source)) != fingerprint(made(source.replace(old, new)))


def test_what_says_nothing_of_features_is_left_out():
    quiet = made("import logging\nL = logging.getLogger('a')\ndef made(X): return L")
    assert len(fingerprint(quiet)) == 32
    # A name of an attribute is no global name.
    plain, other = "def made(X): return X.mean()", "mean = 3"
    assert fingerprint(made(plain)) == fingerprint(made(f"{other}\n{plain}"))
    locked = made("import threading\nL = threading.Lock()\ndef made(X): return L")
    assert len(fingerprint(locked)) == 32
    trained = nn.Linear(2, 2)
    before = fingerprint(trained)
    trained.register_forward_hook(lambda *call: None)
    assert fingerprint(trained.eval()) == before
