"""End-to-end: all layers go on training on rows that hold watermarked poisons."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm._inputs import resolve_device
from sklgm._running import Runner
from sklgm.classifiers import LGMClassifier
from sklgm.experiments._attack import (
    PlannedAttack,
    attacks_of,
    effort_records,
)
from sklgm.experiments._backbones import Classifier, warm_started
from sklgm.experiments._cells import (
    Cell,
    Control,
    Judged,
    Outcome,
    clean_records,
    judge,
)
from sklgm.experiments._config import WATERMARK, ExperimentConfig
from sklgm.experiments._contamination import AUTO, contamination_counts
from sklgm.experiments._crafting import (
    craft_for_targets,
)
from sklgm.experiments._judging import (
    head_on_features,
    rows_kept_by_trim,
)
from sklgm.experiments._partition import Partition, fine_tuning_rows
from sklgm.experiments._targets import Targets, draw_targets, scaled_poison_counts
from sklgm.experiments._victims import (
    FITTED_AFTERWARDS,
    Victim,
    head_variances,
    make_victims,
    strongest_defence,
)
from sklgm.poisoning import CraftResult
from sklgm.results import Record, Trial

PROTOCOL = "end-to-end"
FILTERED = "filtered"


@dataclass(frozen=True, eq=False)
class Start:
    """A network that goes on training, and what it is judged as.

    Attributes
    ----------
    model : fitted classifier
        Set up by :func:`warm_started`; not changed.
    victims : tuple of Victim
        The network itself, and heads that are fitted on its features afterwards.
    sieve : LGMClassifier or None
        Unfitted trimmed Gaussians. If given, they are fitted to the features that the
        network starts with, and the rows that they leave out are dropped.
    """

    model: Classifier
    victims: tuple[Victim, ...]
    sieve: LGMClassifier | None = None


def run_end_to_end(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
) -> tuple[list[Record], list[Trial]]:
    """Fine-tune whole networks on rows of which some of one class are poisons.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``; not changed.
    runner : Runner
        Carries it out.

    Returns
    -------
    records, trials
        Numbers and single targets.

    Notes
    -----
    Every fine-tuning starts from the clean backbone, head included, and has the same
    seed; the control arm is the one without poisons. Gaussians fitted afterwards take
    the features of the fine-tuned softmax network. The arm ``"filtered"`` of softmax
    is trained on the rows that trimmed Gaussians on the features of its clean backbone
    keep: what a trusted backbone gives without L-GM. Bases are rows that the backbone
    has not seen, each blended with ``watermark_opacity`` of the target. Poison Frogs
    trains on the whole training set with 50 poisons of 5,000 rows a class; here they
    are up to a tenth of their class, and there are fewer steps.

    References
    ----------
    A. Shafahi et al., "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
    Networks", NeurIPS 2018, Section 4.
    """
    refit_rows, backbone_rows = fine_tuning_rows(config, partition)
    X_base, y_base = partition.X_refit[refit_rows], partition.y_refit[refit_rows]
    # Bases first: their rows are the same in both.
    X = np.concatenate([X_base, partition.X_backbone[backbone_rows]])
    y = np.concatenate([y_base, partition.y_backbone[backbone_rows]])

    starts = make_starts(config, partition, backbones)
    victims = [victim for start in starts for victim in start.victims]
    controls: list[Control] = [
        control
        for judged_as in runner.once(
            f"{PROTOCOL}, control arm",
            lambda: runner.map(
                "fine-tune without poisons",
                fine_tune_control,
                ((start, X, y, partition.X_test) for start in starts),
                len(starts),
                device=resolve_device(config.device),
            ),
        )
        for control in judged_as
    ]
    is_right = np.array([c.predicted == partition.y_test for c in controls])

    counts = poison_counts(config, y, y_base)
    targets = draw_targets(
        is_right,
        partition.y_test,
        y_base,
        n_targets=config.n_end_to_end_targets,
        n_bases=max(counts),
        seed=config.seed,
    )
    records = clean_records(
        PROTOCOL, config, partition, backbones, victims, controls, targets
    )
    trials: list[Trial] = []
    for planned in _watermarked(config):
        crafted = {
            name: runner.once(
                f"{PROTOCOL}, craft {planned.name} on {name}",
                partial(
                    _craft,
                    config,
                    partition,
                    planned,
                    clf,
                    strongest_defence(name, victims).head,
                    targets,
                    counts,
                    X,
                    y,
                    partial(
                        runner.progress, f"craft watermarked {planned.name} on {name}"
                    ),
                ),
            )
            for name, clf in backbones.items()
        }
        for name, of_counts in crafted.items():
            most = max(counts)
            poisons = of_counts[most]
            records += effort_records(
                PROTOCOL, config, partition, name, planned.name, most, poisons
            )
        for (s, start), n_poisons in product(enumerate(starts), counts):
            poisons = crafted[start.victims[0].backbone][n_poisons]
            judged_as = runner.once(
                f"{PROTOCOL}, {planned.name}, {n_poisons} poisons, network {s}",
                partial(
                    _fine_tune_all,
                    start,
                    planned,
                    X,
                    y,
                    partition,
                    targets,
                    n_poisons,
                    poisons,
                    runner,
                ),
            )
            for v, victim in enumerate(start.victims):
                outcome = Outcome()
                for row, of_target in zip(targets.rows, judged_as, strict=True):
                    outcome.add(of_target[v], row, partition.y_test)
                i = victims.index(victim)
                cell = Cell(
                    PROTOCOL, config, partition, victim, planned.name, n_poisons
                )
                records += cell.records(outcome, targets, is_right, i)
                trials += cell.trials(
                    outcome, targets, controls[i], is_right[i], poisons
                )
    return records, trials


def poison_counts(
    config: ExperimentConfig, y: NDArray[Any], y_base: NDArray[Any]
) -> tuple[int, ...]:
    """Numbers of poisons a target.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``n_end_to_end_poisons``, or ``end_to_end_shares`` where it has any.
    y : ndarray of shape (n_train,)
        Labels of the rows that networks are fine-tuned on, class-balanced.
    y_base : ndarray of shape (n_bases,)
        Labels of those of them that can be bases.

    Returns
    -------
    tuple of int
        Increasing, and at most as many as there are bases of each class.
    """
    if config.end_to_end_shares:
        counts = contamination_counts(config.end_to_end_shares, y)
    else:
        counts = scaled_poison_counts((config.n_end_to_end_poisons,), y)
    most = int(np.unique(y_base, return_counts=True)[1].min())
    return tuple(sorted({min(n_poisons, most) for n_poisons in counts}))


def make_starts(
    config: ExperimentConfig, partition: Partition, backbones: dict[str, Classifier]
) -> list[Start]:
    """Set up the networks that are fine-tuned.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``; not changed.

    Returns
    -------
    list of Start
        Softmax, L-GM, L-GM with trim, and softmax on filtered rows; with
        ``end_to_end_shares`` also L-GM with ``trim="auto"``.
    """
    victims = [
        victim
        for victim in make_victims(config, head_variances(config, partition, backbones))
        if not victim.only_most  # another refit of a head, and here none is refitted
    ]
    models = warm_started(config, backbones)
    starts = [
        Start(
            model,
            tuple(
                victim
                for victim in victims
                if victim.model == name
                or (victim.model == FITTED_AFTERWARDS and name == victim.backbone)
            ),
        )
        for name, model in models.items()
    ]
    plain = next(victim for victim in victims if victim.model == "softmax")
    sieve = strongest_defence("softmax", victims).head
    assert isinstance(sieve, LGMClassifier)
    filtered = dataclasses.replace(plain, arm=FILTERED)
    starts.append(Start(models["softmax"], (filtered,), sieve))
    if config.end_to_end_shares:
        automatic = copy.deepcopy(models["lgm_trim"]).set_params(trim="auto")
        trimmed = next(victim for victim in victims if victim.model == "lgm_trim")
        victim = dataclasses.replace(trimmed, arm=AUTO, score_kinds=("posterior",))
        starts.append(Start(automatic, (victim,)))
    return starts


def fine_tune_control(
    start: Start, X: NDArray[np.float32], y: NDArray[Any], X_test: NDArray[np.float32]
) -> list[Control]:
    """Fine-tune one network on clean rows.

    Parameters
    ----------
    start : Start
        The network; not changed.
    X, y : ndarray
        Training rows; not changed.
    X_test : ndarray of shape (n_test, ...)
        Rows to predict.

    Returns
    -------
    list of Control
        One a victim.
    """
    tuned, _, test_features = _fine_tune(start, X, y, X_test)
    return [Control.of(head, test_features) for head, _ in tuned]


def fine_tune(
    start: Start,
    X: NDArray[np.float32],
    y: NDArray[Any],
    X_test: NDArray[np.float32],
    poisoned_rows: NDArray[np.int64],
    X_poison: NDArray[np.float32],
    target: tuple[int, Any, Any],
) -> list[Judged]:
    """Fine-tune one network for one target.

    Parameters
    ----------
    start : Start
        The network; not changed.
    X : ndarray of shape (n_train, ...)
        Clean training rows; not changed.
    y : ndarray of shape (n_train,)
        Their labels, which poisons keep.
    X_test : ndarray of shape (n_test, ...)
        Rows to predict.
    poisoned_rows : ndarray of int of shape (n_poisons,)
        Rows of X that are replaced.
    X_poison : ndarray of shape (n_poisons, ...)
        What they are replaced by.
    target : tuple of (int, label, label)
        Test row of the target, its label, and the one that the attacker wants.

    Returns
    -------
    list of Judged
        One a victim. Poisons are told from the other rows among all of them, those
        that a filter dropped included.
    """
    is_poison = np.zeros(len(X), dtype=bool)
    is_poison[poisoned_rows] = True
    X = X.copy()
    X[poisoned_rows] = X_poison
    tuned, features, test_features = _fine_tune(start, X, y, X_test)
    return [
        judge(
            victim,
            head,
            features,
            y,
            is_poison,
            test_features,
            target,
            is_kept=is_kept,
            is_judged=True,
        )
        for victim, (head, is_kept) in zip(start.victims, tuned, strict=True)
    ]


_Tuned = list[tuple[Classifier, NDArray[np.bool_] | None]]


def _fine_tune(
    start: Start, X: NDArray[np.float32], y: NDArray[Any], X_test: NDArray[np.float32]
) -> tuple[_Tuned, NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Fine-tune one network; its heads with the rows each kept, and its features."""
    passed = None
    X_seen, y_seen = X, y
    if start.sieve is not None:
        features = start.model.transform(X)
        sieve = clone(start.sieve).fit(features, y)
        passed = rows_kept_by_trim(sieve, features, y)
        X_seen, y_seen = X[passed], y[passed]
    clf = copy.deepcopy(start.model).fit(X_seen, y_seen)
    features, test_features = clf.transform(X), clf.transform(X_test)
    own_head = head_on_features(clf, features, y)
    tuned: _Tuned = []
    for victim in start.victims:
        head, is_kept, trimmed = own_head, passed, clf
        if victim.model == FITTED_AFTERWARDS:
            head = trimmed = clone(victim.head).fit(features, y)
        if isinstance(trimmed, LGMClassifier) and trimmed.trim != 0.0:
            is_kept = rows_kept_by_trim(trimmed, features, y)
        tuned.append((head, is_kept))
    return tuned, features, test_features


