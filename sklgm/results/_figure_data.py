"""Arrays from which the figures of a run are drawn, so that plots need no training."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionScores:
    """Outlier scores of clean rows and poisons under one model.

    Parameters
    ----------
    protocol : str
        As in :class:`sklgm.results.Row`.
    victim : str
        As in :class:`sklgm.results.Row`.
    variant : str or None, default=None
        As in :class:`sklgm.results.Row`.
    score : str
        Kind of score, such as ``"likelihood"``.
    attack : str
        As in :class:`sklgm.results.Row`.
    bound, reach : float or None, default=None
        As in :class:`sklgm.results.Row`.
    outlier_score : ndarray of shape (n_samples,)
        Higher is more outlying.
    is_poison : ndarray of bool of shape (n_samples,)
        Whether the row is a poison.
    """

    protocol: str
    victim: str
    variant: str | None = None
    score: str
    attack: str
    bound: float | None = None
    reach: float | None = None
    outlier_score: NDArray[np.float64]
    is_poison: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureScatter:
    """Two-dimensional features of a model, its Gaussians, poisons and targets.

    Parameters
    ----------
    protocol : str
        As in :class:`sklgm.results.Row`.
    features : ndarray of shape (n_samples, 2)
        Features of clean rows and poisons.
    claimed_labels : ndarray of shape (n_samples,)
        Labels they claim.
    is_poison : ndarray of bool of shape (n_samples,)
        Whether the row is a poison.
    target_features : ndarray of shape (n_targets, 2)
        Features of the targets.
    means : ndarray of shape (n_classes, 2)
        Class means.
    covariances : ndarray
        Class variances; shape by ``covariance_type``.
    covariance_type : str
        As in :class:`sklgm.LGMClassifier`.
    classes : ndarray of shape (n_classes,)
        Label of each mean.
    class_names : tuple of str
        Name of each class.
    """

    protocol: str
    features: NDArray[np.floating[Any]]
    claimed_labels: NDArray[Any]
    is_poison: NDArray[np.bool_]
    target_features: NDArray[np.floating[Any]]
    means: NDArray[np.floating[Any]]
    covariances: NDArray[np.floating[Any]]
    covariance_type: str
    classes: NDArray[Any]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class PoisonImages:
    """Some bases, targets and the poisons made of them.

    Parameters
    ----------
    protocol : str
        As in :class:`sklgm.results.Row`.
    attack : str
        As in :class:`sklgm.results.Row`.
    bound, reach : float or None, default=None
        As in :class:`sklgm.results.Row`.
    X_base, X_target, X_poison : ndarray of shape (n, n_channels, height, width)
        Pixels in [0, 1].
    base_names, target_names : tuple of str of length n
        What the class of each base, which its poison claims, and of each target is
        called.
    """

    protocol: str
    attack: str
    bound: float | None = None
    reach: float | None = None
    X_base: NDArray[np.float32]
    X_target: NDArray[np.float32]
    X_poison: NDArray[np.float32]
    base_names: tuple[str, ...]
    target_names: tuple[str, ...]


#: Any of the arrays that a protocol yields for its figures.
FigureArrays: TypeAlias = DetectionScores | FeatureScatter | PoisonImages
