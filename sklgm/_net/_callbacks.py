"""Callbacks of training, and schedules of the learning rate."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from torch import Tensor

from sklgm._net._batches import Batch


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
            hits = y_pred[0].argmax(dim=1).cpu() == batch[1].cpu()
            net.history.record_batch("valid_acc", float(hits.double().mean()))


class OneCycle(LRScheduler):
    """torch's ``OneCycleLR``, each group of parameters about its own rate.

    References
    ----------
    L. N. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural
    Networks Using Large Learning Rates", 2017.
    """

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Read the highest rate of each group off the optimiser."""
        self.max_lr = [group["lr"] for group in net.optimizer_.param_groups]
        super().on_train_begin(net, **kwargs)


class Triangle:
    """Factor of the learning rate: linearly up, then linearly down to 0.

    Parameters
    ----------
    n_before : int >= 0
        Steps that other nets of the same training took before.
    n_total : int >= 1
        Steps of the whole training.

    References
    ----------
    K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (there it ends
    at 0.07).
    """

    start, peak = 0.2, 0.23

    def __init__(self, n_before: int, n_total: int) -> None:
        self.n_before = n_before
        self.n_total = n_total

    def __call__(self, step: int) -> float:
        """Factor of a step, counted from 0 in the net at hand."""
        share = min(1.0, (self.n_before + step) / self.n_total)
        if share < self.peak:
            return self.start + (1.0 - self.start) * share / self.peak
        return (1.0 - share) / (1.0 - self.peak)


def make_schedule(
    kind: str,
    optimizer: type[torch.optim.Optimizer],
    *,
    n_steps: int,
    n_epochs: int,
    n_before: int,
    n_total: int,
) -> Callback | None:
    """Make a schedule of the learning rate.

    Parameters
    ----------
    kind : {"one_cycle", "triangle", "step", "constant"}
        ``"one_cycle"``: up to the rate and down to zero, a step per batch;
        ``"triangle"``: the same by straight lines, once over the whole training;
        ``"step"``: a tenth of the rate in the last quarter of the epochs.
    optimizer : type of torch.optim.Optimizer
        The optimiser; one without momentum has none to cycle.
    n_steps : int >= 1
        Steps per epoch.
    n_epochs : int >= 1
        Epochs of this net.
    n_before : int >= 0
        Epochs that were trained before it, by another loss.
    n_total : int >= n_before + n_epochs
        Epochs of the whole training.

    Returns
    -------
    skorch.callbacks.Callback or None
        None leaves the rate as it is.
    """
    if kind == "one_cycle":
        names = inspect.signature(optimizer).parameters
        has_momentum = bool({"betas", "momentum"} & set(names))
        return OneCycle(
            policy=torch.optim.lr_scheduler.OneCycleLR,
            step_every="batch",
            total_steps=n_epochs * n_steps + 1,
            cycle_momentum=has_momentum,
        )
    if kind == "triangle":
        return LRScheduler(
            policy=torch.optim.lr_scheduler.LambdaLR,
            step_every="batch",
            lr_lambda=Triangle(n_before * n_steps, n_total * n_steps),
        )
    if kind == "step":
        return LRScheduler(
            policy=torch.optim.lr_scheduler.MultiStepLR,
            milestones=[round(0.75 * n_epochs)],
            gamma=0.1,
        )
    return None


def has_schedule(callbacks: Sequence[Any]) -> bool:
    """Whether a schedule of the learning rate is among a user's callbacks.

    Parameters
    ----------
    callbacks : sequence of skorch callbacks
        As skorch takes them: callbacks, classes of them, or named ones.

    Returns
    -------
    bool
        True if there is an ``LRScheduler``.
    """
    plain = [c[1] if isinstance(c, tuple) else c for c in callbacks]
    return any(
        isinstance(c, LRScheduler)
        or (isinstance(c, type) and issubclass(c, LRScheduler))
        for c in plain
    )


def clipping(max_norm: float) -> Callback:
    """Make the callback that shortens long gradients.

    Parameters
    ----------
    max_norm : float > 0
        Greatest Euclidean norm of the gradient of all weights together.

    Returns
    -------
    skorch.callbacks.GradientNormClipping
        For a net.
    """
    return GradientNormClipping(max_norm)
