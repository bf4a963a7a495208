"""The models under attack: heads on the features of networks."""

from collections.abc import Iterator, Sequence
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
from sklgm.experiments._networks import Classifier, CompressedNetwork, make_networks
from sklgm.experiments._protocol import Context
from sklgm.experiments._settings import DefenceSettings

#: The victims that are a network's trimmed Gaussians, by network.
TRIMMED = {"softmax": "softmax_trimmed_gaussians", "lgm": "lgm_trim"}
#: The victim that re-encodes its training images.
JPEG = "jpeg"
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


def location_victims(
    victims: Sequence[Victim], settings: DefenceSettings
) -> Iterator[Victim]:
    """Make the heads whose class means are robust locations, on each network.

    Parameters
    ----------
    victims : sequence of Victim
        Those of :func:`make_victims`.
    settings : DefenceSettings
        Which locations there are.

    Yields
    ------
    Victim
        With the variance of the trimmed Gaussians of its network.
    """
    for network in TRIMMED:
        for location in settings.locations:
            known = defence(victims, network).head
            head = RobustGaussianClassifier(
                location=location,
                trim=known.trim if location == "trimmed_mean" else 0.0,
                variance=known.variance,
            )
            yield Victim(f"{network}_{location}", network, head)


@dataclass(frozen=True, eq=False)
class Defended:
    """What is compared beyond the two networks, and what attackers have of it.

    Attributes
    ----------
    networks : dict of str to classifier
        All networks by name; training images of the compressed ones are re-encoded.
    defences : dict of str to estimator
        Unfitted trimmed Gaussians that attackers know, by network.
    crafted_on : dict of str to str
        Networks that meet the poisons made for another.
    surrogates : dict of str to list of classifier
        Networks that attackers have in place of one.
    jpeg : tuple of Victim
        Softmax on re-encoded images: known to the attacker, and not.
    """

    networks: dict[str, Any]
    defences: dict[str, Any]
    crafted_on: dict[str, str]
    surrogates: dict[str, list[Any]]
    jpeg: tuple[Victim, ...]


def defend(
    context: Context, victims: Sequence[Victim], settings: DefenceSettings
) -> Defended:
    """Add the defences that settings ask for, and train what attackers have.

    Parameters
    ----------
    context : Context
        Rows and networks.
    victims : sequence of Victim
        Those of :func:`make_victims`.
    settings : DefenceSettings
        Which defences there are, and whether attackers have the networks.

    Returns
    -------
    Defended
        Networks with further victims.
    """
    networks: dict[str, Any] = dict(context.networks)
    defences = {name: defence(victims, name).head for name in networks}
    surrogates: dict[str, list[Any]] = {}
    for backbone in settings.surrogate_backbones:
        # A recipe is that of its own backbone.
        own_settings = context.settings.model_copy(
            update={
                "recipe": None,
                "backbone": backbone,
                "seed": context.settings.seed + 1,
            }
        )
        for network, clf in make_networks(own_settings).items():
            own = context.trained(f"{network} with {backbone}, for the attacker", clf)
            surrogates.setdefault(network, []).append(own)
    crafted_on: dict[str, str] = {}
    jpeg: list[Victim] = []
    quality = settings.jpeg_quality
    if quality is not None:
        softmax = victims[0]
        for name, variant in ((JPEG, None), (f"{JPEG}_unaware", "unaware")):
            networks[name] = CompressedNetwork(context.networks["softmax"], quality)
            defences[name] = defences["softmax"]
            jpeg.append(replace(softmax, name=JPEG, network=name, variant=variant))
        crafted_on[f"{JPEG}_unaware"] = "softmax"
        if surrogates:
            surrogates[JPEG] = [
                CompressedNetwork(clf, quality) for clf in surrogates["softmax"]
            ]
    return Defended(networks, defences, crafted_on, surrogates, tuple(jpeg))
