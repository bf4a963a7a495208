"""The models under comparison: two backbones, and heads on their features."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm._net import one_cycle, step_decay
from sklgm._runner import Progress
from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.gaussian import estimate_gaussians

Classifier = LGMClassifier | SoftmaxClassifier

#: The model whose Gaussians are fitted to the features of a trained network.
FITTED_AFTERWARDS = "softmax_trimmed_gaussians"

# Heads on fixed features; small enough for the CPU.
HEAD: dict[str, Any] = {"backbone": "identity", "batch_size": "all", "device": "cpu"}


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
    only_most : bool
        Whether it is refitted for the largest number of poisons only.
    only_count : int or None
        The one number of poisons that it is refitted for; None is no such limit.
    """

    model: str
    arm: str
    backbone: str
    score_kinds: tuple[str, ...]
    head: Classifier
    only_most: bool = False
    only_count: int | None = None

    def counts(self, counts: Sequence[int]) -> list[int]:
        """Choose the numbers of poisons that the head is refitted for.

        Parameters
        ----------
        counts : sequence of int
            Those of the run.

        Returns
        -------
        list of int
            Some of them.
        """
        if self.only_count is not None:
            return [n for n in counts if n == self.only_count]
        return [max(counts)] if self.only_most else list(counts)


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
    rates = [config.means_lr_factor * lr, lr]
    schedule = one_cycle(rates, n_rows, config.batch_size, config.finetune_epochs)
    return {"lr": lr, "callbacks": [schedule], **_means_group(config, lr)}


def _means_group(config: ExperimentConfig, lr: float) -> dict[str, Any]:
    of_means = {"lr": config.means_lr_factor * lr}
    return {"optimizer__param_groups": [("head.means", of_means)]}


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


def head_variances(
    config: ExperimentConfig, partition: Partition, backbones: dict[str, Classifier]
) -> dict[str, float]:
    """Find the variances of the heads on the rows that trained the backbones.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows; those of the refit, which may be poisoned, are not looked at.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``.

    Returns
    -------
    dict of str to float
        L-GM's own variance, and ``variance_scale`` times the within-class variance
        of the softmax features.
    """
    features = backbones["softmax"].transform(partition.X_backbone)
    within = within_class_variance(features, partition.y_backbone, trim=config.trim)
    return {
        "softmax": config.variance_scale * within,
        "lgm": float(backbones["lgm"].variance),
    }


def make_victims(
    config: ExperimentConfig, variances: dict[str, float]
) -> tuple[Victim, ...]:
    """Heads that the protocols refit.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    variances : dict of str to float
        What :func:`head_variances` returned.

    Returns
    -------
    tuple of Victim
        Softmax; L-GM; L-GM with trim; the first two refitted to convergence; trimmed
        Gaussians on softmax features, in the covariance type of the L-GM rows and in
        ``"diag"``.
    """
    softmax = SoftmaxClassifier(**HEAD, random_state=config.seed)
    lgm = LGMClassifier(
        **HEAD,
        random_state=config.seed,
        variance=variances["lgm"],
        margin=config.margin,
        likelihood_weight=config.likelihood_weight,
        covariance_type=config.covariance_type,
    )
    kinds_of_score = ("likelihood", "posterior", "combined")
    victims = [
        Victim("softmax", "attack", "softmax", ("posterior",), _refit(config, softmax)),
        Victim("lgm", "attack", "lgm", kinds_of_score, _refit(config, lgm)),
        Victim("lgm_trim", "attack", "lgm", kinds_of_score, _trimmed(config, lgm)),
        Victim(
            "softmax",
            "converged",
            "softmax",
            ("posterior",),
            _converged(config, softmax),
            only_most=True,
        ),
        Victim(
            "lgm",
            "converged",
            "lgm",
            kinds_of_score[:1],
            _converged(config, lgm),
            only_most=True,
        ),
    ]
    afterwards = clone(lgm).set_params(variance=variances["softmax"])
    for covariance_type in dict.fromkeys((config.covariance_type, "diag")):
        head = _trimmed(config, afterwards).set_params(covariance_type=covariance_type)
        arm = "attack" if covariance_type == config.covariance_type else covariance_type
        # A variant has one row of detection, that of its density.
        kinds = kinds_of_score if arm == "attack" else kinds_of_score[:1]
        victims.append(Victim(FITTED_AFTERWARDS, arm, "softmax", kinds, head))
    return tuple(victims)


