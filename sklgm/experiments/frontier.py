"""Frontier: the attack gets stronger; what it gains, and what it gives away."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from sklgm.experiments._comparison import compare_heads
from sklgm.experiments._protocol import Context, Protocol
from sklgm.experiments._settings import (
    Count,
    Distinct,
    PlannedAttack,
    Positive,
    RefitSettings,
    Some,
)
from sklgm.experiments._table_specs import (
    CLEAN_ACCURACY,
    CLEAN_TABLE,
    EFFORT,
    KEPT_SHARE,
    MISLED,
)
from sklgm.poisoning import AdaptiveLikelihood, AdaptivePosterior
from sklgm.results import (
    ColumnSpec,
    FigureArrays,
    FigureSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    TableSpec,
    Trial,
)

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
    comparison = compare_heads(context, NAME, settings, n_poisons=settings.n_poisons)
    yield from comparison.clean_rows()
    yield from comparison.attack(_strengths(settings, has_images=comparison.has_images))


def _strengths(settings: FrontierSettings, *, has_images: bool) -> list[PlannedAttack]:
    """List the attacks of the sweep."""
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


_FIGURE = FigureSpec(
    kind="frontier",
    title="Attack against detection by the posterior score ({dataset}, {n_poisons})",
    caption="{dataset}, {n_poisons} per target: attack success rate against the share "
    "of poisons that the posterior score finds at 1 % false alarms, with 95 % "
    "intervals. The lower right corner is best for the defender.",
    alt="Attack success rate against the share of poisons found, a line per model and "
    "attack",
    where={"attack": ...},
    split=("dataset", "n_poisons"),
    options={"score": "posterior"},
)

DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="What if the attacker knows the defence?",
    question="The attack is made stronger step by step, and the defence is asked "
    "twice: is the target misled, and are the poisons found?",
    headline=HeadlineSpec("attack_success_rate"),
    tables=(
        TableSpec(
            title="{dataset}: attack against detection, {n_poisons}",
            where={"attack": ..., "variant": None},
            split=("dataset", "n_poisons"),
            index=("attack", "bound", "reach", "victim"),
            details=("{attack}",),
            columns=(
                MISLED,
                ColumnSpec("auroc", "AUROC, {score}", "area", by=("score",)),
                ColumnSpec(
                    "tpr_at_1pct_fpr",
                    "Found at 1 % false alarms, {score}",
                    "share",
                    by=("score",),
                ),
            ),
        ),
        TableSpec(
            title="{dataset}: attack against detection, further numbers",
            where={"attack": ...},
            split=("dataset",),
            index=("attack", "bound", "reach", "n_poisons", "victim", "variant"),
            details=("{attack}", "{n_poisons}"),
            columns=(
                ColumnSpec(
                    "attack_success_rate_common", "Same targets for all", "rate"
                ),
                CLEAN_ACCURACY,
                KEPT_SHARE,
                *EFFORT,
            ),
        ),
        CLEAN_TABLE,
    ),
    figures=(
        _FIGURE,
        replace(
            _FIGURE,
            title=_FIGURE.title.replace("posterior", "likelihood"),
            caption=_FIGURE.caption.replace("posterior", "likelihood"),
            options={"score": "likelihood"},
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, FrontierSettings, measure)
