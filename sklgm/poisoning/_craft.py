"""Turn given bases into poisons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from torch import Tensor

from sklgm._random import RandomState
from sklgm.poisoning._adaptive import AdaptiveLikelihood, AdaptivePosterior
from sklgm.poisoning._attack import Attack, Problem, features_of_groups
from sklgm.poisoning._craft_result import CraftResult, collect_result
from sklgm.poisoning._feature_collision import FeatureCollision, is_at_target
from sklgm.poisoning._gradient_matching import GradientMatching
from sklgm.poisoning._groups import base_classes, chunk_rows, group_rows
from sklgm.poisoning._joint_adaptive import AdaptiveJoint
from sklgm.poisoning._network_surrogate import make_surrogate
from sklgm.poisoning._polytope import BullseyePolytope, ConvexPolytope
from sklgm.poisoning._search import (
    AT_TARGET,
    NON_FINITE,
    best_of,
    forward_backward,
)
from sklgm.poisoning._surrogate import Surrogate

FloatArray = NDArray[np.floating[Any]]

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        FeatureCollision,
        ConvexPolytope,
        BullseyePolytope,
        GradientMatching,
        AdaptiveLikelihood,
        AdaptivePosterior,
        AdaptiveJoint,
    )
}
PixelRange = tuple[ArrayLike, ArrayLike]
# Integers up to here are exact in float32.
_EXACT_INTS = 2**24


def craft(
    model: Any,
    X_base: ArrayLike,
    X_target: ArrayLike,
    *,
    attack: str | Attack = "feature_collision",
    poison_group: ArrayLike | None = None,
    target_group: ArrayLike | None = None,
    base_label: Any = None,
    similarity_weight: float = 1e-3,
    step_size: float | None = None,
    max_perturbation: float | None = None,
    watermark_opacity: float = 0.0,
    pixel_range: PixelRange = (0.0, 1.0),
    feature_scaling: str | None = "base_distance",
    max_iter: int = 100,
    tol: float = 1e-4,
    n_restarts: int = 1,
    batch_size: int = 128,
    device: str | torch.device | None = None,
    random_state: RandomState = None,
) -> CraftResult:
    """Craft clean-label poisons from given bases.

    Each poison looks like its base (and keeps the base's label), while its features
    do what the attack asks for: come close to the target's, surround them, or train
    the network towards the wrong label. A model trained on poisons tends to give the
    target the bases' label.

    Parameters
    ----------
    model : classifier, FrozenEstimator, Pipeline, nn.Module, pair, Surrogate or list
        The model whose features are attacked; see `make_surrogate`. Not changed. A
        list of them is an ensemble: their objectives are averaged.
    X_base : array-like of shape (n_poisons, ...)
        The bases. Integers are cast to float32, or to float64 from 2^24 on (the poisons
        are floats).
    X_target : array-like of shape (n_targets, ...)
        The targets: one for each base, one for all, or as the groups say.
    attack : str or Attack, default="feature_collision"
        ``"feature_collision"``, ``"convex_polytope"``, ``"bullseye_polytope"``,
        ``"gradient_matching"``, ``"adaptive_likelihood"``, ``"adaptive_posterior"``,
        ``"adaptive_joint"``, or an `Attack` with options.
    poison_group, target_group : array-like of int or None, default=None
        Groups of bases and of targets, by number: a base is for the targets of its
        group, and joint attacks have one objective per group. None: every target is a
        group, and the bases belong to them one by one, or all to a single one.
    base_label : label, array-like of shape (n_poisons,) or None, default=None
        The label that poisons claim; gradient matching and the adaptive attacks ask for
        it. One of the surrogate's ``classes``, or a column of its logits where those
        are not known.
    similarity_weight : float, default=1e-3
        Weight beta >= 0 of the squared distance to the base, summed over pixels or
        columns, each in widths of its `pixel_range`: units of X do not matter.
    step_size : float or None, default=None
        First step of the search, > 0, in the same units, from which it shrinks to 0;
        None finds one for each poison and iteration. See Notes.
    max_perturbation : float or None, default=None
        Bound > 0 on how far a pixel may be from the base (l-infinity), in units of X.
        None: no bound.
    watermark_opacity : float, default=0.0
        Share of the target, in [0, 1), blended into the base where the search
        starts; the penalty then pulls towards the blend.
    pixel_range : tuple of (low, high), default=(0.0, 1.0)
        Range the poisons stay in, in units of X; the bases must lie in it. Floats, or
        arrays that broadcast to one instance, such as one value per column.
    feature_scaling : {"base_distance"} or None, default="base_distance"
        Of ``attack="feature_collision"``: "base_distance" divides squared feature
        distances by that of base and target, so that `similarity_weight` means the
        same on every network. None leaves them as they are, as in Poison Frogs.
    max_iter : int, default=100
        Forward and backward passes of the search, >= 1.
    tol : float, default=1e-4
        A poison is converged when 5 candidates in a row change its objective by no
        more than this share.
    n_restarts : int, default=1
        Searches of each poison or group, >= 1, of which the lowest objective is kept.
        The first starts at the base or its blend, others at random points of the box:
        of all of it with `max_perturbation`, else of a tenth around the first.
    batch_size : int, default=128
        Poisons crafted at once, >= 1 (at least one group); bounds the memory and does
        not change results beyond rounding.
    device : str, torch.device or None, default=None
        Where to compute; "auto" is a GPU if there is one, None where the model is, or
        the first of an ensemble.
    random_state : int, RandomState instance or None, default=None
        Seed of the restarts.

    Returns
    -------
    CraftResult
        Poisons in the order and type of `X_base`, with diagnostics.

    Raises
    ------
    ValueError
        If a parameter is out of its range, shapes do not match, an input is not
        finite, a base lies outside `pixel_range`, a group has no target or several
        where the attack takes one, or `base_label` is missing or mixed in a group.
    TypeError
        If the model, or the attack for it, is none of the above.

    See Also
    --------
    PoisonCrafter : Draws the bases from a training set and poisons it.

    Notes
    -----
    Minimises, for the poisons x_j of a group with bases b_j,

        g(x) + beta sum_j |x_j - b'_j|^2,  low <= x <= high,

    with b' the base blended with the target, distances in widths of `pixel_range`, and
    the box the intersection of `pixel_range` with the l-infinity ball around b. For
    feature collision, target t and features f, a group is one poison and
    g(x) = |f(x) - f(t)|^2 / s with s = |f(b) - f(t)|^2 (or 1): Equation (1) of
    Poison Frogs [1]_. The others are at
    `ConvexPolytope`, `BullseyePolytope`, `GradientMatching`, `AdaptiveLikelihood` and
    `AdaptivePosterior`. The search is batched
    forward-backward splitting with one forward and one backward pass an iteration:
    Polyak steps that shrink to 0 over `max_iter`, each extrapolated; the lowest point
    of each group on the way is what it gives.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1) and Algorithm 1.

    Examples
    --------
    On a linear network without a penalty, base and target can collide completely.

    >>> import numpy as np
    >>> import torch
    >>> from sklgm.poisoning import craft
    >>> _ = torch.manual_seed(0)
    >>> backbone, head = torch.nn.Linear(6, 2), torch.nn.Linear(2, 2)
    >>> X = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 6)
    >>> result = craft((backbone, head), X[:1], X[1:], similarity_weight=0.0)
    >>> bool(result.collision_ratio[0] < 0.05)
    True
    """
    check_settings(
        similarity_weight=similarity_weight,
        step_size=step_size,
        max_perturbation=max_perturbation,
        watermark_opacity=watermark_opacity,
        feature_scaling=feature_scaling,
        max_iter=max_iter,
        tol=tol,
        n_restarts=n_restarts,
        batch_size=batch_size,
    )
    rng = check_random_state(random_state)
    attack = resolve_attack(attack, feature_scaling)
    X_base = _check_instances("X_base", X_base)
    X_target = _check_instances("X_target", X_target).astype(X_base.dtype, copy=False)
    if X_target.shape[1:] != X_base.shape[1:]:
        raise ValueError(
            f"X_target must hold instances of shape {X_base.shape[1:]} like X_base, "
            f"got shape {X_target.shape}"
        )
    group, targets = group_rows(
        attack, len(X_base), len(X_target), poison_group, target_group
    )
    pixel_range = _checked_range(pixel_range, X_base)
    low, high = _box(X_base, pixel_range, max_perturbation)
    # The watermark of a group is the mean of its targets.
    X_mark = np.stack([X_target[rows].mean(axis=0) for rows in targets])[group]
    blend = (1 - watermark_opacity) * X_base + watermark_opacity * X_mark
    X_anchor = np.clip(blend.astype(X_base.dtype, copy=False), low, high)
    X_starts = _starts(X_anchor, low, high, max_perturbation, n_restarts - 1, rng)

    models = model if isinstance(model, list) else [model]
    if not models:
        raise ValueError("model=[] is an ensemble without members")
    surrogates = [make_surrogate(models[0], device=device)]
    device = surrogates[0].device  # one for all members
    surrogates += [make_surrogate(one, device=device) for one in models[1:]]
    base_class = base_classes(attack, base_label, group, surrogates[0])
    units = _units(pixel_range, surrogates[0].device)
    chunks = [
        _craft_chunk(
            surrogates,
            attack,
            [
                # A copy: torch shares no memory with read-only or broadcast arrays.
                torch.from_numpy(np.array(array)).to(surrogates[0].device)
                for array in (
                    X_base[rows],
                    X_target[[targets[group[row]] for row in rows[:, 0]]],
                    X_anchor[rows],
                    low[rows],
                    high[rows],
                )
            ],
            None
            if base_class is None
            else torch.from_numpy(base_class[rows[:, 0]]).to(surrogates[0].device),
            units=units,
            similarity_weight=similarity_weight,
            step_size=step_size,
            max_iter=max_iter,
            tol=tol,
            rows=rows,
            starts=[torch.from_numpy(X[rows]) for X in X_starts],
        )
        for rows in chunk_rows(attack, group, targets, batch_size)
    ]
    return collect_result(chunks, X_base)


def resolve_attack(
    attack: str | Attack, feature_scaling: str | None = "base_distance"
) -> Attack:
    """Make an attack of its name.

    Parameters
    ----------
    attack : str or Attack
        A name of `ATTACKS`, or an attack, which is returned as it is.
    feature_scaling : {"base_distance"} or None, default="base_distance"
        Option of feature collision by name.

    Returns
    -------
    Attack
        The attack.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither.
    """
    if isinstance(attack, Attack):
        return attack
    if not isinstance(attack, str):
        raise TypeError(
            f"attack must be a name or an Attack, got {type(attack).__name__}"
        )
    if attack not in ATTACKS:
        raise ValueError(f"attack must be one of {sorted(ATTACKS)}, got {attack!r}")
    if attack == FeatureCollision.name:
        return FeatureCollision(scaling=feature_scaling)
    return ATTACKS[attack]()


def _craft_chunk(
    surrogates: list[Surrogate],
    attack: Attack,
    arrays: list[Tensor],
    base_class: Tensor | None,
    *,
    units: _Units,
    similarity_weight: float,
    step_size: float | None,
    max_iter: int,
    tol: float,
    rows: NDArray[np.int64],
    starts: list[Tensor],
) -> dict[str, NDArray[Any]]:
    """Craft the groups of one chunk; one array an attribute of `CraftResult`.

    ``rows`` and the bases, anchors and bounds are (n_groups, n_together, ...), the
    targets (n_groups, n_targets, ...). The search is in widths of ``units``.
    """
    X_base, X_target, X_anchor, low, high = arrays
    problems = [
        _problem(surrogate, X_base, X_target, base_class) for surrogate in surrogates
    ]
    if base_class is not None:
        _check_base_class(base_class, problems)
    at_target = torch.stack([_is_at_target(problem) for problem in problems]).all(dim=0)
    at_target |= (X_base == X_target[:, :1]).flatten(1).all(dim=1)
    is_finite = torch.stack([_has_finite_features(p) for p in problems]).all(dim=0)
    searched = (~at_target & is_finite).nonzero().squeeze(1)

    X_poison = X_base.clone()
    # Groups that are not searched are at the target (all distances 0) or not finite.
    unsearched = torch.where(at_target, 0.0, torch.nan).double()
    objective_initial, objective_final = unsearched.clone(), unsearched.clone()
    shape = X_base.shape[:2]
    distance_initial = unsearched[:, None].expand(shape).clone()
    distance_final = distance_initial.clone()
    n_iter = torch.zeros_like(at_target, dtype=torch.long)
    stop_code = torch.where(at_target, AT_TARGET, NON_FINITE)
    if len(searched) > 0:
        terms = [attack.objective(_select(problem, searched)) for problem in problems]

        def smooth(X: Tensor, groups: Tensor) -> Tensor:
            X = units.decoded(X)
            return torch.stack([term(X, groups) for term in terms]).mean(dim=0)

        anchor = units.encoded(X_anchor[searched])
        found = best_of(
            [
                forward_backward(
                    smooth,
                    anchor,
                    units.encoded(low[searched]),
                    units.encoded(high[searched]),
                    similarity_weight=similarity_weight,
                    step_size=step_size,
                    max_iter=max_iter,
                    tol=tol,
                    x_start=None
                    if start is None
                    else units.encoded(start.to(X_base)[searched]),
                )
                for start in (None, *starts)
            ]
        )
        is_found = found.stop_code != NON_FINITE
        groups = searched[is_found]
        moved = units.decoded(found.x).clamp(low[searched], high[searched])
        X_poison[groups] = moved[is_found]
        objective_initial[groups] = found.objective_initial[is_found].double()
        objective_final[groups] = found.objective_final[is_found].double()
        distance_initial[groups] = _mean_distance(problems, X_base, groups)
        distance_final[groups] = _mean_distance(problems, X_poison, groups)
        n_iter[groups] = found.n_iter[is_found]
        stop_code[searched] = found.stop_code

    def each(of_group: Tensor) -> NDArray[Any]:
        return of_group[:, None].expand(shape).flatten().cpu().numpy()

    return {
        "rows": rows.ravel(),
        "X_poison": X_poison.flatten(0, 1).cpu().numpy(),
        "objective_initial": each(objective_initial),
        "objective_final": each(objective_final),
        "feature_distance_initial": distance_initial.flatten().cpu().numpy(),
        "feature_distance_final": distance_final.flatten().cpu().numpy(),
        "n_iter": each(n_iter),
        "stop_code": each(stop_code),
    }


@torch.no_grad()
def _problem(
    surrogate: Surrogate, X_base: Tensor, X_target: Tensor, base_class: Tensor | None
) -> Problem:
    """Compute the features of all groups, in one pass each."""
    base_features = features_of_groups(surrogate, X_base)
    target_features = features_of_groups(surrogate, X_target)
    return Problem(
        surrogate, X_base, X_target, base_features, target_features, base_class
    )


@torch.no_grad()
def _check_base_class(base_class: Tensor, problems: list[Problem]) -> None:
    """Check indices, which are labels where a surrogate does not know its classes."""
    for problem in problems:
        logits = problem.surrogate.log_joint(problem.base_features[:1, 0])
        if base_class.max() >= logits.shape[1]:
            raise ValueError(
                f"base_label must be one of the {logits.shape[1]} columns of the "
                f"surrogate's logits, got {int(base_class.max())}"
            )


def _select(problem: Problem, groups: Tensor) -> Problem:
    """Take some groups of a problem."""
    return Problem(
        problem.surrogate,
        problem.X_base[groups],
        problem.X_target[groups],
        problem.base_features[groups],
        problem.target_features[groups],
        None if problem.base_class is None else problem.base_class[groups],
    )


def _is_at_target(problem: Problem) -> Tensor:
    """Whether all bases of each group have the features of its targets' mean."""
    target = problem.target_features.mean(dim=1, keepdim=True)
    target = target.expand_as(problem.base_features)
    flags = is_at_target(problem.base_features.flatten(0, 1), target.flatten(0, 1))
    return flags.reshape(problem.base_features.shape[:2]).all(dim=1)


