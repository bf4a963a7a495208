"""Loaders of batches: slices of a tensor where rows are an array."""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from sklgm._inputs import Instances
from sklgm._net._batches import (
    MIN_ROWS,
    Batch,
    BatchDataset,
    NoSingleRowSampler,
    keep_batch,
)
from sklgm._net._placement import (
    Placement,
    choose_placement,
    gathered,
    prefetched,
)

Batches = Iterable[Batch]

_CPU = torch.device("cpu")
# Values passed at once where nothing is trained, and the limits of the rows.
_VALUES_ON_CPU, _VALUES = 2**19, 2**23
_MOST_ROWS, _LEAST_ROWS = 512, 16


def shared_tensor(X: Instances) -> Tensor | None:
    """View instances as a tensor that shares their memory.

    Parameters
    ----------
    X : ndarray of shape (n_instances, *input_shape) or StreamedInstances
        Instances of any numeric type; may be read-only or memory-mapped.

    Returns
    -------
    Tensor of shape (n_instances, *input_shape) or None
        None for a stream, and where torch has no such type or strides.
    """
    if not isinstance(X, np.ndarray):
        return None
    try:
        with warnings.catch_warnings():
            # The view is only read, so that a read-only array may be shared.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(X)
    except (TypeError, ValueError):  # byte order, extended precision; negative strides
        return None


class SlicedBatches:
    """Batches of rows of an array: what a ``DataLoader`` gives, without its overhead.

    They are copies, cast to the type of the data set if the array has another. Nothing
    of the size of the data set is made but the order of its rows, labels and weights.

    Parameters
    ----------
    dataset : BatchDataset
        Rows of an array.
    instances : Tensor of shape (n_instances, *input_shape)
        All instances, as :func:`shared_tensor` views them.
    batch_size : int >= 1
        Rows per batch.
    generator : torch.Generator or None, default=None
        Source of the order of the rows; None leaves them in theirs.
    drop_last : bool, default=False
        Leave out a last batch that is not full.
    joins_single_row : bool, default=False
        Let a last batch of one row join the batch before it, as
        :class:`NoSingleRowSampler` does.
    n_processes, process_index : int, default=1, 0
        Processes that share each batch, and which of them this is.
    device : torch.device, default=torch.device("cpu")
        Where the network is; on a GPU batches arrive there.
    is_read_again : bool, default=True
        Whether there are several epochs; see :func:`choose_placement`.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        instances: Tensor,
        *,
        batch_size: int,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
        joins_single_row: bool = False,
        n_processes: int = 1,
        process_index: int = 0,
        device: torch.device = _CPU,
        is_read_again: bool = True,
    ) -> None:
        self.dataset = dataset
        self.instances = instances
        self.batch_size = batch_size
        self.generator = generator
        self.drop_last = drop_last
        self.joins_single_row = joins_single_row
        self.n_processes = n_processes
        self.process_index = process_index
        self.device = device
        self.is_read_again = is_read_again
        self._placement: Placement | None = None

    @property
    def placement(self) -> Placement:
        """Where batches are cut: chosen when it is first asked for.

        By then other data sets of the same training have taken what they take.
        """
        if self._placement is None:
            n_bytes = len(self.dataset) * self.instances[:1].nbytes
            self._placement = (
                "resident"
                if self.dataset.is_resident(self.device)
                else choose_placement(
                    n_bytes, self.device, is_read_again=self.is_read_again
                )
            )
        return self._placement

    def _placed(self) -> Tensor:
        """Give instances, on the GPU where they are resident and it has room."""
        if self.placement == "resident":
            try:
                return self.dataset.resident(self.instances, self.device)
            except torch.cuda.OutOfMemoryError:
                self._placement = "prefetched"
        return self.instances

    def __iter__(self) -> Iterator[Batch]:
        """Batches of one epoch."""
        if self.generator is not None:
            # As a DataLoader does: dropout must not depend on where the rows are.
            torch.empty((), dtype=torch.int64).random_()
        n_samples, dtype = len(self.dataset), self.dataset.dtype
        order = torch.arange(n_samples)
        if self.generator is not None:
            order = torch.randperm(n_samples, generator=self.generator)
        instances = self._placed()
        rows, y_encoded, weight = self._of_epoch(order)
        bounds = self._bounds(n_samples)
        is_pinned = self.placement == "prefetched"

        def make(number: int) -> Batch:
            start, stop = bounds[number]
            own = slice(start + self.process_index, stop, self.n_processes)
            X = gathered(instances, rows[own], dtype, is_pinned=is_pinned)
            if is_pinned:
                X = X.to(self.device, non_blocking=True).to(dtype)
            batch = {self.dataset.key: X, "rows": order[own]}
            if weight is not None:
                batch["sample_weight"] = weight[own]
            return batch, y_encoded[own]

        numbers = range(len(bounds))
        if is_pinned:
            yield from prefetched(make, numbers, self.device)
        else:
            yield from map(make, numbers)
        if self.generator is not None:  # a RandomSampler ends with a second draw
            torch.randperm(n_samples, generator=self.generator)

    def _of_epoch(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows, labels and weights of this epoch, (n_samples,), where they are used."""
        is_resident = self.placement == "resident"
        rows = torch.from_numpy(self.dataset.rows)
        if is_resident:  # only these rows were copied
            rows = torch.arange(len(rows))
        y_encoded, weight = torch.from_numpy(self.dataset.y_encoded), self._weight()
        if self.generator is not None:
            rows, y_encoded = rows[order], y_encoded[order]
            weight = None if weight is None else weight[order]
        if self.placement != "host":
            y_encoded = y_encoded.to(self.device)
            weight = None if weight is None else weight.to(self.device)
        return rows.to(self.device) if is_resident else rows, y_encoded, weight

    def _weight(self) -> Tensor | None:
        """Weights of this epoch (n_samples,); None if all are 1."""
        weight = torch.from_numpy(self.dataset.sample_weight) * self.dataset.is_kept
        return None if bool((weight == 1.0).all()) else weight.to(self.dataset.dtype)

    def _bounds(self, n_samples: int) -> list[tuple[int, int]]:
        """First row of each batch and the one after its last."""
        starts = list(range(0, n_samples, self.batch_size))
        n_last = n_samples - starts[-1]
        if self.drop_last and n_last < self.batch_size:
            starts, n_samples = starts[:-1], starts[-1]
        elif self.joins_single_row and len(starts) > 1:
            n_least = min(MIN_ROWS * self.n_processes, self.batch_size)
            starts = starts[:-1] if n_last < n_least else starts
        return list(zip(starts, [*starts[1:], n_samples], strict=True))


