"""The objectives of the polytope attacks: poisons that surround a target together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._search import Smooth

# Steps of the inner problem; each costs products with matrices of the group's size.
_N_STEPS = 300


def bullseye_polytope_objective(features: Tensor, target_features: Tensor) -> Tensor:
    """Distance of the mean of the poisons' features from the target.

    Parameters
    ----------
    features : Tensor of shape (n_groups, n_poisons, feature_dim)
        f(x), the features of the poisons of each group.
    target_features : Tensor of shape (n_groups, n_targets, feature_dim)
        f(t) of the targets of each group; their mean is aimed at.

    Returns
    -------
    Tensor of shape (n_groups,)
        ``|f(t) - mean_j f(x_j)|^2 / |f(t)|^2``, f(t) the mean over the targets.

    Notes
    -----
    The objective of Bullseye Polytope [1]_ without its factor 1/2, for one surrogate;
    with several targets its multi-target mode. A convex classifier region that holds
    the poisons holds their mean, and with it the target, not at the border but inside.

    References
    ----------
    .. [1] H. Aghakhani, D. Meng, Y.-X. Wang, C. Kruegel and G. Vigna, "Bullseye
       Polytope: A Scalable Clean-Label Poisoning Attack with Improved
       Transferability", IEEE European Symposium on Security and Privacy 2021.
    """
    target = target_features.mean(dim=1)  # (n_groups, feature_dim)
    residual = features.mean(dim=1) - target
    return residual.square().sum(dim=1) / _squared_norm(target)


def convex_polytope_objective(features: Tensor, target_features: Tensor) -> Tensor:
    """Distance of the target from the convex hull of the poisons' features.

    Parameters
    ----------
    features : Tensor of shape (n_groups, n_poisons, feature_dim)
        f(x), the features of the poisons of each group.
    target_features : Tensor of shape (n_groups, n_targets, feature_dim)
        f(t) of the targets of each group; their mean is aimed at.

    Returns
    -------
    Tensor of shape (n_groups,)
        ``min_c |f(t) - sum_j c_j f(x_j)|^2 / |f(t)|^2`` over c >= 0 that sum to 1.

    Notes
    -----
    The objective of Convex Polytope [1]_ without its factor 1/2, for one surrogate. The
    paper alternates steps in c and in x; here c is solved for at every x, so that the
    value is a function of x alone and points can be compared by it. Its gradient in x
    is that at the fixed best c (the envelope theorem).

    References
    ----------
    .. [1] C. Zhu, W. R. Huang, A. Shafahi, H. Li, G. Taylor, C. Studer and
       T. Goldstein, "Transferable Clean-Label Poisoning Attacks on Deep Neural
       Nets", ICML 2019.
    """
    target = target_features.mean(dim=1)  # (n_groups, feature_dim)
    coefficients = hull_coefficients(features.detach(), target)
    nearest = (coefficients[:, :, None] * features).sum(dim=1)
    return (nearest - target).square().sum(dim=1) / _squared_norm(target)


@torch.no_grad()
def hull_coefficients(features: Tensor, target: Tensor) -> Tensor:
    """Coefficients of the point of a convex hull that is nearest to a target.

    Parameters
    ----------
    features : Tensor of shape (n_groups, n_poisons, feature_dim)
        The corners of each hull.
    target : Tensor of shape (n_groups, feature_dim)
        The target of each group.

    Returns
    -------
    Tensor of shape (n_groups, n_poisons)
        c >= 0, rows sum to 1, in the dtype of `features`.

    Notes
    -----
    Accelerated projected gradient descent on the quadratic ``|sum_j c_j (f_j - t)|^2``
    from equal coefficients, in float64, with the step that its curvature allows.

    References
    ----------
    A. Beck and M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for
    Linear Inverse Problems", SIAM Journal on Imaging Sciences 2(1), 2009.
    """
    n_poisons = features.shape[1]
    corners = features.double() - target.double()[:, None]
    gram = corners @ corners.mT  # (n_groups, n_poisons, n_poisons)
    # The trace bounds the largest eigenvalue; a hull of one point has curvature 0.
    curvature = gram.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None]
    step = 1.0 / curvature.clamp_min(torch.finfo(torch.float64).tiny)
    c = corners.new_full((len(corners), n_poisons), 1.0 / n_poisons)
    ahead, momentum = c, 1.0
    for _ in range(_N_STEPS):
        gradient = (gram @ ahead[:, :, None])[:, :, 0]
        following = project_to_simplex(ahead - step * gradient)
        next_momentum = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
        ahead = following + (momentum - 1.0) / next_momentum * (following - c)
        c, momentum = following, next_momentum
    return c.to(features.dtype)


def project_to_simplex(values: Tensor) -> Tensor:
    """Nearest point of the probability simplex.

    Parameters
    ----------
    values : Tensor of shape (n_groups, n_values)
        Any finite values.

    Returns
    -------
    Tensor of shape (n_groups, n_values)
        Values >= 0, rows sum to 1.

    References
    ----------
    J. Duchi, S. Shalev-Shwartz, Y. Singer and T. Chandra, "Efficient Projections onto
    the l1-Ball for Learning in High Dimensions", ICML 2008, Figure 1.
    """
    ordered = values.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - 1.0
    counts = torch.arange(
        1, values.shape[1] + 1, dtype=values.dtype, device=values.device
    )
    n_positive = (ordered * counts > excess).sum(dim=1, keepdim=True)
    threshold = excess.gather(1, n_positive - 1) / n_positive
    return (values - threshold).clamp_min(0.0)


def _of_groups(value: Callable[[Tensor, Tensor], Tensor], problem: Problem) -> Smooth:
    """Turn an objective of features into one of instances."""

    def smooth(X: Tensor, groups: Tensor) -> Tensor:
        return value(problem.features(X), problem.target_features[groups])

    return smooth


def _squared_norm(target: Tensor) -> Tensor:
    # Features of ReLU networks may all be 0; the distance is then taken as it is.
    squared = target.square().sum(dim=1)
    return torch.where(squared > 0, squared, 1.0)


@dataclass(frozen=True)
class BullseyePolytope(Attack):
    """Bullseye polytope: the mean of a group's poisons collides with the target.

    With several targets per group (`joint_targets` of :class:`~sklgm.PoisonCrafter`)
    their mean is aimed at, the multi-target mode of the paper.

    See Also
    --------
    bullseye_polytope_objective : The objective, and its source.
    craft : Crafts poisons by an attack.

    Examples
    --------
    >>> from sklgm.poisoning import BullseyePolytope
    >>> BullseyePolytope.is_joint
    True
    """

    name: ClassVar[str] = "bullseye_polytope"
    is_joint: ClassVar[bool] = True
    takes_several_targets: ClassVar[bool] = True

    def objective(self, problem: Problem) -> Smooth:
        """Give the objective of each group; see :class:`Attack`.

        Parameters
        ----------
        problem : Problem
            Groups and their targets.

        Returns
        -------
        callable
            The smooth term of the search.
        """
        return _of_groups(bullseye_polytope_objective, problem)


@dataclass(frozen=True)
class ConvexPolytope(Attack):
    """Convex polytope: the target lies in the convex hull of a group's poisons.

    See Also
    --------
    convex_polytope_objective : The objective, and its source.
    craft : Crafts poisons by an attack.

    Examples
    --------
    >>> from sklgm.poisoning import ConvexPolytope
    >>> ConvexPolytope.is_joint
    True
    """

    name: ClassVar[str] = "convex_polytope"
    is_joint: ClassVar[bool] = True
    takes_several_targets: ClassVar[bool] = True

    def objective(self, problem: Problem) -> Smooth:
        """Give the objective of each group; see :class:`Attack`.

        Parameters
        ----------
        problem : Problem
            Groups and their targets.

        Returns
        -------
        callable
            The smooth term of the search.
        """
        return _of_groups(convex_polytope_objective, problem)
