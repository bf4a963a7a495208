"""The two networks under comparison, and how they are trained."""

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

one_cycle = None
from sklgm._running import Progress
from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.gaussian import estimate_gaussians

Classifier = LGMClassifier | SoftmaxClassifier


def train_backbones(
    config: ExperimentConfig, partition: Partition, progress: Progress
) -> dict[str, Classifier]:
    """Train the softmax and the L-GM network for the same number of epochs.

    Both start from the same epochs of softmax training. One goes on with softmax,
    head included; the other takes the class means of the features as starting point
    of the L-GM loss, and ``variance_scale`` times their within-class variance.

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
    shared = train_shared(config, X, y)
    progress("train backbones", 1, 3)
    softmax = continue_softmax(config, shared, X, y)
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
    return _finetune_lgm(config, train_shared(config, X, y), X, y)


def train_shared(
    config: ExperimentConfig,
    X: NDArray[np.float32],
    y: NDArray[Any],
    *,
    normalize_features: bool = False,
) -> SoftmaxClassifier:
    """Train the softmax epochs that all backbones share.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    X : ndarray of shape (n_samples, ...)
        Rows of the backbones.
    y : ndarray of shape (n_samples,)
        Their labels.
    normalize_features : bool, default=False
        As in :class:`sklgm.SoftmaxClassifier`.

    Returns
    -------
    SoftmaxClassifier
        Fitted.
    """
    return SoftmaxClassifier(
        config.backbone,
        normalize_features=normalize_features,
        **_network_parameters(config),
        **_schedule(config, len(X), config.lr, config.warmup_epochs),
    ).fit(X, y)


def continue_softmax(
    config: ExperimentConfig,
    shared: SoftmaxClassifier,
    X: NDArray[np.float32],
    y: NDArray[Any],
) -> SoftmaxClassifier:
    """Go on with softmax, head included.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    shared : SoftmaxClassifier
        What :func:`train_shared` returned; not changed.
    X, y : ndarray
        Its rows.

    Returns
    -------
    SoftmaxClassifier
        Fitted.
    """
    schedule = _schedule(config, len(X), config.finetune_lr, config.finetune_epochs)
    softmax: SoftmaxClassifier = copy.deepcopy(shared)
    return softmax.set_params(warm_start=True, **schedule).fit(X, y)


def make_lgm(
    config: ExperimentConfig,
    shared: SoftmaxClassifier,
    n_rows: int,
    *,
    variance: float,
) -> LGMClassifier:
    """Set L-GM up to go on from the shared epochs, and their class means.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    shared : SoftmaxClassifier
        What :func:`train_shared` returned; not changed.
    n_rows : int
        Rows that it will be fitted to.
    variance : float
        As in :class:`sklgm.LGMClassifier`.

    Returns
    -------
    LGMClassifier
        Unfitted.
    """
    return LGMClassifier(
        shared.net_.module_.backbone,
        variance=variance,
        margin=config.margin,
        likelihood_weight=config.likelihood_weight,
        covariance_type=config.covariance_type,
        normalize_features=shared.normalize_features,
        max_epochs=config.finetune_epochs,
        **_network_parameters(config),
        **lgm_rates(config, n_rows),
    )


def lgm_rates(config: ExperimentConfig, n_rows: int) -> dict[str, Any]:
    """Learning rates of L-GM: one for the means, one for all else.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``finetune_lr``, ``means_lr_factor``, and the length of training.
    n_rows : int
        Training rows.

    Returns
    -------
    dict of str to object
        Parameters of :class:`sklgm.LGMClassifier`, the schedule among them.
    """
    lr = config.finetune_lr
    of_means = config.means_lr_factor * lr
    schedule = one_cycle(
        [of_means, lr], n_rows, config.batch_size, config.finetune_epochs
    )
    return {"lr": lr, "callbacks": [schedule], **_means_group(of_means)}


def _means_group(lr: float) -> dict[str, Any]:
    return {"optimizer__param_groups": [("head.means", {"lr": lr})]}


def _finetune_lgm(
    config: ExperimentConfig,
    shared: SoftmaxClassifier,
    X: NDArray[np.float32],
    y: NDArray[Any],
) -> LGMClassifier:
    unit = within_class_variance(shared.transform(X), y)
    lgm = make_lgm(config, shared, len(X), variance=config.variance_scale * unit)
    return lgm.fit(X, y)


def _schedule(
    config: ExperimentConfig, n_rows: int, lr: float, n_epochs: int
) -> dict[str, Any]:
    callback = one_cycle(lr, n_rows, config.batch_size, n_epochs)
    return {"lr": lr, "max_epochs": n_epochs, "callbacks": [callback]}


def warm_started(
    config: ExperimentConfig, backbones: dict[str, Classifier]
) -> dict[str, Classifier]:
    """Set copies of the backbones up to go on training, all layers of them.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``end_to_end_epochs``, ``end_to_end_lr``, ``trim``.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``; not changed.

    Returns
    -------
    dict of str to classifier
        Fitted, by the model that ``fit`` makes of them: ``"softmax"``, ``"lgm"`` and
        ``"lgm_trim"``. The margin has grown in the training before.
    """
    schedule: dict[str, Any] = {
        "warm_start": True,
        "lr": config.end_to_end_lr,
        "max_epochs": config.end_to_end_epochs,
        "callbacks": None,
    }
    of_means = _means_group(config.end_to_end_lr)  # that of all other parameters
    lgm = {**schedule, **of_means, "margin_warmup": 0.0}
    softmax_start, lgm_start, trim_start = (
        copy.deepcopy(backbones[name]) for name in ("softmax", "lgm", "lgm")
    )
    return {
        "softmax": softmax_start.set_params(**schedule),
        "lgm": lgm_start.set_params(**lgm),
        "lgm_trim": trim_start.set_params(**lgm, trim=config.trim),
    }


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
