"""Turn given bases into poisons."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sklgm.poisoning._feature_collision import (
    collision_objective,
    is_at_target,
)
from sklgm.poisoning._search import (
    AT_TARGET,
    NON_FINITE,
    STOP_REASONS,
    forward_backward,
)
from sklgm.poisoning._surrogate import Surrogate, make_surrogate

FloatArray = NDArray[np.floating[Any]]
PixelRange = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True)
class CraftResult:
    """Poisons, and how the search for each of them went.

    Parameters
    ----------
    X_poison : ndarray of shape (n_poisons, ...)
        The poisons, within ``pixel_range`` and ``max_perturbation``.
    objective_initial, objective_final : ndarray of shape (n_poisons,)
        Collision objective plus similarity penalty where the search starts (at the
        base, blended with the target if there is a watermark) and ends.
    feature_distance_initial, feature_distance_final : ndarray of shape (n_poisons,)
        Euclidean distance of the features from the target's: of the original base,
        and of the poison. Feature units.
    collision_ratio : ndarray of shape (n_poisons,)
        Final over initial feature distance: 0 is a perfect collision, 1 no progress.
        0 where both distances are 0.
    l2, linf : ndarray of shape (n_poisons,)
        Norms of poison minus original base, pixel units.
    n_iter : ndarray of int of shape (n_poisons,)
        Candidates tried.
    stop_reason : ndarray of str of shape (n_poisons,)
        "converged", "max_iter" or "step_underflow" (no step lowers the objective any
        more); "at_target" (the start has the target's features already; a base that
        does is returned as it is); "non_finite" (the network or its gradient is not
        finite at the start: the base is returned as it is, and objectives and distances
        are NaN, only here).
    """

    X_poison: FloatArray
    objective_initial: NDArray[np.float64]
    objective_final: NDArray[np.float64]
    feature_distance_initial: NDArray[np.float64]
    feature_distance_final: NDArray[np.float64]
    collision_ratio: NDArray[np.float64]
    l2: NDArray[np.float64]
    linf: NDArray[np.float64]
    n_iter: NDArray[np.int64]
    stop_reason: NDArray[np.str_]


def craft(
    model: Any,
    X_base: ArrayLike,
    X_target: ArrayLike,
    *,
    similarity_weight: float = 1e-3,
    step_size: float | None = None,
    max_perturbation: float | None = None,
    watermark_opacity: float = 0.0,
    pixel_range: PixelRange = (0.0, 1.0),
    feature_scaling: str | None = "base_distance",
    max_iter: int = 100,
    tol: float = 1e-4,
    batch_size: int = 128,
    device: str | torch.device | None = None,
) -> CraftResult:
    """Craft clean-label poisons from given bases by feature collision.

    Each poison looks like its base (and keeps the base's label), while its features
    come close to the target's. A model trained on poisons tends to give the target
    the bases' label.

    Parameters
    ----------
    model : fitted classifier, FrozenEstimator, Pipeline, nn.Module, pair or Surrogate
        The model whose features are attacked; see `make_surrogate`. Not changed.
    X_base : array-like of shape (n_poisons, ...)
        The bases. Integers are cast to float32 (the poisons are floats).
    X_target : array-like of shape (n_poisons, ...) or (1, ...)
        The target of each base, or one for all.
    similarity_weight : float, default=1e-3
        Weight beta >= 0 of the squared pixel distance to the base, summed over the
        pixels. The default is for pixels in [0, 1]; for [0, 255] divide it by 255^2.
    step_size : float or None, default=None
        First step of the search, > 0; None finds one for each poison. See Notes.
    max_perturbation : float or None, default=None
        Bound > 0 on how far a pixel may be from the base (l-infinity). None: no bound.
    watermark_opacity : float, default=0.0
        Share of the target, in [0, 1), blended into the base where the search
        starts; the penalty then pulls towards the blend.
    pixel_range : tuple of (low, high), default=(0.0, 1.0)
        Range the poisons stay in; the bases must lie in it. Floats, or arrays that
        broadcast to one instance.
    feature_scaling : {"base_distance"} or None, default="base_distance"
        "base_distance" divides squared feature distances by that of base and target,
        so that `similarity_weight` means the same on every network. None leaves them
        as they are, as in Poison Frogs.
    max_iter : int, default=100
        Forward and backward passes of the search, >= 1.
    tol : float, default=1e-4
        A poison is converged when 5 candidates in a row change its objective by no
        more than this share.
    batch_size : int, default=128
        Poisons crafted at once, >= 1; bounds the memory and does not change results
        beyond rounding.
    device : str, torch.device or None, default=None
        Where to compute; "auto" is a GPU if there is one, None where the model is.

    Returns
    -------
    CraftResult
        Poisons in the order and type of `X_base`, with diagnostics.

    Raises
    ------
    ValueError
        If a parameter is out of its range, shapes do not match, an input is not
        finite, or a base lies outside `pixel_range`.

    See Also
    --------
    PoisonCrafter : Draws the bases from a training set and poisons it.

    Notes
    -----
    Minimises, for base b, target t and features f,

        |f(x) - f(t)|^2 / s + beta |x - b'|^2,  low <= x <= high,

    Equation (1) of Poison Frogs [1]_, with s = |f(b) - f(t)|^2 (or 1), b' the base
    blended with the target, and the box the intersection of `pixel_range` with the
    l-infinity ball around b. The search is batched forward-backward splitting with
    one forward and one backward pass an iteration, spectral steps and back-tracking;
    the objective never rises.

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
    _check_settings(
        similarity_weight=similarity_weight,
        step_size=step_size,
        max_perturbation=max_perturbation,
        watermark_opacity=watermark_opacity,
        feature_scaling=feature_scaling,
        max_iter=max_iter,
        tol=tol,
        batch_size=batch_size,
    )
    X_base = _check_instances("X_base", X_base)
    X_target = _check_instances("X_target", X_target).astype(X_base.dtype, copy=False)
    if X_target.shape[1:] != X_base.shape[1:] or len(X_target) not in (1, len(X_base)):
        raise ValueError(
            f"X_target must have shape {X_base.shape} or {(1, *X_base.shape[1:])}, one "
            f"target for each base or one for all, got {X_target.shape}"
        )
    low, high = _box(X_base, pixel_range, max_perturbation)
    X_target = np.broadcast_to(X_target, X_base.shape)
    blend = (1 - watermark_opacity) * X_base + watermark_opacity * X_target
    X_anchor = np.clip(blend.astype(X_base.dtype, copy=False), low, high)

    surrogate = make_surrogate(model, device=device)
    chunks = [
        _craft_chunk(
            surrogate,
            *(
                # A copy: torch shares no memory with read-only or broadcast arrays.
                torch.from_numpy(array[start : start + batch_size].copy()).to(
                    surrogate.device
                )
                for array in (X_base, X_target, X_anchor, low, high)
            ),
            is_scaled=feature_scaling is not None,
            similarity_weight=similarity_weight,
            step_size=step_size,
            max_iter=max_iter,
            tol=tol,
        )
        for start in range(0, len(X_base), batch_size)
    ]
    return collect_result(chunks, X_base)


def _craft_chunk(
    surrogate: Surrogate,
    X_base: Tensor,
    X_target: Tensor,
    X_anchor: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    is_scaled: bool,
    similarity_weight: float,
    step_size: float | None,
    max_iter: int,
    tol: float,
) -> dict[str, NDArray[Any]]:
    """Craft the poisons of one chunk; one array an attribute of `CraftResult`."""
    with torch.no_grad():
        base_features = surrogate.features(X_base)
        target_features = surrogate.features(X_target)
    at_target = is_at_target(base_features, target_features)
    at_target |= (X_base == X_target).flatten(1).all(dim=1)
    is_searched = ~at_target & _is_finite(base_features) & _is_finite(target_features)
    searched = is_searched.nonzero().squeeze(1)
    target_features = target_features[searched]
    squared_distance = collision_objective(base_features[searched], target_features)
    scale = squared_distance if is_scaled else torch.ones_like(squared_distance)

    def smooth(x: Tensor, rows: Tensor) -> Tensor:
        features = surrogate.features(x)
        return collision_objective(features, target_features[rows], scale[rows])

    X_poison = X_base.clone()
    # Rows that are not searched are at the target (all distances 0) or not finite.
    unsearched = torch.where(at_target, 0.0, torch.nan).double()
    objective_initial, objective_final = unsearched.clone(), unsearched.clone()
    distance_initial, distance_final = unsearched.clone(), unsearched.clone()
    n_iter = torch.zeros_like(at_target, dtype=torch.long)
    stop_code = torch.where(at_target, AT_TARGET, NON_FINITE)
    if len(searched) > 0:
        found = forward_backward(
            smooth,
            X_anchor[searched],
            low[searched],
            high[searched],
            similarity_weight=similarity_weight,
            step_size=step_size,
            max_iter=max_iter,
            tol=tol,
        )
        is_found = found.stop_code != NON_FINITE
        rows = searched[is_found]
        X_poison[rows] = found.x[is_found]
        objective_initial[rows] = found.objective_initial[is_found].double()
        objective_final[rows] = found.objective_final[is_found].double()
        distance_initial[rows] = squared_distance[is_found].double().sqrt()
        squared_distance = found.smooth_final.double() * scale.double()
        distance_final[rows] = squared_distance[is_found].sqrt()
        n_iter[rows] = found.n_iter[is_found]
        stop_code[searched] = found.stop_code
    return {
        "X_poison": X_poison.cpu().numpy(),
        "objective_initial": objective_initial.cpu().numpy(),
        "objective_final": objective_final.cpu().numpy(),
        "feature_distance_initial": distance_initial.cpu().numpy(),
        "feature_distance_final": distance_final.cpu().numpy(),
        "n_iter": n_iter.cpu().numpy(),
        "stop_code": stop_code.cpu().numpy(),
    }


def collect_result(
    chunks: list[dict[str, NDArray[Any]]], X_base: FloatArray
) -> CraftResult:
    """Join chunks in order; without any, the result has no poisons.

    Parameters
    ----------
    chunks : list of dict
        What `_craft_chunk` returned.
    X_base : ndarray of shape (n_poisons, ...)
        All bases.

    Returns
    -------
    CraftResult
        The chunks, with norms, ratios and named stop reasons.
    """

    def join(name: str, dtype: type) -> NDArray[Any]:
        return np.concatenate([np.empty(0, dtype), *(chunk[name] for chunk in chunks)])

    X_poison = np.concatenate([X_base[:0], *(chunk["X_poison"] for chunk in chunks)])
    perturbation = (X_poison.astype(np.float64) - X_base).reshape(
        len(X_base), math.prod(X_base.shape[1:])
    )  # (n_poisons, n_pixels)
    initial = join("feature_distance_initial", np.float64)
    final = join("feature_distance_final", np.float64)
    # 0/0 := 0; NaN stays NaN.
    ratio = np.divide(final, initial, out=np.zeros_like(final), where=initial != 0)
    return CraftResult(
        X_poison=X_poison,
        objective_initial=join("objective_initial", np.float64),
        objective_final=join("objective_final", np.float64),
        feature_distance_initial=initial,
        feature_distance_final=final,
        collision_ratio=ratio,
        l2=np.linalg.norm(perturbation, axis=1),
        linf=np.abs(perturbation).max(axis=1, initial=0.0),
        n_iter=join("n_iter", np.int64),
        stop_reason=np.asarray(STOP_REASONS)[join("stop_code", np.int64)],
    )


def _check_settings(
    *,
    similarity_weight: float,
    step_size: float | None,
    max_perturbation: float | None,
    watermark_opacity: float,
    feature_scaling: str | None,
    max_iter: int,
    tol: float,
    batch_size: int,
) -> None:
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
    X = X.astype(np.float64 if X.dtype == np.float64 else np.float32, copy=False)
    if not np.isfinite(X).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return X


def _box(
    X_base: FloatArray, pixel_range: PixelRange, max_perturbation: float | None
) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest value of every pixel: the range and the ball around the base.

    Bounds are rounded inwards, so that they hold exactly in the dtype of the base.
    """
    low, high = (
        np.asarray(bound, dtype=X_base.dtype)
        for bound in (pixel_range if len(pixel_range) == 2 else (np.nan, np.nan))
    )
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError(
            f"pixel_range must be (low, high), finite with low <= high, got "
            f"{pixel_range!r}"
        )
    if (X_base < low).any() or (X_base > high).any():
        raise ValueError(
            f"X_base must lie in pixel_range={pixel_range!r}, got values in "
            f"[{X_base.min()}, {X_base.max()}]"
        )
    low = np.broadcast_to(low, X_base.shape)
    high = np.broadcast_to(high, X_base.shape)
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


def _is_finite(features: Tensor) -> Tensor:
    return features.isfinite().all(dim=1)  # (n_samples,)
