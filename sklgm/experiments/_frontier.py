"""Frontier: the attack gets stronger; what it gains, and what it gives away."""

import dataclasses

from sklgm._running import Runner
from sklgm.experiments._arena import make_arena
from sklgm.experiments._attack import PlannedAttack, attack_name, plan_attack
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._cells import clean_records
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.experiments._transfer import run_attacks
from sklgm.experiments._victims import make_main_victims
from sklgm.poisoning import AdaptiveLikelihood, AdaptivePosterior
from sklgm.results import Record, Trial

PROTOCOL = "frontier"


def run_frontier(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
) -> tuple[list[Record], list[Trial]]:
    """Sweep the strength of attacks, those of one who knows the defence among them.

    As :func:`run_transfer` with the largest number of poisons, for feature collision
    and bullseye polytope under bounds that widen, and for the adaptive attacks as
    their poisons go further from the mean of the class that they claim, or their
    claims get less probable.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``frontier_bounds``, ``frontier_reaches``.
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
    arena = make_arena(
        PROTOCOL, config, partition, backbones, runner, make=make_main_victims
    )
    records = clean_records(
        PROTOCOL,
        config,
        partition,
        backbones,
        arena.victims,
        arena.controls,
        arena.targets,
    )
    planned = strengths(config, is_image=partition.X_refit.ndim == 4)
    counts = arena.counts[-1:]
    found, trials, _ = run_attacks(PROTOCOL, arena, planned, counts, runner)
    return records + found, trials


def strengths(config: ExperimentConfig, *, is_image: bool) -> list[PlannedAttack]:
    """List the attacks of the sweep.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    is_image : bool
        Whether bounds in pixel units mean something.

    Returns
    -------
    list of PlannedAttack
        Those with bounds from the tightest to none, then the adaptive ones.
    """
    bounds = (*(config.frontier_bounds if is_image else ()), None)
    bounded = [
        plan_attack(config, name, bound)
        for name in ("feature_collision", "bullseye_polytope")
        for bound in bounds
    ]
    reaching = [
        dataclasses.replace(
            plan_attack(config, name, None),
            name=attack_name(name, None, reach),
            reach=reach,
        )
        for name in (AdaptiveLikelihood.name, AdaptivePosterior.name)
        for reach in config.frontier_reaches
    ]
    return bounded + reaching
