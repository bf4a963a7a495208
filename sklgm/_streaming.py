"""Instances that come from a torch ``Dataset``, a batch at a time."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset


class StreamedInstances:
    """A map-style ``Dataset`` that is indexed like an array, and never held whole.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Map-style, with a length. Its items are instances (tensors or arrays of one
        shape), or tuples of an instance and its label.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, *input_shape)``, as its first item has it.

    Raises
    ------
    TypeError
        If the data set has no length, or items are not tensors or arrays.
    ValueError
        If it is empty.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise TypeError(
                "X must be a map-style Dataset with a length, got "
                f"{type(dataset).__name__}: rows are shuffled and split by index"
            )
        if len(dataset) == 0:
            raise ValueError(
                f"X holds 0 samples: the {type(dataset).__name__} is empty"
            )
        self.dataset = dataset
        self._labels: dict[int, Any] = {}
        self._item_shape: tuple[int, ...] | None = None
        self._item_shape = self._instance(0).shape
        self.shape: tuple[int, ...] = (len(dataset), *self._item_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Instances (n_rows, *input_shape), finite."""
        items = [self._instance(row) for row in rows.tolist()]
        batch = np.stack(items).reshape(len(items), *self.shape[1:])
        if not np.isfinite(batch).all():
            is_finite = np.isfinite(batch.reshape(len(batch), -1)).all(axis=1)
            raise ValueError(
                f"X holds NaN or infinity in item {rows[~is_finite][0]} of the "
                f"{type(self.dataset).__name__}"
            )
        return batch

    def fold(self, input_shape: tuple[int, ...]) -> None:
        """Give flat rows the shape of the instances that they hold.

        Parameters
        ----------
        input_shape : tuple of int
            Its product is the number of values of an item.
        """
        self.shape = (len(self), *input_shape)

    def labels(self) -> NDArray[Any]:
        """Labels of all items; those not seen yet are read, a pass over the rest.

        Returns
        -------
        ndarray of shape (n_samples,)
            The second element of each item.

        Raises
        ------
        ValueError
            If items are instances alone.
        """
        # Random augmentation of the items must not move the caller's generator.
        with torch.random.fork_rng(devices=[]):
            for row in range(len(self)):
                if row not in self._labels:
                    self._instance(row)
                if row not in self._labels:
                    raise ValueError(
                        f"y=None, but item {row} of the "
                        f"{type(self.dataset).__name__} is no (instance, label) "
                        "tuple: give y"
                    )
        return np.array([self._labels[row] for row in range(len(self))])

    def _instance(self, row: int) -> NDArray[Any]:
        item = self.dataset[row]
        if isinstance(item, tuple | list) and len(item) > 0:
            if len(item) > 1:
                label = item[1]
                self._labels[row] = label.item() if isinstance(label, Tensor) else label
            item = item[0]
        if isinstance(item, Tensor):
            item = item.detach().cpu().numpy()
        if not isinstance(item, np.ndarray) or item.dtype.kind not in "biuf":
            raise TypeError(
                f"items of X must be tensors or arrays of numbers, but item {row} of "
                f"the {type(self.dataset).__name__} is a {type(item).__name__}; add a "
                "transform such as torchvision's ToTensor"
            )
        if self._item_shape not in (None, item.shape):
            raise ValueError(
                f"X holds instances of several shapes: {self._item_shape} in item 0, "
                f"{item.shape} in item {row} of the {type(self.dataset).__name__}"
            )
        return item
