"""Arrays from which the figures of a run are drawn, so that plots need no training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DetectionScores:
    """Outlier scores of clean rows and poisons under one model.

    Parameters
    ----------
    model : str
        One of :data:`sklgm.results.MODELS`.
    arm : str
        Kind of score, such as ``"likelihood"``.
    attack : str
        As in :class:`sklgm.results.Record`.
    outlier_score : ndarray of shape (n_samples,)
        Higher is more outlying.
    is_poison : ndarray of shape (n_samples,)
        Whether the row is a poison.
    """

    model: str
    arm: str
    attack: str
    outlier_score: NDArray[np.float64]
    is_poison: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FeatureScatter:
    """Two-dimensional features of a model, its Gaussians, poisons and targets.

    Parameters
    ----------
    features : ndarray of shape (n_samples, 2)
        Features of clean rows and poisons.
    claimed_labels : ndarray of shape (n_samples,)
        Labels they claim.
    is_poison : ndarray of shape (n_samples,)
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

    features: NDArray[np.floating[Any]]
    claimed_labels: NDArray[Any]
    is_poison: NDArray[np.bool_]
    target_features: NDArray[np.floating[Any]]
    means: NDArray[np.floating[Any]]
    covariances: NDArray[np.floating[Any]]
    covariance_type: str
    classes: NDArray[Any]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PoisonImages:
    """Some bases, targets and the poisons made of them.

    Parameters
    ----------
    attack : str
        As in :class:`sklgm.results.Record`.
    X_base, X_target, X_poison : ndarray of shape (n, n_channels, height, width)
        Pixels in [0, 1].
    titles : tuple of str
        One a column.
    """

    attack: str
    X_base: NDArray[np.float32]
    X_target: NDArray[np.float32]
    X_poison: NDArray[np.float32]
    titles: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FigureData:
    """All arrays of one run.

    Parameters
    ----------
    detection : tuple of DetectionScores, default=()
        Scores of the white-box protocol.
    scatter : FeatureScatter or None, default=None
        Features of a model with two features.
    images : tuple of PoisonImages, default=()
        Examples of poisons; empty where instances are no images.
    """

    detection: tuple[DetectionScores, ...] = ()
    scatter: FeatureScatter | None = None
    images: tuple[PoisonImages, ...] = ()
