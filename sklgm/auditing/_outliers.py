"""Rows that are unlike all others, whatever label they claim."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import adaptive_avg_pool2d

from sklgm._running import is_large_file, row_chunks
from sklgm.auditing._large_scaler import LargeScaler

_N_NEIGHBOURS = 10
_FEWEST_ROWS = 50
# Levels whose quantiles tell the law of the distances.
_LEVELS = (0.25, 0.05)
_LEAST_POWER = 0.3
# A freak value in one column is no more than so many standard deviations.
_MOST_DEVIATIONS = 3.0
_MOST_PIXELS = 1024  # of an image, in all channels
_MOST_VALUES = 2**25  # of all images
_MOST_REFERENCES, _MOST_COMPARISONS = 5_000, 500_000_000
# Equal rows have no distance: it is taken for this share of the median one.
_LEAST_DISTANCE = 1e-3
_CHUNK = 4096


def outlier_p_values(rows: NDArray[Any], seed: int) -> NDArray[np.float64] | None:
    """How often a row of these data is as far from the others.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, ...)
        Images, or rows of numbers; NaN where a number is missing.
    seed : int
        Of the rows to compare with, where there are many.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        p-values in [0, 1]; None where the rows have no distances that could tell: they
        are fewer than 50, mostly equal, or infinite.

    Notes
    -----
    The statistic is the logarithm s of the Euclidean distance to the tenth nearest
    other row. Columns of numbers are standardised and cut off at three standard
    deviations; images are averaged to at most 1,024 values, and to
    fewer where there are more than 32,768 of them. The upper tail is
    Gaussian after a power: with m the median of s, s_a its upper a quantile and z_a
    that of a Gaussian,

        p = 1 - Phi(z_b ((s - m) / (s_b - m))^c),
        c = log(z_b / z_a) / log((s_b - m) / (s_a - m)), at most 1,

    for a = 0.25 and b = 0.05: data with a heavier tail have a smaller c. More rows
    than 5,000 are compared with as many of them, drawn at random.

    References
    ----------
    Y. Sun, Y. Ming, X. Zhu, Y. Li, "Out-of-Distribution Detection with Deep Nearest
    Neighbors", ICML 2022.
    """
    if len(rows) < _FEWEST_ROWS:
        return None
    if rows.ndim == 2 and is_large_file(rows):
        distances = _distances_by_chunks(rows, seed)
    else:
        points = _points(rows)
        if not np.isfinite(points).all():
            return None
        distances = _neighbour_distances(points, seed)
    if distances is None:
        return None
    known = distances[distances > 0]
    if len(known) <= len(distances) // 2:
        return None
    scores = np.log(np.maximum(distances, _LEAST_DISTANCE * np.median(known)))
    return _upper_tail(scores)


def _points(rows: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Rows as points (n_samples, n_columns) whose distances mean something."""
    if rows.ndim > 2:
        return _pooled(rows)
    points = np.array(rows, dtype=np.float64)
    is_missing = np.isnan(points)
    if is_missing.any():
        has_value = ~is_missing.all(axis=0)
        points, is_missing = points[:, has_value], is_missing[:, has_value]
        middle = np.nanmedian(points, axis=0)
        points = np.where(is_missing, middle, points)
    if not np.isfinite(points).all():
        return points
    scaled: NDArray[np.float64] = StandardScaler().fit_transform(points)
    return np.clip(scaled, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


def _pooled(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images (n_samples, ..., height, width) as rows of pixels, made smaller."""
    n_channels = int(np.prod(images.shape[1:-2]))
    n_values = min(_MOST_PIXELS, _MOST_VALUES // max(len(images), 1))
    most = max(math.isqrt(n_values // n_channels), 1)
    height, width = (min(side, most) for side in images.shape[-2:])
    if (height, width) == images.shape[-2:]:
        return images.reshape(len(images), -1).astype(np.float32, copy=False)
    pooled = np.empty((len(images), n_channels * height * width), dtype=np.float32)
    for start in range(0, len(images), _CHUNK):
        part = np.array(images[start : start + _CHUNK], dtype=np.float32)
        part = part.reshape(len(part), -1, *images.shape[-2:])
        small = adaptive_avg_pool2d(torch.from_numpy(part), (height, width))
        pooled[start : start + _CHUNK] = small.flatten(1).numpy()
    return pooled


def _distances_by_chunks(rows: NDArray[Any], seed: int) -> NDArray[np.float64] | None:
    """Distances of rows of numbers that are not in memory; None of infinite ones."""
    n_missing = np.zeros(rows.shape[1], dtype=np.intp)
    for part in row_chunks(rows):
        n_missing += np.isnan(rows[part].astype(np.float64)).sum(axis=0)
    middle = np.zeros(rows.shape[1])
    for j in np.flatnonzero((n_missing > 0) & (n_missing < len(rows))):
        middle[j] = np.nanmedian(rows[:, j].astype(np.float64))
    has_value = n_missing < len(rows)

    def filled(part: NDArray[Any]) -> NDArray[np.float64]:
        values = part.astype(np.float64)
        return np.where(np.isnan(values), middle, values)[:, has_value]

    scaler = LargeScaler()
    for part in row_chunks(rows):
        values = filled(rows[part])
        if not np.isfinite(values).all():
            return None
        scaler.partial_fit(values)

    def points(part: NDArray[Any]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = scaler.transform(filled(part))
        return np.clip(scaled, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)

    references = _references(len(rows), seed)
    neighbours = _fitted_neighbours(points(rows[references]))
    farthest = np.concatenate(
        [
            neighbours.kneighbors(points(rows[part]))[0][:, -2:]
            for part in row_chunks(rows)
        ]
    )
    return _to_tenth(farthest, references)


def _neighbour_distances(
    points: NDArray[np.floating[Any]], seed: int
) -> NDArray[np.float64]:
    """Distance of each row to the tenth nearest of the others, or of many of them."""
    references = _references(len(points), seed)
    neighbours = _fitted_neighbours(points[references])
    return _to_tenth(neighbours.kneighbors(points)[0], references)


def _references(n_samples: int, seed: int) -> NDArray[np.intp]:
    """Rows with which all are compared."""
    n_references = min(n_samples, _MOST_REFERENCES, _MOST_COMPARISONS // n_samples)
    if n_references == n_samples:
        return np.arange(n_samples)
    rng = np.random.default_rng(seed)
    chosen: NDArray[np.intp] = rng.choice(n_samples, n_references, replace=False)
    return np.sort(chosen)


def _fitted_neighbours(points: NDArray[np.floating[Any]]) -> Any:
    from sklearn.neighbors import NearestNeighbors  # here, since it imports much

    return NearestNeighbors(n_neighbors=_N_NEIGHBOURS + 1).fit(points)


def _to_tenth(
    distances: NDArray[np.floating[Any]], references: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Distance to the tenth of the others, of those (n_samples, ..., 10th, 11th)."""
    farthest: NDArray[np.float64] = distances[:, -2].astype(np.float64)
    # The nearest of a row that is among them is itself.
    farthest[references] = distances[references, -1]
    return farthest


def _upper_tail(scores: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Probability of a score as high; see :func:`outlier_p_values`."""
    middle, near, far = np.quantile(scores, [0.5, *(1.0 - level for level in _LEVELS)])
    if not middle < near < far:
        return None
    z_near, z_far = stats.norm.isf(_LEVELS)
    power = np.log(z_far / z_near) / np.log((far - middle) / (near - middle))
    power = np.clip(power, _LEAST_POWER, 1.0)
    above = np.maximum(scores - middle, 0.0) / (far - middle)
    p_values: NDArray[np.float64] = stats.norm.sf(z_far * above**power)
    return p_values
