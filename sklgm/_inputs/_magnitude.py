"""Values that a network's type can hold."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_CHUNK = 4096


def check_magnitude(
    instances: NDArray[Any], dtype: torch.dtype, names: NDArray[Any] | None
) -> int:
    """Refuse values that are infinite in another type.

    Parameters
    ----------
    instances : ndarray of shape (n_samples, *input_shape)
        Finite instances.
    dtype : torch.dtype
        The type, float32 or float64.
    names : ndarray of shape (n_features,) or None
        Names of the columns, if there are any.

    Returns
    -------
    int
        A row that holds the largest value.

    Raises
    ------
    ValueError
        If a value is too large; the message names its column.
    """
    largest, at = 0.0, 0
    for start in range(0, len(instances), _CHUNK):
        chunk = instances[start : start + _CHUNK].reshape(
            len(instances[start : start + _CHUNK]), -1
        )
        high, low = chunk.argmax(), chunk.argmin()
        for place in (int(high), int(low)):
            value = abs(float(chunk.flat[place]))
            if value > largest:
                largest, at = value, start * chunk.shape[1] + place
    row, column = divmod(at, int(np.prod(instances.shape[1:])))
    if largest > torch.finfo(dtype).max:
        name = f"column {column}" if names is None else f"column {names[column]!r}"
        raise ValueError(
            f"X holds values too large for the network's {str(dtype)[6:]}: {name} "
            f"reaches {largest:.3g} in row {row}; scale X, or set dtype='float64'"
        )
    return row
