"""Class Gaussians estimated from the rows that fit them best."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from sklgm.gaussian._class_rows import (
    Block,
    ClassRows,
    lower_medians,
    lowest_until,
    window_means,
)
from sklgm.gaussian._distances import CovarianceType, log_variances_shape

#: A share in [0, 0.5), or the choice of one.
Trim = float | Literal["auto"]
Location = Literal["mean", "trimmed_mean", "median", "kept_mean"]
LOCATIONS: tuple[str, ...] = get_args(Location)
#: A fixed variance, or that of the features within their classes.
Variance = float | Literal["within"]

# Variances are kept above this share of the average within-class variance, so
# that a constant feature does not decide every distance.
_RELATIVE_VARIANCE_FLOOR = 1e-3

# Where the choice of the trimmed share starts, and the share of a Gaussian it keeps.
_AUTO_START = 0.25
_AUTO_LEVEL = 0.99
_AUTO_MIN_ROWS = 20
# Rows that the pooled variance of a dimension stands for beside those of a class.
_POOLED_ROWS = 10.0


class GaussianEstimate(NamedTuple):
    """Class Gaussians estimated from labelled features.

    Attributes
    ----------
    means : Tensor of shape (n_classes, feature_dim)
        Class means, float64 (float32 on devices without it), where the features are.
    log_variances : Tensor
        Log-variances, likewise; shape by :func:`log_variances_shape`.
    is_kept : Tensor of shape (n_samples,)
        Whether the row entered the estimate, bool.
    """

    means: Tensor
    log_variances: Tensor
    is_kept: Tensor


def estimate_gaussians(
    features: Tensor,
    y_encoded: Tensor,
    n_classes: int,
    *,
    location: Location = "kept_mean",
    covariance_type: CovarianceType = "identity",
    variance: Variance = 1.0,
    trim: Trim = 0.0,
    sample_weight: Tensor | None = None,
    max_iter: int = 20,
) -> GaussianEstimate:
    """Estimate the Gaussian of each class, robustly if asked.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Features, finite.
    y_encoded : Tensor of shape (n_samples,)
        Class indices in [0, n_classes).
    n_classes : int
        Number of classes; each needs at least one row of positive weight.
    location : {"mean", "trimmed_mean", "median", "kept_mean"}, default="kept_mean"
        How class means are estimated. ``"trimmed_mean"`` (``trim`` is cut off at
        either end) and ``"median"`` work on each coordinate by itself;
        ``"kept_mean"`` leaves whole rows out, the least likely of their class.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        Structure of the class covariances.
    variance : float > 0 or "within", default=1.0
        The fixed variance of ``"identity"``, and of every type the variance where no
        class has two different rows, in squared feature units. ``"within"``: the
        variance within classes, averaged over dimensions; 1 where there is none.
    trim : float in [0, 0.5) or "auto", default=0.0
        Share of each class that is left out: of its rows for ``"kept_mean"``; of each
        coordinate's values at either end for ``"trimmed_mean"``, and of its largest
        squared deviations, when variances are estimated, for the coordinate-wise
        locations. ``"auto"`` is for ``"kept_mean"`` alone: see Notes.
    sample_weight : Tensor of shape (n_samples,) or None, default=None
        Weights >= 0, which count as numbers of rows. Rows are kept until their weight
        reaches the share ``1 - trim`` of the class's; the row that crosses it is kept
        whole.
    max_iter : int, default=20
        Bound on the number of re-estimations.

    Returns
    -------
    GaussianEstimate
        Means, log-variances and the kept rows.

    Raises
    ------
    ValueError
        If a class has no row of positive weight, or ``location`` is unknown.

    Notes
    -----
    ``"kept_mean"``: for each class start at the coordinate-wise median (and the MAD
    scale), keep the ``ceil((1 - trim) n_k)`` rows of highest claimed log density,
    estimate again, and repeat until the kept set is stable. With ``trim=0`` this is
    the weighted maximum-likelihood estimate.

    The variance of the kept rows is too small, since the tails were cut. It is
    divided by ``F_{d+2}(q) / (1 - t)``, where t is the share that was left out,
    q the ``1 - t`` quantile of the chi-square law with d degrees of freedom and
    F its distribution function with d + 2 (the consistency factor of the
    minimum covariance determinant). Of the coordinate-wise locations d is 1.

    ``"trimmed_mean"`` averages the quantile function of the class over
    ``[trim, 1 - trim]``; where ``trim n_k`` is whole, these are the ``n_k - 2 trim
    n_k`` middle values.

    The variances of ``"diag"`` are shrunk towards the pooled variance of the
    dimension, ``(n_k s^2_kj + 10 s^2_j) / (n_k + 10)``: of a few rows alone they say
    next to nothing, and a class of three rows would lose its own rows to others.

    ``"auto"`` starts from the estimate with ``trim=0.25``. The cube root of a squared
    distance is close to normal, for sums of unequal squares as well (Wilson and
    Hilferty). Its median m over the class, and the scale s from the median distance
    of the rows below m, are those of the bulk, which outliers do not reach: rows above
    ``m + 2.33 s`` are left out, 1 % of a Gaussian class, and the Gaussians are
    estimated from the others, with the consistency factor of that 1 %; repeated until
    the kept set is stable. This is the reweighting step of the minimum covariance
    determinant with a cutoff that need not assume d independent dimensions. Half of a
    class is always kept. Classes of less than 20 rows keep what ``trim=0.25`` does.

    References
    ----------
    E. B. Wilson and M. M. Hilferty, "The distribution of chi-square", PNAS 17, 1931.

    P. J. Rousseeuw and K. Van Driessen, "A fast algorithm for the minimum covariance
    determinant estimator", Technometrics 41, 1999 (the reweighting step).

    C. Croux and G. Haesbroeck, "Influence function and efficiency of the minimum
    covariance determinant scatter matrix estimator", J. Multivariate Analysis 71,
    1999.
    """
    if location not in LOCATIONS:
        raise ValueError(f"location must be one of {LOCATIONS}, got {location!r}")
    rows = ClassRows(features, y_encoded, n_classes, sample_weight)
    if location in ("median", "trimmed_mean"):
        assert trim != "auto"
        means, variances = _coordinatewise_estimate(rows, location, trim)
        log_variances = _log_variances(
            means, variances, rows.masses(), covariance_type, variance
        )
        return GaussianEstimate(means, log_variances, rows.weights > 0)
    if location == "mean" or trim == 0.0:
        means, log_variances = _weighted_estimate(
            rows, rows.weights, covariance_type, variance
        )
        return GaussianEstimate(means, log_variances, rows.weights > 0)

    start = _median_start(rows, covariance_type, variance)
    share = _AUTO_START if trim == "auto" else trim

    def most_likely(distances: Tensor) -> Tensor:
        return _most_likely_rows(distances, rows, share)

    estimated = _reestimated(
        rows,
        start,
        most_likely,
        covariance_type=covariance_type,
        variance=variance,
        max_iter=max_iter,
    )
    if trim == "auto":

        def of_bulk(distances: Tensor) -> Tensor:
            return _rows_of_bulk(distances, rows)

        estimated = _reestimated(
            rows,
            (estimated.means, estimated.log_variances),
            of_bulk,
            covariance_type=covariance_type,
            variance=variance,
            max_iter=max_iter,
            central_share=_AUTO_LEVEL,
        )
    return estimated


def kept_rows(
    distances: Tensor,
    y_encoded: Tensor,
    n_classes: int,
    *,
    trim: Trim,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Choose the rows of each class that lie nearest to its mean.

    One step of ``location="kept_mean"`` of :func:`estimate_gaussians`, for distances
    that are at hand.

    Parameters
    ----------
    distances : Tensor of shape (n_samples,)
        Squared Mahalanobis distances to the mean of the claimed class, up to a factor
        per class.
    y_encoded : Tensor of shape (n_samples,)
        Class indices in [0, n_classes).
    n_classes : int
        Number of classes; each needs at least one row of positive weight.
    trim : float in (0, 0.5) or "auto"
        Share of each class that is left out; ``"auto"``: what lies beyond its bulk.
    sample_weight : Tensor of shape (n_samples,) or None, default=None
        Weights >= 0, which count as numbers of rows.

    Returns
    -------
    Tensor of bool of shape (n_samples,)
        Whether the row is kept; never one of weight 0.

    Raises
    ------
    ValueError
        If a class has no row of positive weight.
    """
    rows = ClassRows(distances[:, None], y_encoded, n_classes, sample_weight)
    distances = distances.to(rows.dtype)
    if trim == "auto":
        return _rows_of_bulk(distances, rows)
    return _most_likely_rows(distances, rows, trim)


