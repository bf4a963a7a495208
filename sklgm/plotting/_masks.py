"""Masks of rows, told apart from the flags of a detector."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_mask(name: str, values: ArrayLike, n_samples: int) -> NDArray[np.bool_]:
    """Check a mask of rows.

    Parameters
    ----------
    name : str
        Name of the parameter for the error.
    values : array-like of shape (n_samples,)
        True and false, or 1 and 0.
    n_samples : int
        Number of rows.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        The mask.

    Raises
    ------
    ValueError
        If it has another shape, or holds anything else: the -1 and 1 of ``predict``
        would all be true.
    """
    mask = np.asarray(values)
    if mask.shape != (n_samples,):
        raise ValueError(
            f"{name} of shape {mask.shape} must have the shape ({n_samples},)."
        )
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"{name} must hold true and false (or 1 and 0), got "
            f"{np.unique(mask)[:5].tolist()}."
        )
    return mask.astype(bool)
