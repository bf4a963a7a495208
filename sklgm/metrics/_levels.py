"""Which p-values are at most a level."""

import numpy as np
from numpy.typing import NDArray


def is_flagged(p_values: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Which p-values are at most the level.

    Parameters
    ----------
    p_values : ndarray of shape (n_samples,)
        In [0, 1].
    level : float in (0, 1)
        Share of right rows that may be flagged.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        A level of exactly m / n is not lost to rounding.
    """
    flags: NDArray[np.bool_] = p_values <= level * (1 + 1e-12)
    return flags
