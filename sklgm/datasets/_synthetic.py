"""Small labelled data with a known structure, for tests and examples."""

from numbers import Real

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state


def make_gaussian_classes(
    n_samples: int = 200,
    n_classes: int = 3,
    n_features: int = 5,
    *,
    separation: float = 4.0,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw classes that are Gaussian with unit variance in every feature.

    The class means are points of a cubic lattice, so that each class has a
    neighbour at exactly the distance `separation`, and none nearer.

    Parameters
    ----------
    n_samples : int, default=200
        Number of rows; the classes are as equal in size as that allows.
    n_classes : int, default=3
        Number of classes.
    n_features : int, default=5
        Number of columns.
    separation : float, default=4.0
        Distance between neighbouring class means, in standard deviations.
    random_state : int, RandomState instance or None, default=None
        Decides the rows and their order.

    Returns
    -------
    X : ndarray of float32, shape (n_samples, n_features)
        Rows in random order.
    y : ndarray of int64, shape (n_samples,)
        Labels 0 to n_classes - 1.

    Raises
    ------
    ValueError
        If a count is less than 1, `n_samples` is less than `n_classes`, or
        `separation` is negative or not finite.
    TypeError
        If a parameter is of the wrong type.

    Examples
    --------
    >>> from sklgm.datasets import make_gaussian_classes
    >>> X, y = make_gaussian_classes(random_state=0)
    >>> X.shape, y[:5]
    ((200, 5), array([0, 2, 2, 2, 0]))
    """
    _check_count("n_samples", n_samples)
    _check_count("n_classes", n_classes, maximum=n_samples)
    _check_count("n_features", n_features)
    _check_not_negative("separation", separation)
    rng = check_random_state(random_state)
    y = _draw_labels(rng, n_samples, n_classes)

    side = 1  # of the smallest cube of lattice points that has one for each class
    while side**n_features < n_classes:
        side += 1
    means = np.array(
        [
            [label // side**axis % side for axis in range(n_features)]
            for label in range(n_classes)
        ]
    )  # (n_classes, n_features)
    X = separation * means[y] + rng.standard_normal((n_samples, n_features))
    return X.astype(np.float32), y


def make_stripe_images(
    n_samples: int = 200,
    n_classes: int = 4,
    image_shape: tuple[int, int, int] = (1, 8, 8),
    *,
    noise: float = 0.1,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw images of stripes whose direction tells the class.

    Parameters
    ----------
    n_samples : int, default=200
        Number of images; the classes are as equal in size as that allows.
    n_classes : int, default=4
        Number of classes; class k has its stripes turned by 180 k / n_classes degrees.
    image_shape : tuple of int, default=(1, 8, 8)
        Number of channels, height and width; both sides have at least two pixels.
    noise : float, default=0.1
        Standard deviation of the Gaussian noise on each pixel, in units of the range
        [0, 1], to which the noisy images are clipped.
    random_state : int, RandomState instance or None, default=None
        Decides the labels' order and the noise.

    Returns
    -------
    X : ndarray of float32, shape (n_samples, n_channels, height, width)
        Images in [0, 1], in random order.
    y : ndarray of int64, shape (n_samples,)
        Labels 0 to n_classes - 1.

    Raises
    ------
    ValueError
        If a count is too small, `n_samples` is less than `n_classes`,
        `image_shape` has not three entries, or `noise` is negative or not finite.
    TypeError
        If a parameter is of the wrong type.

    Examples
    --------
    >>> from sklgm.datasets import make_stripe_images
    >>> X, y = make_stripe_images(n_samples=6, n_classes=2, random_state=0)
    >>> X.shape, y
    ((6, 1, 8, 8), array([1, 0, 1, 1, 0, 0]))
    """
    _check_count("n_samples", n_samples)
    _check_count("n_classes", n_classes, maximum=n_samples)
    if not isinstance(image_shape, (tuple, list)) or len(image_shape) != 3:
        raise ValueError(
            f"image_shape must be (n_channels, height, width), got {image_shape!r}."
        )
    for side, minimum in zip(image_shape, (1, 2, 2), strict=True):
        _check_count("each entry of image_shape", side, minimum=minimum)
    _check_not_negative("noise", noise)
    rng = check_random_state(random_state)
    y = _draw_labels(rng, n_samples, n_classes)

    _, height, width = image_shape
    # Two periods across the image; pixel centres in (0, 1).
    rows = (np.arange(height) + 0.5)[:, np.newaxis] / height
    columns = (np.arange(width) + 0.5) / width
    angles = np.pi * np.arange(n_classes)[:, np.newaxis, np.newaxis] / n_classes
    phases = rows * np.sin(angles) + columns * np.cos(angles)
    patterns = 0.5 + 0.5 * np.sin(4 * np.pi * phases)  # (n_classes, height, width)
    X = patterns[y][:, np.newaxis] + noise * rng.standard_normal(
        (n_samples, *image_shape)
    )
    return np.clip(X, 0, 1).astype(np.float32), y


def _draw_labels(
    rng: np.random.RandomState, n_samples: int, n_classes: int
) -> NDArray[np.int64]:
    return rng.permutation(np.arange(n_samples, dtype=np.int64) % n_classes)


def _check_count(
    name: str, value: object, *, minimum: int = 1, maximum: int | None = None
) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}.")
    if maximum is not None and value > maximum:
        raise ValueError(
            f"{name} must be at most n_samples={maximum}, so that no class is empty, "
            f"got {value!r}."
        )


def _check_not_negative(name: str, value: object) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a float, got {value!r}.")
    if not 0 <= float(value) < np.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value!r}.")
