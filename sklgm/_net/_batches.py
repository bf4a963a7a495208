"""Batches of rows: the data set, its sampler and its loader."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from sklgm._inputs import Instances

Batch = tuple[dict[str, Tensor], Tensor]

# Rows that batch normalisation needs of a batch, in each process.
MIN_ROWS = 2

# Bytes of rows that are gathered at once on their way to a device.
_BYTES_PER_COPY = 2**26

_NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


class BatchDataset(Dataset[Batch]):
    """Instances with labels and weights, cast to tensors a batch at a time.

    Parameters
    ----------
    X : ndarray of shape (n_instances, *input_shape) or StreamedInstances
        Instances of any numeric type; may be read-only or memory-mapped, since a
        batch is a copy.
    y_encoded : ndarray of shape (n_instances,) or None
        Class indices; None stands for zeros (prediction).
    sample_weight : ndarray of shape (n_instances,) or None
        Weights >= 0; None stands for ones.
    dtype : torch.dtype
        Type of the batches.
    rows : ndarray of shape (n_samples,) or None, default=None
        The instances of this data set, by index: nothing is copied but batches.
        None: all.
    are_outputs : bool, default=False
        Whether X is what a frozen backbone made of the instances.

    Attributes
    ----------
    is_kept : Tensor of bool of shape (n_samples,)
        Rows that enter the loss; :meth:`keep` sets it.
    key : {"X", "output"}
        Name of the instances, or of their outputs, in batches.
    """

    def __init__(
        self,
        X: Instances,
        y_encoded: NDArray[np.int64] | None,
        sample_weight: NDArray[np.float64] | None,
        dtype: torch.dtype,
        rows: NDArray[np.int64] | None = None,
        *,
        are_outputs: bool = False,
    ) -> None:
        self.X = X
        self.key = "output" if are_outputs else "X"
        self.rows = np.arange(len(X)) if rows is None else rows
        n_samples = len(self.rows)
        self.y_encoded = (
            np.zeros(n_samples, dtype=np.int64)
            if y_encoded is None
            else y_encoded[self.rows]
        )
        self.sample_weight = (
            np.ones(n_samples) if sample_weight is None else sample_weight[self.rows]
        )
        self.is_kept = torch.ones(n_samples, dtype=torch.bool)
        self.dtype = dtype
        self._resident: dict[torch.device, Tensor] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Let only some rows enter the loss, shape (n_samples,)."""
        # Shared, so that worker processes that outlive an epoch see it change.
        self.is_kept.share_memory_()  # type: ignore[no-untyped-call]
        self.is_kept.copy_(torch.from_numpy(is_kept))

    def is_resident(self, device: torch.device) -> bool:
        """Whether its instances were copied to a device."""
        return device in self._resident

    def resident(self, instances: Tensor, device: torch.device) -> Tensor:
        """Copy the instances of this data set to a device, once.

        Parameters
        ----------
        instances : Tensor of shape (n_instances, *input_shape)
            View of ``X``.
        device : torch.device
            Where batches are to be cut.

        Returns
        -------
        Tensor of shape (n_samples, *input_shape)
            In the order of ``rows``, of the type of X; kept for the next epoch.
        """
        if device not in self._resident:
            rows = torch.from_numpy(self.rows)
            shape = (len(rows), *instances.shape[1:])
            copied = torch.empty(shape, dtype=instances.dtype, device=device)
            n_rows = max(_BYTES_PER_COPY // max(instances[:1].nbytes, 1), 1)
            for start in range(0, len(rows), n_rows):
                part = slice(start, start + n_rows)
                copied[part] = instances.index_select(0, rows[part])
            self._resident[device] = copied
        return self._resident[device]

    def class_count(self, n_classes: int) -> NDArray[np.float64]:
        """Sum the weights of each class, shape (n_classes,)."""
        count: NDArray[np.float64] = np.bincount(
            self.y_encoded, weights=self.sample_weight, minlength=n_classes
        ).astype(np.float64)
        return count

    def sample(self, share: float, n_rows: int) -> "BatchDataset":
        """Draw rows of every class at random, always the same.

        Parameters
        ----------
        share : float in (0, 1]
            Share of the rows of each class.
        n_rows : int >= 1
            Rows of each class that are drawn at least, where it has so many.

        Returns
        -------
        BatchDataset
            One of m rows of each class, in their order; nothing is copied but labels
            and weights.
        """
        order = np.random.RandomState(0).permutation(len(self))
        order = order[np.argsort(self.y_encoded[order], kind="stable")]
        counts = np.bincount(self.y_encoded)
        counts = counts[counts > 0]
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        steps = np.maximum(1, np.minimum(int(1.0 / share), counts // n_rows))
        chosen = np.sort(order[rank % np.repeat(steps, counts) == 0])
        drawn = BatchDataset(self.X, None, None, self.dtype, self.rows[chosen])
        drawn.key = self.key
        drawn.y_encoded = self.y_encoded[chosen]
        drawn.sample_weight = self.sample_weight[chosen]
        return drawn

    def of_outputs(self, outputs: NDArray[np.floating]) -> "BatchDataset":
        """Put the outputs of a backbone in the place of the instances.

        Parameters
        ----------
        outputs : ndarray of shape (n_samples, feature_dim)
            Of the rows of this data set, in their order.

        Returns
        -------
        BatchDataset
            The same labels and weights.
        """
        of_outputs = BatchDataset(outputs, None, None, self.dtype, are_outputs=True)
        of_outputs.y_encoded = self.y_encoded
        of_outputs.sample_weight = self.sample_weight
        return of_outputs

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Rows of one batch; a whole batch at once is far faster than row by row.

        ``"rows"`` are their positions in the data set.
        """
        rows = np.asarray(indices)
        weight = self.sample_weight[rows] * self.is_kept.numpy()[rows]
        # numpy casts what torch cannot read: other byte orders, extended precision.
        # What overflows there is refused later, where logits are not finite.
        with np.errstate(over="ignore"):
            X = np.ascontiguousarray(
                self.X[self.rows[rows]], dtype=_NUMPY_DTYPES[self.dtype]
            )
        batch = {
            self.key: torch.from_numpy(X),
            "sample_weight": torch.from_numpy(weight).to(self.dtype),
            "rows": torch.from_numpy(rows),
        }
        return batch, torch.from_numpy(self.y_encoded[rows])


def keep_batch(batch: Any) -> Any:
    """Collate nothing: :class:`BatchDataset` returns whole batches."""
    return batch


class NoSingleRowSampler(BatchSampler):
    """Batches of rows in which none but an only row stands alone.

    Batch normalisation cannot be trained on a single row, so a last batch of one
    joins the batch before it. ``batch_size=1`` asks for single rows and gets them.

    Parameters
    ----------
    sampler : iterable of int
        Order of the rows; the same in all processes.
    batch_size : int >= 1
        Rows of one batch, of all processes.
    drop_last : bool
        Leave out a last batch that is not full.
    n_processes : int >= 1, default=1
        Processes that share each batch, none of them with a single row.
    process_index : int in [0, n_processes), default=0
        Which of them this is.
    """

    def __init__(
        self,
        sampler: Any,
        batch_size: int,
        drop_last: bool,
        *,
        n_processes: int = 1,
        process_index: int = 0,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.n_processes = n_processes
        self.process_index = process_index

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._joined():
            yield batch[self.process_index :: self.n_processes]

    def _joined(self) -> Iterator[list[int]]:
        n_least = min(MIN_ROWS * self.n_processes, self.batch_size)
        previous: list[int] | None = None
        for batch in super().__iter__():
            if previous is not None:
                if len(batch) < n_least:
                    batch = previous + batch
                else:
                    yield previous
            previous = batch
        if previous is not None:
            yield previous