def _has_finite_features(problem: Problem) -> Tensor:
    of_bases = problem.base_features.isfinite().flatten(1).all(dim=1)
    return of_bases & problem.target_features.isfinite().flatten(1).all(dim=1)


@torch.no_grad()
def _mean_distance(problems: list[Problem], X: Tensor, groups: Tensor) -> Tensor:
    """Distance of each instance's features from the targets', over the ensemble."""
    distances: list[Tensor] = [
        torch.linalg.vector_norm(
            problem.features(X[groups])
            - problem.target_features[groups].mean(dim=1, keepdim=True),
            dim=2,
        )
        for problem in problems
    ]
    return torch.stack(distances).double().mean(dim=0)


def check_settings(
    *,
    similarity_weight: float,
    max_perturbation: float | None,
    watermark_opacity: float,
    max_iter: int,
    step_size: float | None = None,
    feature_scaling: str | None = None,
    tol: float = 0.0,
    n_restarts: int = 1,
    batch_size: int = 1,
) -> None:
    """Check settings of :func:`craft`.

    Parameters
    ----------
    similarity_weight, max_perturbation, watermark_opacity, max_iter, step_size, \
            feature_scaling, tol, n_restarts, batch_size
        As there.

    Raises
    ------
    ValueError
        If one is out of its range; the message names it.
    """
    positive, optional = "a finite float > 0", " or None"
    checks = {
        "similarity_weight": (
            similarity_weight,
            _is_real(similarity_weight) and similarity_weight >= 0,
            "a finite float >= 0",
        ),
        "step_size": (
            step_size,
            step_size is None or (_is_real(step_size) and step_size > 0),
            positive + optional,
        ),
        "max_perturbation": (
            max_perturbation,
            max_perturbation is None
            or (_is_real(max_perturbation) and max_perturbation > 0),
            positive + optional,
        ),
        "watermark_opacity": (
            watermark_opacity,
            _is_real(watermark_opacity) and 0 <= watermark_opacity < 1,
            "a float in [0, 1)",
        ),
        "feature_scaling": (
            feature_scaling,
            feature_scaling in ("base_distance", None),
            "'base_distance' or None",
        ),
        "max_iter": (
            max_iter,
            isinstance(max_iter, Integral) and max_iter >= 1,
            "an int >= 1",
        ),
        "tol": (tol, _is_real(tol) and tol >= 0, "a finite float >= 0"),
        "n_restarts": (
            n_restarts,
            isinstance(n_restarts, Integral) and n_restarts >= 1,
            "an int >= 1",
        ),
        "batch_size": (
            batch_size,
            isinstance(batch_size, Integral) and batch_size >= 1,
            "an int >= 1",
        ),
    }
    for name, (value, is_valid, expected) in checks.items():
        if not is_valid:
            raise ValueError(f"{name} must be {expected}, got {value!r}")


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _check_instances(name: str, X: ArrayLike) -> FloatArray:
    X = np.asarray(X)
    if X.dtype.kind not in "fiub" or X.ndim < 2:
        raise ValueError(
            f"{name} must be a numeric array of shape (n_samples, ...), got an array "
            f"of dtype {X.dtype} and shape {X.shape}"
        )
    is_large = X.dtype.kind in "iu" and X.size > 0 and np.abs(X).max() > _EXACT_INTS
    is_double = X.dtype == np.float64 or is_large
    X = X.astype(np.float64 if is_double else np.float32, copy=False)
    if not np.isfinite(X).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return X


