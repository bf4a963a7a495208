"""Transfer: frozen backbone, refitted heads, one target at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm.experiments._attack import (
    attacks_of,
    concatenate_results,
    effort_records,
    pixel_range,
    take_results,
)
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._models import (
    Classifier,
    Progress,
    Victim,
    claim_scorer,
    head_variances,
    make_victims,
)
from sklgm.experiments._partition import Partition
from sklgm.figure_data import PoisonImages
from sklgm.metrics import (
    attack_success_rate,
    auroc,
    mean_interval,
    tpr_at_fpr,
    wilson_rate,
)
from sklgm.poisoning import Attack, CraftResult, craft
from sklgm.results import Record, Trial

PROTOCOL = "transfer"

# Poisons crafted in one call, between two steps of the progress bar.
_CRAFT_CHUNK = 500


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets drawn from the test rows, and the bases drawn for each.

    Attributes
    ----------
    rows : ndarray of shape (n_targets,)
        Rows of the test set.
    labels, base_labels : ndarray of shape (n_targets,)
        True label of each target, and the label its poisons claim.
    base_rows : ndarray of shape (n_targets, max_poisons)
        Rows of the refit set, of the base class; the first n serve n poisons.
    """

    rows: NDArray[np.int64]
    labels: NDArray[Any]
    base_labels: NDArray[Any]
    base_rows: NDArray[np.int64]


@dataclass(eq=False)
class _Outcome:
    """What the refits of one victim under one attack with n poisons gave."""

    predicted: list[Any] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    detection: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def run_transfer(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    progress: Progress,
) -> tuple[list[Record], list[Trial], list[PoisonImages]]:
    """Refit heads on features in which a few rows of one class are poisons.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    backbones : dict of str to classifier
        Fitted, by ``"softmax"`` and ``"lgm"``.
    progress : callable
        Called with a stage, steps done and steps in all.

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

    References
    ----------
    A. Schwarzschild et al., "Just How Toxic is Data Poisoning? A Unified Benchmark
    for Backdoor and Data Poisoning Attacks", ICML 2021.
    """
    features = {n: clf.transform(partition.X_refit) for n, clf in backbones.items()}
    test_features = {n: clf.transform(partition.X_test) for n, clf in backbones.items()}
    variances = head_variances(config, partition, backbones)
    victims = make_victims(config, variances)
    controls = []
    for i, victim in enumerate(victims):
        progress("control arm", i, len(victims))
        head = clone(victim.head).fit(features[victim.backbone], partition.y_refit)
        controls.append(head.predict(test_features[victim.backbone]))
    progress("control arm", len(victims), len(victims))
    is_right = np.array([control == partition.y_test for control in controls])

    counts = scaled_poison_counts(config, partition.y_refit)
    targets = draw_targets(config, partition, is_right, max(counts))
    records = _clean_records(config, partition, backbones, victims, controls, targets)
    trials: list[Trial] = []
    images: list[PoisonImages] = []
    for attack, method, max_perturbation in attacks_of(config):
        for name, clf in backbones.items():
            crafted = _craft_all(
                config,
                partition,
                clf,
                targets,
                method,
                max_perturbation,
                counts,
                partial(progress, f"craft on {name}, {attack}"),
            )
            poison_features = {n: clf.transform(c.X_poison) for n, c in crafted.items()}
            most = crafted[max(counts)]
            records += effort_records(
                PROTOCOL, config, partition, name, attack, max(counts), most
            )
            if name == "softmax" and partition.X_refit.ndim == 4:
                images.append(_examples(partition, targets, most, attack))
            attacked = [i for i, v in enumerate(victims) if v.backbone == name]
            for done, i in enumerate(attacked):
                progress(f"refit {name}, {attack}", done, len(attacked))
                refits = _Refits(
                    victims[i],
                    features[name],
                    partition.y_refit,
                    test_features[name],
                    partition.y_test,
                    targets,
                )
                for n_poisons in counts[-1:] if victims[i].only_most else counts:
                    outcome = refits.run(
                        poison_features[n_poisons],
                        n_poisons,
                        is_last=n_poisons == max(counts),
                    )
                    cell = _Cell(config, partition, victims[i], attack, n_poisons)
                    records += cell.records(outcome, targets, is_right, i)
                    trials += cell.trials(
                        outcome, targets, controls[i], is_right[i], crafted[n_poisons]
                    )
            progress(f"refit {name}, {attack}", len(attacked), len(attacked))
    return records, trials, images


def scaled_poison_counts(
    config: ExperimentConfig, y_refit: NDArray[Any]
) -> tuple[int, ...]:
    """Numbers of poisons, the largest at most 10 % of a class of the refit rows.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``n_poisons``.
    y_refit : ndarray of shape (n_refit,)
        Labels, class-balanced.

    Returns
    -------
    tuple of int
        Distinct counts >= 1, increasing.
    """
    per_class = np.unique(y_refit, return_counts=True)[1].min()
    factor = min(1.0, 0.1 * per_class / max(config.n_poisons))
    return tuple(sorted({max(1, round(factor * n)) for n in config.n_poisons}))


