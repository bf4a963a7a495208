"""Loaders of batches: slices of a tensor where rows are an array."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from sklgm._inputs import Instances
from sklgm._net._batches import Batch, BatchDataset, NoSingleRowSampler, keep_batch

Batches = Iterable[Batch]


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
    ) -> None:
        self.dataset = dataset
        self.instances = instances
        self.batch_size = batch_size
        self.generator = generator
        self.drop_last = drop_last
        self.joins_single_row = joins_single_row

    def __iter__(self) -> Iterator[Batch]:
        """Batches of one epoch."""
        if self.generator is not None:
            # As a DataLoader does: dropout must not depend on where the rows are.
            torch.empty((), dtype=torch.int64).random_()
        n_samples, dtype = len(self.dataset), self.dataset.dtype
        rows = torch.from_numpy(self.dataset.rows)
        y_encoded = torch.from_numpy(self.dataset.y_encoded)
        weight = self._weight()
        order: Tensor | None = None
        if self.generator is not None:
            order = torch.randperm(n_samples, generator=self.generator)
            rows, y_encoded = rows[order], y_encoded[order]
            weight = None if weight is None else weight[order]
        for start, stop in self._bounds(n_samples):
            X = self.instances.index_select(0, rows[start:stop])
            batch = {"X": X.to(dtype)}
            if weight is not None:
                batch["sample_weight"] = weight[start:stop]
            yield batch, y_encoded[start:stop]
        if self.generator is not None:  # a RandomSampler ends with a second draw
            torch.randperm(n_samples, generator=self.generator)

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
        elif self.joins_single_row and n_last == 1 < min(self.batch_size, n_samples):
            starts = starts[:-1]
        return list(zip(starts, [*starts[1:], n_samples], strict=True))


def train_loader(
    dataset: BatchDataset,
    *,
    batch_size: int,
    generator: torch.Generator,
    shuffle: bool = True,
    drop_last: bool = False,
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
        )
    rows: Sampler[int] = (
        RandomSampler(dataset, generator=generator)
        if shuffle
        else SequentialSampler(dataset)
    )
    batches = NoSingleRowSampler(rows, batch_size, drop_last)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=keep_batch, **kwargs)


def ordered_loader(dataset: BatchDataset, *, batch_size: int, **kwargs: Any) -> Batches:
    """Batches in the order of the rows; ``iterator_valid__*`` are the arguments.

    Parameters
    ----------
    dataset : BatchDataset
        Rows to pass through a net.
    batch_size : int >= 1
        Rows per batch.
    **kwargs : dict
        Of ``torch.utils.data.DataLoader``, which is used if there are any.

    Returns
    -------
    iterable of batches
        The same batches, whether by slices of an array or by a ``DataLoader``.
    """
    instances = None if kwargs else shared_tensor(dataset.X)
    if instances is not None:
        return SlicedBatches(dataset, instances, batch_size=batch_size)
    # Of its own: a DataLoader would draw a seed from torch's global one.
    generator = torch.Generator().manual_seed(0)
    settings = {"collate_fn": keep_batch, "generator": generator, **kwargs}
    return DataLoader(dataset, batch_size=batch_size, **settings)