def _starts(
    X_anchor: FloatArray,
    low: FloatArray,
    high: FloatArray,
    max_perturbation: float | None,
    n_starts: int,
    rng: np.random.RandomState,
) -> list[FloatArray]:
    """Random points of the box, from which further searches start."""
    starts: list[FloatArray] = []
    for _ in range(n_starts):
        shares = rng.uniform(size=X_anchor.shape).astype(X_anchor.dtype)
        X = low + shares * (high - low)
        if max_perturbation is None:
            X = X_anchor + np.asarray(0.1, X.dtype) * (X - X_anchor)
        starts.append(np.clip(X, low, high))
    return starts


def check_range(pixel_range: Any) -> None:
    """Check a range of values on its own.

    Parameters
    ----------
    pixel_range : object
        As users give it.

    Raises
    ------
    ValueError
        If it is not a pair of numbers, or of arrays of them, finite and in order.
    """
    try:
        low, high = (np.asarray(bound, dtype=np.float64) for bound in pixel_range)
        is_range = bool((np.isfinite(low) & np.isfinite(high) & (low <= high)).all())
    except (TypeError, ValueError):  # not two of them, not numbers, or of two shapes
        is_range = False
    if not is_range:
        raise ValueError(
            f"pixel_range must be (low, high), finite with low <= high, got "
            f"{pixel_range!r}"
        )


