"""Class-conditional Gaussian algebra: distances, densities, robust estimation."""

from sklgm.gaussian._certificate import (
    Change,
    LocationBounds,
    Threat,
    certified_poisons,
)
from sklgm.gaussian._distances import (
    COVARIANCE_TYPES,
    ClassDistances,
    CovarianceType,
    claimed_squared_mahalanobis,
    class_logits,
    log_density,
    log_determinant,
    log_variances_shape,
    squared_mahalanobis,
)
from sklgm.gaussian._robust import (
    LOCATIONS,
    GaussianEstimate,
    Location,
    Trim,
    Variance,
    estimate_gaussians,
    kept_rows,
)

__all__ = [
    "COVARIANCE_TYPES",
    "LOCATIONS",
    "Change",
    "ClassDistances",
    "CovarianceType",
    "GaussianEstimate",
    "Location",
    "LocationBounds",
    "Threat",
    "Trim",
    "Variance",
    "certified_poisons",
    "claimed_squared_mahalanobis",
    "class_logits",
    "estimate_gaussians",
    "kept_rows",
    "log_density",
    "log_determinant",
    "log_variances_shape",
    "squared_mahalanobis",
]
