"""Orders of many rows: by value, and by the label that they claim."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def ascending(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows in the order of their values, several times as fast as ``argsort``.

    Parameters
    ----------
    values : ndarray of float64 of shape (n_samples,)
        No NaN.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        The row of the lowest value first; ties in any order.

    Notes
    -----
    The bits of a float, those of negative ones turned round, are an integer of the same
    order. Its last bits give way to the number of the row: sorting integers is
    vectorised, and sorting rows by a key is not. Rows whose keys differ in these last
    bits alone are sorted once more, by their values.
    """
    n_samples = len(values)
    n_bits = max(n_samples - 1, 0).bit_length()
    keys = np.ascontiguousarray(values + 0.0).view(np.int64)  # -0.0 is 0.0
    keys = keys ^ ((keys >> 63) & np.int64(np.iinfo(np.int64).max))
    keys >>= n_bits
    keys <<= n_bits
    keys |= np.arange(n_samples)
    keys.sort()
    rows: NDArray[np.int64] = keys & np.int64((1 << n_bits) - 1)
    keys >>= n_bits
    is_same = keys[1:] == keys[:-1]
    if is_same.any():
        is_unsure = np.zeros(n_samples, dtype=bool)
        is_unsure[1:] = is_same
        is_unsure[:-1] |= is_same
        places = np.flatnonzero(is_unsure)
        # Keys that differ do so as their values do: each stays among its own.
        unsure = rows[places]
        rows[places] = unsure[np.argsort(values[unsure], kind="stable")]
    return rows


def by_label(
    claimed: NDArray[np.int64], n_classes: int, n_values: int
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Rows that claim each label, in parts that are in memory at once.

    Parameters
    ----------
    claimed : ndarray of int of shape (n_samples,)
        Indices of the claimed classes.
    n_classes : int
        Number of classes.
    n_values : int
        Values of a part, at most: rows times classes.

    Yields
    ------
    label : int
        Index of a class.
    rows : ndarray of int of shape (n_rows,)
        Rows that claim it, ascending.
    """
    # Sorting small integers takes as many steps as there are rows.
    small = claimed.astype(np.min_scalar_type(max(n_classes - 1, 0)))
    order = np.argsort(small, kind="stable")
    ends = np.cumsum(np.bincount(claimed, minlength=n_classes))
    step = max(n_values // max(n_classes, 1), 1)
    first = 0
    for label, end in enumerate(ends.tolist()):
        for start in range(first, end, step):
            yield label, order[start : min(start + step, end)]
        first = end
