"""One ``random_state`` for numpy and torch, without touching global state."""

import importlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

# torch's generators belong to the process: what draws from them takes turns.
_TURN = threading.RLock()


def _free_turn() -> None:
    """Make a new lock in a forked process, where no thread would free the old one."""
    global _TURN
    _TURN = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_turn)

RandomState = int | np.random.RandomState | None


def draw_seed(random_state: RandomState) -> int:
    """Draw a seed for torch from a scikit-learn ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        As everywhere in scikit-learn.

    Returns
    -------
    int
        A seed in [0, 2**31 - 1).
    """
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def generators_kept(devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Leave torch's global generators as they are, whatever is drawn inside.

    Threads take turns: draws of one would move the generator of another.

    Parameters
    ----------
    devices : sequence of torch.device, default=()
        CUDA devices whose generators are kept besides the CPU's.

    Yields
    ------
    None
        For the length of a ``with`` block.
    """
    with _TURN, torch.random.fork_rng(devices=devices):
        yield


def _load_compiler() -> None:
    """Import what torch imports with the first optimiser, and leave no trace.

    It adds a warning filter and sets an environment variable.
    """
    if "torch._dynamo" in sys.modules:
        return
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    with warnings.catch_warnings():
        importlib.import_module("torch._dynamo")
    if before is None:
        os.environ.pop(name, None)


@contextmanager
def forked_generator(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch for the length of a ``with`` block only; threads take turns.

    Parameters
    ----------
    seed : int
        Seed of the global generators inside the block and of the yielded one.
    device : torch.device
        Device whose generator is forked besides the CPU's.

    Yields
    ------
    torch.Generator
        A CPU generator for shuffling, seeded with ``seed``.
    """
    devices = [device] if device.type == "cuda" else []
    with generators_kept(devices):
        _load_compiler()
        # torch.manual_seed would seed every device, and only these are put back.
        torch.default_generator.manual_seed(seed)
        for forked in devices:
            with torch.cuda.device(forked):
                torch.cuda.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
