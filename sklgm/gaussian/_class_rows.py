"""Rows of labelled features, class by class: sums, distances, order statistics.

Nothing loops over classes. Sums are added up by label; what needs an order is laid out
with the rows of each class side by side, classes of like size together.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklgm.gaussian._certificate import NEGLIGIBLE

# Values whose distances and sums are taken at once: many small arrays, which stay in
# the cache and are used again, where a few large ones would each be new memory.
_VALUES_AT_ONCE = {"cpu": 2**16}
_VALUES_ON_DEVICES = 2**24
# Columns that are ordered at once: a line of the cache holds so many float32.
_COLUMNS = 16
# Values that are ordered at once at most, unless a column has more.
_MOST_ORDERED = 2**20


class Block(NamedTuple):
    """Classes of like size, the rows of each side by side.

    Attributes
    ----------
    classes : Tensor of shape (n_block_classes,)
        Indices of the classes.
    rows : Tensor of shape (n_block_classes, width)
        Indices of their rows, in their order; what fills up is any index.
    is_row : Tensor of shape (n_block_classes, width)
        What does not fill up, bool.
    members : Tensor of shape (n_block_rows,)
        ``rows[is_row]``.
    weights : Tensor of shape (n_block_classes, width)
        Weights of the rows; 0 for what fills up.
    counts : Tensor of shape (n_block_classes,)
        Rows per class.
    is_equal : bool
        Whether the rows of each class have the same weight.
    """

    classes: Tensor
    rows: Tensor
    is_row: Tensor
    members: Tensor
    weights: Tensor
    counts: Tensor
    is_equal: bool

    def padded(self, values: Tensor) -> Tensor:
        """Lay values (n_samples,) out as (n_block_classes, 1, width), infinite pads."""
        laid = values[self.rows].masked_fill_(~self.is_row, torch.inf)
        return laid[:, None]

    def only(self, is_chosen: Tensor) -> "Block":
        """Leave some rows of ``is_row`` alone, (n_block_classes, width)."""
        return self._replace(
            is_row=is_chosen,
            weights=self.weights * is_chosen,
            counts=is_chosen.sum(dim=1),
        )


class ClassRows:
    """Labelled features with weights.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Features, on any device; never copied as a whole.
    y_encoded : Tensor of shape (n_samples,)
        Class indices in [0, n_classes).
    n_classes : int
        Number of classes.
    sample_weight : Tensor of shape (n_samples,) or None
        Weights >= 0; None stands for ones. Rows of weight 0 do not count as rows.

    Raises
    ------
    ValueError
        If a class has no row of positive weight.
    """

    def __init__(
        self,
        features: Tensor,
        y_encoded: Tensor,
        n_classes: int,
        sample_weight: Tensor | None,
    ) -> None:
        self.features = features.detach()
        device = self.features.device
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.n_classes, self.feature_dim = n_classes, features.shape[1]
        self.y_encoded = y_encoded.detach().to(device)
        self.weights = (
            torch.ones(len(features), dtype=self.dtype, device=device)
            if sample_weight is None
            else sample_weight.detach().to(device, self.dtype)
        )
        used = torch.nonzero(self.weights > 0)[:, 0]
        labels = self.y_encoded[used]
        self.counts = torch.bincount(labels, minlength=n_classes)
        empty = torch.nonzero(self.counts == 0)
        if len(empty) > 0:
            raise ValueError(
                f"class index {int(empty[0])} has no row of positive weight"
            )
        ordered = used[torch.argsort(labels, stable=True)]
        self.blocks = list(self._blocks(ordered))
        n_at_once = _VALUES_AT_ONCE.get(device.type, _VALUES_ON_DEVICES)
        self._chunk = max(256, n_at_once // max(1, self.feature_dim))

    def _blocks(self, ordered: Tensor) -> Iterator[Block]:
        """Classes whose counts share a power of two, of rows in the order of labels."""
        starts = torch.cumsum(self.counts, dim=0) - self.counts
        sizes = torch.frexp(self.counts.float()).exponent
        for size in torch.unique(sizes):
            classes = torch.nonzero(sizes == size)[:, 0]
            counts = self.counts[classes]
            places = torch.arange(int(counts.max()), device=ordered.device)
            is_row = places < counts[:, None]
            rows = (starts[classes, None] + places).clamp_max_(len(ordered) - 1)
            rows = ordered[rows]
            weights = self.weights[rows] * is_row
            is_equal = bool(((weights == weights[:, :1]) | ~is_row).all())
            yield Block(classes, rows, is_row, rows[is_row], weights, counts, is_equal)

    def masses(self, weights: Tensor | None = None) -> Tensor:
        """Sum the weights (n_samples,) of each class; None: all weights."""
        weights = self.weights if weights is None else weights
        zeros = weights.new_zeros(self.n_classes)
        return zeros.index_add_(0, self.y_encoded, weights)

    def means(self, weights: Tensor) -> Tensor:
        """Means (n_classes, feature_dim) by the weights (n_samples,)."""
        sums = weights.new_zeros(self.n_classes, self.feature_dim)
        for features, y_encoded, own in self._chunks(weights):
            sums.index_add_(0, y_encoded, features.to(self.dtype) * own[:, None])
        return sums / self.masses(weights)[:, None]

    def spreads(self, means: Tensor, weights: Tensor) -> Tensor:
        """Weighted sums of squares about the means, (n_classes, feature_dim)."""
        sums = torch.zeros_like(means)
        for features, y_encoded, own in self._chunks(weights):
            squares = torch.sub(features, means.index_select(0, y_encoded)).square_()
            sums.index_add_(0, y_encoded, squares.mul_(own[:, None]))
        return sums

    def claimed_squares(
        self, means: Tensor, precisions: Tensor | None = None
    ) -> Tensor:
        """Squared distances (n_samples,) to the mean of the claimed class.

        Precisions (n_classes, feature_dim) or (feature_dim,) weigh the dimensions.
        """
        squares = torch.empty_like(self.weights)
        start = 0
        for features, y_encoded, _ in self._chunks(self.weights):
            parts = torch.sub(features, means.index_select(0, y_encoded)).square_()
            if precisions is not None and precisions.ndim == 2:
                parts.mul_(precisions.index_select(0, y_encoded))
            elif precisions is not None:
                parts.mul_(precisions)
            torch.sum(parts, dim=1, out=squares[start : start + len(parts)])
            start += len(parts)
        return squares

    def _chunks(self, weights: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return zip(
            torch.split(self.features, self._chunk),
            torch.split(self.y_encoded, self._chunk),
            torch.split(weights, self._chunk),
            strict=True,
        )

    def by_columns(
        self, estimate: Callable[[Tensor, Block], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Estimate location and variance of every column and class by themselves.

        Parameters
        ----------
        estimate : callable
            From values (n_block_classes, n_columns, width), infinite where they fill
            up, and their block, to two tensors (n_block_classes, n_columns).

        Returns
        -------
        locations, variances : Tensor of shape (n_classes, feature_dim)
            What it estimated.
        """
        shape = (self.n_classes, self.feature_dim)
        locations = self.weights.new_empty(shape)
        variances = self.weights.new_empty(shape)
        for block in self.blocks:
            n_at_once = _VALUES_ON_DEVICES // block.rows.numel()
            if self.features.device.type == "cpu":
                n_at_once = min(_COLUMNS, _MOST_ORDERED // block.rows.numel())
            for start in range(0, self.feature_dim, max(1, n_at_once)):
                columns = slice(start, start + max(1, n_at_once))
                values = self.features[:, columns][block.rows]
                values = values.masked_fill_(~block.is_row[..., None], torch.inf)
                centre, spread = estimate(values.transpose(1, 2).contiguous(), block)
                locations[block.classes, columns] = centre.to(self.dtype)
                variances[block.classes, columns] = spread.to(self.dtype)
        return locations, variances


def lower_medians(values: Tensor, block: Block) -> Tensor:
    """Lower weighted medians of the rows of every class.

    Parameters
    ----------
    values : Tensor of shape (n_block_classes, n_columns, width)
        Values; those that are not rows of the block count for nothing.
    block : Block
        Rows and their weights.

    Returns
    -------
    Tensor of shape (n_block_classes, n_columns)
        Values of rows; infinite for a class without rows.
    """
    values = values.masked_fill(~block.is_row[:, None], torch.inf)
    if block.is_equal:
        places = (block.counts - 1).clamp_min(0) // 2
        return _at_places(values, block.is_row, places)
    ordered, own = _ordered(values, block)
    cumulated = torch.cumsum(own, dim=2)
    half = 0.5 * cumulated[..., -1:] * (1.0 - 1e-12)
    place = (cumulated < half).sum(dim=2, keepdim=True)
    return ordered.gather(2, place.clamp_max(values.shape[2] - 1))[..., 0]


def _at_places(values: Tensor, is_row: Tensor, places: Tensor) -> Tensor:
    """Values that stand at a place of each class, (n_block_classes, n_columns).

    As many of what fills up go before the rows of a class as bring all classes to one
    place: that is then one selection for all, of values that are partly overwritten.
    """
    place = int(places.max())
    n_before = (place - places)[:, None]
    fills = torch.cumsum(~is_row, dim=1)
    goes_before = ~is_row & (fills <= n_before)
    values.masked_fill_(goes_before[:, None], -torch.inf)
    if values.device.type == "cpu":  # numpy selects several times faster
        selected = np.partition(values.numpy(), place, axis=2)[..., place]
        return torch.from_numpy(selected.copy())
    return torch.sort(values, dim=2).values[..., place]


def _ordered(values: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """Sort values (n, n_columns, width) along the last, and give each its weight."""
    if values.device.type == "cpu":
        order = torch.from_numpy(np.argsort(values.numpy(), axis=2))
        ordered = values.gather(2, order)
    else:
        ordered, order = torch.sort(values, dim=2)
    weights = block.weights[:, None].expand_as(values)
    return ordered, weights.gather(2, order)


def window_means(values: Tensor, block: Block, low: float, high: float) -> Tensor:
    """Means of the quantile function of every class over ``[low, high]``.

    Parameters
    ----------
    values : Tensor of shape (n_block_classes, n_columns, width)
        Values; those that are not rows of the block count for nothing.
    block : Block
        Rows and their weights.
    low, high : float in [0, 1]
        Window, ``low < high``.

    Returns
    -------
    Tensor of shape (n_block_classes, n_columns)
        The means.
    """
    values = values.masked_fill(~block.is_row[:, None], torch.inf)
    if block.is_equal and values.device.type == "cpu":  # weights need no order
        ordered, own = torch.from_numpy(np.sort(values.numpy())), block.weights[:, None]
    else:
        ordered, own = _ordered(values, block)
    cumulated = torch.cumsum(own, dim=2)
    total = cumulated[..., -1:]
    inside = cumulated.clamp_max(high * total) - (cumulated - own).clamp_min(
        low * total
    )
    # A share that is but the rounding of a window's end would let a row in, whatever
    # it holds.
    inside = torch.where(inside < NEGLIGIBLE * own, 0.0, inside)
    ordered = torch.where(torch.isfinite(ordered), ordered, 0.0)
    return (inside * ordered).sum(dim=2) / inside.sum(dim=2)


def lowest_until(values: Tensor, block: Block, share: float) -> Tensor:
    """Choose rows of lowest value until they reach a share of the weight of a class.

    Parameters
    ----------
    values : Tensor of shape (n_samples,)
        Values, finite.
    block : Block
        Rows and their weights.
    share : float in (0, 1)
        Share of the weight; the row that crosses it is chosen, and of equal values
        those that come first.

    Returns
    -------
    Tensor of bool of shape (n_block_rows,)
        Whether each of ``block.members`` is chosen.
    """
    laid = block.padded(values)  # (n_block_classes, 1, width)
    if block.is_equal:
        n_chosen = torch.ceil(share * block.counts.to(values.dtype)).long()
        highest = _at_places(laid.clone(), block.is_row, (n_chosen - 1).clamp_min(0))
        is_chosen = laid[:, 0] <= highest
        if bool((is_chosen.sum(dim=1) == n_chosen.clamp_min(1)).all()):
            return is_chosen[block.is_row]
    order = torch.argsort(laid[:, 0], dim=1, stable=True)
    cumulated = torch.cumsum(block.weights.gather(1, order), dim=1)
    n_before = (cumulated < share * cumulated[:, -1:]).sum(dim=1, keepdim=True)
    places = torch.arange(order.shape[1], device=order.device)
    is_chosen = torch.zeros_like(block.is_row)
    is_chosen.scatter_(1, order, places <= n_before)
    return is_chosen[block.is_row]
