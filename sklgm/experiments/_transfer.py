"""Transfer: frozen backbone, refitted heads, one target at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import Runner
from sklgm.classifiers import LGMClassifier
from sklgm.experiments._arena import Arena, fit_head, make_arena
from sklgm.experiments._attack import (
    PlannedAttack,
    attacks_of,
    effort_records,
)
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._cells import (
    Cell,
    Judged,
    Outcome,
    clean_records,
    judge,
)
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._crafting import (
    craft_for_targets,
)
from sklgm.experiments._judging import rows_kept_by_trim
from sklgm.experiments._partition import Partition
from sklgm.experiments._targets import Targets
from sklgm.experiments._victims import Victim, strongest_defence
from sklgm.poisoning import CraftResult, flip_labels
from sklgm.results import PoisonImages, Record, Trial

PROTOCOL = "transfer"
FLIP_LABELS = "flip_labels"

Found = tuple[list[Record], list[Trial], list[PoisonImages]]


def run_transfer(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
) -> Found:
    """Refit heads on features in which a few rows of one class are poisons.

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
    records, trials, images
        Numbers, single targets, and examples of poisons.

    Notes
    -----
    Heads are refitted as in the benchmark: ``refit_epochs`` (there 40) of SGD with
    momentum 0.9, weight decay 2e-4 and learning rate 0.01, a tenth of it in the last
    quarter, from a fresh head, in batches of 250 rows where it takes 128. A linear
    head starts from noise and an L-GM head at the class means, from where few steps
    do not move it far. The arm ``"converged"`` is the same by L-BFGS until there is
    nothing left to gain, and shows how much of a rate is owed to that.

    The attack ``"flip_labels"`` is the dirty-label reference: as many rows as there are
    poisons, of any class, have a wrong label, drawn anew for every target, and nothing
    aims at the target.

    References
    ----------
    A. Schwarzschild et al., "Just How Toxic is Data Poisoning? A Unified Benchmark
    for Backdoor and Data Poisoning Attacks", ICML 2021.
    """
    arena = make_arena(PROTOCOL, config, partition, backbones, runner)
    records = clean_records(
        PROTOCOL,
        config,
        partition,
        backbones,
        arena.victims,
        arena.controls,
        arena.targets,
    )
    trials: list[Trial] = []
    images: list[PoisonImages] = []
    flipped: Found = runner.once(
        f"{PROTOCOL}, {FLIP_LABELS}", partial(_flip_labels, arena, runner)
    )
    attacked = run_attacks(PROTOCOL, arena, attacks_of(config), arena.counts, runner)
    for found in (flipped, attacked):
        records += found[0]
        trials += found[1]
        images += found[2]
    return records, trials, images


def run_attacks(
    protocol: str,
    arena: Arena,
    attacks: Sequence[PlannedAttack],
    counts: Sequence[int],
    runner: Runner,
    *,
    judge_all: bool = False,
) -> Found:
    """Attack every backbone by every attack, and refit its victims.

    Parameters
    ----------
    protocol : str
        Name in records.
    arena : Arena
        Victims and targets.
    attacks : sequence of PlannedAttack
        The attacks.
    counts : sequence of int
        Numbers of poisons, some of the arena's.
    runner : Runner
        Carries it out.
    judge_all : bool, default=False
        Whether accuracy and detection are asked for with each number of poisons, and
        not with the largest only.

    Returns
    -------
    records, trials, images
        Numbers, single targets, and examples of poisons.
    """
    records: list[Record] = []
    trials: list[Trial] = []
    images: list[PoisonImages] = []
    for planned in attacks:
        for name in arena.backbones:
            found: Found = runner.once(
                f"{protocol}, {planned.name} on {name}",
                partial(
                    _attack_backbone,
                    protocol,
                    arena,
                    planned,
                    name,
                    counts,
                    runner,
                    judge_all,
                ),
            )
            records += found[0]
            trials += found[1]
            images += found[2]
    return records, trials, images


def _attack_backbone(
    protocol: str,
    arena: Arena,
    planned: PlannedAttack,
    backbone: str,
    counts: Sequence[int],
    runner: Runner,
    judge_all: bool,
) -> Found:
    """Craft the poisons of all targets for one backbone, and refit its victims."""
    config, partition, targets = arena.config, arena.partition, arena.targets
    clf, stage = arena.backbones[backbone], f"{planned.name} on {backbone}"
    crafted = craft_on_backbone(
        arena, planned, backbone, counts, partial(runner.progress, f"craft {stage}")
    )
    poison_features = {n: clf.transform(c.X_poison) for n, c in crafted.items()}
    most = max(counts)
    records = effort_records(
        protocol, config, partition, backbone, planned.name, most, crafted[most]
    )
    trials: list[Trial] = []
    cells = [
        (i, n_poisons)
        for i, victim in enumerate(arena.victims)
        if victim.backbone == backbone
        for n_poisons in victim.counts(counts)
    ]

    def task(i: int, n_poisons: int, t: int) -> tuple[Any, ...]:
        rows = targets.base_rows[t, :n_poisons]
        features = arena.features[backbone].copy()
        features[rows] = poison_features[n_poisons][t * n_poisons : (t + 1) * n_poisons]
        is_poison = np.zeros(len(features), dtype=bool)
        is_poison[rows] = True
        return (
            arena.victims[i],
            features,
            partition.y_refit,
            is_poison,
            arena.test_features[backbone],
            targets.of(t),
            judge_all or n_poisons == most,
        )

    every = range(len(targets.rows))
    refits = iter(
        runner.map(
            f"refit {stage}",
            refit_head,
            (task(*cell, t) for cell in cells for t in every),
            len(cells) * len(every),
        )
    )
    for i, n_poisons in cells:
        outcome = Outcome()
        for row in targets.rows:
            outcome.add(next(refits), row, partition.y_test)
        cell = Cell(
            protocol, config, partition, arena.victims[i], planned.name, n_poisons
        )
        records += cell.records(outcome, targets, arena.is_right, i)
        trials += cell.trials(
            outcome, targets, arena.controls[i], arena.is_right[i], crafted[n_poisons]
        )
    images = []
    if backbone == "softmax" and partition.X_refit.ndim == 4:
        images = [_examples(partition, targets, crafted[most], planned.name)]
    return records, trials, images


def _flip_labels(arena: Arena, runner: Runner) -> Found:
    """Refit the victims on rows of which as many as poisons have a wrong label."""
    config, partition, targets = arena.config, arena.partition, arena.targets
    most, y = max(arena.counts), partition.y_refit
    attacked = [i for i, v in enumerate(arena.victims) if v.arm == "attack"]
    every = range(len(targets.rows))
    flipped = [
        flip_labels(y, most / len(y), np.random.RandomState([config.seed, t]))
        for t in every
    ]
    tasks = (
        (
            arena.victims[i],
            arena.features[arena.victims[i].backbone],
            flipped[t],
            flipped[t] != y,
            arena.test_features[arena.victims[i].backbone],
            targets.of(t),
            True,
        )
        for i in attacked
        for t in every
    )
    n_tasks = len(attacked) * len(every)
    refits = iter(runner.map("refit flipped labels", refit_head, tasks, n_tasks))
    records: list[Record] = []
    trials: list[Trial] = []
    for i in attacked:
        outcome = Outcome()
        for row in targets.rows:
            outcome.add(next(refits), row, partition.y_test)
        cell = Cell(PROTOCOL, config, partition, arena.victims[i], FLIP_LABELS, most)
        records += cell.records(outcome, targets, arena.is_right, i)
        trials += cell.trials(
            outcome, targets, arena.controls[i], arena.is_right[i], None
        )
    return records, trials, []


def refit_head(
    victim: Victim,
    features: NDArray[np.floating[Any]],
    y: NDArray[Any],
    is_poison: NDArray[np.bool_],
    test_features: NDArray[np.floating[Any]],
    target: tuple[int, Any, Any],
    is_judged: bool,
) -> Judged:
    """Refit one victim for one target.

    Parameters
    ----------
    victim : Victim
        Its head is not changed.
    features, y : ndarray
        Rows of the refit, poisons among them.
    is_poison : ndarray of bool of shape (n_refit,)
        Which of them are poisons.
    test_features : ndarray of shape (n_test, feature_dim)
        Of the test rows.
    target : tuple of (int, label, label)
        Test row of the target, its label, and the one that the attacker wants.
    is_judged : bool
        Whether to say how well poisons are told from the other rows.

    Returns
    -------
    Judged
        What the refit gave.
    """
    head = fit_head(victim, features, y)
    is_kept = None
    if isinstance(head, LGMClassifier) and head.trim != 0.0:
        is_kept = rows_kept_by_trim(head, features, y)
    return judge(
        victim,
        head,
        features,
        y,
        is_poison,
        test_features,
        target,
        is_kept=is_kept,
        is_judged=is_judged,
    )


def craft_on_backbone(
    arena: Arena,
    planned: PlannedAttack,
    backbone: str,
    counts: Sequence[int],
    progress: Callable[[int, int], None],
) -> dict[int, CraftResult]:
    """Craft every poison of every target against one backbone, for each count.

    Parameters
    ----------
    arena : Arena
        Backbones, rows and targets; the defence that an adaptive attack knows.
    planned : PlannedAttack
        The attack.
    backbone : str
        Whose features are attacked.
    counts : sequence of int
        Numbers of poisons, some of the arena's.
    progress : callable
        Called with poisons done and poisons in all.

    Returns
    -------
    dict of int to CraftResult
        See :func:`craft_for_targets`.
    """
    partition, targets = arena.partition, arena.targets
    defence = strongest_defence(backbone, arena.victims)
    defending = arena.heads[arena.victims.index(defence)]
    assert isinstance(defending, LGMClassifier)
    clf, features = arena.backbones[backbone], arena.features[backbone]
    model, attack = planned.against(clf, defending, features, partition.y_refit)
    return craft_for_targets(
        arena.config,
        planned,
        model,
        attack,
        partition.X_refit,
        partition.X_test,
        targets,
        counts,
        progress,
    )


def _examples(
    partition: Partition, targets: Targets, crafted: CraftResult, attack: str
) -> PoisonImages:
    """One poison of each of the first six targets."""
    n_bases = len(crafted.X_poison) // len(targets.rows)
    shown = np.arange(min(6, len(targets.rows)))
    names = dict(
        zip(np.unique(partition.y_refit).tolist(), partition.class_names, strict=False)
    )
    return PoisonImages(
        attack,
        partition.X_refit[targets.base_rows[shown, 0]],
        partition.X_test[targets.rows[shown]],
        crafted.X_poison[shown * n_bases],
        tuple(
            f"{names[targets.base_labels[t].item()]} for "
            f"{names[targets.labels[t].item()]}"
            for t in shown
        ),
    )
