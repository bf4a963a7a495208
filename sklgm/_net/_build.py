"""A net from the settings of an estimator."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from skorch.callbacks import EarlyStopping, PassthroughScoring
from skorch.helper import predefined_split
from torch import nn

from sklgm._net._accelerated import AcceleratedNet, check_accelerator
from sklgm._net._augment import Augmentation
from sklgm._net._batches import BatchDataset
from sklgm._net._callbacks import ValidationAccuracy, has_schedule, make_schedule
from sklgm._net._loaders import (
    inference_batch_size,
    ordered_loader,
    train_loader,
)
from sklgm._net._loss_net import LossNet
from sklgm.nn import FeatureNetwork

# Optimisers that update a parameter in one pass, a tenth of a small network's step.
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_NOT_FUSED = {"optimizer__foreach", "optimizer__differentiable"}
_PRINT_LOG = "callbacks__print_log"
# What a schedule changes in a group of parameters.
_SCHEDULED = ("lr", "momentum", "betas")


def build_net(
    network: FeatureNetwork,
    criterion: nn.Module,
    *,
    optimizer: type[torch.optim.Optimizer],
    lr: float,
    lr_schedule: str,
    n_rows: int,
    instance_shape: Sequence[int],
    max_epochs: int,
    n_before: int,
    n_total: int,
    batch_size: int,
    device: torch.device,
    verbose: int,
    callbacks: Sequence[Any],
    patience: int | None,
    valid_dataset: BatchDataset | None,
    generator: torch.Generator,
    augmentation: Augmentation | None,
    accelerator: Any,
    nested: Mapping[str, Any],
) -> LossNet:
    """Build and initialise a skorch net around a network.

    Parameters
    ----------
    network : FeatureNetwork
        The network to train; used as it is, not copied.
    criterion : nn.Module
        :class:`LGMCriterion` or :class:`SoftmaxCriterion`.
    optimizer : type of torch.optim.Optimizer
        Its class; constructed with ``lr`` and the nested ``optimizer__*``.
    lr : float > 0
        Learning rate.
    lr_schedule : {"one_cycle", "triangle", "step", "constant"}
        See :func:`make_schedule`; a schedule among ``callbacks`` takes its place.
    n_rows : int
        Rows that the net will be trained on.
    instance_shape : sequence of int
        Shape of one row.
    max_epochs : int >= 0
        Number of epochs.
    n_before, n_total : int >= 0
        Epochs trained before by another net, and of the whole training.
    batch_size : int >= 1 or -1
        Rows per batch; -1 takes all rows at once.
    device : torch.device
        Where to train.
    verbose : int >= 0
        0 prints nothing, 1 one line per epoch.
    callbacks : sequence of skorch callbacks
        The user's come last; each is deep-copied, never mutated.
    patience : int or None
        Epochs without a lower validation loss before training ends.
    valid_dataset : BatchDataset or None
        Validation rows.
    generator : torch.Generator
        Source of the shuffling.
    augmentation : callable or None
        Changes the instances of training batches; see :func:`make_augmentation`.
    accelerator : accelerate.Accelerator or None
        Processes that train the net together, each on its device.
    nested : mapping of str to object
        skorch's nested parameters, such as ``optimizer__weight_decay``.

    Returns
    -------
    LossNet
        Initialised, not trained.
    """
    own: list[tuple[str, Any]] = [
        ("valid_acc_batch", ValidationAccuracy()),
        ("valid_acc", PassthroughScoring("valid_acc", lower_is_better=False)),
    ]
    if patience is not None:
        own.append(("early_stopping", EarlyStopping(patience=patience, load_best=True)))
    if max_epochs > 0 and not has_schedule(callbacks):
        schedule = make_schedule(
            lr_schedule,
            optimizer,
            n_steps=1 if batch_size < 0 else -(-n_rows // batch_size),
            n_epochs=max_epochs,
            n_before=n_before,
            n_total=n_total,
        )
        if schedule is not None:
            own.append(("lr_schedule", schedule))
    settings: dict[str, Any] = {
        "iterator_train": train_loader,
        "iterator_train__generator": generator,
        "iterator_train__device": device,
        "iterator_valid": ordered_loader,
        "iterator_valid__batch_size": inference_batch_size(instance_shape, device),
        "iterator_valid__device": device,
        **nested,
    }
    if verbose == 0 and not any(name.startswith(_PRINT_LOG) for name in nested):
        settings[_PRINT_LOG] = None  # it formats a table that nobody sees
    # The order of validation rows changes nothing, and skorch would warn of it.
    settings.pop("iterator_valid__shuffle", None)
    if optimizer in _FUSED and not _NOT_FUSED & set(nested):
        settings.setdefault("optimizer__fused", True)
    kind: type[LossNet] = LossNet
    if accelerator is not None:
        check_accelerator(accelerator, batch_size, n_rows)
        kind = AcceleratedNet
        settings["iterator_train__n_processes"] = accelerator.num_processes
        settings["iterator_train__process_index"] = accelerator.process_index
        verbose = verbose if accelerator.is_main_process else 0
    net = kind(
        network,
        criterion,
        optimizer=optimizer,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        device=str(device),
        verbose=verbose,
        callbacks=own + copy.deepcopy(list(callbacks)),
        train_split=None if valid_dataset is None else predefined_split(valid_dataset),
        **settings,
    )
    net.augmentation = augmentation
    net.n_before, net.n_total = n_before, n_total
    net.initialize()
    if isinstance(net, AcceleratedNet):
        net.share_with(accelerator)
    net.constant_rates = [
        {name: group[name] for name in _SCHEDULED if name in group}
        for group in net.optimizer_.param_groups
    ]
    return net
