"""The models under comparison: two backbones, and heads on their features."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from sklgm._net import one_cycle
from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.gaussian import estimate_gaussians
from sklgm.outliers import LGMOutlierDetector

Classifier = LGMClassifier | SoftmaxClassifier
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Victim:
    """A head that is refitted on features, and how its rows are scored.

    Attributes
    ----------
    model : str
        One of :data:`sklgm.results.MODELS`.
    arm : str
        ``"attack"``, or the name of a variant.
    backbone : {"softmax", "lgm"}
        Whose features it takes.
    score_kinds : tuple of str
        Scores of claimed labels that it gives.
    head : SoftmaxClassifier or LGMClassifier
        Unfitted, with ``backbone="identity"``.
    """

    model: str
    arm: str
    backbone: str
    score_kinds: tuple[str, ...]
    head: Classifier


def train_backbones(
    config: ExperimentConfig, partition: Partition, progress: Progress
) -> dict[str, Classifier]:
    """Train the softmax and the L-GM network for the same number of epochs.

    Both start from the same epochs of softmax training. One goes on with softmax;
    the other takes the class means and the within-class variance of its features
    as starting point of the L-GM loss.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    progress : callable
        Called with a stage, steps done and steps in all.

    Returns
    -------
    dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``.
    """
    X, y = partition.X_backbone, partition.y_backbone
    progress("train backbones", 0, 3)
    shared = _train_shared(config, X, y)
    progress("train backbones", 1, 3)
    softmax = SoftmaxClassifier(
        shared.net_.module_.backbone,
        **_network_parameters(config),
        **_schedule(config, len(X), config.finetune_lr, config.finetune_epochs),
    ).fit(X, y)
    progress("train backbones", 2, 3)
    lgm = _finetune_lgm(config, shared, X, y)
    progress("train backbones", 3, 3)
    return {"softmax": softmax, "lgm": lgm}


def train_two_feature_lgm(
    config: ExperimentConfig, partition: Partition
) -> LGMClassifier:
    """Train an L-GM network with two features, to be drawn.

    Parameters
    ----------
    config : ExperimentConfig
        Settings; ``n_scatter`` rows are used, for twice the epochs.
    partition : Partition
        Rows.

    Returns
    -------
    LGMClassifier
        Fitted.
    """
    config = dataclasses.replace(
        config,
        feature_dim=2,
        warmup_epochs=2 * config.warmup_epochs,
        finetune_epochs=2 * config.finetune_epochs,
    )
    rows = np.random.default_rng(config.seed).permutation(len(partition.X_backbone))
    rows = rows[: config.n_scatter]
    X, y = partition.X_backbone[rows], partition.y_backbone[rows]
    return _finetune_lgm(config, _train_shared(config, X, y), X, y)


def _train_shared(
    config: ExperimentConfig, X: NDArray[np.float32], y: NDArray[Any]
) -> SoftmaxClassifier:
    return SoftmaxClassifier(
        config.backbone,
        **_network_parameters(config),
        **_schedule(config, len(X), config.lr, config.warmup_epochs),
    ).fit(X, y)


def _finetune_lgm(
    config: ExperimentConfig,
    shared: SoftmaxClassifier,
    X: NDArray[np.float32],
    y: NDArray[Any],
) -> LGMClassifier:
    return LGMClassifier(
        shared.net_.module_.backbone,
        variance=config.variance_scale * within_class_variance(shared.transform(X), y),
        margin=config.margin,
        likelihood_weight=config.likelihood_weight,
        covariance_type=config.covariance_type,
        **_network_parameters(config),
        **_schedule(config, len(X), config.finetune_lr, config.finetune_epochs),
    ).fit(X, y)


def _schedule(
    config: ExperimentConfig, n_rows: int, lr: float, n_epochs: int
) -> dict[str, Any]:
    callback = one_cycle(lr, n_rows, config.batch_size, n_epochs)
    return {"lr": lr, "max_epochs": n_epochs, "callbacks": [callback]}


def make_victims(
    config: ExperimentConfig,
    features: dict[str, NDArray[np.floating[Any]]],
    y: NDArray[Any],
) -> tuple[Victim, ...]:
    """Heads that the protocols refit.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    features : dict of str to ndarray of shape (n_samples, feature_dim)
        Clean features of each backbone, for the fixed variances.
    y : ndarray of shape (n_samples,)
        Their labels.

    Returns
    -------
    tuple of Victim
        Softmax; trimmed Gaussians on softmax features, in the covariance type of
        the L-GM rows and in ``"diag"``; L-GM; L-GM with trim.
    """
    variance = {
        name: config.variance_scale * within_class_variance(rows, y, trim=config.trim)
        for name, rows in features.items()
    }
    common: dict[str, Any] = {
        "backbone": "identity",
        "random_state": config.seed,
        "device": "cpu",
        "batch_size": "all",
    }
    # To convergence: a head that is trained too little misses poisons by itself and
    # would look robust.
    trained: dict[str, Any] = {
        **common,
        "max_epochs": config.refit_epochs,
        "optimizer": torch.optim.LBFGS,
        "optimizer__line_search_fn": "strong_wolfe",
        "lr": 1.0,
    }
    # With fixed features the Gaussians that trim estimates do not depend on what
    # the gradient did before: no epochs are needed.
    estimated: dict[str, Any] = {**common, "max_epochs": 0, "trim": config.trim}
    types = dict.fromkeys((config.covariance_type, "diag"))
    afterwards = tuple(
        Victim(
            "softmax_trimmed_gaussians",
            "attack" if covariance_type == config.covariance_type else covariance_type,
            "softmax",
            ("likelihood", "posterior"),
            LGMClassifier(
                variance=variance["softmax"],
                covariance_type=covariance_type,
                **estimated,
            ),
        )
        for covariance_type in types
    )
    return (
        Victim(
            "softmax", "attack", "softmax", ("posterior",), SoftmaxClassifier(**trained)
        ),
        *afterwards,
        Victim(
            "lgm",
            "attack",
            "lgm",
            ("likelihood", "posterior"),
            LGMClassifier(
                variance=variance["lgm"],
                covariance_type=config.covariance_type,
                margin=config.margin,
                margin_warmup=0.0,
                likelihood_weight=config.likelihood_weight,
                **trained,
            ),
        ),
        Victim(
            "lgm_trim",
            "attack",
            "lgm",
            ("likelihood", "posterior"),
            LGMClassifier(
                variance=variance["lgm"],
                covariance_type=config.covariance_type,
                **estimated,
            ),
        ),
    )


def claim_scorer(model: Any, score_kind: str) -> LGMOutlierDetector:
    """Make a detector of which only the scores are used.

    Parameters
    ----------
    model : fitted classifier or Pipeline
        Kept as it is.
    score_kind : {"likelihood", "posterior"}
        See :class:`sklgm.LGMOutlierDetector`.

    Returns
    -------
    LGMOutlierDetector
        Unfitted; its threshold, of which no use is made, asks for few rows.
    """
    return LGMOutlierDetector(
        FrozenEstimator(model), score_kind=score_kind, false_alarm_rate=0.5
    )


def within_class_variance(
    features: NDArray[np.floating[Any]], y: NDArray[Any], *, trim: float = 0.0
) -> float:
    """Variance of features about their class means, averaged over dimensions.

    Parameters
    ----------
    features : ndarray of shape (n_samples, feature_dim)
        Features.
    y : ndarray of shape (n_samples,)
        Labels.
    trim : float in [0, 0.5), default=0.0
        Share of each class that is left out.

    Returns
    -------
    float
        The variance, in squared feature units.
    """
    classes, y_encoded = np.unique(y, return_inverse=True)
    estimate = estimate_gaussians(
        torch.from_numpy(np.asarray(features)),
        torch.from_numpy(y_encoded),
        len(classes),
        covariance_type="tied_diag",
        trim=trim,
    )
    return float(estimate.log_variances.exp().mean())


def _network_parameters(config: ExperimentConfig) -> dict[str, Any]:
    return {
        "feature_dim": config.feature_dim,
        "batch_size": config.batch_size,
        "device": config.device,
        "random_state": config.seed,
    }
