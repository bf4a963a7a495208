"""Search: settings of L-GM training tried one at a time, on rows held out for it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from sklgm._running import Runner
from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._attack import attacks_of
from sklgm.experiments._backbones import (
    Classifier,
    continue_softmax,
    lgm_rates,
    make_lgm,
    train_shared,
    within_class_variance,
)
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._crafting import craft_for_targets
from sklgm.experiments._partition import Partition, load_splits, make_partition
from sklgm.experiments._targets import Targets, draw_targets, scaled_poison_counts
from sklgm.experiments._transfer import refit_head
from sklgm.experiments._victims import (
    FITTED_AFTERWARDS,
    Victim,
    make_main_victims,
    strongest_defence,
)
from sklgm.metrics import mean_interval, wilson_rate
from sklgm.results import Record

PROTOCOL = "search"
#: Arm of the settings of the run, and of the models that L-GM is compared with.
AS_SET = "attack"


@dataclass(frozen=True)
class Setting:
    """One way to train L-GM.

    Attributes
    ----------
    name : str
        Arm of its records, such as ``"margin=1"``.
    config : ExperimentConfig
        Settings of the run with that one changed.
    normalize_features : bool
        As in :class:`sklgm.LGMClassifier`; of the softmax epochs before, too.
    margin_warmup : float
        As in :class:`sklgm.LGMClassifier`.
    """

    name: str
    config: ExperimentConfig
    normalize_features: bool = False
    margin_warmup: float = 0.5

    @property
    def factor(self) -> str:
        """What the setting changes."""
        return self.name.partition("=")[0]

    @property
    def start(self) -> tuple[int, bool]:
        """What decides the softmax epochs that training starts from."""
        return self.config.feature_dim, self.normalize_features

    def parameters(self, n_rows: int, unit: float) -> dict[str, Any]:
        """Parameters of the classifier.

        Parameters
        ----------
        n_rows : int
            Training rows.
        unit : float
            Within-class variance of the features that training starts from.

        Returns
        -------
        dict of str to object
            As ``set_params`` takes them.
        """
        config = self.config
        return {
            "variance": config.variance_scale * unit,
            "margin": config.margin,
            "margin_warmup": self.margin_warmup,
            "likelihood_weight": config.likelihood_weight,
            "covariance_type": config.covariance_type,
            **lgm_rates(config, n_rows),
        }


def run_search(config: ExperimentConfig, runner: Runner) -> list[Record]:
    """Train L-GM by every setting and seed, and compare with softmax.

    One setting at a time differs from those of the run. Each is a candidate of
    scikit-learn's ``GridSearchCV``, which scores it on training rows held out in place
    of the test set, whatever ``evaluation`` says: the accuracy of the network, and,
    as in transfer, how the Gaussians that are fitted to its features with ``trim``
    fare against poisons of the largest number. All settings of one seed meet the same
    targets.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``search_seeds`` among them.
    runner : Runner
        Carries it out.

    Returns
    -------
    list of Record
        Of ``"lgm"`` the accuracy and of ``"lgm_trim"`` rates and detection, one arm a
        setting (``"attack"``: those of the run); of ``"softmax"``, trained for as many
        epochs, and of trimmed Gaussians on its features the same, with one arm more for
        each setting that softmax has too.
    """
    config = dataclasses.replace(config, evaluation="validation")
    splits = load_splits(config)
    records: list[Record] = []
    runner.progress("search", 0, len(config.search_seeds))
    for number, seed in enumerate(config.search_seeds):
        of_seed = dataclasses.replace(config, seed=seed)
        partition = make_partition(of_seed, splits)
        targets: Targets | None = None
        settings = list_settings(of_seed)
        for key in dict.fromkeys(setting.start for setting in settings):
            own = [setting for setting in settings if setting.start == key]
            start: _Start = runner.once(
                f"search, seed {seed}, softmax for {own[0].name}",
                partial(_start, own[0], partition, targets),
            )
            targets = start.targets  # of the first, the run's own settings
            records += start.records
            for factor in dict.fromkeys(setting.factor for setting in own):
                tried = [setting for setting in own if setting.factor == factor]
                records += runner.once(
                    f"search, seed {seed}, {[setting.name for setting in tried]}",
                    partial(_search, tried, partition, start, runner),
                )
        runner.progress("search", number + 1, len(config.search_seeds))
    return records


def list_settings(config: ExperimentConfig) -> list[Setting]:
    """List the settings that are tried.

    Parameters
    ----------
    config : ExperimentConfig
        Settings of the run.

    Returns
    -------
    list of Setting
        The run's first; then those that differ in one value.
    """
    replace = partial(dataclasses.replace, config)
    tried: Mapping[str, tuple[Any, ...]] = {
        "variance_scale": (1.0, 4.0, 16.0, 64.0, 256.0),
        "likelihood_weight": (0.0, 0.001, 0.01, 0.1),
        "margin": (0.0, 0.1, 0.3, 1.0),
        "covariance_type": ("identity", "spherical", "tied_diag", "diag"),
        "feature_dim": (16, 64, 128),
        "means_lr_factor": (1.0, 10.0, 100.0),
    }
    found = [Setting(AS_SET, config)]
    for name, values in tried.items():
        found += [
            Setting(_name(name, value), replace(**{name: value}))
            for value in values
            if value != getattr(config, name)
        ]
    found += [
        Setting("margin_warmup=0", config, margin_warmup=0.0),
        Setting("margin_warmup=1", config, margin_warmup=1.0),
        Setting("normalize_features=True", config, normalize_features=True),
    ]
    return found


def _name(name: str, value: Any) -> str:
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


@dataclass(frozen=True, eq=False)
class _Start:
    """Softmax epochs that settings start from.

    Attributes
    ----------
    shared : SoftmaxClassifier
        Fitted; L-GM goes on from it.
    targets : Targets
        What every setting of the seed meets.
    records : list of Record
        Of softmax, trained for as many epochs as L-GM.
    """

    shared: SoftmaxClassifier
    targets: Targets
    records: list[Record]


def _start(setting: Setting, partition: Partition, targets: Targets | None) -> _Start:
    """Train softmax; draw targets that its trimmed Gaussians get right, if none are."""
    config, X, y = setting.config, partition.X_backbone, partition.y_backbone
    shared = train_shared(config, X, y, normalize_features=setting.normalize_features)
    clf = continue_softmax(config, shared, X, y)
    unit = within_class_variance(clf.transform(X), y, trim=config.trim)
    victim = _defence(config, "softmax", config.variance_scale * unit)
    if targets is None:
        targets = _draw_targets(clf, config, partition, victim)
    found = judge_training(clf, config, partition, victim, targets)
    records = _records(config, partition, "softmax", setting.name, found)
    return _Start(shared, targets, records)


def _draw_targets(
    clf: SoftmaxClassifier,
    config: ExperimentConfig,
    partition: Partition,
    victim: Victim,
) -> Targets:
    head = clone(victim.head).fit(clf.transform(partition.X_refit), partition.y_refit)
    is_right = head.predict(clf.transform(partition.X_test)) == partition.y_test
    (n_poisons,) = scaled_poison_counts((max(config.n_poisons),), partition.y_refit)
    return draw_targets(
        is_right[None],
        partition.y_test,
        partition.y_refit,
        n_targets=config.n_targets,
        n_bases=n_poisons,
        seed=config.seed,
    )


def _search(
    settings: list[Setting], partition: Partition, start: _Start, runner: Runner
) -> list[Record]:
    """Try the settings of one factor."""
    X, y = partition.X_backbone, partition.y_backbone
    config, shared, targets = settings[0].config, start.shared, start.targets
    unit = within_class_variance(shared.transform(X), y)
    estimator = make_lgm(config, shared, len(X), variance=config.variance_scale * unit)
    stage = f"settings of {settings[0].factor}"
    # The search keeps scores, but neither their intervals nor what they count.
    judged: list[dict[str, Any]] = []

    def score(clf: LGMClassifier, _X: Any, _y: Any) -> dict[str, float]:
        runner.progress(stage, len(judged), len(settings))
        of_clf = dataclasses.replace(config, covariance_type=clf.covariance_type)
        victim = _defence(of_clf, "lgm", float(clf.variance))
        judged.append(judge_training(clf, of_clf, partition, victim, targets))
        return {metric: value[0] for metric, value in judged[-1].items()}

    # One split: the validation rows are those of the partition.
    X_all = np.concatenate([X, partition.X_test])
    y_all = np.concatenate([y, partition.y_test])
    fold = np.concatenate([np.full(len(X), -1), np.zeros(len(partition.X_test))])
    GridSearchCV(
        estimator,
        [
            {name: [value] for name, value in s.parameters(len(X), unit).items()}
            for s in settings
        ],
        scoring=score,
        cv=PredefinedSplit(fold),
        refit=False,
        error_score="raise",
    ).fit(X_all, y_all)
    runner.progress(stage, len(settings), len(settings))
    return [
        record
        for setting, found in zip(settings, judged, strict=True)
        for record in _records(config, partition, "lgm", setting.name, found)
    ]


def judge_training(
    clf: Classifier,
    config: ExperimentConfig,
    partition: Partition,
    victim: Victim,
    targets: Targets,
) -> dict[str, tuple[float, float | None, float | None, int]]:
    """Say how accurate a network is, and how a defence on its features fares.

    Parameters
    ----------
    clf : fitted classifier
        The network.
    config : ExperimentConfig
        Settings; the first attack, bounded as the first bound says.
    partition : Partition
        Rows.
    victim : Victim
        Trimmed Gaussians on its features.
    targets : Targets
        Targets and bases.

    Returns
    -------
    dict of str to (float, float or None, float or None, int)
        ``backbone_accuracy``; ``attack_success_rate`` over the targets that the
        defence gets right without poisons; ``auroc`` and ``tpr_at_1pct_fpr`` of the
        posterior; value, interval and n.
    """
    features, y = clf.transform(partition.X_refit), partition.y_refit
    test_features = clf.transform(partition.X_test)
    planned = attacks_of(config)[0]
    control = clone(victim.head).fit(features, y)
    model, attack = planned.against(clf, control, features, y)
    n_poisons = targets.base_rows.shape[1]
    crafted = craft_for_targets(
        config,
        planned,
        model,
        attack,
        partition.X_refit,
        partition.X_test,
        targets,
        (n_poisons,),
        _no_progress,
    )[n_poisons]
    poison_features = clf.transform(crafted.X_poison)
    is_counted = control.predict(test_features[targets.rows]) == targets.labels
    predicted, areas, shares = [], [], []
    for t in range(len(targets.rows)):
        rows = targets.base_rows[t]
        poisoned = features.copy()
        poisoned[rows] = poison_features[t * n_poisons : (t + 1) * n_poisons]
        is_poison = np.zeros(len(y), dtype=bool)
        is_poison[rows] = True
        judged = refit_head(
            victim, poisoned, y, is_poison, test_features, targets.of(t), True
        )
        predicted.append(judged.predicted[targets.rows[t]])
        area, share = judged.detection["posterior"]
        areas.append(area)
        shares.append(share)
    is_misled = np.asarray(predicted) == targets.base_labels
    rate = wilson_rate(int(is_misled[is_counted].sum()), int(is_counted.sum()))
    n_hits = int((clf.predict(partition.X_test) == partition.y_test).sum())
    accuracy = wilson_rate(n_hits, len(partition.y_test))
    return {
        "backbone_accuracy": _as_tuple(accuracy),
        "attack_success_rate": _as_tuple(rate),
        "auroc": (*mean_interval(areas, bounds=(0.0, 1.0)), len(areas)),
        "tpr_at_1pct_fpr": (*mean_interval(shares, bounds=(0.0, 1.0)), len(shares)),
    }


def _defence(config: ExperimentConfig, backbone: str, variance: float) -> Victim:
    """Trimmed Gaussians on the features of a backbone, scored by the posterior."""
    variances = dict.fromkeys(("softmax", "lgm"), variance)
    victim = strongest_defence(backbone, make_main_victims(config, variances))
    return dataclasses.replace(victim, score_kinds=("posterior",))


def _as_tuple(rate: Any) -> tuple[float, float | None, float | None, int]:
    return rate.value, rate.low, rate.high, rate.n_targets


def _records(
    config: ExperimentConfig,
    partition: Partition,
    backbone: str,
    arm: str,
    found: Mapping[str, tuple[float, float | None, float | None, int]],
) -> list[Record]:
    """Make the records of the network, and of the Gaussians on its features."""
    defence = FITTED_AFTERWARDS if backbone == "softmax" else "lgm_trim"
    attack = attacks_of(config)[0].name
    (n_poisons,) = scaled_poison_counts((max(config.n_poisons),), partition.y_refit)
    records = []
    for metric, of_metric in found.items():
        is_own = metric == "backbone_accuracy"
        records.append(
            Record(
                PROTOCOL,
                partition.name,
                backbone if is_own else defence,
                "none" if is_own else attack,
                0 if is_own else n_poisons,
                arm,
                metric,
                *of_metric,
                config.seed,
            )
        )
    return records


def _no_progress(n_done: int, n_all: int) -> None:
    """Show nothing."""