def _reestimated(
    rows: ClassRows,
    start: tuple[Tensor, Tensor],
    choose: Callable[[Tensor], Tensor],
    *,
    covariance_type: CovarianceType,
    variance: Variance,
    max_iter: int,
    central_share: float | None = None,
) -> GaussianEstimate:
    """Choose rows by their squared distances, estimate again, until none changes."""
    means, log_variances = start
    # One variance per class changes no order of its rows: it can wait for the last.
    is_round = covariance_type in ("identity", "spherical")
    is_kept = torch.zeros_like(rows.weights, dtype=torch.bool)
    for _ in range(max_iter):
        previous, is_kept = (
            is_kept,
            choose(
                rows.claimed_squares(means)
                if is_round
                else rows.claimed_squares(means, torch.exp(-log_variances))
            ),
        )
        # The first kept set, even one of all rows, replaces the start.
        if torch.equal(is_kept, previous):
            break
        kept_weights = rows.weights * is_kept
        if is_round:
            means = rows.means(kept_weights)
        else:
            means, log_variances = _weighted_estimate(
                rows, kept_weights, covariance_type, variance, central_share
            )
    if is_round:
        means, log_variances = _weighted_estimate(
            rows, rows.weights * is_kept, covariance_type, variance, central_share
        )
    return GaussianEstimate(means, log_variances, is_kept)


