"""Checks of instances, labels, devices and types, with errors that name them."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch.utils.data import DataLoader, Dataset

from sklgm._inputs._streaming import StreamedInstances, as_array

InputShape = tuple[int, ...]
Instances = NDArray[Any] | StreamedInstances

# Channels that images have, and pixels that each side of them has at least.
_N_CHANNELS = (1, 3, 4)
_LEAST_SIDE = 8


def validate_stream(
    estimator: BaseEstimator,
    dataset: Dataset[Any],
    *,
    reset: bool,
    input_shape: InputShape | None = None,
) -> StreamedInstances:
    """Check a torch ``Dataset`` as :func:`validate_instances` checks an array.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_`` and ``input_shape_`` if ``reset``, is compared with
        them otherwise.
    dataset : torch.utils.data.Dataset
        Map-style; items are instances, or tuples of an instance and its label.
    reset : bool
        Whether this is the X of ``fit``.
    input_shape : tuple of int or None, default=None
        In ``fit``: the shape that instances must have, if given.

    Returns
    -------
    StreamedInstances
        The instances, read when they are needed; NaN and infinity are refused then.

    Raises
    ------
    ValueError
        If it is empty, or instances have another shape than in ``fit``.
    TypeError
        If it has no length, or items are not tensors or arrays.
    """
    stream = StreamedInstances(dataset)
    shape = stream.shape[1:]
    expected = input_shape if reset else estimator.input_shape_
    if expected is not None:
        if len(shape) > 1:
            _check_image_shape(estimator, shape, expected)
        elif not reset and shape != (estimator.n_features_in_,):
            raise ValueError(
                f"X has {shape[0]} features, but {type(estimator).__name__} is "
                f"expecting {estimator.n_features_in_} features as input"
            )
    if reset:
        if input_shape is None:
            _check_channels_first(shape)
        estimator.input_shape_ = _checked_shape(input_shape, shape)
        estimator.n_features_in_ = math.prod(shape)
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    stream.fold(estimator.input_shape_)
    return stream


def validate_instances(
    estimator: BaseEstimator,
    X: ArrayLike,
    *,
    reset: bool,
    input_shape: InputShape | None = None,
) -> NDArray[Any]:
    """Check instances and fold them into their shape.

    Images (n_samples, n_channels, height, width) and their flat rows
    (n_samples, n_channels * height * width) are the same data.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_``, ``feature_names_in_`` and ``input_shape_`` if
        ``reset``, is compared with them otherwise.
    X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
        Finite numbers.
    reset : bool
        Whether this is the X of ``fit``.
    input_shape : tuple of int or None, default=None
        In ``fit``: the shape to fold flat rows into; None takes the shape of X.

    Returns
    -------
    ndarray of shape (n_samples, *input_shape)
        The instances; their numeric type is kept.

    Raises
    ------
    ValueError
        If X is empty, not numeric, not finite, of another shape than in ``fit``, or
        holds images (n_samples, height, width, n_channels).
    TypeError
        If X is sparse.
    """
    if isinstance(X, Dataset | DataLoader):
        hint = "its .dataset" if isinstance(X, DataLoader) else "arrays"
        raise TypeError(
            f"{type(estimator).__name__} does not take a {type(X).__name__} as X; give "
            f"{hint}"
        )
    X = as_array(X)
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    if len(shape) > 2:
        array = check_array(X, allow_nd=True, estimator=estimator, input_name="X")
        expected = input_shape if reset else estimator.input_shape_
        shape = array.shape[1:]
        if expected is None:
            _check_channels_first(shape)
        if expected is not None:
            _check_image_shape(estimator, shape, expected)
        # One row tells the number of values; to flatten all might copy them.
        validate_data(
            estimator, array[:1].reshape(1, -1), reset=reset, skip_check_array=True
        )
    else:
        array = validate_data(estimator, X, reset=reset)
        shape = array.shape[1:]
    if reset:
        estimator.input_shape_ = _checked_shape(input_shape, shape)
    instances: NDArray[Any] = array.reshape(len(array), *estimator.input_shape_)
    return instances


def _check_channels_first(shape: InputShape) -> None:
    """Refuse images whose channels come last, which would pass for rows of values."""
    if len(shape) != 3 or shape[2] not in _N_CHANNELS or shape[0] in _N_CHANNELS:
        return
    if min(shape[:2]) >= _LEAST_SIDE:
        raise ValueError(
            f"X holds instances of shape {shape}: images with the channels last. Give "
            "channels first, np.moveaxis(X, -1, 1); or set input_shape, or flatten X, "
            "if they are not images"
        )


def _check_image_shape(
    estimator: BaseEstimator, shape: InputShape, expected: InputShape
) -> None:
    if shape != tuple(expected):
        raise ValueError(
            f"X holds instances of shape {shape}, but {type(estimator).__name__} "
            f"expects {tuple(expected)} or flat rows of {math.prod(expected)} values"
        )


def _checked_shape(input_shape: InputShape | None, shape: InputShape) -> InputShape:
    if input_shape is None:
        return tuple(int(size) for size in shape)
    if math.prod(input_shape) != math.prod(shape):
        raise ValueError(
            f"input_shape={tuple(input_shape)} holds {math.prod(input_shape)} values, "
            f"but a row of X has {math.prod(shape)}"
        )
    return tuple(int(size) for size in input_shape)


def encode_labels(
    labels: ArrayLike, classes: NDArray[Any], *, name: str = "labels"
) -> NDArray[np.int64]:
    """Look up the indices of labels among known classes.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        Labels.
    classes : ndarray of shape (n_classes,)
        Known classes, sorted.
    name : str, default="labels"
        Name of the parameter for the error.

    Returns
    -------
    ndarray of shape (n_samples,)
        Index of each label in ``classes``.

    Raises
    ------
    ValueError
        If a label is not among ``classes``.
    """
    labels = np.asarray(as_array(labels))
    if classes.dtype.kind in "iu" and labels.dtype.kind in "iu" and len(labels) > 0:
        first, last = int(classes[0]), int(classes[-1])
        is_gapless = last - first + 1 == len(classes)
        if is_gapless and first <= labels.min() and labels.max() <= last:
            return labels.astype(np.int64) - first
    is_known = np.isin(labels, classes)
    if not is_known.all():
        unknown = np.unique(labels[~is_known])[:5].tolist()
        raise ValueError(
            f"{name} holds {unknown!r}, which are not among the known classes: "
            f"{classes[:20].tolist()!r}"
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn a device parameter into a device that exists.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` (CUDA if there is one, else the CPU) or what torch accepts.

    Returns
    -------
    torch.device
        The device; a GPU with its number, the current one's if none was given.

    Raises
    ------
    ValueError
        If torch does not know the device or this machine does not have it.
    """
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is not a torch device: {error}") from error
    if resolved.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= n_devices:
            raise ValueError(
                f"device={device!r} was asked for, but torch sees {n_devices} CUDA "
                "devices here; use device='auto' or 'cpu'"
            )
        if resolved.index is None:
            resolved = torch.device("cuda", torch.cuda.current_device())
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device={device!r} was asked for, but MPS is not available")
    return resolved


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Turn a dtype parameter into float32 or float64 of torch.

    Parameters
    ----------
    dtype : str or torch.dtype
        ``"float32"`` or ``"float64"``, as a string or torch's own.

    Returns
    -------
    torch.dtype
        The type.

    Raises
    ------
    ValueError
        If it is another one.
    """
    known = {"float32": torch.float32, "float64": torch.float64}
    resolved = known.get(dtype) if isinstance(dtype, str) else dtype
    if resolved not in known.values():
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    assert resolved is not None
    return resolved