def _checked_range(
    pixel_range: PixelRange, X_base: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give the ends of a range, in the dtype of the bases, which lie in it."""
    check_range(pixel_range)
    low, high = (np.asarray(bound, dtype=X_base.dtype) for bound in pixel_range)
    for bound in (low, high):
        try:
            np.broadcast_to(bound, X_base.shape[1:])
        except ValueError as error:
            raise ValueError(
                f"pixel_range must hold floats, or arrays that broadcast to instances "
                f"of shape {X_base.shape[1:]}, got one of shape {bound.shape}"
            ) from error
    if (X_base < low).any() or (X_base > high).any():
        raise ValueError(
            f"X_base must lie in pixel_range={pixel_range!r}, got values in "
            f"[{X_base.min()}, {X_base.max()}]"
        )
    return low, high


@dataclass(frozen=True, eq=False)
class _Units:
    """Widths of the range of each value, in which the search counts.

    Attributes
    ----------
    low, width : Tensor or None
        Each broadcasts to an instance. None: values are in [0, 1] as they are.
    """

    low: Tensor | None = None
    width: Tensor | None = None

    def encoded(self, X: Tensor) -> Tensor:
        """Give values in widths above the lowest."""
        if self.low is None or self.width is None:
            return X
        return (X - self.low) / self.width

    def decoded(self, X: Tensor) -> Tensor:
        """Give values in their own units."""
        if self.low is None or self.width is None:
            return X
        return X * self.width + self.low


def _units(pixel_range: tuple[FloatArray, FloatArray], device: torch.device) -> _Units:
    low, high = pixel_range
    if (low == 0.0).all() and (high == 1.0).all():
        return _Units()
    width = np.where(high > low, high - low, 1.0).astype(low.dtype)
    return _Units(*(torch.from_numpy(np.array(a)).to(device) for a in (low, width)))


def _box(
    X_base: FloatArray,
    pixel_range: tuple[FloatArray, FloatArray],
    max_perturbation: float | None,
) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest value of every pixel: the range and the ball around the base.

    Bounds are rounded inwards, so that they hold exactly in the dtype of the base.
    """
    low, high = (np.broadcast_to(bound, X_base.shape) for bound in pixel_range)
    if max_perturbation is None:
        return low, high
    base = X_base.astype(np.float64)
    ball_low = (base - max_perturbation).astype(X_base.dtype)
    ball_high = (base + max_perturbation).astype(X_base.dtype)
    inwards_low = np.nextafter(ball_low, X_base)
    inwards_high = np.nextafter(ball_high, X_base)
    ball_low = np.where(base - ball_low > max_perturbation, inwards_low, ball_low)
    ball_high = np.where(ball_high - base > max_perturbation, inwards_high, ball_high)
    return np.maximum(low, ball_low), np.minimum(high, ball_high)
