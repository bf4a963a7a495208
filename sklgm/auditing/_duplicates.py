"""Rows that are in the data more than once, exactly or nearly."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree
from sklearn.metrics import euclidean_distances

from sklgm._inputs import some_rows
from sklgm._running import row_chunks

# Rows that are compared at a time, and values of them.
_CHUNK_ROWS, _CHUNK_VALUES = 4096, 2**22
# Values of the rows from which the usual distance is estimated.
_SAMPLED_VALUES = 2**25
# Side of the thumbnails by which images are compared.
_THUMBNAIL = 8
# Pairs that are expected to be as close by chance, in all.
_MOST_BY_CHANCE = 0.05
# Rows are near duplicates up to this share of the median distance to a neighbour: not
# the nearest, which is a copy where all rows come in bursts.
_NEAR_SHARE = 0.1
_NEIGHBOUR_SHARE, _MOST_NEIGHBOURS = 0.05, 100
_N_SAMPLED = 500
# Close rows are looked for first in directions of the most variance, by a tree; where
# these do not part the rows, in random ones, by comparing all: at least so many, and
# one for so many columns.
_N_DIRECTIONS, _N_RANDOM, _COLUMNS_PER_DIRECTION = 8, 32, 16
# More rows are compared exactly only.
_MOST_ROWS = 200_000
# Candidates per row, and values of all of them, that are looked at.
_MOST_CANDIDATES, _MOST_VALUES = 50, 10**9


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
    note : str or None, default=None
        Why near duplicates were not looked for, as a clause.
    """

    pairs: NDArray[np.intp]
    is_exact: NDArray[np.bool_]
    note: str | None = None


def find_duplicates(X: Any, alike: Any = None) -> Duplicates:
    """Find rows that are equal, or nearly.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), sparse matrix or sequence
        Rows.
    alike : ndarray of shape (n_samples, ...), sequence of str or None, default=None
        Numbers or texts of the same rows in which near duplicates are looked for; None
        is X.

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
    must be closer, so that in all about 0.1 pairs are expected by chance. More than
    200,000 different rows are compared exactly only. Rows are read in parts.
    """
    first: dict[bytes, int] = {}
    exact = []
    for row, value in enumerate(row_hashes(X)):
        known = first.setdefault(value, row)
        if known != row:
            exact.append((known, row))
    rows = np.array(list(first.values()), dtype=np.intp)
    near, note = _near_pairs(X if alike is None else alike, rows)
    exact_pairs = np.array(exact, dtype=np.intp).reshape(-1, 2)
    pairs = np.concatenate([exact_pairs, near])
    is_exact = np.arange(len(pairs)) < len(exact)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Duplicates(pairs[order], is_exact[order], note)


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


def _near_pairs(X: Any, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], str | None]:
    """Pairs of near duplicates among rows that are all different; or why none."""
    none = np.empty((0, 2), dtype=np.intp)
    if len(rows) > _MOST_ROWS:
        return none, f"there are more than {_MOST_ROWS:,} different rows"
    if isinstance(X, np.ndarray) and X.size == 0:
        return none, None
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf" and X.ndim > 1:
        points: Any
        if X.ndim == 4:
            points = _thumbnails(X)
            rows = rows[np.isfinite(points[rows]).all(axis=1)]
        else:
            points = _StandardisedRows(X)
            if points.n_varying < 2:
                return none, "fewer than two columns vary"
        return _close_pairs(points, rows)
    if not sparse.issparse(X) and all(isinstance(text, str | None) for text in X):
        first: dict[str, int] = {}
        pairs = []
        for row in rows.tolist():
            text = unicodedata.normalize("NFKC", X[row] or "").casefold()
            text = re.sub(r"\W+", "", text)
            known = first.setdefault(text, row)
            if known != row and text:
                pairs.append((known, row))
        return np.array(pairs, dtype=np.intp).reshape(-1, 2), None
    return none, "rows are not arrays of numbers, images or texts alone"


