"""Class-conditional Gaussian algebra: distances, densities, robust estimation."""

from sklgm.gaussian._distances import (
    COVARIANCE_TYPES,
    CovarianceType,
    log_density,
    log_determinant,
    log_variances_shape,
    squared_mahalanobis,
)
from sklgm.gaussian._robust import GaussianEstimate, Trim, estimate_gaussians

__all__ = [
    "COVARIANCE_TYPES",
    "CovarianceType",
    "GaussianEstimate",
    "Trim",
    "estimate_gaussians",
    "log_density",
    "log_determinant",
    "log_variances_shape",
    "squared_mahalanobis",
]
