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

    Attributes
    ----------
    is_kept : Tensor of bool of shape (n_samples,)
        Rows that enter the loss; :meth:`keep` sets it.
    """

    def __init__(
        self,
        X: Instances,
        y_encoded: NDArray[np.int64] | None,
        sample_weight: NDArray[np.float64] | None,
        dtype: torch.dtype,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.X = X
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

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Let only some rows enter the loss, shape (n_samples,)."""
        # Shared, so that worker processes that outlive an epoch see it change.
        self.is_kept.share_memory_()  # type: ignore[no-untyped-call]
        self.is_kept.copy_(torch.from_numpy(is_kept))

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
        chosen = self.positions(share, n_rows)
        drawn = BatchDataset(self.X, None, None, self.dtype, self.rows[chosen])
        drawn.y_encoded = self.y_encoded[chosen]
        drawn.sample_weight = self.sample_weight[chosen]
        return drawn

    def positions(self, share: float, n_rows: int) -> NDArray[np.int64]:
        """Find where the rows of a :meth:`sample` stand, in order."""
        order = np.random.RandomState(0).permutation(len(self))
        order = order[np.argsort(self.y_encoded[order], kind="stable")]
        counts = np.bincount(self.y_encoded)
        counts = counts[counts > 0]
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        steps = np.maximum(1, np.minimum(int(1.0 / share), counts // n_rows))
        return np.sort(order[rank % np.repeat(steps, counts) == 0])

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
            "X": torch.from_numpy(X),
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
    """

    def __iter__(self) -> Iterator[list[int]]:
        previous: list[int] | None = None
        for batch in super().__iter__():
            if previous is not None:
                if len(batch) == 1 < self.batch_size:
                    batch = previous + batch
                else:
                    yield previous
            previous = batch
        if previous is not None:
            yield previous
