"""Frontier: the attack gets stronger; what it gains, and what it gives away."""

from collections.abc import Iterator
from typing import Annotated

from sklgm.experiments._comparison import compare_heads
from sklgm.experiments._descriptions import DESCRIPTIONS
from sklgm.experiments._protocol import Context, Protocol
from sklgm.experiments._settings import (
    Count,
    Distinct,
    PlannedAttack,
    Positive,
    RefitSettings,
    Some,
)
from sklgm.poisoning import AdaptiveLikelihood, AdaptivePosterior
from sklgm.results import FigureArrays, Row, Trial

NAME = "frontier"


class FrontierSettings(RefitSettings):
    """Settings of the frontier protocol.

    Parameters
    ----------
    n_targets, refit_epochs, similarity_weight, max_iter, watermark_opacity, reach
        See :class:`RefitSettings`.
    n_poisons : tuple of int, default=(25,)
        Poisons per target, scaled down where the largest is over 10 % of a class.
    bounds : tuple of float > 0 or None, default=(4/255, 8/255, 16/255, 32/255, None)
        l-infinity bounds of feature collision and bullseye polytope in pixel units;
        None is unbounded.
    reaches : tuple of float > 0, default=(0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
        Reaches of the adaptive attacks, in place of ``reach``.
    """

    n_poisons: Annotated[tuple[Count, ...], Some, Distinct] = (25,)
    bounds: Annotated[tuple[Positive | None, ...], Distinct] = (
        4 / 255,
        8 / 255,
        16 / 255,
        32 / 255,
        None,
    )
    reaches: Annotated[tuple[Positive, ...], Distinct] = (
        0.5,
        0.75,
        1.0,
        1.25,
        1.5,
        2.0,
    )


def measure(
    context: Context, settings: FrontierSettings
) -> Iterator[Row | Trial | FigureArrays]:
    """Sweep the strength of attacks, those of one who knows the defence among them.

    As in transfer, for feature collision and bullseye polytope under bounds that
    widen, and for the adaptive attacks as their poisons go further from the mean of
    the class that they claim, or their claims get less probable.

    Parameters
    ----------
    context : Context
        Rows, networks and runner.
    settings : FrontierSettings
        Settings of the protocol.

    Yields
    ------
    Row, Trial or PoisonImages
        Numbers, single targets, and examples of poisons.
    """
    counts = context.partition.counts(settings.n_poisons)
    comparison = compare_heads(context, NAME, settings, counts)
    yield from comparison.clean_rows()
    yield from comparison.attack(strengths(settings, has_images=comparison.has_images))


def strengths(settings: FrontierSettings, *, has_images: bool) -> list[PlannedAttack]:
    """List the attacks of the sweep.

    Parameters
    ----------
    settings : FrontierSettings
        ``bounds`` and ``reaches``.
    has_images : bool
        Whether bounds in pixel units mean something.

    Returns
    -------
    list of PlannedAttack
        Those with bounds, then the adaptive ones.
    """
    bounds = settings.bounds if has_images else (None,)
    bounded = [
        PlannedAttack(name, bound)
        for name in ("feature_collision", "bullseye_polytope")
        for bound in bounds
    ]
    return bounded + [
        PlannedAttack(name, reach=reach)
        for name in (AdaptiveLikelihood.name, AdaptivePosterior.name)
        for reach in settings.reaches
    ]


PROTOCOL = Protocol(DESCRIPTIONS[NAME], FrontierSettings, measure)