def draw_targets(
    config: ExperimentConfig,
    partition: Partition,
    is_right: NDArray[np.bool_],
    n_bases: int,
) -> Targets:
    """Draw test rows until every victim's control gets enough of them right.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``n_targets``, ``seed``.
    partition : Partition
        Rows.
    is_right : ndarray of shape (n_victims, n_test)
        Whether a victim's control arm classifies the test row correctly.
    n_bases : int
        Bases to draw for each target.

    Returns
    -------
    Targets
        In the order drawn. Fewer count where the test rows run out.
    """
    rng = np.random.default_rng([config.seed, 1])
    order = rng.permutation(is_right.shape[1])
    n_right = np.cumsum(is_right[:, order], axis=1)
    enough = np.flatnonzero((n_right >= config.n_targets).all(axis=0))
    rows = order[: enough[0] + 1] if len(enough) else order
    classes = np.unique(partition.y_refit)
    labels = partition.y_test[rows]
    base_labels = np.array(
        [rng.choice(classes[classes != label]) for label in labels], dtype=classes.dtype
    )
    base_rows = np.array(
        [
            rng.choice(
                np.flatnonzero(partition.y_refit == label), n_bases, replace=False
            )
            for label in base_labels
        ]
    )
    return Targets(rows, labels, base_labels, base_rows)


