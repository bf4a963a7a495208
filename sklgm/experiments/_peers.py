"""Peers: every detector of poisons asked about, and filtering, the same rows."""

import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklgm._running import Runner
from sklgm.experiments._arena import Arena, make_arena
from sklgm.experiments._attack import PlannedAttack, attacks_of
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._external_peers import EXTERNAL_PEERS, check_external_peers
from sklgm.experiments._partition import Partition
from sklgm.experiments._transfer import craft_on_backbone
from sklgm.experiments._victims import (
    Victim,
    lengthened,
    make_main_victims,
    strongest_defence,
)
from sklgm.metrics import auroc, mean_interval, tpr_at_fpr, wilson_rate
from sklgm.outliers import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    DeepKNNDetector,
    LGMOutlierDetector,
    SelfConfidenceDetector,
    SpectralSignatureDetector,
)
from sklgm.results import Record

PROTOCOL = "peers"
#: Arm of the model that is trained on all rows.
UNFILTERED = "unfiltered"
#: Names of the detectors of other packages that take part.
EXTERNAL: tuple[str, ...] = tuple(EXTERNAL_PEERS)


@dataclass(frozen=True)
class Retrained:
    """What a head says once it is trained on the rows that were kept.

    Attributes
    ----------
    label : label
        What it takes the target for.
    accuracy : float
        On the test rows; in [0, 1].
    """

    label: Any
    accuracy: float


@dataclass(frozen=True)
class Finding:
    """What one detector made of the poisoned rows of one target.

    Attributes
    ----------
    auroc, tpr_at_1pct_fpr : float
        Of its scores, poisons against the other rows; in [0, 1].
    clean_flagged, poisons_flagged : float
        Share of the other rows, and of the poisons, that it flags at its default
        settings; in [0, 1].
    fit_seconds : float
        Time from features to flags.
    retrained : Retrained
        The head that is trained on the rows that it does not flag.
    """

    auroc: float
    tpr_at_1pct_fpr: float
    clean_flagged: float
    poisons_flagged: float
    fit_seconds: float
    retrained: Retrained


@dataclass(frozen=True, eq=False)
class Retraining:
    """What is trained once rows are dropped, and asked then.

    Attributes
    ----------
    victim : Victim
        Its head is fitted to the rows that are kept; not changed.
    test_features : ndarray of shape (n_test, feature_dim)
        Of the test rows.
    y_test : ndarray of shape (n_test,)
        Their labels.
    target_row : int
        Test row of the target.
    """

    victim: Victim
    test_features: NDArray[np.floating[Any]]
    y_test: NDArray[Any]
    target_row: int

    def after(
        self,
        features: NDArray[np.floating[Any]],
        y: NDArray[Any],
        is_kept: NDArray[np.bool_],
    ) -> Retrained:
        """Train on the rows that are kept, for as many steps as on all of them.

        Parameters
        ----------
        features : ndarray of shape (n_samples, feature_dim)
            Of all rows.
        y : ndarray of shape (n_samples,)
            Claimed labels.
        is_kept : ndarray of bool of shape (n_samples,)
            Which rows are trained on.

        Returns
        -------
        Retrained
            What the head then says.
        """
        labels = np.unique(y[is_kept])
        if len(labels) < 2:  # nothing to be trained: a detector that lost the rest
            label = labels[0] if len(labels) == 1 else None
            return Retrained(label, float(np.mean(self.y_test == label)))
        # As many steps as on all rows: fewer would protect by themselves.
        head = lengthened(self.victim.head, len(y) / np.count_nonzero(is_kept))
        head.fit(features[is_kept], y[is_kept])
        predicted = head.predict(self.test_features)
        accuracy = float(np.mean(predicted == self.y_test))
        return Retrained(predicted[self.target_row], accuracy)


#: By metric: value, interval, and number of cases.
Values = dict[str, tuple[float, float | None, float | None, int]]

_SHARES = ("auroc", "tpr_at_1pct_fpr", "clean_flagged", "poisons_flagged")


def check_peers() -> None:
    """Raise where a package that takes part is missing.

    Raises
    ------
    ImportError
        If one is not installed; the message names the extra.
    """
    if EXTERNAL:
        check_external_peers()