def train_loader(
    dataset: BatchDataset,
    *,
    batch_size: int,
    generator: torch.Generator,
    shuffle: bool = True,
    drop_last: bool = False,
    n_processes: int = 1,
    process_index: int = 0,
    device: torch.device = _CPU,
    **kwargs: Any,
) -> Batches:
    """Training batches; ``iterator_train__*`` are the arguments.

    Parameters
    ----------
    dataset : BatchDataset
        Training rows.
    batch_size : int >= 1
        Rows per batch; a last batch of one row joins the batch before it.
    generator : torch.Generator
        Source of the shuffling.
    shuffle : bool, default=True
        Draw an order of the rows for each epoch.
    drop_last : bool, default=False
        Leave out a last batch that is not full.
    n_processes : int >= 1, default=1
        Processes that share each batch.
    process_index : int in [0, n_processes), default=0
        Which of them this is.
    device : torch.device, default=torch.device("cpu")
        Where the network is; see :class:`SlicedBatches`.
    **kwargs : dict
        Of ``torch.utils.data.DataLoader``, which is used if there are any.

    Returns
    -------
    iterable of batches
        The same batches, whether by slices of an array or by a ``DataLoader``.

    Raises
    ------
    ValueError
        If ``drop_last`` leaves no batch.
    """
    if drop_last and len(dataset) < batch_size:
        raise ValueError(
            "iterator_train__drop_last=True leaves no batch to train on: there are "
            f"{len(dataset)} rows and batch_size={batch_size}; lower batch_size, or "
            "set it to False"
        )
    instances = None if kwargs else shared_tensor(dataset.X)
    if instances is not None:
        return SlicedBatches(
            dataset,
            instances,
            batch_size=batch_size,
            generator=generator if shuffle else None,
            drop_last=drop_last,
            joins_single_row=True,
            n_processes=n_processes,
            process_index=process_index,
            device=device,
        )
    rows: Sampler[int] = (
        RandomSampler(dataset, generator=generator)
        if shuffle
        else SequentialSampler(dataset)
    )
    batches = NoSingleRowSampler(
        rows,
        batch_size,
        drop_last,
        n_processes=n_processes,
        process_index=process_index,
    )
    return DataLoader(dataset, batch_sampler=batches, collate_fn=keep_batch, **kwargs)


def inference_batch_size(instance_shape: Sequence[int], device: torch.device) -> int:
    """Rows passed at once where nothing is trained.

    Parameters
    ----------
    instance_shape : sequence of int
        Shape of one instance.
    device : torch.device
        Where to compute.

    Returns
    -------
    int
        From 16 to 512: fewer of large images, whose activations would fill the memory,
        and on the CPU not more than its caches serve well. Numbers change by rounding
        only.
    """
    n_values = _VALUES_ON_CPU if device.type == "cpu" else _VALUES
    n_rows = n_values // max(1, math.prod(instance_shape))
    return min(_MOST_ROWS, max(_LEAST_ROWS, n_rows))


def ordered_loader(
    dataset: BatchDataset,
    *,
    batch_size: int,
    device: torch.device = _CPU,
    is_read_again: bool = True,
    **kwargs: Any,
) -> Batches:
    """Batches in the order of the rows; ``iterator_valid__*`` are the arguments.

    Parameters
    ----------
    dataset : BatchDataset
        Rows to pass through a net.
    batch_size : int >= 1
        Rows per batch.
    device : torch.device, default=torch.device("cpu")
        Where the network is; see :class:`SlicedBatches`.
    is_read_again : bool, default=True
        Whether there are several epochs.
    **kwargs : dict
        Of ``torch.utils.data.DataLoader``, which is used if there are any.

    Returns
    -------
    iterable of batches
        The same batches, whether by slices of an array or by a ``DataLoader``.
    """
    instances = None if kwargs else shared_tensor(dataset.X)
    if instances is not None:
        return SlicedBatches(
            dataset,
            instances,
            batch_size=batch_size,
            device=device,
            is_read_again=is_read_again,
        )
    # Of its own: a DataLoader would draw a seed from torch's global one.
    generator = torch.Generator().manual_seed(0)
    settings = {"collate_fn": keep_batch, "generator": generator, **kwargs}
    return DataLoader(dataset, batch_size=batch_size, **settings)
