"""Transfer: the backbone is frozen, heads are refitted, one target at a time."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import numpy as np

from sklgm.experiments._comparison import Comparison, compare_heads
from sklgm.experiments._protocol import Context, Protocol
from sklgm.experiments._settings import (
    Count,
    CountSettings,
    DefenceSettings,
    Distinct,
    RefitSettings,
    Some,
)
from sklgm.experiments._table_specs import ATTACK_TABLE, DETECTION_TABLE, EFFORT_TABLE
from sklgm.experiments._victims import (
    converged_victims,
    defend,
    location_victims,
    make_victims,
    with_diagonal,
)
from sklgm.poisoning import flip_labels
from sklgm.results import (
    FigureArrays,
    FigureSpec,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    Trial,
)

NAME = "transfer"


class TransferSettings(CountSettings, RefitSettings, DefenceSettings):
    """Settings of the transfer protocol.

    Parameters
    ----------
    n_targets, attacks, bounds, reach, similarity_weight, max_iter, watermark_opacity
        See :class:`CountSettings`.
    refit_epochs
        See :class:`RefitSettings`.
    locations, jpeg_quality, surrogate_backbones
        See :class:`DefenceSettings`.
    n_poisons : tuple of int, default=(1, 5, 25)
        Poisons per target, scaled down where the largest is over 10 % of a class.
    converged_epochs : int, default=5
        Epochs of the refits to convergence; each is up to 20 steps of L-BFGS on all
        rows.
    """

    n_poisons: Annotated[tuple[Count, ...], Some, Distinct] = (1, 5, 25)
    converged_epochs: Count = 5


def measure(
    context: Context, settings: TransferSettings
) -> Iterator[Row | Trial | FigureArrays]:
    """Refit heads on features in which a few rows of one class are poisons.

    Parameters
    ----------
    context : Context
        Rows, networks and runner.
    settings : TransferSettings
        Settings of the protocol.

    Yields
    ------
    Row, Trial or PoisonImages
        Numbers, single targets, and examples of poisons.

    Notes
    -----
    Heads are refitted as in the benchmark: ``refit_epochs`` (there 40) of SGD with
    momentum 0.9, weight decay 2e-4 and learning rate 0.01, a tenth of it in the last
    quarter, from a fresh head, in batches of 250 rows where it takes 128. A linear
    head starts from noise and an L-GM head at the class means, from where few steps
    do not move it far. The variant ``"converged"`` is the same by L-BFGS until there
    is nothing left to gain, and shows how much of a rate is owed to that.

    The attack ``"flip_labels"`` is the dirty-label reference: as many rows as there are
    poisons, of any class, have a wrong label, drawn anew for every target, and nothing
    aims at the target.

    References
    ----------
    A. Schwarzschild et al., "Just How Toxic is Data Poisoning? A Unified Benchmark
    for Backdoor and Data Poisoning Attacks", ICML 2021.
    """
    victims = make_victims(context, settings.refit_epochs)
    converged = converged_victims(context, settings.converged_epochs)
    defended = defend(context, victims, settings)
    comparison = compare_heads(
        context,
        NAME,
        settings,
        n_poisons=settings.n_poisons,
        victims=(
            *victims,
            *converged,
            with_diagonal(victims),
            *location_victims(victims, settings),
            *defended.jpeg,
        ),
        networks=defended.networks,
        defences=defended.defences,
        crafted_on=defended.crafted_on,
        surrogates=defended.surrogates,
    )
    yield from comparison.clean_rows()
    yield from comparison.attack(settings.plan(has_images=comparison.has_images))
    yield from _flip_labels(comparison, context.settings.seed)


def _flip_labels(comparison: Comparison, seed: int) -> Iterator[Row | Trial]:
    """Refit the victims on rows of which as many as poisons have a wrong label."""
    y, most = comparison.y, max(comparison.counts)

    def rows(network: str, n: int, t: int) -> tuple[Any, ...]:
        flipped = flip_labels(y, n / len(y), np.random.RandomState([seed, t]))
        return comparison.features[network], flipped, flipped != y

    for training in comparison.trainings:
        (victim,) = training.victims
        if victim.variant is None:
            yield from comparison.train(
                f"train {victim.name} on flipped labels",
                {"attack": "flip_labels"},
                [(training, most)],
                partial(rows, victim.network),
            )


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="Does the attack work?",
    question="The network is trained on clean data. Then its last layer is trained "
    "again on a smaller set, into which the attacker has slipped poisons for one "
    "target. This is repeated for every target, and each model is attacked with "
    "poisons made for itself: how often is it misled?",
    headline=HeadlineSpec(metric="attack_success_rate"),
    tables=(ATTACK_TABLE, DETECTION_TABLE, EFFORT_TABLE),
    figures=(
        FigureSpec(
            kind="poison_example",
            title="How one poison is made ({attack})",
            caption="A real image, the base, is changed until the network takes it for "
            "the target; its label stays. Whoever trains on it teaches the network "
            "that the target has this label. Judge yourself whether the change shows.",
            alt="A base, the poison made of it, and the target that it is made for",
            split=("attack", "bound", "reach"),
        ),
        FigureSpec(
            kind="poison_images",
            title="What a poison looks like ({attack})",
            caption="Each column is one poison against the softmax network. Its label "
            "is that of the first row, and it should look like it; to the network it "
            "looks like the target in the second row. The last row is what was "
            "changed, amplified.",
            alt="Base, target, poison and amplified difference of some poisons",
            split=("attack", "bound", "reach"),
        ),
        FigureSpec(
            kind="success_rates",
            title="Success rate against number of poisons ({attack})",
            caption="Share of targets that the refitted model gives the attacker's "
            "label, with 95 % Wilson intervals. Lower is better.",
            alt="Lines of success rate against number of poisons, one per model",
            where={"attack": ...},
            split=("dataset", "attack", "bound", "reach"),
        ),
    ),
)

PROTOCOL = Protocol(DESCRIPTION, TransferSettings, measure)
