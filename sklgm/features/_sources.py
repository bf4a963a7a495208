"""Where rows come from: arrays, image files, torch data sets."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from sklgm._inputs import ImageFiles, as_array
from sklgm.features._fingerprint import name_fingerprint, row_fingerprint

Transform = Callable[[Any], Any]


class Source(ABC):
    """Rows by their position.

    Attributes
    ----------
    is_decoded : bool
        Whether a row costs work to read, which other processes can do.
    """

    is_decoded = True

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def row(self, index: int) -> Any:
        """Read a row: an image, a tensor, or whatever the extractor takes."""

    def fingerprints(self) -> list[bytes] | None:
        """Tell each row from others; None where rows must be read for it."""
        return None


class ArraySource(Source):
    """Rows of an array; numbers become tensors, texts stay as they are."""

    is_decoded = False

    def __init__(self, rows: NDArray[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Any:
        """Copy a row."""
        row = self.rows[index]
        if self.rows.dtype.kind in "biuf":
            return torch.from_numpy(np.array(row))
        return row.item() if isinstance(row, np.generic) else row

    def fingerprints(self) -> list[bytes]:
        """Hashes of values or texts."""
        if self.rows.dtype.kind in "biuf":
            return [row_fingerprint(np.asarray(row)) for row in self.rows]
        rows = self.rows.ravel().tolist() if self.rows.ndim == 1 else [None]
        if not all(isinstance(row, str | bytes) for row in rows):
            raise ValueError(
                "cache knows rows that are numbers or texts, not an array of "
                f"{self.rows.dtype} of shape {self.rows.shape}; set cache=None"
            )
        return [name_fingerprint(row) for row in rows]


class FileSource(Source):
    """Image files, each opened as an RGB image."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def row(self, index: int) -> Any:
        """Decode an image."""
        return self.files.image(index)

    def fingerprints(self) -> list[bytes]:
        """Hashes of path, size and time of change."""
        return [name_fingerprint(self._known_by(i)) for i in range(len(self.files))]

    def _known_by(self, index: int) -> tuple[Any, ...]:
        try:
            return self.files.fingerprint(index)
        except ValueError as error:  # it will not be read, and so not kept
            return self.files[index], str(error)


class DatasetSource(Source):
    """Items of a map-style torch data set; of tuples the first element."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def row(self, index: int) -> Any:
        """Read an item."""
        item = self.dataset[index]
        if isinstance(item, tuple | list) and len(item) > 0:
            item = item[0]
        return torch.from_numpy(item) if isinstance(item, np.ndarray) else item


class Unreadable:
    """A row that cannot be read.

    Parameters
    ----------
    error : Exception
        Why.
    """

    def __init__(self, error: Exception) -> None:
        self.reason = str(error) or type(error).__name__


class Items(Dataset[Any]):
    """Rows of a source after a transform, for a ``DataLoader``.

    Parameters
    ----------
    source : Source
        The rows.
    transform : callable or None
        Applied to each.
    rows : ndarray of int of shape (n_rows,)
        Positions of those that are read.
    on_error : {"stop", "skip"}
        Whether an image that cannot be read is an error, or :class:`Unreadable`.
    """

    def __init__(
        self,
        source: Source,
        transform: Transform | None,
        rows: NDArray[np.intp],
        on_error: str,
    ) -> None:
        self.source = source
        self.transform = transform
        self.rows = rows
        self.on_error = on_error

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        position = int(self.rows[index])
        try:
            item = self.source.row(position)
        except (ValueError, OSError) as error:
            if self.on_error == "stop" or not isinstance(self.source, FileSource):
                raise
            return position, Unreadable(error)
        if self.transform is not None:
            item = self.transform(item)
        return position, _as_tensor(item)


def make_source(source: Any) -> Source:
    """Take what a user gave for rows.

    Parameters
    ----------
    source : array-like, sequence of path-like, ImageFiles or Dataset
        See :func:`sklgm.features.extract`.

    Returns
    -------
    Source
        Its rows.

    Raises
    ------
    ValueError
        If there are none.
    TypeError
        If it is none of these.
    FileNotFoundError
        If an image does not exist.
    """
    made = _made(source)
    if len(made) == 0:
        raise ValueError("source holds 0 rows")
    return made


def _made(source: Any) -> Source:
    if isinstance(source, ImageFiles):
        return FileSource(source)
    if isinstance(source, Dataset):
        if isinstance(source, IterableDataset) or not hasattr(source, "__len__"):
            raise TypeError(
                "source must be a map-style Dataset with a length, got "
                f"{type(source).__name__}"
            )
        return DatasetSource(source)
    if isinstance(source, str | os.PathLike):
        raise TypeError(
            f"source={os.fspath(source)!r} is one path: list an image folder with "
            "sklgm.datasets.list_image_folder, or give a list of paths"
        )
    is_sequence = isinstance(source, Sequence)
    if is_sequence and len(source) > 0 and isinstance(source[0], str | os.PathLike):
        for index, path in enumerate(source):
            if not os.path.isfile(path):
                raise FileNotFoundError(
                    f"source[{index}]={os.fspath(path)!r} is not a file; give texts "
                    "as a numpy array"
                )
        return FileSource(ImageFiles(source))
    rows = np.asanyarray(as_array(source))
    if rows.ndim == 0:
        raise TypeError(
            "source must be an array of rows, a list of paths, ImageFiles, or a torch "
            f"Dataset, got {type(source).__name__}"
        )
    return ArraySource(rows)


def _as_tensor(item: Any) -> Any:
    """Tensor of an array, or of an image in [0, 1] (channels first)."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, np.ndarray):
        return torch.from_numpy(item)
    if hasattr(item, "getbands"):  # an image of Pillow
        pixels = np.array(item.convert("RGB"), dtype=np.float32) / 255.0
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    return item
