"""One ``random_state`` for numpy and torch, without touching global state."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

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
def forked_generator(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch for the length of a ``with`` block only.

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
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would seed every device, and only these are put back.
        torch.default_generator.manual_seed(seed)
        for forked in devices:
            with torch.cuda.device(forked):
                torch.cuda.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
