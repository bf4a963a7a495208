"""The feature-collision objective of Poison Frogs."""

import torch
from torch import Tensor


def collision_objective(
    features: Tensor, target_features: Tensor, scale: Tensor | float = 1.0
) -> Tensor:
    """Squared feature distance to the target, in units of `scale`.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        f(x), the features of the poisons.
    target_features : Tensor of shape (n_samples, feature_dim)
        f(t), the features of the target of each poison.
    scale : Tensor of shape (n_samples,) or float, default=1.0
        What the squared distance is divided by, > 0. With |f(b) - f(t)|^2, b the base,
        every search starts at 1, and `similarity_weight` means the same on any network
        and at any feature scale.

    Returns
    -------
    Tensor of shape (n_samples,)
        |f(x) - f(t)|^2 / scale.

    Notes
    -----
    The first term of Equation (1) of Poison Frogs [1]_, where scale is 1. It is the
    *squared* norm; the published code of arXiv 2003.00798 has the norm itself,
    whose gradient does not shrink near the target.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1).
    """
    return (features - target_features).square().sum(dim=1) / scale


def is_at_target(base_features: Tensor, target_features: Tensor) -> Tensor:
    """Whether base and target have the same features but for rounding.

    Parameters
    ----------
    base_features, target_features : Tensor of shape (n_samples, feature_dim)
        f(b) and f(t).

    Returns
    -------
    Tensor of bool of shape (n_samples,)
        |f(b) - f(t)| <= 8 eps |f(t)|, with eps the spacing of the features' dtype.
    """
    distance = torch.linalg.vector_norm(base_features - target_features, dim=1)
    size = torch.linalg.vector_norm(target_features, dim=1)
    at_target: Tensor = distance <= 8 * torch.finfo(distance.dtype).eps * size
    return at_target