def _thumbnails(images: NDArray[Any]) -> NDArray[np.float32]:
    """Gray values of small images (n_samples, 64), of mean 0 and length 1.

    NaN where there is no contrast.
    """
    small = np.empty((len(images), _THUMBNAIL**2), dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # of infinite values
        for part in row_chunks(images):
            chunk = np.asarray(images[part], dtype=np.float32)
            gray = torch.from_numpy(chunk.mean(axis=1, keepdims=True))
            pooled = torch.nn.functional.adaptive_avg_pool2d(gray, _THUMBNAIL)
            small[part] = pooled.flatten(1).numpy()
        small -= small.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(small, axis=1, keepdims=True)
        lengths[lengths < 1e-3] = np.nan
        return np.asarray(small / lengths)


class _StandardisedRows:
    """Rows in units of the standard deviation of each column, made when asked for.

    Missing and infinite values are at the mean.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Rows of numbers.

    Attributes
    ----------
    n_varying : int
        Columns that are not constant.
    """

    def __init__(self, X: NDArray[Any]) -> None:
        self._rows = X.reshape(len(X), -1)
        n_columns = self._rows.shape[1]
        low, high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
        for part in row_chunks(self._rows):
            values = self._known(part)
            low = np.fmin(low, np.fmin.reduce(values, axis=0))
            high = np.fmax(high, np.fmax.reduce(values, axis=0))
        varies = high > low
        # In units of half the range no sum of squares is infinite.
        self._centre = np.where(varies, low / 2 + high / 2, 0.0)
        self._unit = np.where(varies, high / 2 - low / 2, np.inf)
        sums = np.zeros((3, n_columns))
        for part in row_chunks(self._rows):
            values = (self._known(part) - self._centre) / self._unit
            is_known = np.isfinite(values)
            values[~is_known] = 0.0
            sums += [is_known.sum(axis=0), values.sum(axis=0), (values**2).sum(axis=0)]
        n_known, *moments = sums
        self._mean, squares = moments / np.maximum(n_known, 1)
        self._deviation = np.sqrt(np.maximum(squares - self._mean**2, 0.0))
        self._deviation[self._deviation == 0] = np.inf
        self.n_varying = int(np.count_nonzero(np.isfinite(self._deviation)))

    def __getitem__(self, rows: Any) -> NDArray[np.float64]:
        values = (self._known(rows) - self._centre) / self._unit
        values -= self._mean
        values /= self._deviation
        values[np.isnan(values)] = 0.0
        return values

    def _known(self, rows: Any) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self._rows[rows].astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        return values


def _close_pairs(
    points: Any, rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], str | None]:
    """Pairs of rows that are much closer than rows usually are to the next one.

    ``points[rows]`` are points of chosen rows.
    """
    from sklearn.decomposition import PCA  # here, since it imports much

    none = np.empty((0, 2), dtype=np.intp)
    if len(rows) < 3:
        return none, None
    n_columns = points[rows[:1]].shape[1]
    n_rows = max(min(_CHUNK_ROWS, _CHUNK_VALUES // n_columns), 1)
    parts = [slice(i, i + n_rows) for i in range(0, len(rows), n_rows)]
    n_sampled = max(min(_N_SAMPLED, _SAMPLED_VALUES // n_columns), 30)
    # Every second one tells directions and distances, the others how many are near.
    chosen = some_rows(len(rows), 2 * n_sampled)
    chosen, others = chosen[::2], chosen[1::2]
    sampled = np.asarray(points[rows[chosen]], dtype=np.float64)
    n_closer = min(int(_NEIGHBOUR_SHARE * len(rows)), _MOST_NEIGHBOURS)
    n_further = min(4 * n_closer + 3, len(rows) - 2)
    # Rows are at most as far from each other in some directions as in all: no close
    # pair is missed.
    n_directions = min(_N_DIRECTIONS, len(sampled) - 1, n_columns)
    directions = PCA(n_directions, random_state=0).fit(sampled).components_.T
    projected = np.empty((len(rows), n_directions))
    closest = np.empty((len(sampled), 0))  # squared distances
    for part in parts:
        chunk = np.asarray(points[rows[part]], dtype=np.float64)
        projected[part] = chunk @ directions
        distances = euclidean_distances(sampled, chunk, squared=True)
        is_own = (chosen >= part.start) & (chosen < part.start + len(chunk))
        distances[is_own, chosen[is_own] - part.start] = np.inf
        closest = np.concatenate([closest, distances], axis=1)
        if closest.shape[1] > n_further:
            closest = np.partition(closest, n_further)[:, : n_further + 1]
    closest.sort()
    counts = [n_closer // 4, n_closer, n_further]
    typical = np.sqrt(np.median(closest[:, counts], axis=0))
    n_dimensions = _count_dimensions(np.array(counts) + 1, typical)
    if n_dimensions == 0:
        return none, "rows are as far from many others as from few"
    by_chance = _MOST_BY_CHANCE / (len(rows) * (n_closer + 1))
    radius = min(_NEAR_SHARE, by_chance ** (1 / n_dimensions)) * typical[1]
    most = min(_MOST_CANDIDATES, _MOST_VALUES / (len(rows) * n_columns)) + 1
    candidates = _by_tree(projected, others, radius, most)
    if candidates is None:
        signs = _random_signs(n_columns)
        projected = np.concatenate([_in_groups(points[rows[p]], *signs) for p in parts])
        candidates = _by_comparison(projected, others, radius, most)
    if candidates is None:
        return none, "rows have too many possible near duplicates"
    a, b = rows[candidates[:, 0]], rows[candidates[:, 1]]
    is_close = np.empty(len(candidates), dtype=bool)
    for start in range(0, len(candidates), n_rows):
        part = slice(start, start + n_rows)
        gaps = np.linalg.norm(points[a[part]] - points[b[part]], axis=1)
        is_close[part] = gaps <= radius
    return np.sort(np.stack([a, b], axis=1)[is_close], axis=1), None


def _count_dimensions(
    counts: NDArray[np.intp], distances: NDArray[np.float64]
) -> float:
    """Power of the distance by which the number of neighbours grows; 0: unknown.

    Copies make the nearest ones, and classes the furthest ones, grow less: the largest.
    """
    powers = [
        float(np.log(counts[j + 1] / counts[j]) / np.log(further / closer))
        for j, (closer, further) in enumerate(pairwise(distances))
        if 0 < closer < further
    ]
    return max(powers, default=0.0)


def _by_tree(
    projected: NDArray[np.float64], asked: NDArray[np.intp], radius: float, most: float
) -> NDArray[np.intp] | None:
    """Pairs of points within a radius; None where the asked ones say: too many."""
    tree = KDTree(projected)
    n_near = tree.query_ball_point(projected[asked], radius, return_length=True)
    if n_near.mean() > most:
        return None
    pairs: NDArray[np.intp] = tree.query_pairs(radius, output_type="ndarray")
    return pairs


def _random_signs(n_columns: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Columns (n_groups, n_of_group) in random order, and a sign of each; 0 is none."""
    most = max(min(_COLUMNS_PER_DIRECTION, n_columns // _N_RANDOM), 1)
    n_groups = -(-n_columns // most)
    rng = np.random.default_rng(0)
    columns = np.zeros(n_groups * most, dtype=np.intp)
    columns[:n_columns] = rng.permutation(n_columns)
    signs = rng.choice([-1.0, 1.0], size=columns.shape)
    signs[n_columns:] = 0.0
    return columns.reshape(n_groups, most), signs.reshape(n_groups, most)


def _in_groups(
    points: NDArray[np.floating[Any]],
    columns: NDArray[np.intp],
    signs: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Points (n_rows, n_groups) in one random direction of each group of columns."""
    signed = points[:, columns] * (signs / np.sqrt(columns.shape[1]))
    return np.asarray(signed.sum(axis=2), dtype=np.float32)


def _by_comparison(
    projected: NDArray[np.float32], asked: NDArray[np.intp], radius: float, most: float
) -> NDArray[np.intp] | None:
    """Pairs of points that may be within a radius; None where there are too many."""
    # Points are rounded to float32.
    radius = 1.001 * radius + 1e-6 * float(np.abs(projected).max())
    near = _within(radius, projected[asked], projected)
    if np.mean([len(of_row) for of_row in near]) > most:
        return None
    found = []
    for start in range(0, len(projected), _CHUNK_ROWS):
        rest = projected[start:]  # pairs with rows before have been found
        near = _within(radius, rest[:_CHUNK_ROWS], rest)
        row = np.repeat(np.arange(len(near)), [len(of_row) for of_row in near])
        other = np.concatenate(near)
        found.append(start + np.stack([row, other], axis=1)[other > row])
    return np.concatenate(found).astype(np.intp)


def _within(
    radius: float, points: NDArray[np.float32], of: NDArray[np.float32]
) -> NDArray[np.object_]:
    """Numbers of the rows of ``of`` within a radius of each point."""
    from sklearn.neighbors import NearestNeighbors  # here, since it imports much

    index = NearestNeighbors(radius=radius, algorithm="brute").fit(of)
    near: NDArray[np.object_] = index.radius_neighbors(points, return_distance=False)
    return near
