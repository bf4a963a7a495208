"""A few rows that stand for all of them."""

import numpy as np
from numpy.typing import NDArray


def some_rows(n_samples: int, n_chosen: int) -> NDArray[np.intp]:
    """Rows that stand for all of them, in whatever order these come.

    One of each of as many blocks of equal size, at random: every hundredth row would be
    of one class where classes take turns.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    n_chosen : int >= 1
        How many are chosen: all, where there are no more.

    Returns
    -------
    ndarray of int of shape (min(n_samples, n_chosen),)
        Ascending; the same in every call.
    """
    if n_chosen >= n_samples:
        return np.arange(n_samples)
    starts = np.arange(n_chosen + 1) * n_samples // n_chosen
    return np.random.default_rng(0).integers(starts[:-1], starts[1:])
