"""Adaptive attacks: poisons that the scores of the claimed label cannot tell."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._feature_collision import collision_objective
from sklgm.poisoning._search import Smooth
from sklgm.poisoning._surrogate import GaussianSurrogate, Surrogate

#: Cost of features in the class with an index, ``(features, base_class) -> cost``.
ClaimedCost = Callable[[Tensor, Tensor], Tensor]


def claimed_likelihood_penalty(
    claimed_distance: Tensor, max_distance: Tensor, target_distance: Tensor
) -> Tensor:
    """How far a poison lies outside the rows that its claimed class explains.

    Parameters
    ----------
    claimed_distance : Tensor of shape (n_samples,)
        D_z(f(x)), squared Mahalanobis distance of each poison from the mean of the
        class that it claims.
    max_distance : Tensor of shape (n_samples,)
        c, the distance up to which nothing is paid; >= 0.
    target_distance : Tensor of shape (n_samples,)
        D_z(f(t)), that of each poison's target; the unit.

    Returns
    -------
    Tensor of shape (n_samples,)
        ``max(0, D_z(f(x)) - c) / D_z(f(t))``: 0 for a plausible claim, at most about 1
        for a poison that has the features of its target.

    Notes
    -----
    Up to constants D_z is -2 log N_z(f(x)): the penalty is the claimed log-likelihood
    that is missing to that of a row at distance c. :class:`AdaptivePosterior` takes it
    of -log p(z | f(x)) as well.
    """
    # A target at the mean of the wrong class is as plausible there as can be.
    unit = target_distance.clamp_min(torch.finfo(target_distance.dtype).tiny)
    return (claimed_distance - max_distance).clamp_min(0.0) / unit


@dataclass(frozen=True)
class AdaptiveLikelihood(Attack):
    """Feature collision by an attacker who knows the L-GM defence.

    The poisons come as close to the target as they can while their features stay
    likely under the Gaussian of the class that they claim: likely enough not to be
    flagged, and not to be among the rows that ``trim`` leaves out.

    Needs a surrogate with class Gaussians: an :class:`sklgm.LGMClassifier`, or the pair
    of any backbone and a :class:`sklgm.nn.GaussianMixtureHead`; and the label that
    poisons claim.

    Parameters
    ----------
    max_distance : float, tuple of float or None, default=None
        Squared Mahalanobis distance from the claimed class mean, >= 0, up to which
        nothing is paid, for all classes or one each. To survive trimming take the
        ``1 - trim`` quantile of the distances of clean rows. None takes that of each
        poison's base.
    likelihood_weight : float, default=10.0
        Weight lambda >= 0 of the penalty. 0 is feature collision.

    See Also
    --------
    claimed_likelihood_penalty : The penalty.
    AdaptivePosterior : By one who knows the posterior score too.
    craft : Crafts poisons by an attack.

    Notes
    -----
    Minimises ``|f(x) - f(t)|^2 / |f(b) - f(t)|^2 + lambda max(0, D_z(f(x)) - c) /
    D_z(f(t))`` with c = `max_distance`. The penalty is exact: where lambda is at least
    about sqrt(D_z(f(t)) / c) - 1, it pays to stop at distance c, at the plausible point
    that is nearest to the target. The first term is Equation (1) of Poison Frogs
    [1]_; evaluating a defence by an attack that has the defence in its objective
    follows [2]_.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1).
    .. [2] F. Tramer, N. Carlini, W. Brendel and A. Madry, "On Adaptive Attacks to
       Adversarial Example Defenses", NeurIPS 2020.

    Examples
    --------
    >>> from sklgm.poisoning import AdaptiveLikelihood
    >>> AdaptiveLikelihood(max_distance=70.0)
    AdaptiveLikelihood(max_distance=70.0, likelihood_weight=10.0)
    """

    name: ClassVar[str] = "adaptive_likelihood"
    needs_base_label: ClassVar[bool] = True

    max_distance: float | tuple[float, ...] | None = None
    likelihood_weight: float = 10.0

    def __post_init__(self) -> None:
        _check_weight("likelihood_weight", self.likelihood_weight)
        _check_allowance("max_distance", self.max_distance)

    def objective(self, problem: Problem) -> Smooth:
        """Give the objective of each poison; see :class:`Attack`.

        Parameters
        ----------
        problem : Problem
            Groups of one poison and one target, and the class that each claims.

        Returns
        -------
        callable
            The smooth term of the search.

        Raises
        ------
        TypeError
            If the surrogate has no class Gaussians.
        ValueError
            If `max_distance` is not one for each class.
        """
        base_class = problem.base_class
        assert base_class is not None
        base_features = problem.base_features[:, 0]
        target_features = problem.target_features[:, 0]
        with torch.no_grad():
            scale = collision_objective(base_features, target_features)
        penalties = self._penalties(problem, base_class)

        def smooth(X: Tensor, groups: Tensor) -> Tensor:
            features = problem.features(X)[:, 0]
            objective = collision_objective(
                features, target_features[groups], scale[groups]
            )
            for penalty in penalties:
                objective = objective + penalty(features, groups)
            return objective

        return smooth

    def _penalties(self, problem: Problem, base_class: Tensor) -> list[Smooth]:
        """Weighted penalties ``(features, groups) -> penalty`` beside the collision."""
        surrogate = problem.surrogate
        if not isinstance(surrogate, GaussianSurrogate):
            raise TypeError(
                f"attack={self.name!r} needs a surrogate with squared_distances; "
                f"{type(surrogate).__name__} has none"
            )

        def distance(features: Tensor, claimed: Tensor) -> Tensor:
            distances = surrogate.squared_distances(features)
            return distances.gather(1, claimed[:, None])[:, 0]

        return [
            _penalty(
                problem,
                base_class,
                distance,
                self.likelihood_weight,
                "max_distance",
                self.max_distance,
            )
        ]


@dataclass(frozen=True)
class AdaptivePosterior(AdaptiveLikelihood):
    """Feature collision by an attacker who knows the posterior score and ``trim``.

    As :class:`AdaptiveLikelihood`, while the claimed label stays probable as well: the
    poisons come as close to the target as they can on their own side of the decision
    boundary. Against :class:`sklgm.LGMOutlierDetector` with its default score, and
    against confident learning on the surrogate's probabilities.

    Needs a surrogate with class Gaussians, and the label that poisons claim.

    Parameters
    ----------
    max_distance : float, tuple of float or None, default=None
        As in :class:`AdaptiveLikelihood`.
    likelihood_weight : float, default=10.0
        Weight lambda >= 0 of the penalty on distances. 0 goes against the posterior
        alone.
    max_surprisal : float, tuple of float or None, default=None
        -log p(z | f) of the claimed class in nats, >= 0, up to which nothing is paid,
        for all classes or one each. Not to be flagged, take the largest of clean rows
        that are not. None takes that of each poison's base.
    posterior_weight : float, default=10.0
        Weight mu >= 0 of the penalty on surprisals. 0 is :class:`AdaptiveLikelihood`.

    See Also
    --------
    claimed_likelihood_penalty : The penalty, also that on surprisals.
    craft : Crafts poisons by an attack.

    Notes
    -----
    Minimises the objective of :class:`AdaptiveLikelihood` plus
    ``mu max(0, s_z(f(x)) - c) / s_z(f(t))`` with s_z = -log p(z | f) and c =
    `max_surprisal`. That the score is in the objective follows [1]_.

    References
    ----------
    .. [1] F. Tramer, N. Carlini, W. Brendel and A. Madry, "On Adaptive Attacks to
       Adversarial Example Defenses", NeurIPS 2020.

    Examples
    --------
    >>> from sklgm.poisoning import AdaptivePosterior
    >>> AdaptivePosterior(max_distance=70.0, max_surprisal=0.7).posterior_weight
    10.0
    """

    name: ClassVar[str] = "adaptive_posterior"

    max_surprisal: float | tuple[float, ...] | None = None
    posterior_weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weight("posterior_weight", self.posterior_weight)
        _check_allowance("max_surprisal", self.max_surprisal)

    def _penalties(self, problem: Problem, base_class: Tensor) -> list[Smooth]:
        return [
            *super()._penalties(problem, base_class),
            _penalty(
                problem,
                base_class,
                partial(_surprisal, problem.surrogate),
                self.posterior_weight,
                "max_surprisal",
                self.max_surprisal,
            ),
        ]


def _surprisal(surrogate: Surrogate, features: Tensor, claimed: Tensor) -> Tensor:
    """-log p(z | f) >= 0 in nats of the class z that each row claims."""
    return cross_entropy(surrogate.log_joint(features), claimed, reduction="none")


def _penalty(
    problem: Problem,
    base_class: Tensor,
    cost: ClaimedCost,
    weight: float,
    name: str,
    allowance: float | tuple[float, ...] | None,
) -> Smooth:
    """Weighted excess of a cost in the claimed class, ``(features, groups) -> ...``."""
    base_features = problem.base_features[:, 0]
    with torch.no_grad():
        of_target = cost(problem.target_features[:, 0], base_class)
        allowed = cost(base_features, base_class)
        n_classes = problem.surrogate.log_joint(base_features[:1]).shape[1]
    if allowance is not None:
        allowed = _allowed(name, allowance, base_class, n_classes).to(allowed)

    def penalty(features: Tensor, groups: Tensor) -> Tensor:
        found = cost(features, base_class[groups])
        return weight * claimed_likelihood_penalty(
            found, allowed[groups], of_target[groups]
        )

    return penalty


def _allowed(
    name: str, allowance: float | tuple[float, ...], base_class: Tensor, n_classes: int
) -> Tensor:
    """Take what a parameter allows the class that each poison claims."""
    values = torch.as_tensor(allowance, dtype=torch.float64)
    if values.ndim == 0:
        return values.expand(len(base_class))
    if len(values) != n_classes:
        raise ValueError(f"{name} holds {len(values)} values for {n_classes} classes")
    return values.to(base_class.device)[base_class]


def _check_weight(name: str, weight: object) -> None:
    if not _is_non_negative(weight):
        raise ValueError(f"{name} must be a finite float >= 0, got {weight!r}")


def _check_allowance(name: str, allowance: object) -> None:
    if isinstance(allowance, tuple):
        is_valid = len(allowance) > 0 and all(map(_is_non_negative, allowance))
    else:
        is_valid = allowance is None or _is_non_negative(allowance)
    if not is_valid:
        raise ValueError(
            f"{name} must be a finite float >= 0, a tuple of them, one a class, or "
            f"None, got {allowance!r}"
        )


def _is_non_negative(value: object) -> bool:
    return isinstance(value, Real) and 0.0 <= float(value) < math.inf