def _most_likely_rows(distances: Tensor, rows: ClassRows, trim: float) -> Tensor:
    """Keep rows of lowest distance until 1 - trim of the weight of their class."""
    is_kept = torch.zeros_like(rows.weights, dtype=torch.bool)
    for block in rows.blocks:
        # Rounding must not turn 0.75 * 4 = 3 rows into 4.
        needed = (1.0 - trim) * (1.0 - 1e-12)
        is_kept[block.members] = lowest_until(distances, block, needed)
    return is_kept


def _rows_of_bulk(distances: Tensor, rows: ClassRows) -> Tensor:
    """Keep rows no farther than a row of the bulk of their class may be.

    Where a class is too small to say, or more than half of its rows are equal, those
    that the start would keep.
    """
    is_kept = torch.zeros_like(rows.weights, dtype=torch.bool)
    roots = distances.pow(1 / 3)  # about normal
    for block in rows.blocks:
        values = block.padded(roots)  # (n_block_classes, 1, width)
        median = lower_medians(values, block)  # (n_block_classes, 1)
        is_below = block.is_row & (values[:, 0] < median)
        deviations = median[..., None] - values
        scale = 1.4826 * lower_medians(deviations, block.only(is_below))
        cutoff = median + stats.norm.ppf(_AUTO_LEVEL) * scale
        has_bulk = is_below.any(dim=1) & (block.counts >= _AUTO_MIN_ROWS)
        is_near = (values[:, 0] <= cutoff) & block.is_row
        start = (1.0 - _AUTO_START) * (1.0 - 1e-12)
        is_first = torch.zeros_like(is_near)
        if not bool(has_bulk.all()):
            is_first[block.is_row] = lowest_until(distances, block, start)
        chosen = torch.where(has_bulk[:, None], is_near, is_first)
        is_kept[block.members] = chosen[block.is_row]
    return is_kept


def _consistency_factors(kept_shares: Tensor, feature_dim: int) -> Tensor:
    """Share of the variance that the central ``kept_shares`` of a Gaussian have."""
    shares, where = np.unique(kept_shares.cpu().numpy(), return_inverse=True)
    quantiles = stats.chi2.ppf(np.minimum(shares, 1.0), feature_dim)
    factors = stats.chi2.cdf(quantiles, feature_dim + 2) / np.minimum(shares, 1.0)
    return torch.from_numpy(factors[where]).to(kept_shares)


