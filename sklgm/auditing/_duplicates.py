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
from sklearn.decomposition import PCA
from sklearn.metrics import euclidean_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklgm._running import row_chunks

# Rows that are compared at a time, and values of them.
_CHUNK_ROWS, _CHUNK_VALUES = 4096, 2**22
# Side of the thumbnails by which images are compared.
_THUMBNAIL = 8
# Pairs that are expected to be as close by chance, in all.
_MOST_BY_CHANCE = 0.1
# Rows are near duplicates up to this share of the median distance to a neighbour: not
# the nearest, which is a copy where all rows come in bursts.
_NEAR_SHARE = 0.1
_NEIGHBOUR_SHARE, _MOST_NEIGHBOURS = 0.05, 100
_N_SAMPLED = 500
# Directions of the most variance in which close rows are looked for first: in few of
# them by a tree, in many by comparing all rows.
_FEW_DIRECTIONS, _MANY_DIRECTIONS = 8, 32
# More rows are compared exactly only.
_MOST_ROWS = 200_000
# More rows that near one on average: no directions part them.
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
    note : str or None, default=None
        Why near duplicates were not looked for, as a clause.
    """

    pairs: NDArray[np.intp]
    is_exact: NDArray[np.bool_]
    note: str | None = None


def find_duplicates(X: Any, numbers: NDArray[Any] | None = None) -> Duplicates:
    """Find rows that are equal, or nearly.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), sparse matrix or sequence
        Rows.
    numbers : ndarray of shape (n_samples, n_columns) or None, default=None
        The same rows as an array, where X is a frame of numbers.

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
    200,000 different rows are compared exactly only. Rows are read in parts.
    """
    first: dict[bytes, int] = {}
    exact = []
    for row, value in enumerate(row_hashes(X)):
        known = first.setdefault(value, row)
        if known != row:
            exact.append((known, row))
    rows = np.array(list(first.values()), dtype=np.intp)
    near, note = _near_pairs(X if numbers is None else numbers, rows)
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
    if not sparse.issparse(X) and len(X) > 0 and isinstance(X[0], str):
        first: dict[str, int] = {}
        pairs = []
        for row in rows.tolist():
            text = unicodedata.normalize("NFKC", X[row]).casefold()
            text = re.sub(r"\W+", "", text)
            known = first.setdefault(text, row)
            if known != row and text:
                pairs.append((known, row))
        return np.array(pairs, dtype=np.intp).reshape(-1, 2), None
    return none, "rows are not numbers, images or texts alone"


def _thumbnails(images: NDArray[Any]) -> NDArray[np.float32]:
    """Gray values of small images (n_samples, 64), of mean 0 and length 1.

    NaN where there is no contrast.
    """
    small = np.empty((len(images), _THUMBNAIL**2), dtype=np.float32)
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

    Missing values are at the mean: rows of which one has the value differ exactly.

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
        self._scaler = StandardScaler()
        # A column may have no value, or values whose squares are infinite.
        with np.errstate(all="ignore"):
            for part in row_chunks(self._rows):
                self._scaler.partial_fit(self._known(part))
        self.n_varying = int(np.count_nonzero(self._scaler.var_ > 0))

    def __getitem__(self, rows: Any) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = self._scaler.transform(self._known(rows))
        return np.nan_to_num(scaled)

    def _known(self, rows: Any) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self._rows[rows].astype(np.float64)
        values[~np.isfinite(values)] = np.nan  # counts neither in the mean nor later
        return values


def _close_pairs(
    points: Any, rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], str | None]:
    """Pairs of rows that are much closer than rows usually are to the next one.

    ``points[rows]`` are points of chosen rows.
    """
    none = np.empty((0, 2), dtype=np.intp)
    if len(rows) < 3:
        return none, None
    chosen = np.unique(np.linspace(0, len(rows) - 1, _N_SAMPLED).astype(np.intp))
    sampled = np.asarray(points[rows[chosen]], dtype=np.float64)
    n_closer = min(int(_NEIGHBOUR_SHARE * len(rows)), _MOST_NEIGHBOURS)
    n_further = min(4 * n_closer + 3, len(rows) - 2)
    # Shorter in some directions than in all: no close pair is missed.
    n_directions = min(_MANY_DIRECTIONS, len(sampled) - 1, sampled.shape[1])
    directions = PCA(n_directions, random_state=0).fit(sampled).components_.T
    projected = np.empty((len(rows), n_directions))
    closest = np.empty((len(sampled), 0))  # squared distances, ascending up to one
    n_rows = max(min(_CHUNK_ROWS, _CHUNK_VALUES // sampled.shape[1]), 1)
    for start in range(0, len(rows), n_rows):
        part = slice(start, start + n_rows)
        chunk = np.asarray(points[rows[part]], dtype=np.float64)
        projected[part] = chunk @ directions
        distances = euclidean_distances(sampled, chunk, squared=True)
        is_own = (chosen >= start) & (chosen < start + len(chunk))
        distances[is_own, chosen[is_own] - start] = np.inf
        closest = np.concatenate([closest, distances], axis=1)
        if closest.shape[1] > n_further:
            closest = np.partition(closest, n_further)[:, : n_further + 1]
    closest.sort()
    usual, further = np.sqrt(np.median(closest[:, [n_closer, n_further]], axis=0))
    if not 0 < usual < further:
        return none, "rows are as far from many others as from few"
    # The number of neighbours grows with that power of the distance.
    growth = np.log((n_further + 1) / (n_closer + 1))
    n_dimensions = growth / np.log(further / usual)
    by_chance = _MOST_BY_CHANCE / (len(rows) * (n_closer + 1))
    radius = min(_NEAR_SHARE, by_chance ** (1 / n_dimensions)) * usual
    candidates = _candidates(projected, chosen, radius)
    if candidates is None:
        return none, "most rows are near to many others"
    a, b = rows[candidates[:, 0]], rows[candidates[:, 1]]
    is_close = np.empty(len(candidates), dtype=bool)
    for start in range(0, len(candidates), n_rows):
        part = slice(start, start + n_rows)
        gaps = np.linalg.norm(points[a[part]] - points[b[part]], axis=1)
        is_close[part] = gaps <= radius
    return np.sort(np.stack([a, b], axis=1)[is_close], axis=1), None


def _candidates(
    projected: NDArray[np.float64], sampled: NDArray[np.intp], radius: float
) -> NDArray[np.intp] | None:
    """Pairs of points within a radius; None where the sampled ones say: too many."""
    few = projected[:, :_FEW_DIRECTIONS]
    tree = KDTree(few)
    n_near = tree.query_ball_point(few[sampled], radius, return_length=True)
    if n_near.mean() <= _MOST_CANDIDATES:
        pairs: NDArray[np.intp] = tree.query_pairs(radius, output_type="ndarray")
        return pairs
    near = _within(radius, projected[sampled], projected)
    if np.mean([len(of_row) for of_row in near]) > _MOST_CANDIDATES:
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
    radius: float, points: NDArray[np.float64], of: NDArray[np.float64]
) -> NDArray[np.object_]:
    """Numbers of the rows of ``of`` within a radius of each point."""
    index = NearestNeighbors(radius=radius, algorithm="brute").fit(of)
    near: NDArray[np.object_] = index.radius_neighbors(points, return_distance=False)
    return near
