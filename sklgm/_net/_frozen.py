"""Passing rows through a frozen backbone, once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import ParamMapper
from torch import nn

from sklgm._net._batches import BatchDataset
from sklgm._net._loaders import inference_batch_size, ordered_loader
from sklgm._net._loss_net import INFERENCE_SETTINGS, LossNet
from sklgm._running import Progress, scratch_array
from sklgm.nn import FeatureNetwork, backbone_output


def backbone_outputs(
    backbone: nn.Module,
    dataset: BatchDataset,
    device: torch.device,
    nested: Mapping[str, Any],
    progress: Progress | None = None,
    *,
    test_time_flip: bool = False,
) -> NDArray[np.floating]:
    """Output of a backbone for every row of a data set, in evaluation mode.

    Parameters
    ----------
    backbone : nn.Module
        Put into evaluation mode, and on the device.
    dataset : BatchDataset
        The rows.
    device : torch.device
        Where to compute.
    nested : mapping of str to object
        skorch's nested parameters; of ``iterator_valid__*`` what says how rows are
        read.
    progress : callable or None, default=None
        Called with the name of the stage, rows done and rows in all.
    test_time_flip : bool, default=False
        Average over each image and its mirror image.

    Returns
    -------
    ndarray of shape (n_samples, feature_dim)
        In the order of the rows; memory-mapped where it is large.

    Raises
    ------
    ValueError
        If an output is not finite.
    """
    backbone.to(device).eval()
    settings = {
        "batch_size": inference_batch_size(dataset.X.shape[1:], device),
        **{
            name: nested[f"iterator_valid__{name}"]
            for name in INFERENCE_SETTINGS
            if f"iterator_valid__{name}" in nested
        },
    }
    filled: NDArray[np.floating] = np.empty((0, 0))
    start = 0
    # A DataLoader draws a seed from torch's global generator at each iteration.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        loader = ordered_loader(dataset, device=device, is_read_again=False, **settings)
        for batch, _ in loader:
            X = batch["X"].to(device)
            part = backbone_output(backbone, X, flips=test_time_flip).cpu().numpy()
            if start == 0:
                filled = scratch_array((len(dataset), *part.shape[1:]), part.dtype)
            is_finite = np.isfinite(part).all(axis=1)
            if not is_finite.all():
                row = int(dataset.rows[start + int(np.argmin(is_finite))])
                raise ValueError(
                    f"the frozen backbone gives features of row {row} of X that are "
                    "not finite: the row holds values too large for it, or its "
                    "weights are not numbers"
                )
            filled[start : start + len(part)] = part
            start += len(part)
            if progress is not None:
                progress("pass the frozen backbone", start, len(dataset))
    return filled


def changes_parameters(callbacks: Sequence[Any]) -> bool:
    """Whether a callback may thaw a backbone, or set its weights.

    Parameters
    ----------
    callbacks : sequence of skorch callbacks
        As skorch takes them: callbacks, classes of them, or named ones.

    Returns
    -------
    bool
        True if there is a ``ParamMapper``, such as ``Unfreezer``.
    """
    plain = [c[1] if isinstance(c, tuple) else c for c in callbacks]
    return any(
        isinstance(c, ParamMapper)
        or (isinstance(c, type) and issubclass(c, ParamMapper))
        for c in plain
    )


def with_backbone(
    net: LossNet,
    backbone: nn.Module,
    *,
    test_time_flip: bool,
) -> LossNet:
    """Put a frozen backbone before a head that was trained on its outputs.

    Parameters
    ----------
    net : LossNet
        A trained net whose backbone does nothing; not changed.
    backbone : nn.Module
        The backbone; shared, not copied.
    test_time_flip : bool
        Whether it averages over each image and its mirror image.

    Returns
    -------
    LossNet
        It shares everything with the given net but the backbone, and the optimiser,
        which starts anew: that of the net does not know the parameters of the backbone.
    """
    trained: FeatureNetwork = net.module_
    network = FeatureNetwork(
        backbone,
        trained.head,
        normalize_features=trained.normalize_features,
        freeze_backbone=True,
        autocast=trained.autocast,
        test_time_flip=test_time_flip,
    ).train(trained.training)
    joined: LossNet = object.__new__(LossNet)
    # skorch's own copy would serialise all weights.
    joined.__dict__.update({**vars(net), "module": network, "module_": network})
    joined.__dict__["optimizer__param_groups"] = []
    joined.initialize_optimizer_anew()
    return joined
