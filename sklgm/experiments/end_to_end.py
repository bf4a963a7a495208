"""End-to-end: all layers go on training on rows that hold watermarked poisons."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sklgm.experiments._comparison import Comparison
from sklgm.experiments._protocol import Context, Protocol
from sklgm.experiments._settings import (
    WATERMARK,
    AttackSettings,
    Count,
    DefenceSettings,
    Distinct,
    Minority,
    PlannedAttack,
    Positive,
    Presets,
    Some,
    TargetSettings,
)
from sklgm.experiments._table_specs import ATTACK_TABLE, DETECTION_TABLE, EFFORT_TABLE
from sklgm.experiments._training import Training
from sklgm.experiments._victims import (
    Victim,
    defend,
    location_victims,
    make_victims,
    with_diagonal,
)
from sklgm.results import FigureArrays, HeadlineSpec, ProtocolDescription, Row, Trial

NAME = "end-to-end"


class EndToEndSettings(TargetSettings, AttackSettings, DefenceSettings):
    """Settings of the end-to-end protocol.

    Parameters
    ----------
    n_targets : int, default=20
        Targets per model; each costs a training of the whole network.
    attacks, bounds, reach, similarity_weight, max_iter, watermark_opacity
        See :class:`AttackSettings`; all bases are watermarked unless training is from
        scratch.
    locations, jpeg_quality, surrogate_backbones
        See :class:`DefenceSettings`.
    from_scratch : bool, default=False
        Whether victims begin with weights of their own, drawn from another seed than
        those of the networks that attackers have, and train as these were; then
        ``max_epochs`` and ``lr`` are those of the run.
    n_poisons : tuple of int, default=(50,)
        Poisons per target, scaled down where the largest is over 10 % of its class in
        the rows that are fine-tuned on: 50 of 500 at the default of 5,000 rows and
        ten classes, 1 % of all rows.
    shares : tuple of float in (0, 0.5), default=()
        Poisoned shares of the base class instead of ``n_poisons``; L-GM with
        ``trim="auto"`` then takes part.
    n_rows : int, default=5000
        Largest number of rows that the networks are fine-tuned on, class-balanced:
        rows of the refit, which the networks have not seen and which give the bases,
        and rows that they were trained on to fill up. At most what the scarcest class
        has.
    max_epochs : int, default=2
        Epochs of fine-tuning.
    lr : float > 0, default=0.0003
        Learning rate of fine-tuning, constant.
    """

    n_targets: Count = 20
    n_poisons: Annotated[tuple[Count, ...], Some, Distinct] = (50,)
    shares: Annotated[tuple[Minority, ...], Distinct] = ()
    n_rows: Count = 5000
    max_epochs: Count = 2
    lr: Positive = 3e-4
    from_scratch: bool = False

    presets: ClassVar[Presets] = {
        ("*", "*"): {"n_targets": 20},
        ("digits", "*"): {"max_epochs": 8},  # of few rows: as many steps as on MNIST
    }


def measure(
    context: Context, settings: EndToEndSettings
) -> Iterator[Row | Trial | FigureArrays]:
    """Fine-tune whole networks on rows of which some of one class are poisons.

    Parameters
    ----------
    context : Context
        Rows, networks and runner.
    settings : EndToEndSettings
        Settings of the protocol.

    Yields
    ------
    Row, Trial or PoisonImages
        Numbers, single targets, and examples of poisons.

    Notes
    -----
    Every fine-tuning starts from the clean network, head included, and has the same
    seed; the control arm is the one without poisons. Gaussians fitted afterwards take
    the features of the fine-tuned softmax network. The variant ``"filtered"`` of
    softmax is trained on the rows that trimmed Gaussians on the features of its clean
    network keep: what a trusted network gives without L-GM. Bases are rows that the
    network has not seen, each blended with ``watermark_opacity`` of the target. Poison
    Frogs trains on the whole training set with 50 poisons of 5,000 rows per class; here
    they are up to a tenth of their class, and there are fewer steps.

    References
    ----------
    A. Shafahi et al., "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
    Networks", NeurIPS 2018, Section 4.
    """
    partition = context.partition
    refit_rows, backbone_rows = _fine_tuning_rows(
        settings.n_rows, partition.y_refit, partition.y_backbone
    )
    # Bases first: their rows are the same in both.
    X, y = (
        np.concatenate([of_refit[refit_rows], of_backbone[backbone_rows]])
        for of_refit, of_backbone in (
            (partition.X_refit, partition.X_backbone),
            (partition.y_refit, partition.y_backbone),
        )
    )
    victims = make_victims(context)
    defended = defend(context, victims, settings)
    comparison = Comparison(
        context,
        NAME,
        _make_trainings(context, settings, victims, defended.jpeg),
        settings,
        networks=defended.networks,
        defences=defended.defences,
        crafted_on=defended.crafted_on,
        surrogates=defended.surrogates,
        n_poisons=settings.n_poisons,
        shares=settings.shares,
        rows=(X, y),
        n_bases=len(refit_rows),
        in_detail=True,
    )
    yield from comparison.clean_rows()
    yield from comparison.attack(
        _watermarked(settings, has_images=partition.has_images)
    )


def _make_trainings(
    context: Context,
    settings: EndToEndSettings,
    victims: Sequence[Victim],
    jpeg: Sequence[Victim] = (),
) -> list[Training]:
    """Set up the networks that are fine-tuned."""
    softmax, lgm, trimmed, gaussians = victims
    networks = {name: copy.deepcopy(clf) for name, clf in context.networks.items()}
    if settings.from_scratch:
        for clf in networks.values():
            clf.set_params(random_state=context.settings.seed + 2)
    else:
        for clf in networks.values():
            clf.set_params(
                warm_start=True,
                max_epochs=settings.max_epochs,
                lr=settings.lr,
                lr_schedule="constant",
            )
        # The margin has grown in the training before; all parameters have one rate.
        networks["lgm"].set_params(margin_warmup=0.0, means_lr_factor=1.0)
    with_trim = copy.deepcopy(networks["lgm"]).set_params(trim=trimmed.head.trim)

    own = replace(trimmed, head=None)  # that of the network, which trims itself
    filtered = replace(softmax, variant="filtered")
    located: dict[str, list[Victim]] = {name: [] for name in networks}
    for victim in location_victims(victims, settings):
        located[victim.network].append(victim)
    trainings = [
        Training(
            (softmax, gaussians, with_diagonal(victims), *located["softmax"]),
            networks["softmax"],
        ),
        Training((lgm, *located["lgm"]), networks["lgm"]),
        Training((own,), with_trim),
        Training((filtered,), networks["softmax"], gaussians.head),
        *(
            Training((victim,), networks["softmax"], jpeg_quality=settings.jpeg_quality)
            for victim in jpeg
        ),
    ]
    if settings.shares:
        automatic = copy.deepcopy(with_trim).set_params(trim="auto")
        victim = replace(own, variant="auto", scores=("posterior",))
        trainings.append(Training((victim,), automatic))
    return trainings


def _fine_tuning_rows(
    n_rows: int, y_refit: NDArray[Any], y_backbone: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the rows that whole networks are fine-tuned on, class-balanced.

    Rows of the refit come first; rows that the networks were trained on fill up.
    """
    refit_of_class, backbone_of_class = (
        [np.flatnonzero(y == label) for label in np.unique(y_refit)]
        for y in (y_refit, y_backbone)
    )
    n_available = min(
        len(refit) + len(backbone)
        for refit, backbone in zip(refit_of_class, backbone_of_class, strict=True)
    )
    n_per_class = min(n_rows // len(refit_of_class), n_available)
    if n_per_class < 1:
        raise ValueError(
            f"n_rows={n_rows} of end-to-end gives none of the {len(refit_of_class)} "
            "classes a row"
        )
    refit_rows = np.concatenate([rows[:n_per_class] for rows in refit_of_class])
    backbone_rows = np.concatenate(
        [
            backbone[: n_per_class - min(n_per_class, len(refit))]
            for refit, backbone in zip(refit_of_class, backbone_of_class, strict=True)
        ]
    )
    return np.sort(refit_rows), np.sort(backbone_rows)


def _watermarked(
    settings: EndToEndSettings, *, has_images: bool
) -> list[PlannedAttack]:
    """List the attacks, from scratch as they are, else from watermarked bases.

    None is there twice.
    """
    if settings.from_scratch:
        return settings.plan(has_images=has_images, matched_parameters="all")
    planned = settings.plan(
        has_images=has_images, is_watermarked=True, matched_parameters="all"
    )
    if "feature_collision" in settings.attacks:
        planned = [attack for attack in planned if attack.name != WATERMARK]
    return planned


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="What if all layers are trained?",
    question="A trained network goes on training, all layers of it, on data that hold "
    "the poisons. Poisons that work for a fixed network may stop working when the "
    "network moves.",
    headline=HeadlineSpec(
        "attack_success_rate", "{dataset}, {attack} (all layers trained)"
    ),
    tables=(ATTACK_TABLE, DETECTION_TABLE, EFFORT_TABLE),
)

PROTOCOL = Protocol(DESCRIPTION, EndToEndSettings, measure)