def make_main_victims(
    config: ExperimentConfig, variances: dict[str, float]
) -> tuple[Victim, ...]:
    """Heads that the protocols refit, without variants.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    variances : dict of str to float
        What :func:`head_variances` returned.

    Returns
    -------
    tuple of Victim
        Those of :func:`make_victims` whose arm is ``"attack"``.
    """
    return tuple(v for v in make_victims(config, variances) if v.arm == "attack")


def _refit(config: ExperimentConfig, head: Classifier) -> Classifier:
    """Set a head up to be refitted as in the poisoning benchmark."""
    refit: Classifier = clone(head).set_params(
        max_epochs=config.refit_epochs,
        batch_size=250,
        lr=0.01,
        callbacks=[step_decay(round(0.75 * config.refit_epochs))],
        optimizer="sgd",
        optimizer__momentum=0.9,
        optimizer__weight_decay=2e-4,
    )
    return refit


def lengthened(head: Classifier, factor: float) -> Classifier:
    """Set a head up to be refitted for more epochs, the schedule with them.

    Parameters
    ----------
    head : SoftmaxClassifier or LGMClassifier
        As :func:`make_victims` sets softmax and L-GM up; not changed.
    factor : float >= 1
        By which the epochs are multiplied, rounded.

    Returns
    -------
    SoftmaxClassifier or LGMClassifier
        Unfitted.
    """
    n_epochs = round(factor * head.max_epochs)
    longer: Classifier = clone(head).set_params(max_epochs=n_epochs)
    if head.callbacks is not None:
        longer.set_params(callbacks=[step_decay(round(0.75 * n_epochs))])
    return longer


def _converged(config: ExperimentConfig, head: Classifier) -> Classifier:
    """Set a head up to be refitted to convergence.

    Early stopping of the refit protects by itself; this arm shows what is left
    without it.
    """
    head = clone(head).set_params(
        max_epochs=config.converged_epochs,
        lr=1.0,
        optimizer=torch.optim.LBFGS,
        optimizer__line_search_fn="strong_wolfe",
    )
    if isinstance(head, LGMClassifier):
        head.set_params(margin_warmup=0.0)
    return head


def _trimmed(config: ExperimentConfig, head: LGMClassifier) -> LGMClassifier:
    """Set a head up to be estimated from the best-fitting rows.

    With fixed features the Gaussians that trim estimates do not depend on what the
    gradient did before: no epochs are needed.
    """
    trimmed: LGMClassifier = clone(head).set_params(max_epochs=0, trim=config.trim)
    return trimmed


def warm_started(
    config: ExperimentConfig, backbones: dict[str, Classifier]
) -> dict[str, Classifier]:
    """Set copies of the backbones up to go on training, all layers of them.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``end_to_end_epochs``, ``end_to_end_lr``, ``means_lr_factor``,
        ``trim``.
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
    rates = _means_group(config, config.end_to_end_lr)
    lgm = {**schedule, **rates, "margin_warmup": 0.0}
    softmax_start, lgm_start, trim_start = (
        copy.deepcopy(backbones[name]) for name in ("softmax", "lgm", "lgm")
    )
    return {
        "softmax": softmax_start.set_params(**schedule),
        "lgm": lgm_start.set_params(**lgm),
        "lgm_trim": trim_start.set_params(**lgm, trim=config.trim),
    }


def strongest_defence(backbone: str, victims: Sequence[Victim]) -> Victim:
    """Find the victim on a backbone whose Gaussians are trimmed.

    Parameters
    ----------
    backbone : {"softmax", "lgm"}
        Whose features it takes.
    victims : sequence of Victim
        What :func:`make_victims` returned.

    Returns
    -------
    Victim
        The one that an adaptive attack on the backbone is made for.
    """
    model = "lgm_trim" if backbone == "lgm" else FITTED_AFTERWARDS
    return next(v for v in victims if (v.model, v.arm) == (model, "attack"))


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
