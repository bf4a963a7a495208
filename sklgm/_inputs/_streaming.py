"""Instances that come from a torch ``Dataset``, a batch at a time."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from sklgm._random import generators_kept


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
    first : ndarray of shape input_shape
        Its first item.

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
        # Random augmentation of the items must not move the caller's generator.
        with generators_kept():
            self.first = self._instance(0)
        self._item_shape = self.first.shape
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
        self.first = self.first.reshape(input_shape)

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
        with generators_kept():
            for row in range(len(self)):
                if row not in self._labels:
                    self._instance(row)
                self.check_labelled(row)
        return np.array([self._labels[row] for row in range(len(self))])

    def check_labelled(self, row: int = 0) -> None:
        """Refuse an item, which was read, that has no label.

        Parameters
        ----------
        row : int, default=0
            The item.

        Raises
        ------
        ValueError
            If it is an instance alone, or its label is None.
        """
        if self._labels.get(row) is None:
            raise ValueError(
                f"y=None, but item {row} of the {type(self.dataset).__name__} is no "
                "(instance, label) tuple: give y"
            )

    def _instance(self, row: int) -> NDArray[Any]:
        item = self.dataset[row]
        if isinstance(item, tuple | list) and len(item) > 0:
            if len(item) > 1:
                self._labels[row] = self._label(item[1], row)
            item = item[0]
        item = as_array(item)
        if not isinstance(item, np.ndarray) or item.dtype.kind not in "biuf":
            raise TypeError(
                f"items of X must be tensors or arrays of numbers, but item {row} of "
                f"the {type(self.dataset).__name__} is a {type(item).__name__}; add a "
                "transform such as torchvision's ToTensor"
            )
        if item.ndim == 0:
            raise ValueError(
                f"items of X must be rows or images, but item {row} of the "
                f"{type(self.dataset).__name__} is a single number"
            )
        if self._item_shape not in (None, item.shape):
            raise ValueError(
                f"X holds instances of several shapes: {self._item_shape} in item 0, "
                f"{item.shape} in item {row} of the {type(self.dataset).__name__}"
            )
        return item

    def _label(self, label: Any, row: int) -> Any:
        if not isinstance(label, Tensor | np.ndarray):
            return label
        if math.prod(label.shape) != 1:
            raise ValueError(
                f"labels in X must be single, but that of item {row} of the "
                f"{type(self.dataset).__name__} has shape {tuple(label.shape)}; "
                "one-hot labels become single ones by argmax"
            )
        return label.item()


def as_array(values: Any) -> Any:
    """Array of a torch tensor, wherever it lies; anything else as it is.

    Parameters
    ----------
    values : object
        What the user gave.

    Returns
    -------
    object
        An ndarray for a tensor; bfloat16, which numpy lacks, becomes float32.
    """
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
