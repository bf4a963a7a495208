"""Class Gaussians estimated from the rows that fit them best."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from sklgm.gaussian._distances import (
    CovarianceType,
    log_variances_shape,
    squared_mahalanobis,
)

#: A share in [0, 0.5), or the choice of one.
Trim = float | Literal["auto"]
Location = Literal["mean", "trimmed_mean", "median", "kept_mean"]
LOCATIONS: tuple[str, ...] = get_args(Location)
#: A fixed variance, or that of the features within their classes.
Variance = float | Literal["within"]

# Variances are kept above this share of the average within-class variance, so
# that a constant feature does not decide every distance.
_RELATIVE_VARIANCE_FLOOR = 1e-3

# Rows whose distances and sums are taken at once: many small arrays are used again,
# where a few large ones would each be new memory.
_CHUNK = 4096
# Where the choice of the trimmed share starts, and the share of a Gaussian it keeps.
_AUTO_START = 0.25
_AUTO_LEVEL = 0.99
_AUTO_MIN_ROWS = 20
# Rows that the pooled variance of a dimension stands for beside those of a class.
_POOLED_ROWS = 10.0
# Values whose medians are found at once.
_SORTED_VALUES = 2**16


class GaussianEstimate(NamedTuple):
    """Class Gaussians estimated from labelled features.

    Attributes
    ----------
    means : Tensor of shape (n_classes, feature_dim)
        Class means, float64.
    log_variances : Tensor
        Log-variances, float64; shape by :func:`log_variances_shape`.
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
    # Cast to float64 a class at a time: features may be most of the memory.
    features = features.detach().cpu()
    y_encoded = y_encoded.detach().to("cpu")
    weights = (
        torch.ones(len(features), dtype=torch.float64)
        if sample_weight is None
        else sample_weight.detach().to("cpu", torch.float64)
    )
    rows = [
        torch.nonzero((y_encoded == k) & (weights > 0)).flatten()
        for k in range(n_classes)
    ]
    for k, class_rows in enumerate(rows):
        if len(class_rows) == 0:
            raise ValueError(f"class index {k} has no row of positive weight")

    if location in ("median", "trimmed_mean"):
        assert trim != "auto"
        means, log_variances = _coordinatewise_estimate(
            features, weights, rows, location, trim, covariance_type, variance
        )
        return GaussianEstimate(means, log_variances, weights > 0)
    if location == "mean" or trim == 0.0:
        means, log_variances = _weighted_estimate(
            features, weights, rows, rows, covariance_type, variance
        )
        return GaussianEstimate(means, log_variances, weights > 0)

    start = _median_start(features, weights, rows, covariance_type, variance)
    share = _AUTO_START if trim == "auto" else trim

    def most_likely(deviance: Tensor, class_rows: Tensor) -> Tensor:
        return _most_likely_rows(deviance, class_rows, weights[class_rows], share)

    estimated = _reestimated(
        features,
        weights,
        rows,
        start,
        most_likely,
        covariance_type=covariance_type,
        variance=variance,
        max_iter=max_iter,
    )
    if trim == "auto":

        def of_bulk(deviance: Tensor, class_rows: Tensor) -> Tensor:
            return _rows_of_bulk(deviance, class_rows, weights[class_rows])

        estimated = _reestimated(
            features,
            weights,
            rows,
            (estimated.means, estimated.log_variances),
            of_bulk,
            covariance_type=covariance_type,
            variance=variance,
            max_iter=max_iter,
            central_share=_AUTO_LEVEL,
        )
    return estimated


