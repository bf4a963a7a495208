"""Rows that are in the data more than once, exactly or nearly."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

# Side of the thumbnails by which images are compared.
_THUMBNAIL = 8
# Pairs that are expected to be as close by chance, in all.
_MOST_BY_CHANCE = 0.1
# Rows are near duplicates up to this share of the median distance to a neighbour: not
# the nearest, which is a copy where all rows come in bursts.
_NEAR_SHARE = 0.1
_NEIGHBOUR_SHARE, _MOST_NEIGHBOURS = 0.05, 100
_N_SAMPLED = 500
# Directions of the most variance in which close rows are looked for first.
_N_DIRECTIONS = 8
# More rows are compared exactly only.
_MOST_ROWS = 200_000
# More candidates per row than this: the rows have no directions that part them.
_MOST_CANDIDATES = 50


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of rows that are alike.

    Attributes
    ----------
    pairs : ndarray of int of shape (n_pairs, 2)
        Rows, the lower number first. Of rows that are all equal each is paired with the
        first.
    is_exact : ndarray of bool of shape (n_pairs,)
        Whether the rows are equal in every value; else nearly.
    """

    pairs: NDArray[np.intp]
    is_exact: NDArray[np.bool_]


def find_duplicates(X: Any, only_exact: bool = False) -> Duplicates:
    """Find rows that are equal, or nearly.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), sparse matrix or sequence of str
        Rows.
    only_exact : bool, default=False
        Whether near duplicates are passed over.

    Returns
    -------
    Duplicates
        The pairs.

    Notes
    -----
    Images are compared by thumbnails of 8 x 8 gray values, without brightness and
    contrast: a perceptual hash whose values are not rounded. Rows of numbers
    are compared column by column in units of its standard deviation. Rows are near
    duplicates where they are closer than a tenth of the median distance from a row to
    the neighbour that a twentieth of the rows, or a hundred, are closer than. Texts
    are near duplicates where letters and digits are the same. In few dimensions rows
    must be closer, so that in all at most 0.1 pairs are expected by chance. More than
    200,000 different rows are compared exactly only.
    """
    first: dict[bytes, int] = {}
    exact = []
    for row, value in enumerate(row_hashes(X)):
        known = first.setdefault(value, row)
        if known != row:
            exact.append((known, row))
    rows = np.array(list(first.values()), dtype=np.intp)
    near = [] if only_exact else _near_pairs(X, rows)
    pairs = np.array([*exact, *near], dtype=np.intp).reshape(-1, 2)
    is_exact = np.arange(len(pairs)) < len(exact)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Duplicates(pairs[order], is_exact[order])


