"""Training that goes on where it was cut off, to the same bits."""

import time
from collections import Counter
from typing import Any

import torch
from skorch.callbacks import Callback

from sklgm._net._batches import BatchDataset
from sklgm._net._loss_net import LossNet
from sklgm._net._state import net_state, restore_net
from sklgm._running import Checkpoints

# Epochs of a small network take milliseconds, and a file is written to the disk.
_SECONDS_BETWEEN = 2.0


class TrainingCheckpoint(Callback):
    """Keep the state of a training after its epochs, and begin from what was kept.

    It comes after all other callbacks, whose state it keeps too.

    Parameters
    ----------
    checkpoints : Checkpoints
        Where the state is kept.
    phase : str
        Name of the training, of several of one fit.
    """

    def __init__(self, checkpoints: Checkpoints, phase: str) -> None:
        self.checkpoints = checkpoints
        self.phase = phase

    def on_train_begin(
        self, net: LossNet, X: BatchDataset | None = None, **kwargs: Any
    ) -> None:
        """Restore what an interrupted training has reached."""
        assert X is not None
        self.written_ = time.monotonic()
        is_found, state = self.checkpoints.get(self.phase)
        if not is_found:
            return
        net.module_.load_state_dict(state["net"]["weights"])
        restore_net(net, state["net"], keeps_split=True)
        for name, callback in net.callbacks_:
            _restore_callback(callback, state["callbacks"].get(name, {}))
        X.keep(state["is_kept"].numpy())
        net.n_resumed = len(net.history)
        torch.default_generator.set_state(state["random_state"])
        if state["cuda_random_state"] is not None:
            torch.cuda.set_rng_state(state["cuda_random_state"], net.device)

    def on_epoch_end(
        self, net: LossNet, dataset_train: BatchDataset | None = None, **kwargs: Any
    ) -> None:
        """Keep where training is; the last epoch always."""
        assert dataset_train is not None
        is_last = len(net.history) >= net.max_epochs
        if not is_last and time.monotonic() - self.written_ < _SECONDS_BETWEEN:
            return
        state = {
            "net": net_state(net),
            "callbacks": {
                name: _callback_state(callback)
                for name, callback in net.callbacks_
                if callback is not self
            },
            "is_kept": dataset_train.is_kept,
            "random_state": torch.default_generator.get_state(),
            "cuda_random_state": torch.cuda.get_rng_state(net.device)
            if torch.device(net.device).type == "cuda"
            else None,
        }
        self.checkpoints.put(self.phase, state)
        self.written_ = time.monotonic()


def _callback_state(callback: Any) -> dict[str, Any]:
    """Collect the attributes of a callback whose names end in an underscore."""
    state = {}
    for name, value in vars(callback).items():
        if name.endswith("_") and name != "policy_":
            has_state = hasattr(value, "state_dict")
            state[name] = value.state_dict() if has_state else value
    return state


def _restore_callback(callback: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        present: Any = getattr(callback, name, None)
        if hasattr(present, "load_state_dict"):
            counters = {k for k, v in vars(present).items() if isinstance(v, Counter)}
            present.load_state_dict(
                {k: Counter(v) if k in counters else v for k, v in value.items()}
            )
        else:
            setattr(callback, name, value)
