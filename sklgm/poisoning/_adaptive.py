"""Adaptive attacks: poisons that the scores of the claimed label cannot tell."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor

from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._feature_collision import collision_objective
from sklgm.poisoning._search import Smooth
from sklgm.poisoning._surrogate import GaussianSurrogate

#: What is allowed to all classes, to each, or (None) as the base has it.
Allowance = float | tuple[float, ...] | None


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
    that is missing to that of a row at distance c.
    """
    # A target at the mean of the wrong class is as plausible there as can be.
    unit = target_distance.clamp_min(torch.finfo(target_distance.dtype).tiny)
    return (claimed_distance - max_distance).clamp_min(0.0) / unit


def claimed_posterior_penalty(
    claimed_log_odds: Tensor, max_log_odds: Tensor, target_log_odds: Tensor
) -> Tensor:
    """How much more doubtful a poison's claim is than it may be.

    Parameters
    ----------
    claimed_log_odds : Tensor of shape (n_samples,)
        o_z(f(x)) = log((1 - p) / p) with p = p(z | f(x)), the log odds against the
        class that each poison claims, in nats.
    max_log_odds : Tensor of shape (n_samples,)
        c, the log odds up to which nothing is paid.
    target_log_odds : Tensor of shape (n_samples,)
        o_z(f(t)), those of each poison's target; with c they set the unit.

    Returns
    -------
    Tensor of shape (n_samples,)
        ``max(0, o_z(f(x)) - c) / max(1, o_z(f(t)) - c)``: 0 for a claim that is sure
        enough, at most about 1 for a poison that has the features of its target.

    Notes
    -----
    Odds and not the probability itself: its logarithm is flat where a claim is sure,
    and a penalty on it would not hold poisons to a small -log p.
    """
    unit = (target_log_odds - max_log_odds).clamp_min(1.0)
    return (claimed_log_odds - max_log_odds).clamp_min(0.0) / unit


