"""The models under attack: heads on the features of networks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import clone

from sklgm.classifiers import (
    LGMClassifier,
    RobustGaussianClassifier,
    SoftmaxClassifier,
)
from sklgm.experiments._networks import Classifier
from sklgm.experiments._protocol import Context

#: The victims that are a network's trimmed Gaussians, by network.
TRIMMED = {"softmax": "softmax_trimmed_gaussians", "lgm": "lgm_trim"}
_ALL_SCORES = ("likelihood", "posterior", "combined")


@dataclass(frozen=True, eq=False)
class Victim:
    """A model under attack, and how the rows it is trained on are scored.

    Attributes
    ----------
    name : str
        As in the column ``victim``.
    network : {"softmax", "lgm"}
        Whose features it takes.
    head : estimator or None
        Unfitted, a classifier of features; None is the head of a network that is
        trained itself.
    variant : str or None, default=None
        As in the column ``variant``.
    scores : tuple of str, default=("posterior",)
        Scores of claimed labels that it gives.
    meets : {"all", "most"} or int, default="all"
        Which numbers of poisons it meets: all, the largest, or this one.
    """

    name: str
    network: str
    head: Any = None
    variant: str | None = None
    scores: tuple[str, ...] = ("posterior",)
    meets: Literal["all", "most"] | int = "all"

    @property
    def columns(self) -> dict[str, Any]:
        """Columns ``victim`` and ``variant``."""
        return {"victim": self.name, "variant": self.variant}


def make_victims(
    context: Context, refit_epochs: int | None = None
) -> tuple[Victim, ...]:
    """Make the victims that all protocols compare.

    Parameters
    ----------
    context : Context
        Whose networks they are heads of.
    refit_epochs : int or None, default=None
        Epochs by which softmax and L-GM are refitted as in the poisoning benchmark, by
        SGD from a fresh head. None: they are the heads of the networks themselves.

    Returns
    -------
    tuple of Victim
        Softmax; L-GM; trimmed Gaussians on the features of L-GM, and of softmax.
    """
    heads: dict[str, Classifier] = {}
    if refit_epochs is not None:
        heads = _trained_heads(
            context,
            max_epochs=refit_epochs,
            batch_size=250,
            lr=0.01,
            lr_schedule="step",
            optimizer="sgd",
            optimizer__momentum=0.9,
            optimizer__weight_decay=2e-4,
        )
        heads["lgm"].set_params(margin_warmup=0.5)
    return (
        Victim("softmax", "softmax", heads.get("softmax")),
        Victim("lgm", "lgm", heads.get("lgm"), scores=_ALL_SCORES),
        *(
            trimmed_gaussians(context, name, context.networks[name])
            for name in ("lgm", "softmax")
        ),
    )


def converged_victims(context: Context, max_epochs: int) -> tuple[Victim, ...]:
    """Make the variants of softmax and L-GM that are refitted to convergence.

    Early stopping of the refit protects by itself; these show what is left without it.

    Parameters
    ----------
    context : Context
        Whose networks they are heads of.
    max_epochs : int
        Each is up to 20 steps of L-BFGS on all rows.

    Returns
    -------
    tuple of Victim
        Each with one score; they meet the largest number of poisons.
    """
    heads = _trained_heads(
        context,
        max_epochs=max_epochs,
        batch_size="all",
        lr=1.0,
        lr_schedule="constant",
        optimizer=torch.optim.LBFGS,
        optimizer__line_search_fn="strong_wolfe",
    )
    heads["lgm"].set_params(margin_warmup=0.0)
    score = {"softmax": "posterior", "lgm": "likelihood"}
    return tuple(
        Victim(name, name, head, "converged", (score[name],), "most")
        for name, head in heads.items()
    )


def _trained_heads(context: Context, **training: Any) -> dict[str, Classifier]:
    """Heads of both networks that are trained by the gradient."""
    training |= {"device": "cpu", "random_state": context.settings.seed}
    lgm = LGMClassifier(
        "identity",
        location="gradient",
        variance=_head_variance(context, context.networks["lgm"]),
        margin=context.settings.margin,
        means_lr_factor=1.0,
        **training,
    )
    return {"softmax": SoftmaxClassifier("identity", **training), "lgm": lgm}


def trimmed_gaussians(context: Context, network: str, clf: Classifier) -> Victim:
    """Make the victim that is a network's Gaussians, estimated with ``trim``.

    Parameters
    ----------
    context : Context
        Rows for networks; those of the refit, which may be poisoned, are not looked at.
    network : {"softmax", "lgm"}
        Name of the network.
    clf : fitted classifier
        The network; L-GM gives its variance and covariance type.

    Returns
    -------
    Victim
        With all kinds of score.
    """
    head = RobustGaussianClassifier(variance=_head_variance(context, clf))
    if isinstance(clf, LGMClassifier):
        head.set_params(covariance_type=clf.covariance_type)
    return Victim(TRIMMED[network], network, head, scores=_ALL_SCORES)


def _head_variance(context: Context, clf: Classifier) -> float:
    """Variance of L-GM; for softmax as large a multiple of that within classes."""
    if isinstance(clf, LGMClassifier):
        return float(np.mean(clf.covariances_))
    features = clf.transform(context.partition.X_backbone)
    within = RobustGaussianClassifier().fit(features, context.partition.y_backbone)
    return LGMClassifier().variance_scale * float(within.covariances_)


def with_diagonal(victims: Sequence[Victim]) -> Victim:
    """Make the variant of the Gaussians on softmax features that learns variances.

    Parameters
    ----------
    victims : sequence of Victim
        What :func:`make_victims` returned.

    Returns
    -------
    Victim
        With the score of its density.
    """
    gaussians = defence(victims, "softmax")
    head = clone(gaussians.head).set_params(covariance_type="diag")
    return replace(gaussians, variant="diag", head=head, scores=("likelihood",))


def defence(victims: Sequence[Victim], network: str) -> Victim:
    """Find the victim that an attack which knows the defence of a network is made for.

    Parameters
    ----------
    victims : sequence of Victim
        Those of :func:`make_victims` among them.
    network : {"softmax", "lgm"}
        The network.

    Returns
    -------
    Victim
        Its trimmed Gaussians.
    """
    return next(v for v in victims if v.name == TRIMMED[network] and v.variant is None)
