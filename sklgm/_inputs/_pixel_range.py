"""Images whose values are pixels as files have them."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs._streaming import StreamedInstances
from sklgm.exceptions import UnscaledImagesWarning

# Channels that images have.
_N_CHANNELS = (1, 3, 4)
# Interpolation or noise takes images in [0, 1] a little above 1.
_LARGEST_SCALED = 2.0
_LARGEST_PIXEL = 255.0
_CHUNK = 4096


def warn_of_unscaled_images(
    instances: NDArray[Any] | StreamedInstances, *, stacklevel: int
) -> None:
    """Warn of images whose values look like 8-bit pixels.

    Parameters
    ----------
    instances : ndarray or StreamedInstances of shape (n_samples, *input_shape)
        Instances in the shape in which the network sees them. Only images, with 1, 3
        or 4 channels first, are looked at; of a stream, its first item.
    stacklevel : int
        As in :func:`warnings.warn`, for the caller.

    Warns
    -----
    UnscaledImagesWarning
        If no value is negative and the largest is above 2 and at most 255, or above 1
        in unsigned integers. Negative values speak for images that were standardised,
        larger ones for another quantity.
    """
    shape = instances.shape[1:]
    if len(shape) != 3 or shape[0] not in _N_CHANNELS:
        return
    if isinstance(instances, StreamedInstances):
        instances = instances.first[np.newaxis]
    largest = _largest(instances)
    is_unsigned = instances.dtype.kind == "u"
    if largest is None or largest <= (1 if is_unsigned else _LARGEST_SCALED):
        return
    if largest > _LARGEST_PIXEL and not is_unsigned:
        return
    warnings.warn(
        f"X holds images with values from 0 to {largest:g}, and nothing rescales them: "
        "networks train best on [0, 1]. Divide X by its largest possible value, such "
        "as X / np.float32(255), in fit and predict alike. In sklgm.datasets, "
        "load_image_folder returns [0, 1], and so does load_npz for uint8",
        UnscaledImagesWarning,
        stacklevel=stacklevel + 1,
    )


def _largest(instances: NDArray[Any]) -> float | None:
    """Largest value; None where one is negative, which the first rows mostly show."""
    largest = -np.inf
    for start in range(0, len(instances), _CHUNK):
        chunk = instances[start : start + _CHUNK]
        if chunk.min() < 0:
            return None
        largest = max(largest, float(chunk.max()))
    return largest