def _weighted_estimate(
    rows: ClassRows,
    weights: Tensor,
    covariance_type: CovarianceType,
    variance: Variance,
    central_share: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted means and consistency-corrected variances of the kept rows.

    They are the central rows of a Gaussian: all that were kept, of all rows, or the
    given share of it, where the others may not be rows of it.
    """
    means = rows.means(weights)
    masses = rows.masses(weights)
    spreads = rows.spreads(means, weights) / masses[:, None]
    # Up to the rounding of a sum, a class that is kept whole is the whole Gaussian.
    shares = masses / rows.masses()
    shares = torch.where(shares > 1.0 - 1e-12, 1.0, shares)
    if central_share is not None:
        is_cut = (shares < 1.0) & (rows.counts >= _AUTO_MIN_ROWS)
        shares = torch.where(is_cut, shares.clamp_min(central_share), shares)
    variances = spreads / _consistency_factors(shares, rows.feature_dim)[:, None]
    return means, _log_variances(means, variances, masses, covariance_type, variance)


def _median_start(
    rows: ClassRows, covariance_type: CovarianceType, variance: Variance
) -> tuple[Tensor, Tensor]:
    """Coordinate-wise weighted medians and squared MAD scales of every class."""
    is_round = covariance_type in ("identity", "spherical")

    def of_columns(values: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        median = lower_medians(values, block)
        if is_round:  # distances need no scale
            return median, torch.ones_like(median)
        mad = lower_medians((values.double() - median[..., None]).abs_(), block)
        return median, (1.4826 * mad).square()

    medians, variances = rows.by_columns(of_columns)
    return medians, _log_variances(
        medians, variances, rows.masses(), covariance_type, variance
    )


def _coordinatewise_estimate(
    rows: ClassRows, location: Location, trim: float
) -> tuple[Tensor, Tensor]:
    """Median or trimmed mean of each coordinate, and variances about it."""
    factor = float(_consistency_factors(torch.tensor([1.0 - trim]).double(), 1))

    def of_columns(values: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        values = values.double()
        if location == "median":
            centre = lower_medians(values, block)
        else:
            centre = window_means(values, block, trim, 1.0 - trim)
        squares = (values - centre[..., None]).square_()
        return centre, window_means(squares, block, 0.0, 1.0 - trim) / factor

    return rows.by_columns(of_columns)


def _log_variances(
    means: Tensor,
    variances: Tensor,
    masses: Tensor,
    covariance_type: CovarianceType,
    variance: Variance,
) -> Tensor:
    """Floored log-variances of a covariance type from (n_classes, d) variances."""
    if covariance_type == "identity" and variance != "within":
        return variances.new_tensor(math.log(variance))
    # One row, or equal ones, whatever they weigh: up to the rounding of their mean.
    has_spread = (variances > 1e-20 * means.square()).any(dim=1)
    shares = torch.where(has_spread, masses, 0.0)
    if not bool(has_spread.any()):  # no class has a variance to estimate
        shape = log_variances_shape(covariance_type, *variances.shape)
        value = 1.0 if variance == "within" else variance
        return variances.new_full(shape, math.log(value))
    pooled = (shares[:, None] * variances).sum(dim=0) / shares.sum()  # (d,)
    floor = max(_RELATIVE_VARIANCE_FLOOR * float(pooled.mean()), 1e-12)
    if covariance_type == "identity":
        return pooled.mean().clamp_min(1e-12).log()
    if covariance_type == "tied_diag":
        return pooled.clamp_min(floor).log()
    if covariance_type == "spherical":
        own = torch.where(has_spread, variances.mean(dim=1), pooled.mean())
        return own.clamp_min(floor).log()  # (n_classes,)
    counts = shares[:, None]
    shrunk = (counts * variances + _POOLED_ROWS * pooled) / (counts + _POOLED_ROWS)
    return shrunk.clamp_min(floor).log()
