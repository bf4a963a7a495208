"""Poisons, and how the search for each of them went."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.poisoning._search import STOP_REASONS

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class CraftResult:
    """Poisons, and how the search for each of them went.

    Parameters
    ----------
    X_poison : ndarray of shape (n_poisons, ...)
        The poisons, within ``pixel_range`` and ``max_perturbation``.
    objective_initial, objective_final : ndarray of shape (n_poisons,)
        Objective plus similarity penalty where the search starts (at the base, blended
        with the target if there is a watermark) and ends; of a joint attack that of
        the group, at each of its poisons.
    feature_distance_initial, feature_distance_final : ndarray of shape (n_poisons,)
        Euclidean distance of the features from the target's (the mean of several): of
        the original base, and of the poison. Feature units; the mean over an ensemble.
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


def collect_result(
    chunks: list[dict[str, NDArray[Any]]], X_base: FloatArray
) -> CraftResult:
    """Join chunks in the order of the bases; without any, the result has no poisons.

    Parameters
    ----------
    chunks : list of dict
        What `_craft_chunk` returned; ``rows`` says of which bases.
    X_base : ndarray of shape (n_poisons, ...)
        All bases.

    Returns
    -------
    CraftResult
        The chunks, with norms, ratios and named stop reasons.
    """
    rows = np.concatenate([np.empty(0, np.int64), *(c["rows"] for c in chunks)])
    order = np.argsort(rows)

    def join(name: str, dtype: type) -> NDArray[Any]:
        parts = [np.empty(0, dtype), *(chunk[name] for chunk in chunks)]
        return np.concatenate(parts)[order]

    X_poison = np.concatenate([X_base[:0], *(c["X_poison"] for c in chunks)])[order]
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