def _fine_tune_all(
    start: Start,
    planned: PlannedAttack,
    X: NDArray[np.float32],
    y: NDArray[Any],
    partition: Partition,
    targets: Targets,
    n_poisons: int,
    poisons: CraftResult,
    runner: Runner,
) -> list[list[Judged]]:
    """Fine-tune one network for every target."""
    victim = start.victims[0]
    return runner.map(
        f"fine-tune {victim.model} ({victim.arm}), {planned.name}, {n_poisons} poisons",
        fine_tune,
        (
            (
                start,
                X,
                y,
                partition.X_test,
                targets.base_rows[t, :n_poisons],
                poisons.X_poison[t * n_poisons : (t + 1) * n_poisons],
                targets.of(t),
            )
            for t in range(len(targets.rows))
        ),
        len(targets.rows),
        device=resolve_device(start.model.device),
    )


def _watermarked(config: ExperimentConfig) -> list[PlannedAttack]:
    """List the attacks of a run, each from watermarked bases, none of them twice."""
    planned = attacks_of(config, matched_parameters="all")
    if "feature_collision" in config.attacks:
        planned = [
            attack for attack in planned if not attack.name.startswith(WATERMARK)
        ]
    opacity = config.watermark_opacity
    return [dataclasses.replace(p, watermark_opacity=opacity) for p in planned]


def _craft(
    config: ExperimentConfig,
    partition: Partition,
    planned: PlannedAttack,
    clf: Classifier,
    sieve: LGMClassifier,
    targets: Targets,
    counts: Sequence[int],
    X: NDArray[np.float32],
    y: NDArray[Any],
    progress: Callable[[int, int], None],
) -> dict[int, CraftResult]:
    """Craft the poisons of every target, target by target, for each count."""
    features = clf.transform(X)
    model, attack = planned.against(clf, clone(sieve).fit(features, y), features, y)
    return craft_for_targets(
        config,
        planned,
        model,
        attack,
        X,
        partition.X_test,
        targets,
        counts,
        progress,
    )
