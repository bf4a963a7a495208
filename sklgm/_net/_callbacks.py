"""Callbacks of training, and schedules of the learning rate."""

from collections.abc import Sequence
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor

from sklgm._net._batches import Batch, BatchDataset
from sklgm._net._class_gaussians import set_trimmed_gaussians
from sklgm.gaussian import Trim


class MarginGrowth(Callback):
    """Let the margin grow linearly from 0 over the first epochs.

    Parameters
    ----------
    margin : float >= 0
        Final margin.
    n_epochs : float >= 0
        Length of the growth; 0 sets the final margin at once.
    """

    def __init__(self, margin: float, n_epochs: float) -> None:
        self.margin = margin
        self.n_epochs = n_epochs

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set this epoch's margin; epochs are counted over all trainings of a net."""
        n_before = len(net.history) - 1
        share = min(1.0, n_before / self.n_epochs) if self.n_epochs > 0 else 1.0
        net.criterion_.margin = self.margin * share


class TrimmedGaussians(Callback):
    """Estimate the class Gaussians from the best-fitting rows at each epoch's start.

    Rows left out have weight 0 in the epoch's loss.

    Parameters
    ----------
    trim : float in (0, 0.5) or "auto"
        Share of each class that is left out.
    variance : float > 0
        See :func:`sklgm.gaussian.estimate_gaussians`.
    """

    def __init__(self, trim: Trim, variance: float) -> None:
        self.trim = trim
        self.variance = variance

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: BatchDataset, **kwargs: Any
    ) -> None:
        """Estimate again and set the rows' weights."""
        dataset_train.keep(
            set_trimmed_gaussians(
                net, dataset_train, trim=self.trim, variance=self.variance
            )
        )


class ValidationAccuracy(Callback):
    """Record the share of correct rows of every validation batch."""

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Batch,
        training: bool,
        y_pred: tuple[Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record ``valid_acc`` of the batch."""
        if not training and y_pred is not None:
            hits = y_pred[0].argmax(dim=1).cpu() == batch[1]
            net.history.record_batch("valid_acc", float(hits.double().mean()))


def one_cycle(
    max_lr: float | Sequence[float], n_rows: int, batch_size: int, n_epochs: int
) -> Callback:
    """Learning-rate schedule: up to ``max_lr``, then down to zero, a step a batch.

    Parameters
    ----------
    max_lr : float > 0, or sequence of them
        Highest learning rate; one for each group of ``optimizer__param_groups`` and
        one, the last, for all other parameters.
    n_rows : int
        Training rows.
    batch_size : int
        Rows a batch.
    n_epochs : int
        Epochs of the whole training.

    Returns
    -------
    skorch.callbacks.Callback
        For the ``callbacks`` of a classifier.

    References
    ----------
    L. N. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural
    Networks Using Large Learning Rates", 2017.
    """
    return LRScheduler(
        policy=torch.optim.lr_scheduler.OneCycleLR,
        step_every="batch",
        max_lr=max_lr,
        total_steps=max(1, n_epochs * -(-n_rows // batch_size)) + 1,
    )


def step_decay(n_epochs: int) -> Callback:
    """Learning-rate schedule: a tenth of the rate after ``n_epochs``.

    Parameters
    ----------
    n_epochs : int
        Epochs at the full rate.

    Returns
    -------
    skorch.callbacks.Callback
        For the ``callbacks`` of a classifier.
    """
    return LRScheduler(
        policy=torch.optim.lr_scheduler.MultiStepLR, milestones=[n_epochs], gamma=0.1
    )
