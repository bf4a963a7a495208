"""Records of one cell of a table: a victim under an attack with n poisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.experiments._backbones import Classifier
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._judging import (
    claim_detection,
)
from sklgm.experiments._partition import Partition
from sklgm.experiments._targets import Targets
from sklgm.experiments._victims import Victim
from sklgm.metrics import attack_success_rate, mean_interval, wilson_rate
from sklgm.poisoning import CraftResult
from sklgm.results import Record, Trial


@dataclass(frozen=True, eq=False)
class Control:
    """What a model, that of the control arm or another, says of the test rows.

    Attributes
    ----------
    predicted : ndarray of shape (n_test,)
        Labels.
    log_proba : ndarray of shape (n_test, n_classes)
        Log-probabilities, natural.
    classes : ndarray of shape (n_classes,)
        Label of each column, sorted.
    """

    predicted: NDArray[Any]
    log_proba: NDArray[np.floating[Any]]
    classes: NDArray[Any]

    @classmethod
    def of(cls, model: Classifier, X_test: NDArray[np.floating[Any]]) -> Control:
        """Ask a fitted model.

        Parameters
        ----------
        model : fitted classifier
            Of rows, or of features.
        X_test : ndarray of shape (n_test, ...)
            The test rows, or their features.

        Returns
        -------
        Control
            Its answers.
        """
        log_proba = model.predict_log_proba(X_test)
        return cls(model.predict(X_test), log_proba, model.classes_)

    def margin(self, row: int, label: Any, base_label: Any) -> float:
        """How much more probable the true label of a target is than the base label.

        Parameters
        ----------
        row : int
            Test row of the target.
        label, base_label : label
            Its label, and the one that the attacker wants.

        Returns
        -------
        float
            log p(label) - log p(base_label).
        """
        true, base = np.searchsorted(self.classes, [label, base_label])
        return float(self.log_proba[row, true]) - float(self.log_proba[row, base])


@dataclass(frozen=True, eq=False)
class Judged:
    """What one refit, for one target, gave.

    Attributes
    ----------
    predicted : ndarray of shape (n_test,)
        Labels of the test rows.
    margin : float
        log p(target label) - log p(base label) of the target.
    detection : dict of str to (float, float)
        AUROC and true positives at 1 % false ones by kind of score; empty where the
        refit is not judged.
    kept_share : float or None
        Share of the poisons that trimming, or a filter, kept; None without.
    """

    predicted: NDArray[Any]
    margin: float
    detection: dict[str, tuple[float, float]]
    kept_share: float | None


def judge(
    victim: Victim,
    model: Classifier,
    features: NDArray[np.floating[Any]],
    y: NDArray[Any],
    is_poison: NDArray[np.bool_],
    test_features: NDArray[np.floating[Any]],
    target: tuple[int, Any, Any],
    *,
    is_kept: NDArray[np.bool_] | None,
    is_judged: bool,
) -> Judged:
    """Ask a refitted head about the target, the test rows and the poisons.

    Parameters
    ----------
    victim : Victim
        Which scores to compute.
    model : fitted classifier
        Of features.
    features, y : ndarray
        The rows it was fitted to.
    is_poison : ndarray of bool of shape (n_train,)
        Which of them are poisons.
    test_features : ndarray of shape (n_test, feature_dim)
        Of the test rows.
    target : tuple of (int, label, label)
        Test row of the target, its label, and the one that the attacker wants.
    is_kept : ndarray of bool of shape (n_train,) or None
        Which rows trimming, or a filter, kept; None where there is none.
    is_judged : bool
        Whether to say how well poisons are told from the other rows.

    Returns
    -------
    Judged
        The answers.
    """
    control = Control.of(model, test_features)
    kinds = victim.score_kinds if is_judged else ()
    kept = None
    if is_kept is not None and is_judged:
        kept = float(is_kept[is_poison].mean())
    return Judged(
        control.predicted,
        control.margin(*target),
        {k: claim_detection(model, k, features, y, is_poison) for k in kinds},
        kept,
    )


@dataclass(eq=False)
class Outcome:
    """What the refits of one victim under one attack with n poisons gave.

    Attributes
    ----------
    predicted : list of label
        Of each target.
    margins : list of float
        Of each target; see :class:`Judged`.
    aurocs : list of float or None
        Of the posterior, of each target; None where the refit is not judged by it.
    accuracies : list of float
        On the test rows, one a refit that is judged.
    detection : dict of str to list of (float, float)
        AUROC and true positives at 1 % false ones by kind of score, one a refit that
        is judged.
    kept_shares : list of float
        Share of the poisons that trimming kept, one a refit that is judged.
    """

    predicted: list[Any] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    aurocs: list[float | None] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    detection: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    kept_shares: list[float] = field(default_factory=list)

    def add(self, judged: Judged, row: int, y_test: NDArray[Any]) -> None:
        """Add what one target's refit gave.

        Parameters
        ----------
        judged : Judged
            The refit.
        row : int
            The target's row of the test set.
        y_test : ndarray of shape (n_test,)
            Labels of the test rows.
        """
        self.predicted.append(judged.predicted[row])
        self.margins.append(judged.margin)
        self.aurocs.append(judged.detection.get("posterior", (None,))[0])
        if not judged.detection:
            return
        self.accuracies.append(float(np.mean(judged.predicted == y_test)))
        for kind, pair in judged.detection.items():
            self.detection.setdefault(kind, []).append(pair)
        if judged.kept_share is not None:
            self.kept_shares.append(judged.kept_share)


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of the table: a victim, an attack, a number of poisons."""

    protocol: str
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
            self.protocol,
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
        outcome: Outcome,
        targets: Targets,
        is_right: NDArray[np.bool_],
        index: int,
    ) -> list[Record]:
        victim, predicted = self.victim, np.asarray(outcome.predicted)
        counted = np.flatnonzero(is_right[index, targets.rows])
        common = np.flatnonzero(is_right[:, targets.rows].all(axis=0))
        arms = {victim.arm: counted[: targets.n_counted]}
        if victim.arm == "attack":
            arms["common"] = common[: targets.n_counted]
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
            # All victims are scored on the same test rows: these are the sample.
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
        if shares := outcome.kept_shares:
            interval = mean_interval(shares, bounds=(0.0, 1.0))
            records.append(
                self.record(victim.arm, "kept_share", *interval, len(shares))
            )
        return records

    def trials(
        self,
        outcome: Outcome,
        targets: Targets,
        control: Control,
        is_right: NDArray[np.bool_],
        crafted: CraftResult | None,
    ) -> list[Trial]:
        if self.victim.arm != "attack":
            return []
        trials = []
        # Those behind the rate of the arm "attack".
        counts = np.flatnonzero(is_right[targets.rows])[: targets.n_counted]
        for t, row in enumerate(targets.rows):
            of_target = slice(t * self.n_poisons, (t + 1) * self.n_poisons)
            trials.append(
                Trial(
                    self.protocol,
                    self.partition.name,
                    self.victim.model,
                    self.attack,
                    self.n_poisons,
                    self.config.seed,
                    target_index=int(row),
                    target_label=targets.labels[t].item(),
                    base_label=targets.base_labels[t].item(),
                    control_label=control.predicted[row].item(),
                    predicted_label=np.asarray(outcome.predicted[t]).item(),
                    success=bool(outcome.predicted[t] == targets.base_labels[t]),
                    counted=t in counts,
                    control_margin=control.margin(*targets.of(t)),
                    margin=outcome.margins[t],
                    auroc=outcome.aurocs[t],
                    **({} if crafted is None else _effort(crafted, of_target)),
                )
            )
        return trials


def _effort(crafted: CraftResult, of_target: slice) -> dict[str, Any]:
    """Say what the poisons of one target cost, as fields of a trial."""
    reasons, counts = np.unique(crafted.stop_reason[of_target], return_counts=True)
    return {
        "collision_ratio": float(crafted.collision_ratio[of_target].mean()),
        "l2": float(crafted.l2[of_target].mean()),
        "linf": float(crafted.linf[of_target].max()),
        "n_iter": int(crafted.n_iter[of_target].max()),
        "stop_reason": str(reasons[counts.argmax()]),
    }


def clean_records(
    protocol: str,
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    victims: Sequence[Victim],
    controls: Sequence[Control],
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
        cell = Cell(protocol, config, partition, victim, "none", 0)
        is_main = victim.arm == "attack"
        is_hit = control.predicted == partition.y_test
        hits = wilson_rate(int(is_hit.sum()), n_test)
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
        rate = attack_success_rate(control.predicted[targets.rows], targets.base_labels)
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
