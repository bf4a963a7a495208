"""What a trained net is, as plain values and tensors, and a net made of these again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from skorch.history import History

from sklgm._net._loss_net import LossNet, stops_early


def net_state(net: LossNet) -> dict[str, Any]:
    """Collect what training made of a net.

    Parameters
    ----------
    net : LossNet
        A trained net.

    Returns
    -------
    dict
        Weights, the state of the optimiser and of the shuffling, and the history, as
        plain values and tensors.
    """
    network = net.module_
    generator = net.get_params(deep=False).get("iterator_train__generator")
    return {
        "weights": dict(network.state_dict()),
        "covariance_type": getattr(network.head, "covariance_type", None),
        "normalize_features": network.normalize_features,
        "freeze_backbone": network.freeze_backbone,
        "autocast": network.autocast,
        "test_time_flip": network.test_time_flip,
        "optimizer": net.optimizer_.state_dict(),
        "param_groups": vars(net).get("optimizer__param_groups", []),
        "constant_rates": net.constant_rates,
        "generator": None if generator is None else generator.get_state(),
        "history": _epochs(net.history),
        "was_interrupted": net.was_interrupted,
        "stops_early": stops_early(net),
    }


def restore_net(
    net: LossNet, state: Mapping[str, Any], *, keeps_split: bool = False
) -> None:
    """Bring a new net to where another one was, but for its weights.

    Parameters
    ----------
    net : LossNet
        Initialised, with a network of the same weights; not trained.
    state : mapping
        As :func:`net_state` gave it.
    keeps_split : bool, default=False
        Whether its validation rows stay.
    """
    net.optimizer_.load_state_dict(state["optimizer"])
    _lay_out(net.optimizer_)
    net.constant_rates = state["constant_rates"]
    if state["generator"] is not None:
        net.get_params(deep=False)["iterator_train__generator"].set_state(
            state["generator"]
        )
    net.history_ = _history(state["history"])
    net.was_interrupted = state["was_interrupted"]
    if not keeps_split:
        net.train_split = None


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Bring what an optimiser keeps of a parameter to the order of its values.

    A file holds them row by row, but weights of convolutions have channels last, and
    the fused optimisers go through memory.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _epochs(history: History) -> list[dict[str, Any]]:
    """Epochs of a history, the records of their batches as columns.

    A long training has a million of them: as rows they would be most of the file.
    """
    epochs = []
    for epoch in history.to_list():
        batches = epoch["batches"]
        names = list(dict.fromkeys(name for batch in batches for name in batch))
        columns = []
        for name in names:
            held = [i for i, batch in enumerate(batches) if name in batch]
            values = [batches[i][name] for i in held]
            kinds = {type(value) for value in values}
            is_plain = len(kinds) == 1 and kinds <= {int, float}
            columns.append(
                (name, np.array(held), np.array(values) if is_plain else values)
            )
        epochs.append({**epoch, "batches": (len(batches), columns)})
    return epochs


def _history(epochs: Sequence[Mapping[str, Any]]) -> History:
    made: Any = History()
    for epoch in epochs:
        n_batches, columns = epoch["batches"]
        batches: list[dict[str, Any]] = [{} for _ in range(n_batches)]
        for name, held, values in columns:
            plain = values.tolist() if isinstance(values, np.ndarray) else values
            for i, value in zip(held.tolist(), plain, strict=True):
                batches[i][name] = value
        made.append({**epoch, "batches": batches})
    return made


def weights_of(state: Mapping[str, Any], part: str) -> dict[str, torch.Tensor]:
    """Weights of a part of the network.

    Parameters
    ----------
    state : mapping
        As :func:`net_state` gave it.
    part : {"backbone", "head"}
        Which part.

    Returns
    -------
    dict of str to Tensor
        Its ``state_dict``.
    """
    before = f"{part}."
    weights: Mapping[str, torch.Tensor] = state["weights"]
    return {
        name.removeprefix(before): tensor
        for name, tensor in weights.items()
        if name.startswith(before)
    }
