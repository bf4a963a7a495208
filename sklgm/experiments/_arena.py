"""What every attack of a run meets: victims, their control arm, and the targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm._running import Runner
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._cells import Control
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.experiments._targets import Targets, draw_targets, scaled_poison_counts
from sklgm.experiments._victims import Victim, head_variances, make_victims

MakeVictims = Callable[[ExperimentConfig, dict[str, float]], tuple[Victim, ...]]


@dataclass(frozen=True, eq=False)
class Arena:
    """What every attack of a run meets: victims, their controls, and the targets.

    Attributes
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``.
    features, test_features : dict of str to ndarray
        Of the refit rows and of the test rows, by backbone.
    victims : tuple of Victim
        Heads that are refitted.
    heads : list of classifier
        Each victim fitted to the refit rows without poisons.
    controls : list of Control
        What those say of the test rows.
    is_right : ndarray of bool of shape (n_victims, n_test)
        Whether they are right.
    counts : tuple of int
        Numbers of poisons, increasing.
    targets : Targets
        Targets and bases.
    """

    config: ExperimentConfig
    partition: Partition
    backbones: dict[str, Classifier]
    features: dict[str, NDArray[np.floating[Any]]]
    test_features: dict[str, NDArray[np.floating[Any]]]
    victims: tuple[Victim, ...]
    heads: list[Classifier]
    controls: list[Control]
    is_right: NDArray[np.bool_]
    counts: tuple[int, ...]
    targets: Targets


def make_arena(
    protocol: str,
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
    *,
    counts: Sequence[int] | None = None,
    make: MakeVictims = make_victims,
) -> Arena:
    """Fit the control arm and draw the targets.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``.
    runner : Runner
        Carries it out.
    counts : sequence of int or None, default=None
        Numbers of poisons, increasing; None takes ``n_poisons``, scaled.
    make : callable, default=make_victims
        Takes the settings and the variances, and makes the victims.

    Returns
    -------
    Arena
        What every attack meets.
    """
    # A stage of its own: were it made again, one row predicted otherwise would change
    # the targets of those attacks that are still to come.
    found = runner.once(
        f"{protocol}, control arm",
        partial(_control_arm, config, partition, backbones, runner, counts, make),
    )
    return Arena(config, partition, backbones, **found)


def _control_arm(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
    counts: Sequence[int] | None,
    make: MakeVictims,
) -> dict[str, Any]:
    """Make all attributes of an arena but the first three."""
    features = {n: clf.transform(partition.X_refit) for n, clf in backbones.items()}
    test_features = {n: clf.transform(partition.X_test) for n, clf in backbones.items()}
    victims = make(config, head_variances(config, partition, backbones))
    heads = runner.map(
        "control arm",
        fit_head,
        ((v, features[v.backbone], partition.y_refit) for v in victims),
        len(victims),
    )
    controls = [
        Control.of(head, test_features[victim.backbone])
        for victim, head in zip(victims, heads, strict=True)
    ]
    is_right = np.array([c.predicted == partition.y_test for c in controls])
    if counts is None:
        counts = scaled_poison_counts(config.n_poisons, partition.y_refit)
    targets = draw_targets(
        is_right,
        partition.y_test,
        partition.y_refit,
        n_targets=config.n_targets,
        n_bases=max(counts),
        seed=config.seed,
    )
    return {
        "features": features,
        "test_features": test_features,
        "victims": victims,
        "heads": heads,
        "controls": controls,
        "is_right": is_right,
        "counts": tuple(counts),
        "targets": targets,
    }


def fit_head(
    victim: Victim, features: NDArray[np.floating[Any]], y: NDArray[Any]
) -> Classifier:
    """Fit a victim's head to features.

    Parameters
    ----------
    victim : Victim
        Its head is not changed.
    features, y : ndarray
        Rows to fit to.

    Returns
    -------
    SoftmaxClassifier or LGMClassifier
        Fitted.
    """
    head: Classifier = clone(victim.head).fit(features, y)
    return head
