"""White-box: poisons of test rows, scored by models trained on clean rows."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklgm._running import Progress, Runner
from sklgm.classifiers import LGMClassifier
from sklgm.experiments._attack import (
    PlannedAttack,
    attacks_of,
    effort_records,
)
from sklgm.experiments._backbones import Classifier, train_two_feature_lgm
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._crafting import (
    craft_planned,
    pixel_range,
)
from sklgm.experiments._judging import (
    claim_scorer,
)
from sklgm.experiments._partition import Partition
from sklgm.experiments._victims import (
    Victim,
    head_variances,
    make_victims,
    strongest_defence,
)
from sklgm.metrics import auroc_interval, tpr_at_fpr_rate, wilson_rate
from sklgm.outliers import LGMOutlierDetector
from sklgm.poisoning import CraftResult, craft
from sklgm.results import DetectionScores, FeatureScatter, Record, Trial

PROTOCOL = "white-box"

_Found = tuple[list[Record], list[Trial], list[DetectionScores]]

# Poisons in the picture of two-dimensional features.
_N_SCATTER_POISONS = 20
# Clean rows of each class in it.
_N_SCATTER_ROWS = 60


def run_white_box(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
) -> tuple[list[Record], list[Trial], list[DetectionScores]]:
    """Score the claimed labels of clean test rows and of poisons.

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
    records, trials, scores
        Numbers, single poisons, and the scores that figures are drawn from.
    """
    base_rows, target_rows = draw_pairs(config, partition.y_test)
    is_clean = np.ones(len(partition.y_test), dtype=bool)
    is_clean[base_rows] = is_clean[target_rows] = False
    X_clean, y_clean = partition.X_test[is_clean], partition.y_test[is_clean]
    y_poison = partition.y_test[base_rows]
    detectors = _make_detectors(config, partition, backbones)
    defences = _defences(config, partition, backbones)
    clean_scores = runner.once(  # no attack changes them
        f"{PROTOCOL}, clean rows",
        lambda: [
            detector.score_samples(X_clean, y_clean) for _, _, detector in detectors
        ],
    )

    records = _accuracy_records(config, partition, backbones)
    trials: list[Trial] = []
    scores: list[DetectionScores] = []

    def attack(planned: PlannedAttack) -> _Found:
        stage = f"white-box, {planned.name}"
        n_steps = len(backbones) + len(detectors)
        found: _Found = ([], [], [])
        crafted = {}
        for i, (name, clf) in enumerate(backbones.items()):
            runner.progress(stage, i, n_steps)
            model, method = planned.against(clf, *defences[name])
            crafted[name] = craft_planned(
                config,
                planned,
                model,
                method,
                partition.X_test[base_rows],
                partition.X_test[target_rows],
                pixel_range=pixel_range(partition.X_test),
                base_label=y_poison,
            )
            found[0].extend(
                effort_records(
                    PROTOCOL, config, partition, name, planned.name, 1, crafted[name]
                )
            )
            found[1].extend(
                _trials(
                    config,
                    partition,
                    name,
                    planned.name,
                    crafted[name],
                    base_rows,
                    target_rows,
                )
            )
        for i, (victim, arm, detector) in enumerate(detectors):
            runner.progress(stage, len(backbones) + i, n_steps)
            X_poison = crafted[victim.backbone].X_poison
            outlier_score = -np.concatenate(
                [clean_scores[i], detector.score_samples(X_poison, y_poison)]
            )
            is_poison = np.repeat([False, True], [len(X_clean), len(X_poison)])
            found[0].extend(
                _detection_records(
                    config,
                    partition,
                    victim.model,
                    arm,
                    planned.name,
                    outlier_score,
                    is_poison,
                )
            )
            found[2].append(
                DetectionScores(
                    victim.model, arm, planned.name, outlier_score, is_poison
                )
            )
        runner.progress(stage, n_steps, n_steps)
        return found

    for planned in attacks_of(config):
        # A single claim is to look as likely as that of its base.
        planned = dataclasses.replace(planned, reach=None)
        found: _Found = runner.once(
            f"{PROTOCOL}, {planned.name}", partial(attack, planned)
        )
        records += found[0]
        trials += found[1]
        scores += found[2]
    return records, trials, scores


def _defences(
    config: ExperimentConfig, partition: Partition, backbones: dict[str, Classifier]
) -> dict[str, tuple[LGMClassifier, NDArray[np.floating[Any]], NDArray[Any]]]:
    """Trimmed Gaussians on the features that trained each backbone, for attackers."""
    victims = make_victims(config, head_variances(config, partition, backbones))
    defences = {}
    for name, clf in backbones.items():
        features, y = clf.transform(partition.X_backbone), partition.y_backbone
        head = clone(strongest_defence(name, victims).head).fit(features, y)
        assert isinstance(head, LGMClassifier)
        defences[name] = head, features, y
    return defences


def make_scatter(
    config: ExperimentConfig, partition: Partition, progress: Progress
) -> FeatureScatter:
    """Train a network with two features and attack it, for a picture.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    progress : callable
        Called with a stage, steps done and steps in all.

    Returns
    -------
    FeatureScatter
        Features of clean test rows, poisons and targets.
    """
    progress("two-feature network", 0, 1)
    clf = train_two_feature_lgm(config, partition)
    base_rows, target_rows = draw_pairs(config, partition.y_test)
    base_rows = base_rows[:_N_SCATTER_POISONS]
    target_rows = target_rows[:_N_SCATTER_POISONS]
    crafted = craft(
        clf,
        partition.X_test[base_rows],
        partition.X_test[target_rows],
        similarity_weight=config.similarity_weight,
        max_iter=config.max_iter,
        pixel_range=pixel_range(partition.X_test),
    )
    used = np.concatenate([base_rows, target_rows])
    shown = np.concatenate(
        [
            np.setdiff1d(np.flatnonzero(partition.y_test == label), used)[
                :_N_SCATTER_ROWS
            ]
            for label in clf.classes_
        ]
    )
    progress("two-feature network", 1, 1)
    X_poison = crafted.X_poison
    return FeatureScatter(
        features=clf.transform(np.concatenate([partition.X_test[shown], X_poison])),
        claimed_labels=np.concatenate(
            [partition.y_test[shown], partition.y_test[base_rows]]
        ),
        is_poison=np.repeat([False, True], [len(shown), len(X_poison)]),
        target_features=clf.transform(partition.X_test[target_rows]),
        means=clf.means_,
        covariances=clf.covariances_,
        covariance_type=clf.covariance_type,
        classes=clf.classes_,
        class_names=partition.class_names,
    )


def draw_pairs(
    config: ExperimentConfig, y_test: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw disjoint test rows as bases, and targets of other classes.

    Fewer pairs are drawn where one class is so large that the others run out.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``n_pairs``, at most a quarter of the test rows; ``seed``.
    y_test : ndarray of shape (n_test,)
        Labels.

    Returns
    -------
    base_rows, target_rows : ndarray of shape (n_pairs,)
        Rows of the test set.

    Raises
    ------
    ValueError
        If there is no pair of two classes.
    """
    rng = np.random.default_rng([config.seed, 2])
    rest = rng.permutation(len(y_test)).tolist()
    base_rows: list[int] = []
    target_rows: list[int] = []
    while len(base_rows) < min(config.n_pairs, len(y_test) // 4):
        base = rest.pop(0)
        others = (i for i, row in enumerate(rest) if y_test[row] != y_test[base])
        position = next(others, None)
        if position is None:
            break
        base_rows.append(base)
        target_rows.append(rest.pop(position))
    if not base_rows:
        counts = dict(zip(*np.unique(y_test, return_counts=True), strict=True))
        raise ValueError(
            f"the test rows give no pair of a base and a target of another class; "
            f"n_test={len(y_test)}, rows of each class: {counts}"
        )
    return np.array(base_rows), np.array(target_rows)


def _make_detectors(
    config: ExperimentConfig, partition: Partition, backbones: dict[str, Classifier]
) -> list[tuple[Victim, str, LGMOutlierDetector]]:
    """One fitted detector a victim and kind of score.

    The classifiers are judged as they were trained; Gaussians fitted afterwards
    are fitted on the features of the same rows. The refit rows calibrate.
    """
    X, y = partition.X_backbone, partition.y_backbone
    features = {name: clf.transform(X) for name, clf in backbones.items()}
    detectors = []
    for victim in make_victims(config, head_variances(config, partition, backbones)):
        clf = backbones[victim.backbone]
        if victim.only_most:
            continue  # another refit of a head that is judged as it was trained
        if isinstance(victim.head, LGMClassifier) and victim.model != "lgm":
            head = clone(victim.head).fit(features[victim.backbone], y)
            model: Any = make_pipeline(FrozenEstimator(clf), head)
        else:
            model = clf
        for kind in victim.score_kinds:
            detector = claim_scorer(model, kind)
            detector.fit(partition.X_refit, partition.y_refit)
            arm = kind if victim.arm == "attack" else victim.arm
            detectors.append((victim, arm, detector))
    return detectors


def _detection_records(
    config: ExperimentConfig,
    partition: Partition,
    model: str,
    arm: str,
    attack: str,
    outlier_score: NDArray[np.float64],
    is_poison: NDArray[np.bool_],
) -> list[Record]:
    n_poisons = int(is_poison.sum())
    rate = tpr_at_fpr_rate(outlier_score, is_poison, max_fpr=0.01)
    values = {
        "auroc": auroc_interval(outlier_score, is_poison),
        "tpr_at_1pct_fpr": (rate.value, rate.low, rate.high),
    }
    return [
        Record(
            PROTOCOL,
            partition.name,
            model,
            attack,
            1,
            arm,
            metric,
            *interval,
            n_poisons,
            config.seed,
        )
        for metric, interval in values.items()
    ]


def _accuracy_records(
    config: ExperimentConfig, partition: Partition, backbones: dict[str, Classifier]
) -> list[Record]:
    records = []
    for name, clf in backbones.items():
        is_right = clf.predict(partition.X_test) == partition.y_test
        rate = wilson_rate(int(is_right.sum()), len(is_right))
        records.append(
            Record(
                PROTOCOL,
                partition.name,
                name,
                "none",
                0,
                "clean",
                "clean_accuracy",
                rate.value,
                rate.low,
                rate.high,
                len(is_right),
                config.seed,
            )
        )
    return records


def _trials(
    config: ExperimentConfig,
    partition: Partition,
    model: str,
    attack: str,
    crafted: CraftResult,
    base_rows: NDArray[np.int64],
    target_rows: NDArray[np.int64],
) -> list[Trial]:
    return [
        Trial(
            PROTOCOL,
            partition.name,
            model,
            attack,
            1,
            config.seed,
            target_index=int(target),
            target_label=partition.y_test[target].item(),
            base_label=partition.y_test[base].item(),
            collision_ratio=float(crafted.collision_ratio[i]),
            l2=float(crafted.l2[i]),
            linf=float(crafted.linf[i]),
            n_iter=int(crafted.n_iter[i]),
            stop_reason=str(crafted.stop_reason[i]),
        )
        for i, (base, target) in enumerate(zip(base_rows, target_rows, strict=True))
    ]