def run_peers(
    config: ExperimentConfig,
    partition: Partition,
    backbones: dict[str, Classifier],
    runner: Runner,
) -> list[Record]:
    """Ask every detector about the rows of which a few are poisons, and retrain.

    Poisons are those of the transfer protocol, in the largest number, on the frozen
    backbones. For each target each detector is fitted to the features of all rows of
    the refit, poisons among them and nothing else, and judges these same rows by the
    labels they claim. The backbone's own head, softmax or L-GM without trim, is then
    refitted to the rows that the detector does not flag, as in transfer.

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
    list of Record
        For each attack, backbone (``model``) and detector (``arm``) the fields of
        :class:`Finding`: means over targets, for seconds the median, and for the
        retrained head the share of targets that get the base label (of those that the
        control arm gets right) and its accuracy. The arm ``"unfiltered"`` is the head
        trained on all rows.

    Raises
    ------
    ImportError
        If the extra ``bench`` is not installed.

    Notes
    -----
    Settings are the defaults of each package, thresholds among them; no detector
    knows the share of poisons. Rows are scored by models that were fitted to most of
    them, as a user would who has these rows alone: a row is its own nearest neighbour.
    cleanlab asks for cross-validated probabilities and gets them. See
    :mod:`sklgm.experiments._external_peers` for which layer ART reads.

    The seconds of one detector are measured while others run on the other cores.
    """
    check_peers()
    arena = make_arena(
        PROTOCOL, config, partition, backbones, runner, make=make_main_victims
    )
    records: list[Record] = []
    for planned in attacks_of(config):
        for name in backbones:
            records += runner.once(
                f"{PROTOCOL}, {planned.name} on {name}",
                partial(_attack_backbone, arena, planned, name, runner),
            )
    return records


def make_detectors(head: Any, seed: int) -> dict[str, Any]:
    """Make every detector, with its defaults.

    Parameters
    ----------
    head : LGMClassifier
        Trimmed Gaussians on features, for the detectors of L-GM.
    seed : int
        Seed of each.

    Returns
    -------
    dict of str to detector
        Unfitted, by the arm of their records; they have ``fit_predict(X, y)`` and
        ``score_samples(X, labels)``.
    """
    linear = LogisticRegression(max_iter=1000)
    detectors: dict[str, Any] = {
        "lgm_likelihood": LGMOutlierDetector(
            head, score_kind="likelihood", random_state=seed
        ),
        "lgm_posterior": LGMOutlierDetector(
            head, score_kind="posterior", random_state=seed
        ),
        "lgm_combined": LGMOutlierDetector(
            head, score_kind="combined", random_state=seed
        ),
        "deep_knn": DeepKNNDetector(random_state=seed),
        "spectral_signatures": SpectralSignatureDetector(random_state=seed),
        "activation_clustering": ActivationClusteringDetector(random_state=seed),
        "class_mahalanobis": ClassMahalanobisDetector(random_state=seed),
        "self_confidence": SelfConfidenceDetector(linear, random_state=seed),
    }
    for name in EXTERNAL:
        detectors[name] = EXTERNAL_PEERS[name](linear, random_state=seed)
    return detectors


def ask_detector(
    detector: Any,
    features: NDArray[np.floating[Any]],
    y: NDArray[Any],
    is_poison: NDArray[np.bool_],
    retraining: Retraining,
) -> Finding:
    """Fit a detector to poisoned rows and compare what it says with the truth.

    Parameters
    ----------
    detector : detector
        As :func:`make_detectors` makes them; not changed.
    features : ndarray of shape (n_samples, feature_dim)
        Of the rows, poisons among them.
    y : ndarray of shape (n_samples,)
        Claimed labels.
    is_poison : ndarray of bool of shape (n_samples,)
        Which of them are poisons.
    retraining : Retraining
        What is trained on the rows that it does not flag.

    Returns
    -------
    Finding
        What it found.
    """
    detector = clone(detector)
    start = time.perf_counter()
    is_flagged = detector.fit_predict(features, y) == -1
    seconds = time.perf_counter() - start
    outlier_score = -detector.score_samples(features, y)
    return Finding(
        auroc(outlier_score, is_poison),
        tpr_at_fpr(outlier_score, is_poison),
        float(is_flagged[~is_poison].mean()),
        float(is_flagged[is_poison].mean()),
        seconds,
        retraining.after(features, y, ~is_flagged),
    )