def _craft_all(
    config: ExperimentConfig,
    partition: Partition,
    clf: Classifier,
    targets: Targets,
    attack: Attack,
    max_perturbation: float | None,
    counts: Sequence[int],
    progress: Callable[[int, int], None],
) -> dict[int, CraftResult]:
    """Craft every poison of every target; for each count, target by target.

    Poisons of a joint attack depend on how many they are, and are crafted for each
    count; others are the first of those of the largest.
    """
    n_targets, n_bases = targets.base_rows.shape
    crafted_counts = list(counts) if attack.is_joint else [max(counts)]
    n_all, n_done = n_targets * sum(crafted_counts), 0
    crafted = {}
    for n_poisons in crafted_counts:
        n_at_once = max(1, _CRAFT_CHUNK // n_poisons)
        chunks = []
        for start in range(0, n_targets, n_at_once):
            progress(n_done, n_all)
            group = np.arange(start, min(n_targets, start + n_at_once))
            chunks.append(
                craft(
                    clf,
                    partition.X_refit[targets.base_rows[group, :n_poisons].ravel()],
                    partition.X_test[targets.rows[group]],
                    attack=attack,
                    poison_group=np.repeat(group, n_poisons),
                    target_group=group,
                    base_label=np.repeat(targets.base_labels[group], n_poisons),
                    similarity_weight=config.similarity_weight,
                    max_perturbation=max_perturbation,
                    max_iter=config.max_iter,
                    pixel_range=pixel_range(partition.X_refit),
                )
            )
            n_done += len(group) * n_poisons
        crafted[n_poisons] = concatenate_results(chunks)
    progress(n_all, n_all)
    if not attack.is_joint:
        positions = np.arange(n_targets * n_bases).reshape(n_targets, n_bases)
        most = crafted[max(counts)]
        for n_poisons in counts:
            crafted[n_poisons] = take_results(most, positions[:, :n_poisons].ravel())
    return crafted


@dataclass(frozen=True, eq=False)
class _Refits:
    """The refits of one victim on one backbone's features under one attack."""

    victim: Victim
    features: NDArray[np.floating[Any]]
    y: NDArray[Any]
    test_features: NDArray[np.floating[Any]]
    y_test: NDArray[Any]
    targets: Targets

    def run(
        self,
        poison_features: NDArray[np.floating[Any]],
        n_poisons: int,
        *,
        is_last: bool,
    ) -> _Outcome:
        """Refit once a target; accuracy and detection for the most poisons only."""
        outcome = _Outcome()
        for t, row in enumerate(self.targets.rows):
            poisoned_rows = self.targets.base_rows[t, :n_poisons]
            features = self.features.copy()
            start = t * n_poisons
            features[poisoned_rows] = poison_features[start : start + n_poisons]
            head = clone(self.victim.head).fit(features, self.y)
            outcome.predicted.append(head.predict(self.test_features[row : row + 1])[0])
            if not is_last:
                continue
            accuracy = float(np.mean(head.predict(self.test_features) == self.y_test))
            outcome.accuracies.append(accuracy)
            is_poison = np.zeros(len(features), dtype=bool)
            is_poison[poisoned_rows] = True
            for kind in self.victim.score_kinds:
                detector = claim_scorer(head, kind)
                scores = detector.fit(features, self.y).score_samples(features, self.y)
                outcome.detection.setdefault(kind, []).append(
                    (auroc(-scores, is_poison), tpr_at_fpr(-scores, is_poison))
                )
        return outcome


@dataclass(frozen=True, eq=False)
class _Cell:
    """One cell of the table: a victim, an attack, a number of poisons."""

    config: ExperimentConfig
    partition: Partition
    victim: Victim
    attack: str
    n_poisons: int

    def record(
        self,
        arm: str,
        metric: str,
        value: float,
        low: float | None,
        high: float | None,
        n: int,
    ) -> Record:
        return Record(
            PROTOCOL,
            self.partition.name,
            self.victim.model,
            self.attack,
            self.n_poisons,
            arm,
            metric,
            value,
            low,
            high,
            n,
            self.config.seed,
        )

    def records(
        self,
        outcome: _Outcome,
        targets: Targets,
        is_right: NDArray[np.bool_],
        index: int,
    ) -> list[Record]:
        victim, predicted = self.victim, np.asarray(outcome.predicted)
        counted = np.flatnonzero(is_right[index, targets.rows])
        common = np.flatnonzero(is_right[:, targets.rows].all(axis=0))
        arms = {victim.arm: counted[: self.config.n_targets]}
        if victim.arm == "attack":
            arms["common"] = common[: self.config.n_targets]
        records = []
        for arm, chosen in arms.items():
            is_misled = predicted[chosen] == targets.base_labels[chosen]
            rate = wilson_rate(int(is_misled.sum()), len(chosen))
            records.append(
                self.record(
                    arm,
                    "attack_success_rate",
                    rate.value,
                    rate.low,
                    rate.high,
                    rate.n_targets,
                )
            )
        if outcome.accuracies:
            # All refits are scored on the same test rows: these are the sample.
            n_test = len(self.partition.y_test)
            hits = round(float(np.mean(outcome.accuracies)) * n_test)
            rate = wilson_rate(hits, n_test)
            records.append(
                self.record(
                    victim.arm,
                    "clean_accuracy",
                    rate.value,
                    rate.low,
                    rate.high,
                    n_test,
                )
            )
        for kind, pairs in outcome.detection.items():
            arm = kind if victim.arm == "attack" else victim.arm
            for metric, values in zip(
                ("auroc", "tpr_at_1pct_fpr"), zip(*pairs, strict=True), strict=True
            ):
                interval = mean_interval(values, bounds=(0.0, 1.0))
                records.append(self.record(arm, metric, *interval, len(values)))
        return records

    def trials(
        self,
        outcome: _Outcome,
        targets: Targets,
        control: NDArray[Any],
        is_right: NDArray[np.bool_],
        crafted: CraftResult,
    ) -> list[Trial]:
        if self.victim.arm != "attack":
            return []
        trials = []
        for t, row in enumerate(targets.rows):
            of_target = slice(t * self.n_poisons, (t + 1) * self.n_poisons)
            reasons, reason_counts = np.unique(
                crafted.stop_reason[of_target], return_counts=True
            )
            trials.append(
                Trial(
                    PROTOCOL,
                    self.partition.name,
                    self.victim.model,
                    self.attack,
                    self.n_poisons,
                    self.config.seed,
                    target_index=int(row),
                    target_label=targets.labels[t].item(),
                    base_label=targets.base_labels[t].item(),
                    control_label=control[row].item(),
                    predicted_label=np.asarray(outcome.predicted[t]).item(),
                    success=bool(outcome.predicted[t] == targets.base_labels[t]),
                    counted=bool(is_right[row]),
                    collision_ratio=float(crafted.collision_ratio[of_target].mean()),
                    l2=float(crafted.l2[of_target].mean()),
                    linf=float(crafted.linf[of_target].max()),
                    n_iter=int(crafted.n_iter[of_target].max()),
                    stop_reason=str(reasons[reason_counts.argmax()]),
                )
            )
        return trials


def _clean_records(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    victims: Sequence[Victim],
    controls: Sequence[NDArray[Any]],
    targets: Targets,
) -> list[Record]:
    """Accuracies without poisons, and the control arm's rate of base labels."""
    records = []
    n_test = len(partition.y_test)
    n_hits = {
        name: int((clf.predict(partition.X_test) == partition.y_test).sum())
        for name, clf in backbones.items()
    }
    for victim, control in zip(victims, controls, strict=True):
        cell = _Cell(config, partition, victim, "none", 0)
        is_main = victim.arm == "attack"
        hits = wilson_rate(int((control == partition.y_test).sum()), n_test)
        arm = "clean" if is_main else victim.arm
        records.append(
            cell.record(arm, "clean_accuracy", hits.value, hits.low, hits.high, n_test)
        )
        if not is_main:
            continue
        own = wilson_rate(n_hits[victim.backbone], n_test)
        records.append(
            cell.record(
                "clean", "backbone_accuracy", own.value, own.low, own.high, n_test
            )
        )
        rate = attack_success_rate(control[targets.rows], targets.base_labels)
        records.append(
            cell.record(
                "control",
                "attack_success_rate",
                rate.value,
                rate.low,
                rate.high,
                rate.n_targets,
            )
        )
    return records


def _examples(
    partition: Partition, targets: Targets, crafted: CraftResult, attack: str
) -> PoisonImages:
    """One poison of each of the first six targets."""
    n_bases = targets.base_rows.shape[1]
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
