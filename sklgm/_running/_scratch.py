"""Arrays too large for memory, in files that vanish with them."""

import contextlib
import math
import os
import tempfile
import weakref
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Bytes from which on an array is a file.
_LARGE = 2**30


def scratch_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Make an array to be filled: in memory, or memory-mapped where it is large.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : dtype
        Its type.

    Returns
    -------
    ndarray of the shape
        Of 1 GiB and more a ``numpy.memmap``, in the folder for temporary files
        (``TMPDIR``), if that has room; its file is deleted with the array.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes < _LARGE:
        return np.empty(shape, dtype)
    try:
        handle, path = tempfile.mkstemp(prefix="sklgm-")
    except OSError:  # no folder for temporary files can be written to
        return np.empty(shape, dtype)
    try:
        if hasattr(os, "posix_fallocate"):  # a full disk would end the process later
            os.posix_fallocate(handle, 0, n_bytes)
        else:
            os.ftruncate(handle, n_bytes)
        array: NDArray[Any] = np.memmap(path, dtype, "r+", shape=shape)
    except OSError:
        _delete(path)
        return np.empty(shape, dtype)
    finally:
        os.close(handle)
    weakref.finalize(array, _delete, path)
    return array


def _delete(path: str) -> None:
    with contextlib.suppress(OSError):  # in use, on Windows
        os.unlink(path)