def _reestimated(
    features: Tensor,
    weights: Tensor,
    rows: list[Tensor],
    start: tuple[Tensor, Tensor],
    choose: Callable[[Tensor, Tensor], Tensor],
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
    kept: list[Tensor] = []
    for _ in range(max_iter):
        previous = kept
        kept = []
        for k, class_rows in enumerate(rows):
            distances = [
                _squared_norms(features[chunk], means[k])
                if is_round
                else squared_mahalanobis(
                    features[chunk].double(),
                    means[k : k + 1],
                    _of_class(log_variances, k, covariance_type),
                    covariance_type,
                )[:, 0]
                for chunk in torch.split(class_rows, _CHUNK)
            ]
            kept.append(choose(torch.cat(distances), class_rows))
        # The first kept set, even one of all rows, replaces the start.
        if previous and all(map(torch.equal, kept, previous)):
            break
        if is_round:
            means = _weighted_means(features, weights, kept)
        else:
            means, log_variances = _weighted_estimate(
                features, weights, kept, rows, covariance_type, variance, central_share
            )
    if is_round:
        means, log_variances = _weighted_estimate(
            features, weights, kept, rows, covariance_type, variance, central_share
        )
    is_kept = torch.zeros(len(features), dtype=torch.bool)
    is_kept[torch.cat(kept)] = True
    return GaussianEstimate(means, log_variances, is_kept)


def _squared_norms(features: Tensor, mean: Tensor) -> Tensor:
    """Squared Euclidean distances (n,) of features (n, d) to a mean (d,), float64."""
    return torch.sub(features, mean).square_().sum(dim=1)


def _weighted_means(features: Tensor, weights: Tensor, rows: list[Tensor]) -> Tensor:
    """Weighted means (n_classes, d) of some rows of each class, float64."""
    means = []
    for class_rows in rows:
        w = weights[class_rows]
        total = sum(
            part @ features[chunk].double()
            for part, chunk in zip(
                torch.split(w, _CHUNK), torch.split(class_rows, _CHUNK), strict=True
            )
        )
        means.append(total / w.sum())
    return torch.stack(means)


def _of_class(log_variances: Tensor, k: int, covariance_type: CovarianceType) -> Tensor:
    """Log-variances of class k alone, shaped for one class."""
    if covariance_type in ("spherical", "diag"):
        return log_variances[k : k + 1]
    return log_variances


def _most_likely_rows(
    deviance: Tensor, class_rows: Tensor, weights: Tensor, trim: float
) -> Tensor:
    """Rows of lowest deviance until 1 - trim of the weight is reached, sorted."""
    order = torch.argsort(deviance, stable=True)
    cumulated = torch.cumsum(weights[order], dim=0)
    # Rounding must not turn 0.75 * 4 = 3 rows into 4.
    needed = (1.0 - trim) * float(cumulated[-1]) * (1.0 - 1e-12)
    n_kept = int(torch.searchsorted(cumulated, needed)) + 1
    return torch.sort(class_rows[order[:n_kept]]).values


def _rows_of_bulk(
    squared_distances: Tensor, class_rows: Tensor, weights: Tensor
) -> Tensor:
    """Rows no farther than a row of the bulk of a class may be, sorted.

    Where a class is too small to say, or more than half of its rows are equal, those
    that the start would keep.
    """
    roots = squared_distances.pow(1 / 3)[None]  # (1, n_class_rows), about normal
    median = _weighted_median(roots, weights)
    is_below = roots[0] < median
    if len(class_rows) >= _AUTO_MIN_ROWS and bool(is_below.any()):
        deviations = median - roots[:, is_below]
        scale = 1.4826 * _weighted_median(deviations, weights[is_below])
        cutoff = median + stats.norm.ppf(_AUTO_LEVEL) * scale
        return torch.sort(class_rows[roots[0] <= cutoff]).values
    return _most_likely_rows(squared_distances, class_rows, weights, _AUTO_START)


def _consistency_factor(kept_share: float, feature_dim: int) -> float:
    """Share of the variance that the central ``kept_share`` of a Gaussian has."""
    if kept_share >= 1.0:
        return 1.0
    quantile = stats.chi2.ppf(kept_share, feature_dim)
    return float(stats.chi2.cdf(quantile, feature_dim + 2) / kept_share)


def _weighted_estimate(
    features: Tensor,
    weights: Tensor,
    kept: list[Tensor],
    rows: list[Tensor],
    covariance_type: CovarianceType,
    variance: Variance,
    central_share: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted means and consistency-corrected variances of the kept rows.

    They are the central rows of a Gaussian: all that were kept, of all rows, or the
    given share of it, where the others may be no rows of it.
    """
    feature_dim = features.shape[1]
    means = _weighted_means(features, weights, kept)
    variances, masses = [], []
    for mean, kept_rows, class_rows in zip(means, kept, rows, strict=True):
        w = weights[kept_rows]
        mass = w.sum()
        squares = sum(
            part @ torch.sub(features[chunk], mean).square_()
            for part, chunk in zip(
                torch.split(w, _CHUNK), torch.split(kept_rows, _CHUNK), strict=True
            )
        )
        spread = squares / mass
        share = float(mass / weights[class_rows].sum())
        if central_share is not None and len(class_rows) >= _AUTO_MIN_ROWS:
            share = max(share, central_share) if share < 1.0 else share
        variances.append(spread / _consistency_factor(share, feature_dim))
        masses.append(mass)
    return means, _log_variances(
        means,
        torch.stack(variances),
        torch.stack(masses),
        covariance_type,
        variance,
    )


def _median_start(
    features: Tensor,
    weights: Tensor,
    rows: list[Tensor],
    covariance_type: CovarianceType,
    variance: Variance,
) -> tuple[Tensor, Tensor]:
    """Coordinate-wise weighted medians and squared MAD scales of every class."""

    def of_columns(values: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        median = _weighted_median(values, w)
        mad = _weighted_median((values - median[:, None]).abs(), w)
        return median, (1.4826 * mad).square()

    return _by_columns(features, weights, rows, of_columns, covariance_type, variance)


def _coordinatewise_estimate(
    features: Tensor,
    weights: Tensor,
    rows: list[Tensor],
    location: Location,
    trim: float,
    covariance_type: CovarianceType,
    variance: Variance,
) -> tuple[Tensor, Tensor]:
    """Median or trimmed mean of each coordinate, and variances about it."""

    def of_columns(values: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        if location == "median":
            centre = _weighted_median(values, w)
        else:
            centre = _window_mean(values, w, trim, 1.0 - trim)
        squares = (values - centre[:, None]).square()
        spread = _window_mean(squares, w, 0.0, 1.0 - trim)
        return centre, spread / _consistency_factor(1.0 - trim, 1)

    return _by_columns(features, weights, rows, of_columns, covariance_type, variance)


def _by_columns(
    features: Tensor,
    weights: Tensor,
    rows: list[Tensor],
    estimate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    covariance_type: CovarianceType,
    variance: Variance,
) -> tuple[Tensor, Tensor]:
    """Estimate location and variance of every column and class by themselves."""
    means, variances, masses = [], [], []
    for class_rows in rows:
        w = weights[class_rows]
        # Sorting needs several copies of what it sorts: some columns at a time.
        n_columns = max(1, _SORTED_VALUES // len(class_rows))
        parts = [
            estimate(columns[class_rows].T.double(), w)  # (n_columns, n_class_rows)
            for columns in torch.split(features, n_columns, dim=1)
        ]
        means.append(torch.cat([centre for centre, _ in parts]))
        variances.append(torch.cat([spread for _, spread in parts]))
        masses.append(w.sum())
    locations = torch.stack(means)
    return locations, _log_variances(
        locations,
        torch.stack(variances),
        torch.stack(masses),
        covariance_type,
        variance,
    )


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Lower weighted median of every row; values (d, n), weights (n,)."""
    if bool((weights == weights[0]).all()):  # a selection, not a sort
        middle = (len(weights) - 1) // 2
        parts = np.partition(values.numpy(), middle, axis=1)
        return torch.from_numpy(parts[:, middle].copy())
    ordered, own = _ordered(values, weights)
    cumulated = torch.cumsum(own, dim=1)  # (d, n)
    half = 0.5 * cumulated[:, -1:] * (1.0 - 1e-12)
    position = (cumulated < half).sum(dim=1, keepdim=True)
    return ordered.gather(1, position)[:, 0]


def _window_mean(values: Tensor, weights: Tensor, low: float, high: float) -> Tensor:
    """Mean of the quantile function of every row over [low, high]; values (d, n)."""
    ordered, own = _ordered(values, weights)
    cumulated = torch.cumsum(own, dim=1)  # (d, n), or (1, n) for equal weights
    total = cumulated[:, -1:]
    inside = cumulated.clamp_max(high * total) - (cumulated - own).clamp_min(
        low * total
    )
    inside = inside.clamp_min(0.0)
    return (inside * ordered).sum(dim=1) / inside.sum(dim=1)


def _ordered(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sort every row of values (d, n), and give each value its weight.

    numpy sorts several times faster than torch on CPUs. Equal weights need no order
    and stay one row (1, n).
    """
    if bool((weights == weights[0]).all()):
        return torch.from_numpy(np.sort(values.numpy(), axis=1)), weights[None]
    order = torch.from_numpy(np.argsort(values.numpy(), axis=1))
    return values.gather(1, order), weights[order]


def _log_variances(
    means: Tensor,
    variances: Tensor,
    masses: Tensor,
    covariance_type: CovarianceType,
    variance: Variance,
) -> Tensor:
    """Floored log-variances of a covariance type from (n_classes, d) variances."""
    if covariance_type == "identity" and variance != "within":
        return torch.tensor(math.log(variance), dtype=torch.float64)
    # One row, or equal ones, whatever they weigh: up to the rounding of their mean.
    has_spread = (variances > 1e-20 * means.square()).any(dim=1)
    shares = torch.where(has_spread, masses, 0.0)
    if not bool(has_spread.any()):  # no class has a variance to estimate
        shape = log_variances_shape(covariance_type, *variances.shape)
        value = 1.0 if variance == "within" else variance
        return torch.full(shape, math.log(value), dtype=torch.float64)
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
