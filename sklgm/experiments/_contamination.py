"""Contamination: a growing share of a class is poisoned, and trimmed by each rule."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm._running import Runner
from sklgm.classifiers import LGMClassifier
from sklgm.experiments._arena import make_arena
from sklgm.experiments._attack import attacks_of
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._cells import clean_records
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.experiments._transfer import run_attacks
from sklgm.experiments._victims import Victim, make_main_victims
from sklgm.results import Record, Trial

PROTOCOL = "contamination"
#: Arms whose trimmed share is chosen from the rows, or is the share that is poisoned.
AUTO, ORACLE = "auto", "oracle"


def run_contamination(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
) -> tuple[list[Record], list[Trial]]:
    """Poison a growing share of a class, and trim by each rule.

    As :func:`run_transfer`, with as many poisons as make the shares
    ``contamination_shares`` of the base class, and accuracy and detection for each of
    them. Trimmed Gaussians are fitted by the run's own ``trim``, which stays the same
    (arm ``"attack"``), by ``trim="auto"``, and by an oracle that leaves out of each
    class as large a share as is poisoned of one.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``.
    runner : Runner
        Carries it out.

    Returns
    -------
    records, trials
        Numbers and single targets.
    """
    n_of_class = int(np.unique(partition.y_refit, return_counts=True)[1].min())
    counts = contamination_counts(config.contamination_shares, partition.y_refit)
    arena = make_arena(
        PROTOCOL,
        config,
        partition,
        backbones,
        runner,
        counts=counts,
        make=partial(make_trimmed_victims, counts=counts, n_of_class=n_of_class),
    )
    # An oracle is told of poisons: without any there is nothing that it knows.
    without = [i for i, v in enumerate(arena.victims) if v.only_count is None]
    records = clean_records(
        PROTOCOL,
        config,
        partition,
        backbones,
        [arena.victims[i] for i in without],
        [arena.controls[i] for i in without],
        arena.targets,
    )
    found, trials, _ = run_attacks(
        PROTOCOL, arena, attacks_of(config), counts, runner, judge_all=True
    )
    return records + found, trials


def contamination_counts(
    shares: Sequence[float], y_train: NDArray[Any]
) -> tuple[int, ...]:
    """Numbers of poisons that make shares of a class.

    Parameters
    ----------
    shares : sequence of float in (0, 0.5)
        Poisoned shares of the base class.
    y_train : ndarray of shape (n_train,)
        Labels of the rows that victims are trained on, class-balanced.

    Returns
    -------
    tuple of int
        Distinct counts >= 1, increasing; less than half of a class.

    Raises
    ------
    ValueError
        If a class has too few rows to have less than half of them poisoned.

    Examples
    --------
    >>> import numpy as np
    >>> contamination_counts((0.01, 0.05, 0.1, 0.2), np.repeat([0, 1], 250))
    (2, 12, 25, 50)
    """
    n_of_class = int(np.unique(y_train, return_counts=True)[1].min())
    most = (n_of_class - 1) // 2
    if most < 1:
        raise ValueError(
            f"contamination_shares={tuple(shares)!r} need at least 3 rows of each "
            f"class in the refit, got {n_of_class}"
        )
    return tuple(sorted({min(most, max(1, round(s * n_of_class))) for s in shares}))


def make_trimmed_victims(
    config: ExperimentConfig,
    variances: dict[str, float],
    *,
    counts: Sequence[int],
    n_of_class: int,
) -> tuple[Victim, ...]:
    """Heads without trim, and those that trim by each rule.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    variances : dict of str to float
        What :func:`head_variances` returned.
    counts : sequence of int
        Numbers of poisons; each has an oracle.
    n_of_class : int
        Rows of a class.

    Returns
    -------
    tuple of Victim
        All give the posterior as their one score.
    """
    victims = []
    for main in make_main_victims(config, variances):
        victim = dataclasses.replace(main, score_kinds=("posterior",))
        victims.append(victim)
        if not isinstance(victim.head, LGMClassifier) or victim.head.trim == 0.0:
            continue
        automatic = clone(victim.head).set_params(trim="auto")
        victims.append(dataclasses.replace(victim, arm=AUTO, head=automatic))
        victims += [
            dataclasses.replace(
                victim,
                arm=ORACLE,
                head=clone(victim.head).set_params(trim=n_poisons / n_of_class),
                only_count=n_poisons,
            )
            for n_poisons in counts
        ]
    return tuple(victims)
