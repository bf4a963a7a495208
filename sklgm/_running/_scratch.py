"""Arrays too large for memory, in files that vanish with them.

numpy is imported where it is used: a help text does not need it.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# Bytes from which on an array is a file, and from which on that of rows which need not
# have been in memory.
_LARGE, _LARGE_OF_FILE = 2**30, 2**27
# Rows that are looked at together, and bytes that they take as float64.
_CHUNK_ROWS, _CHUNK_BYTES = 65_536, 2**24


def scratch_array(
    shape: tuple[int, ...], dtype: DTypeLike, *, of_file: bool = False
) -> NDArray[Any]:
    """Make an array to be filled: in memory, or memory-mapped where it is large.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : dtype
        Its type.
    of_file : bool, default=False
        Whether it is for rows that come from a file, and are not in memory.

    Returns
    -------
    ndarray of the shape
        Of 1 GiB and more, or of 128 MiB and more for rows of a file, a
        ``numpy.memmap``, in the folder for temporary files (``TMPDIR``), if that has
        room; its file is deleted with the array.
    """
    import numpy as np

    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes < (min(_LARGE, _LARGE_OF_FILE) if of_file else _LARGE):
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


def is_large_file(array: Any) -> bool:
    """Whether something is an array that is a file, and should not be in memory.

    Parameters
    ----------
    array : object
        Anything.

    Returns
    -------
    bool
        True of a ``numpy.memmap``, or a view of one, of 128 MiB and more.
    """
    import numpy as np

    large = min(_LARGE, _LARGE_OF_FILE)
    if not isinstance(array, np.ndarray) or array.nbytes < large:
        return False
    base: Any = array
    while base is not None and getattr(base, "filename", None) is None:
        base = getattr(base, "base", None)
    return base is not None


def row_chunks(rows: NDArray[Any]) -> Iterator[slice]:
    """Cut rows into parts that fit into memory, copies of them too.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, ...)
        The rows.

    Yields
    ------
    slice
        Of at most 65,536 rows, and 16 MiB as float64 unless one row takes more.
    """
    n_values = max(math.prod(rows.shape[1:]), 1)
    n_rows = min(_CHUNK_ROWS, max(_CHUNK_BYTES // (8 * n_values), 1))
    for start in range(0, len(rows), n_rows):
        yield slice(start, min(start + n_rows, len(rows)))


def _delete(path: str) -> None:
    with contextlib.suppress(OSError):  # in use, on Windows
        os.unlink(path)