def row_hashes(X: Any) -> Iterable[bytes]:
    """Hash of each row; equal rows have equal hashes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), sparse matrix or sequence
        Rows, of numbers or of anything that has a ``repr``.

    Yields
    ------
    bytes
        The hash.
    """
    if sparse.issparse(X):
        X = X.tocsr()
        for row in range(X.shape[0]):
            part = slice(X.indptr[row], X.indptr[row + 1])
            order = np.argsort(X.indices[part])
            yield _hash(
                X.indices[part][order].tobytes() + X.data[part][order].tobytes()
            )
        return
    for row in X:
        if isinstance(row, np.ndarray) and row.dtype != object:
            yield _hash(np.ascontiguousarray(row).tobytes())
        else:
            parts = row.tolist() if isinstance(row, np.ndarray) else row
            yield _hash(repr(parts).encode("utf-8", "surrogatepass"))


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _near_pairs(X: Any, rows: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Pairs of near duplicates among rows that are all different."""
    if len(rows) > _MOST_ROWS:
        return []
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf" and X.ndim > 1:
        points = _thumbnails(X) if X.ndim == 4 else _standardised(X)
        if points is None:
            return []
        has_point = np.isfinite(points[rows]).all(axis=1)
        return _close_pairs(points, rows[has_point])
    if not sparse.issparse(X) and len(X) > 0 and isinstance(X[0], str):
        first: dict[str, int] = {}
        pairs = []
        for row in rows.tolist():
            text = unicodedata.normalize("NFKC", X[row]).casefold()
            text = re.sub(r"\W+", "", text)
            known = first.setdefault(text, row)
            if known != row and text:
                pairs.append((known, row))
        return pairs
    return []


def _thumbnails(images: NDArray[Any]) -> NDArray[np.float32]:
    """Gray values of small images (n_samples, 64), of mean 0 and length 1.

    NaN where there is no contrast.
    """
    small = np.empty((len(images), _THUMBNAIL**2), dtype=np.float32)
    for start in range(0, len(images), 1000):
        chunk = np.asarray(images[start : start + 1000], dtype=np.float32)
        gray = torch.from_numpy(chunk.mean(axis=1, keepdims=True))
        pooled = torch.nn.functional.adaptive_avg_pool2d(gray, _THUMBNAIL)
        small[start : start + 1000] = pooled.flatten(1).numpy()
    small -= small.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(small, axis=1, keepdims=True)
    lengths[lengths < 1e-3] = np.nan
    return np.asarray(small / lengths)


def _standardised(X: NDArray[Any]) -> NDArray[np.float64] | None:
    rows = X.reshape(len(X), -1).astype(np.float64)
    is_known = np.isfinite(rows)
    rows[~is_known] = 0.0  # missing in both or in none: rows with NaN differ anyway
    rows -= rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows = rows[:, spread > 0] / spread[spread > 0]
    return rows if rows.shape[1] > 1 else None


def _close_pairs(
    points: NDArray[np.floating[Any]], rows: NDArray[np.intp]
) -> list[tuple[int, int]]:
    """Pairs of rows that are much closer than rows usually are to the next one."""
    points = np.asarray(points[rows], dtype=np.float64)
    if len(points) < 3:
        return []
    sampled = np.unique(np.linspace(0, len(points) - 1, _N_SAMPLED).astype(np.intp))
    squares = np.square(points).sum(axis=1)
    n_closer = min(int(_NEIGHBOUR_SHARE * len(points)), _MOST_NEIGHBOURS)
    n_further = min(4 * n_closer + 3, len(points) - 2)
    to_neighbours = []
    for row in sampled:
        distances = squares[row] + squares - 2 * (points @ points[row])
        distances[row] = np.inf
        both = np.partition(distances, (n_closer, n_further))[[n_closer, n_further]]
        to_neighbours.append(np.sqrt(np.maximum(both, 0.0)))
    usual, further = np.median(to_neighbours, axis=0)
    if not 0 < usual < further:
        return []
    # Shorter in some directions than in all: no close pair is missed.
    centred = points - points.mean(axis=0)
    covariance = centred.T @ centred
    directions = np.linalg.eigh(covariance)[1][:, -_N_DIRECTIONS:]
    tree = KDTree(centred @ directions)
    # The number of neighbours grows with that power of the distance.
    growth = np.log((n_further + 1) / (n_closer + 1))
    n_dimensions = growth / np.log(further / usual)
    by_chance = _MOST_BY_CHANCE / (len(points) * (n_closer + 1))
    radius = min(_NEAR_SHARE, by_chance ** (1 / n_dimensions)) * usual
    if tree.count_neighbors(tree, radius) > _MOST_CANDIDATES * len(points):
        return []
    candidates = tree.query_pairs(radius, output_type="ndarray")
    a, b = candidates[:, 0], candidates[:, 1]
    is_close = np.empty(len(candidates), dtype=bool)
    for start in range(0, len(candidates), 10_000):
        part = slice(start, start + 10_000)
        gaps = np.linalg.norm(points[a[part]] - points[b[part]], axis=1)
        is_close[part] = gaps <= radius
    found = np.sort(rows[candidates[is_close]], axis=1)
    return [(int(i), int(j)) for i, j in found]
