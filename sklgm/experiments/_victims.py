"""Heads on the features of a network, which the protocols refit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.base import clone

step_decay = None
from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._backbones import Classifier, within_class_variance
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition

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
