"""One training shared by several processes, by Hugging Face Accelerate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sklgm._net._batches import MIN_ROWS, Batch
from sklgm._net._loss_net import LossNet, features_of
from sklgm._running import import_extra
from sklgm.nn import FeatureNetwork

if TYPE_CHECKING:
    from accelerate import Accelerator

_KINDS = ("NO", "MULTI_CPU", "MULTI_GPU")
_PRECISIONS = ("no", "bf16")


def check_accelerator(accelerator: Accelerator, batch_size: int, n_rows: int) -> None:
    """Refuse what the processes of an accelerator cannot share.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
        The processes.
    batch_size : int >= 1 or -1
        Rows of one step, of all processes; -1 takes all rows.
    n_rows : int
        Training rows.

    Raises
    ------
    ValueError
        If it is set to do more than data parallelism, or a process would have fewer
        than two rows of a step.
    """
    kind = str(accelerator.distributed_type.value)
    if kind not in _KINDS:
        raise ValueError(
            f"accelerator must have a distributed_type of {', '.join(_KINDS)}, got "
            f"{kind}: networks are copied to each process, not divided"
        )
    precision = accelerator.mixed_precision
    if precision not in _PRECISIONS:
        raise ValueError(
            f"accelerator must have a mixed_precision of {', '.join(_PRECISIONS)}, got "
            f"{precision}: losses are not scaled"
        )
    n_steps = accelerator.gradient_accumulation_steps
    if n_steps != 1:
        raise ValueError(
            "accelerator must have gradient_accumulation_steps=1, got "
            f"{n_steps}; set batch_size to the rows of a step"
        )
    n_processes = accelerator.num_processes
    n_least = MIN_ROWS * n_processes
    n_batch = n_rows if batch_size < 0 else batch_size
    if n_processes > 1 and min(n_batch, n_rows) < n_least:
        raise ValueError(
            f"batch_size and the training rows must be at least {MIN_ROWS} for each of "
            f"the {n_processes} processes of accelerator, got {n_batch} and {n_rows}"
        )


def common_seed(accelerator: Accelerator, seed: int) -> int:
    """Take the seed of the first process in all of them.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
        The processes.
    seed : int
        Of this one.

    Returns
    -------
    int
        Of the first.
    """
    if accelerator.num_processes == 1:
        return seed
    utils = import_extra("accelerate.utils", "accelerate")
    return int(utils.broadcast_object_list([seed])[0])


class AcceleratedNet(LossNet):
    """A net that is trained by several processes, each with its share of a batch.

    All processes end with the same network, that of one process with the same batches,
    up to rounding. It is then a net like any other: nothing of the accelerator stays.

    Attributes
    ----------
    accelerator : accelerate.Accelerator or None
        The processes, until training ends.

    Notes
    -----
    skorch's ``AccelerateMixin`` is not used: it puts the wrapped module where the head
    is looked up, gathers what callbacks compute for all rows, and neither weights the
    shares of a batch by their rows nor reports the loss of all of them.
    """

    accelerator: Accelerator | None = None
    replica: Callable[[Mapping[str, Tensor]], Tensor] | None = None

    def share_with(self, accelerator: Accelerator) -> None:
        """Copy the network of the first process to all, and train it together.

        Parameters
        ----------
        accelerator : accelerate.Accelerator
            The processes.
        """
        self.accelerator = accelerator
        replica = accelerator.prepare(_Features(self.module_, accelerator.device))
        self.replica = replica.__call__  # skorch takes modules in initialize alone
        if accelerator.process_index > 0:  # other draws of dropout for other rows
            torch.manual_seed(torch.initial_seed() + accelerator.process_index)

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Compute a loss that is the same in all processes, so that all stop at once.

        Every process passes all validation rows.
        """
        step: dict[str, Any] = super().validation_step(batch, **fit_params)
        if self.accelerator is not None:
            step["loss"] = self.accelerator.reduce(step["loss"], "mean")
        return step

    def run_single_epoch(
        self, iterator: Any, training: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Pass the batches of an epoch, and let all processes end it alike."""
        super().run_single_epoch(iterator, training, *args, **kwargs)
        if training and self.accelerator is not None:
            # Running statistics are of the rows of one process.
            for value in self.module_.state_dict().values():
                if value.is_floating_point():
                    value.copy_(self.accelerator.reduce(value.clone(), "mean"))

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kw: Any) -> None:
        """Leave the processes."""
        super().on_train_end(net, X=X, y=y, **kw)
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()
            del self.accelerator, self.replica

    def _features(self, X: Mapping[str, Tensor]) -> Tensor:
        if self.replica is None or not self.module_.training:
            return super()._features(X)
        return self.replica(X)

    def gathered(self, values: Tensor) -> Tensor:
        """Join what all processes hold, shape (n_values, ...), one after the other."""
        if self.accelerator is None:
            return values
        values = values.to(self.accelerator.device)
        n_values = torch.tensor([len(values)], device=values.device)
        counts = self.accelerator.gather(n_values).tolist()
        padded = self.accelerator.pad_across_processes(values, dim=0)
        parts = self.accelerator.gather(padded).split(len(padded))
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    def _backward(self, loss: Tensor, n_rows: int) -> Tensor:
        """Average the gradients over all rows; return the mean loss of all."""
        if self.accelerator is None:
            return super()._backward(loss, n_rows)
        # Processes are averaged, and need not have as many rows.
        n_own = torch.tensor(float(n_rows), device=loss.device)
        loss = loss * (n_own / self.accelerator.reduce(n_own, "mean"))
        self.accelerator.backward(loss)
        of_all: Tensor = self.accelerator.reduce(loss.detach(), "mean")
        return of_all


class _Features(nn.Module):
    """What of a network the loss is computed from; its parameters are all of it."""

    def __init__(self, network: FeatureNetwork, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.device = device

    def forward(self, X: Mapping[str, Tensor]) -> Tensor:
        return features_of(self.network, X, self.device)
