"""Poisons that foresee how all of them together move a class mean."""

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor

from sklgm.poisoning._adaptive import (
    Allowance,
    _check_allowance,
    _check_weight,
    _per_class,
    claimed_likelihood_penalty,
)
from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._search import Smooth
from sklgm.poisoning._surrogate import GaussianSurrogate


def moved_mean_objective(
    distance: Tensor, target_distance: Tensor, penalties: Tensor
) -> Tensor:
    """Distance of the target from the mean that the poisons move, with penalties.

    Parameters
    ----------
    distance : Tensor of shape (n_groups,)
        Squared Mahalanobis distance of the target from the moved mean.
    target_distance : Tensor of shape (n_groups,)
        The same before; the unit.
    penalties : Tensor of shape (n_groups, n_poisons)
        Weighted penalties of single poisons.

    Returns
    -------
    Tensor of shape (n_groups,)
        ``D_z(f(t); mu') / D_z(f(t); mu)`` plus the mean penalty.
    """
    unit = target_distance.clamp_min(torch.finfo(target_distance.dtype).tiny)
    return distance / unit + penalties.mean(dim=1)


@dataclass(frozen=True)
class AdaptiveJoint(Attack):
    """Poisons of one who knows the L-GM defence, and moves the class mean with all.

    Each poison stays as likely under its claim as trimming keeps it, and all together
    take the mean of the class they claim towards the target as far as that allows. A
    single poison need not come near the target.

    Needs a surrogate with class Gaussians, as :class:`AdaptiveLikelihood`, and the
    label that poisons claim.

    Parameters
    ----------
    n_rows : int >= 1, default=250
        Rows from which the mean of the class is estimated, poisons included.
    max_distance : float, tuple of float or None, default=None
        As in :class:`AdaptiveLikelihood`.
    likelihood_weight : float, default=10.0
        Weight of the penalty, as in :class:`AdaptiveLikelihood`.

    See Also
    --------
    moved_mean_objective : The objective.
    AdaptiveLikelihood : Poisons that collide with the target one by one.

    Notes
    -----
    With bases b_j, which the poisons x_j replace, the mean moves by
    ``sum_j (f(x_j) - f(b_j)) / n``: minimised is the distance of the target from
    where it then is, over that from where it was, plus the mean over the poisons of
    ``lambda max(0, D_z(f(x_j)) - c) / D_z(f(t))``. Variances are taken to stay.

    Examples
    --------
    >>> from sklgm.poisoning import AdaptiveJoint
    >>> AdaptiveJoint(n_rows=100).is_joint
    True
    """

    name: ClassVar[str] = "adaptive_joint"
    is_joint: ClassVar[bool] = True
    needs_base_label: ClassVar[bool] = True

    n_rows: int = 250
    max_distance: Allowance = None
    likelihood_weight: float = 10.0

    def __post_init__(self) -> None:
        if not isinstance(self.n_rows, Integral) or self.n_rows < 1:
            raise ValueError(f"n_rows must be an int >= 1, got {self.n_rows!r}")
        _check_weight("likelihood_weight", self.likelihood_weight)
        _check_allowance("max_distance", self.max_distance, zero=True)

    def objective(self, problem: Problem) -> Smooth:
        """Give the objective of each group; see :class:`Attack`.

        Parameters
        ----------
        problem : Problem
            Groups of poisons with one target each, and the class that each claims.

        Returns
        -------
        callable
            The smooth term of the search.

        Raises
        ------
        TypeError
            If the surrogate has no class Gaussians.
        ValueError
            If what is allowed to each class is not given for all of them.
        """
        surrogate, claimed = problem.surrogate, problem.base_class
        if not isinstance(surrogate, GaussianSurrogate):
            raise TypeError(
                f"attack={self.name!r} needs a surrogate with claimed_distances; "
                f"{type(surrogate).__name__} has none"
            )
        assert claimed is not None
        target_features = problem.target_features[:, 0]

        def distances(features: Tensor, labels: Tensor) -> Tensor:
            """Of poisons (n_groups, n_poisons, feature_dim), from their claims."""
            n_poisons = features.shape[1]
            of_all = surrogate.claimed_distances(
                features.flatten(0, 1), labels.repeat_interleave(n_poisons)
            )
            return of_all.reshape(-1, n_poisons)

        with torch.no_grad():
            of_target = surrogate.claimed_distances(target_features, claimed)
            allowed = distances(problem.base_features, claimed)
            of_class = _per_class("max_distance", self.max_distance, problem)
            if of_class is not None:
                allowed = of_class.to(allowed)[:, None].expand_as(allowed)

        def smooth(X: Tensor, groups: Tensor) -> Tensor:
            features = problem.features(X)
            moved = (features - problem.base_features[groups]).sum(dim=1) / self.n_rows
            # The mean moves towards the target as the target would towards the mean.
            distance = surrogate.claimed_distances(
                target_features[groups] - moved, claimed[groups]
            )
            unit = of_target[groups]
            penalties = self.likelihood_weight * claimed_likelihood_penalty(
                distances(features, claimed[groups]), allowed[groups], unit[:, None]
            )
            return moved_mean_objective(distance, unit, penalties)

        return smooth
