"""Label noise: random labels are wrong, and an audit is asked which."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from sklgm._running import Runner, import_extra
from sklgm.auditing._audit import audit
from sklgm.auditing._result import AuditResult
from sklgm.experiments._config import ExperimentConfig
from sklgm.experiments._partition import Partition
from sklgm.metrics import auroc_interval, wilson_rate
from sklgm.poisoning import flip_labels
from sklgm.results import Record

PROTOCOL = "label-noise"
#: False discovery rate whose realised share is recorded.
_FALSE_DISCOVERY_RATE = 0.1
_FALSE_ALARM_RATE = 0.01
_N_RESAMPLES = 5000


def run_label_noise(
    config: ExperimentConfig, partition: Partition, runner: Runner
) -> list[Record]:
    """Flip shares of the training labels and audit all training rows.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows; those for backbone and refit are audited.
    runner : Runner
        Carries it out.

    Returns
    -------
    list of Record
        What :func:`label_noise_records` returns, for every share.
    """
    if "cleanlab" in config.noise_rivals:
        import_extra("cleanlab", "bench")  # fail before the work, not after
    X = np.concatenate([partition.X_backbone, partition.X_refit])
    y = np.concatenate([partition.y_backbone, partition.y_refit])
    records = []
    runner.progress("audit label noise", 0, len(config.noise_shares))
    for number, share in enumerate(config.noise_shares):
        claimed = flip_labels(y, share, random_state=config.seed)
        found = runner.once(
            f"label noise, {share:g}", partial(_audit, config, X, claimed)
        )
        records += label_noise_records(config, partition.name, share, y, found)
        if "cleanlab" in config.noise_rivals and share > 0:
            records += cleanlab_records(config, partition.name, share, y, found)
        runner.progress("audit label noise", number + 1, len(config.noise_shares))
    return records


def label_noise_records(
    config: ExperimentConfig,
    dataset: str,
    share: float,
    y: NDArray[np.generic],
    found: AuditResult,
) -> list[Record]:
    """Compare an audit with the labels before they were flipped.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    dataset : str
        Display name.
    share : float
        Share of the labels that were flipped, in [0, 1].
    y : ndarray of shape (n_samples,)
        Labels before the flips.
    found : AuditResult
        The audit of the flipped labels.

    Returns
    -------
    list of Record
        Shares of clean and of flipped rows flagged at a false-alarm rate of 0.01;
        share of the flipped rows among as many most suspect ones; share of clean rows
        among those with q <= 0.1; AUROC; estimated share of wrong labels; accuracy of
        the models of the folds on the rows they did not see. The data set's own labels
        count as right.
    """
    is_wrong = found.claimed_labels != y
    n_wrong = int(np.count_nonzero(is_wrong))
    flagged = found.is_suspect
    discovered = found.q_values <= _FALSE_DISCOVERY_RATE
    is_right_guess = found.likely_labels == y
    counts = {
        "clean_flagged": (flagged & ~is_wrong, len(y) - n_wrong),
        "flipped_flagged": (flagged & is_wrong, n_wrong),
        "flipped_among_most_suspect": (is_wrong[found.ranking[:n_wrong]], n_wrong),
        "false_discoveries": (discovered & ~is_wrong, int(discovered.sum())),
        "cross_validated_accuracy": (is_right_guess, len(y)),
    }
    values: dict[str, tuple[float, float | None, float | None, int]] = {}
    for metric, (cases, n) in counts.items():
        if n > 0:
            rate = wilson_rate(int(np.count_nonzero(cases)), n)
            values[metric] = (rate.value, rate.low, rate.high, n)
    if n_wrong > 0:
        outlier_score = np.empty(len(y))
        outlier_score[found.ranking] = np.arange(len(y))[::-1]
        values["auroc"] = (*auroc_interval(outlier_score, is_wrong), n_wrong)
    assert found.noise_share is not None
    values["estimated_noise_share"] = (found.noise_share, None, None, len(y))
    return _records(config, dataset, share, n_wrong, "audit", values)


def cleanlab_records(
    config: ExperimentConfig,
    dataset: str,
    share: float,
    y: NDArray[np.generic],
    found: AuditResult,
) -> list[Record]:
    """Rank the labels by cleanlab, from the probabilities of the same models.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    dataset : str
        Display name.
    share : float
        Share of the labels that were flipped, in (0, 1).
    y : ndarray of shape (n_samples,)
        Labels before the flips.
    found : AuditResult
        The audit of the flipped labels.

    Returns
    -------
    list of Record
        For cleanlab's label quality scores by its default, self-confidence, share of
        the flipped rows among as many most suspect ones; and the audit's share minus
        that, with a 95 % bootstrap interval, paired over the flipped rows.

    Raises
    ------
    ImportError
        If cleanlab is not installed.

    References
    ----------
    C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating
    Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70,
    2021.
    """
    rank = import_extra("cleanlab.rank", "bench")
    assert found.log_proba is not None
    quality = rank.get_label_quality_scores(
        np.searchsorted(found.classes, found.claimed_labels), np.exp(found.log_proba)
    )
    is_wrong = found.claimed_labels != y
    n_wrong = int(np.count_nonzero(is_wrong))
    is_found = {}
    rankings = {"audit": found.ranking, "cleanlab": np.argsort(quality, kind="stable")}
    for name, ranking in rankings.items():
        is_first = np.zeros(len(y), dtype=bool)
        is_first[ranking[:n_wrong]] = True
        is_found[name] = is_first[is_wrong]
    rate = wilson_rate(int(is_found["cleanlab"].sum()), n_wrong)
    difference = is_found["audit"].astype(float) - is_found["cleanlab"]
    interval = bootstrap(
        (difference,),
        np.mean,
        n_resamples=_N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(config.seed),
    ).confidence_interval
    metric = "flipped_among_most_suspect"
    own = {metric: (rate.value, rate.low, rate.high, n_wrong)}
    minus = {
        f"{metric}_difference": (
            float(difference.mean()),
            float(interval.low),
            float(interval.high),
            n_wrong,
        )
    }
    return [
        *_records(config, dataset, share, n_wrong, "cleanlab", own),
        *_records(config, dataset, share, n_wrong, "audit minus cleanlab", minus),
    ]


def _records(
    config: ExperimentConfig,
    dataset: str,
    share: float,
    n_wrong: int,
    arm: str,
    values: Mapping[str, tuple[float, float | None, float | None, int]],
) -> list[Record]:
    attack = "none" if share == 0 else f"flip_labels_{100 * share:g}_percent"
    return [
        Record(
            PROTOCOL,
            dataset,
            "lgm",
            attack,
            n_wrong,
            arm,
            metric,
            value,
            low,
            high,
            n,
            config.seed,
        )
        for metric, (value, low, high, n) in values.items()
    ]


def _audit(
    config: ExperimentConfig, X: NDArray[np.float32], y: NDArray[np.generic]
) -> AuditResult:
    """Run the product's own audit."""
    return audit(
        X,
        y,
        false_alarm_rate=_FALSE_ALARM_RATE,
        cv=config.audit_folds,
        max_epochs=config.audit_epochs,
        backbone=config.backbone,
        device=config.device,
        random_state=config.seed,
    )
