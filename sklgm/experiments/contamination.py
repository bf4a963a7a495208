"""Contamination: a growing share of a class is poisoned, and trimmed by each rule."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Annotated

import numpy as np
from sklearn.base import clone

from sklgm.classifiers import RobustGaussianClassifier
from sklgm.experiments._comparison import compare_heads
from sklgm.experiments._protocol import Context, Protocol
from sklgm.experiments._settings import (
    AttackSettings,
    Distinct,
    Minority,
    RefitSettings,
    Some,
)
from sklgm.experiments._table_specs import (
    CLEAN_ACCURACY,
    CLEAN_TABLE,
    EFFORT_TABLE,
    KEPT_SHARE,
    MISLED,
)
from sklgm.experiments._victims import Victim, make_victims
from sklgm.results import (
    ColumnSpec,
    FigureArrays,
    HeadlineSpec,
    ProtocolDescription,
    Row,
    TableSpec,
    Trial,
)

NAME = "contamination"
ORACLE = "oracle"


class ContaminationSettings(RefitSettings, AttackSettings):
    """Settings of the contamination protocol.

    Parameters
    ----------
    n_targets, refit_epochs
        See :class:`RefitSettings`.
    attacks, bounds, reach, similarity_weight, max_iter, watermark_opacity
        See :class:`AttackSettings`.
    shares : tuple of float in (0, 0.5), default=(0.01, 0.05, 0.1, 0.2)
        Poisoned shares of the base class.
    """

    shares: Annotated[tuple[Minority, ...], Some, Distinct] = (0.01, 0.05, 0.1, 0.2)


def measure(
    context: Context, settings: ContaminationSettings
) -> Iterator[Row | Trial | FigureArrays]:
    """Poison a growing share of a class, and trim by each rule.

    As in transfer, with accuracy and detection for every share. Trimmed Gaussians are
    fitted by a ``trim`` that stays the same, by ``trim="auto"``, and by an oracle that
    leaves out of each class as large a share as is poisoned of one.

    Parameters
    ----------
    context : Context
        Rows, networks and runner.
    settings : ContaminationSettings
        Settings of the protocol.

    Yields
    ------
    Row, Trial or PoisonImages
        Numbers, single targets, and examples of poisons.
    """
    y = context.partition.y_refit
    counts = context.partition.share_counts(settings.shares)
    n_of_class = int(np.unique(y, return_counts=True)[1].min())
    victims = [
        rule
        for victim in make_victims(context, settings.refit_epochs)
        for rule in _trim_rules(victim, counts, n_of_class)
    ]
    comparison = compare_heads(
        context,
        NAME,
        settings,
        victims=victims,
        shares=settings.shares,
        in_detail=True,
    )
    # An oracle is told of poisons: without any there is nothing that it knows.
    yield from (r for r in comparison.clean_rows() if r.variant != ORACLE)
    yield from comparison.attack(settings.plan(has_images=comparison.has_images))


def _trim_rules(
    victim: Victim, counts: Collection[int], n_of_class: int
) -> Iterator[Victim]:
    """Make a victim that trims by each rule, or stays as it is without ``trim``."""
    victim = replace(victim, scores=("posterior",))
    yield victim
    if isinstance(victim.head, RobustGaussianClassifier):
        automatic = clone(victim.head).set_params(trim="auto")
        yield replace(victim, variant="auto", head=automatic)
        for n in counts:
            told = clone(victim.head).set_params(trim=n / n_of_class)
            yield replace(victim, variant=ORACLE, head=told, meets=n)


def _check(context: Context, settings: ContaminationSettings) -> None:
    """Raise where a class is too small for the shares."""
    context.partition.share_counts(settings.shares)


DESCRIPTION = ProtocolDescription(
    name=NAME,
    title="How much poison can be trimmed?",
    question="A growing share of one class is poisoned. Gaussians are fitted "
    "afterwards that leave out the least likely rows of each class: always the same "
    "share, a share chosen from the rows (auto), or the share that is poisoned, which "
    "nobody knows (oracle).",
    headline=HeadlineSpec("attack_success_rate"),
    tables=(
        TableSpec(
            title="{dataset}, {attack}: growing shares of poisons",
            where={"attack": ...},
            index=("share", "n_poisons", "victim", "variant"),
            details=("{n_poisons}", "{share} of the class"),
            columns=(
                MISLED,
                ColumnSpec("auroc", "AUROC", "area", where={"score": "posterior"}),
                ColumnSpec(
                    "tpr_at_1pct_fpr",
                    "Found at 1 % false alarms",
                    "share",
                    where={"score": "posterior"},
                ),
                KEPT_SHARE,
                CLEAN_ACCURACY,
            ),
        ),
        EFFORT_TABLE,
        CLEAN_TABLE,
    ),
)

PROTOCOL = Protocol(DESCRIPTION, ContaminationSettings, measure, _check)
