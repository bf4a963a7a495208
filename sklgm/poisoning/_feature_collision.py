"""Feature collision, the attack of Poison Frogs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._search import Smooth


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


@dataclass(frozen=True)
class FeatureCollision(Attack):
    """Feature collision, the attack of Poison Frogs: each poison on its own.

    Parameters
    ----------
    scaling : {"base_distance"} or None, default="base_distance"
        "base_distance" divides squared feature distances by that of base and target,
        so that `similarity_weight` means the same on every network. None leaves them
        as they are, as in Poison Frogs.
    squared : bool, default=True
        False takes the distance itself, as the published code of arXiv 2003.00798
        does (with "base_distance": divided by that of base and target).

    See Also
    --------
    craft : Crafts poisons by an attack.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1).

    Examples
    --------
    >>> from sklgm.poisoning import FeatureCollision
    >>> FeatureCollision(squared=False)
    FeatureCollision(scaling='base_distance', squared=False)
    """

    name: ClassVar[str] = "feature_collision"

    scaling: str | None = "base_distance"
    squared: bool = True

    def __post_init__(self) -> None:
        if self.scaling not in ("base_distance", None):
            raise ValueError(
                f"scaling must be 'base_distance' or None, got {self.scaling!r}"
            )

    def objective(self, problem: Problem) -> Smooth:
        """Give the collision objective of each poison; see :class:`Attack`.

        Parameters
        ----------
        problem : Problem
            Groups of one poison and one target.

        Returns
        -------
        callable
            The smooth term of the search.
        """
        target_features = problem.target_features[:, 0]
        scale = torch.ones_like(target_features[:, 0])
        if self.scaling is not None:
            scale = collision_objective(problem.base_features[:, 0], target_features)

        def smooth(X: Tensor, groups: Tensor) -> Tensor:
            value = collision_objective(
                problem.features(X)[:, 0], target_features[groups], scale[groups]
            )
            # The gradient of a square root has no limit at 0.
            tiny = torch.finfo(value.dtype).tiny
            return value if self.squared else value.clamp_min(tiny).sqrt()

        return smooth