def _attack_backbone(
    arena: Arena, planned: PlannedAttack, backbone: str, runner: Runner
) -> list[Record]:
    """Craft the poisons of all targets for one backbone, and ask every detector."""
    config, partition, targets = arena.config, arena.partition, arena.targets
    clf, stage = arena.backbones[backbone], f"{planned.name} on {backbone}"
    n_poisons = max(arena.counts)
    progress = partial(runner.progress, f"craft {stage}")
    crafted = craft_on_backbone(arena, planned, backbone, (n_poisons,), progress)
    poison_features = clf.transform(crafted[n_poisons].X_poison)
    detectors = make_detectors(
        strongest_defence(backbone, arena.victims).head, config.seed
    )
    victim = next(v for v in arena.victims if v.model == backbone)
    is_right = arena.is_right[arena.victims.index(victim), targets.rows]
    counted = np.flatnonzero(is_right)[: targets.n_counted]
    every = range(len(targets.rows))

    def poisoned(t: int) -> tuple[Any, ...]:
        rows = targets.base_rows[t, :n_poisons]
        features = arena.features[backbone].copy()
        features[rows] = poison_features[t * n_poisons : (t + 1) * n_poisons]
        is_poison = np.zeros(len(features), dtype=bool)
        is_poison[rows] = True
        return features, partition.y_refit, is_poison

    def retraining(t: int) -> Retraining:
        test_features = arena.test_features[backbone]
        return Retraining(victim, test_features, partition.y_test, int(targets.rows[t]))

    def success_and_accuracy(retrained: list[Retrained]) -> Values:
        labels = np.array([r.label for r in retrained])[counted]
        n_misled = int(np.sum(labels == targets.base_labels[counted]))
        rate = wilson_rate(n_misled, len(counted))
        # All heads are scored on the same test rows: these are the sample.
        n_test = len(partition.y_test)
        n_hits = round(float(np.mean([r.accuracy for r in retrained])) * n_test)
        accuracy = wilson_rate(n_hits, n_test)
        return {
            "success_after_filtering": (rate.value, rate.low, rate.high, len(counted)),
            "accuracy_after_filtering": (
                accuracy.value,
                accuracy.low,
                accuracy.high,
                n_test,
            ),
        }

    def records_of(arm: str, values: Values) -> list[Record]:
        return [
            Record(
                PROTOCOL,
                partition.name,
                backbone,
                planned.name,
                n_poisons,
                arm,
                metric,
                *of_metric,
                config.seed,
            )
            for metric, of_metric in values.items()
        ]

    unfiltered = runner.map(
        f"train on all rows, {stage}",
        _train_on_all,
        ((*poisoned(t)[:2], retraining(t)) for t in every),
        len(every),
    )
    # All detectors of one target together: what else runs is then alike for each.
    found: list[Finding] = runner.map(
        f"ask detectors, {stage}",
        ask_detector,
        (
            (detector, *poisoned(t), retraining(t))
            for t in every
            for detector in detectors.values()
        ),
        len(detectors) * len(every),
    )
    records = records_of(UNFILTERED, success_and_accuracy(unfiltered))
    for i, name in enumerate(detectors):
        findings = found[i :: len(detectors)]
        n = len(findings)
        values: Values = {
            metric: (
                *mean_interval(
                    [getattr(finding, metric) for finding in findings],
                    bounds=(0.0, 1.0),
                ),
                n,
            )
            for metric in _SHARES
        }
        seconds = median(finding.fit_seconds for finding in findings)
        values["fit_seconds"] = (seconds, None, None, n)
        values |= success_and_accuracy([finding.retrained for finding in findings])
        records += records_of(name, values)
    return records


def _train_on_all(
    features: NDArray[np.floating[Any]], y: NDArray[Any], retraining: Retraining
) -> Retrained:
    return retraining.after(features, y, np.ones(len(y), dtype=bool))