@dataclass(frozen=True)
class _Adaptive(Attack):
    """Feature collision with penalties on what a defence sees of the claimed class."""

    needs_base_label: ClassVar[bool] = True

    max_distance: Allowance = None
    likelihood_weight: float = 10.0

    def __post_init__(self) -> None:
        _check_weight("likelihood_weight", self.likelihood_weight)
        _check_allowance("max_distance", self.max_distance, zero=True)

    @abstractmethod
    def penalties(self, problem: Problem) -> list[Smooth]:
        """Weighted penalties ``(features, groups) -> penalty`` beside the collision."""

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
            If distances are penalised and the surrogate has no class Gaussians.
        ValueError
            If what is allowed to each class is not given for all of them.
        """
        base_features = problem.base_features[:, 0]
        target_features = problem.target_features[:, 0]
        with torch.no_grad():
            scale = collision_objective(base_features, target_features)
        penalties = self.penalties(problem)

        def smooth(X: Tensor, groups: Tensor) -> Tensor:
            features = problem.features(X)[:, 0]
            objective = collision_objective(
                features, target_features[groups], scale[groups]
            )
            for penalty in penalties:
                objective = objective + penalty(features, groups)
            return objective

        return smooth

    def likelihood_penalty(self, problem: Problem) -> Smooth:
        """Penalty on the distances from the claimed means."""
        surrogate = problem.surrogate
        if not isinstance(surrogate, GaussianSurrogate):
            raise TypeError(
                f"attack={self.name!r} needs a surrogate with claimed_distances; "
                f"{type(surrogate).__name__} has none"
            )

        return _penalty(
            problem,
            surrogate.claimed_distances,
            claimed_likelihood_penalty,
            self.likelihood_weight,
            _per_class("max_distance", self.max_distance, problem),
        )


@dataclass(frozen=True)
class AdaptiveLikelihood(_Adaptive):
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

    def penalties(self, problem: Problem) -> list[Smooth]:
        """Penalty on distances alone.

        Parameters
        ----------
        problem : Problem
            See :meth:`objective`.

        Returns
        -------
        list of callable
            ``(features, groups) -> penalty``.
        """
        return [self.likelihood_penalty(problem)]


@dataclass(frozen=True)
class AdaptivePosterior(_Adaptive):
    """Feature collision by an attacker who knows the posterior score.

    The poisons come as close to the target as they can while the label that they claim
    stays probable: against :class:`sklgm.LGMOutlierDetector` with its default score,
    and, with a penalty on distances too, against ``trim`` as well.

    Needs the label that poisons claim, and for `likelihood_weight` > 0 a surrogate with
    class Gaussians.

    Parameters
    ----------
    max_distance : float, tuple of float or None, default=None
        As in :class:`AdaptiveLikelihood`.
    likelihood_weight : float, default=0.0
        Weight lambda >= 0 of the penalty on distances, as in
        :class:`AdaptiveLikelihood`. 0 goes against the posterior alone.
    max_surprisal : float, tuple of float or None, default=None
        -log p(z | f) of the claimed class in nats, > 0, up to which nothing is paid,
        for all classes or one each. Not to be flagged, take the largest of clean rows
        that are not. Up to log 2 the poisons stay where the claimed class is the more
        likely one. None takes that of each poison's base.
    posterior_weight : float, default=10.0
        Weight mu >= 0 of the penalty on the posterior.

    See Also
    --------
    claimed_posterior_penalty : The penalty.
    craft : Crafts poisons by an attack.

    Notes
    -----
    Minimises the objective of :class:`AdaptiveLikelihood` plus
    ``mu max(0, o_z(f(x)) - c) / max(1, o_z(f(t)) - c)``, with o_z the log odds
    against z and c those that belong to `max_surprisal` s, log(exp(s) - 1). That the
    score is in the objective follows [1]_.

    References
    ----------
    .. [1] F. Tramer, N. Carlini, W. Brendel and A. Madry, "On Adaptive Attacks to
       Adversarial Example Defenses", NeurIPS 2020.

    Examples
    --------
    >>> from sklgm.poisoning import AdaptivePosterior
    >>> AdaptivePosterior(max_surprisal=0.5).posterior_weight
    10.0
    """

    name: ClassVar[str] = "adaptive_posterior"

    likelihood_weight: float = 0.0
    max_surprisal: Allowance = None
    posterior_weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weight("posterior_weight", self.posterior_weight)
        _check_allowance("max_surprisal", self.max_surprisal, zero=False)

    def penalties(self, problem: Problem) -> list[Smooth]:
        """Penalties on the log odds against the claim, and on distances.

        Parameters
        ----------
        problem : Problem
            See :meth:`objective`.

        Returns
        -------
        list of callable
            ``(features, groups) -> penalty``.
        """

        def log_odds(features: Tensor, claimed: Tensor) -> Tensor:
            joint = problem.surrogate.log_joint(features)
            others = joint.scatter(1, claimed[:, None], -math.inf)
            return others.logsumexp(dim=1) - joint.gather(1, claimed[:, None])[:, 0]

        surprisal = _per_class("max_surprisal", self.max_surprisal, problem)
        if surprisal is not None:  # log(exp(s) - 1), which overflows for no s
            surprisal = surprisal + (-torch.expm1(-surprisal)).log()
        on_odds = _penalty(
            problem,
            log_odds,
            claimed_posterior_penalty,
            self.posterior_weight,
            surprisal,
        )
        if self.likelihood_weight == 0.0:
            return [on_odds]
        return [on_odds, self.likelihood_penalty(problem)]


def _penalty(
    problem: Problem,
    cost: Callable[[Tensor, Tensor], Tensor],
    excess: Callable[[Tensor, Tensor, Tensor], Tensor],
    weight: float,
    allowed: Tensor | None,
) -> Smooth:
    """Weighted excess of ``cost(features, claimed)``; None allows that of the base."""
    claimed = problem.base_class
    assert claimed is not None
    with torch.no_grad():
        of_target = cost(problem.target_features[:, 0], claimed)
        of_base = cost(problem.base_features[:, 0], claimed)
    up_to = of_base if allowed is None else allowed.to(of_base)

    def penalty(features: Tensor, groups: Tensor) -> Tensor:
        found = cost(features, claimed[groups])
        return weight * excess(found, up_to[groups], of_target[groups])

    return penalty


@torch.no_grad()
def _per_class(name: str, allowance: Allowance, problem: Problem) -> Tensor | None:
    """Take what a parameter allows the class that each poison claims, float64."""
    if allowance is None:
        return None
    claimed = problem.base_class
    assert claimed is not None
    values = torch.as_tensor(allowance, dtype=torch.float64, device=claimed.device)
    if values.ndim == 0:
        return values.expand(len(claimed))
    n_classes = problem.surrogate.log_joint(problem.base_features[:1, 0]).shape[1]
    if len(values) != n_classes:
        raise ValueError(f"{name} holds {len(values)} values for {n_classes} classes")
    return values[claimed]


def _check_weight(name: str, weight: object) -> None:
    if not _is_from(weight, zero=True):
        raise ValueError(f"{name} must be a finite float >= 0, got {weight!r}")


def _check_allowance(name: str, allowance: object, *, zero: bool) -> None:
    if isinstance(allowance, tuple):
        is_valid = len(allowance) > 0 and all(_is_from(a, zero=zero) for a in allowance)
    else:
        is_valid = allowance is None or _is_from(allowance, zero=zero)
    if not is_valid:
        bound = ">= 0" if zero else "> 0"
        raise ValueError(
            f"{name} must be a finite float {bound}, a tuple of them, one per class, "
            f"or None, got {allowance!r}"
        )


def _is_from(value: object, *, zero: bool) -> bool:
    """Whether a value is a finite number from 0 on, or above 0."""
    if not isinstance(value, Real) or not math.isfinite(value):
        return False
    return float(value) >= 0.0 if zero else float(value) > 0.0
