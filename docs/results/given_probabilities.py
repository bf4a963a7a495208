"""Audit labels by probabilities that others computed, beside cleanlab.

Reads ``human-labels/*.npz`` (arrays ``pred_probs``, ``claimed``, ``true``) in the
folder named by ``SKLGM_DATA``, and writes ``given-probabilities-label-noise-0`` beside
itself::

    SKLGM_DATA=DATA python docs/results/given_probabilities.py

Labels are not written, numbers computed with them are.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from sklgm import audit
from sklgm._running import describe_environment
from sklgm.datasets import get_data_home
from sklgm.experiments._protocol import rate
from sklgm.metrics import auroc_interval
from sklgm.results import Row, RunResult

SETS = {
    "cifar10n-aggregate-resnet18": "CIFAR-10N aggregate, ResNet-18",
    "cifar10n-aggregate-resnet50d": "CIFAR-10N aggregate, ResNet-50d",
    "cifar10n-aggregate-small-cnn": "CIFAR-10N aggregate, small CNN",
    "cifar10-sparse-20-efficientnet-b1": "CIFAR-10, 20 % sparse flips, EfficientNet-B1",
}
SEED = 0


def rows_of(name: str, dataset: str) -> Iterator[Row]:
    """Measure the audit and cleanlab on one set."""
    with np.load(get_data_home() / "human-labels" / f"{name}.npz") as archive:
        proba = archive["pred_probs"].astype(np.float64)
        claimed, y = archive["claimed"].astype(int), archive["true"].astype(int)
    proba /= proba.sum(axis=1, keepdims=True)
    is_wrong = claimed != y
    n_wrong = int(is_wrong.sum())

    def row(detector: str, metric: str, **columns: float) -> Row:
        return Row(
            dataset=dataset,
            protocol="label-noise",
            seed=SEED,
            detector=detector,
            n_poisons=n_wrong,
            metric=metric,
            **columns,
        )

    def of_flags(detector: str, flags: np.ndarray, score: np.ndarray) -> Iterator[Row]:
        counts = {
            "clean_flagged": (flags & ~is_wrong, len(y) - n_wrong),
            "flipped_flagged": (flags & is_wrong, n_wrong),
            "false_discoveries": (flags & ~is_wrong, int(flags.sum())),
            "cross_validated_accuracy": (proba.argmax(axis=1) == y, len(y)),
        }
        for metric, (cases, n) in counts.items():
            if n > 0:
                yield row(detector, metric, **rate(int(np.count_nonzero(cases)), n))
        value, low, high = auroc_interval(score, is_wrong)
        yield row(detector, "auroc", value=value, low=low, high=high, n=n_wrong)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model of right and wrong labels")
        by_rate = audit(None, claimed, pred_probs=proba)
        by_level = audit(None, claimed, pred_probs=proba, false_alarm_rate=0.01)
    yield from of_flags("audit, fdr 0.1", by_rate.is_suspect, -by_rate.scores)
    yield from of_flags("audit, level 0.01", by_level.is_suspect, -by_level.scores)
    low, high = by_rate.noise_share_interval
    yield row(
        "audit, fdr 0.1",
        "estimated_noise_share",
        value=by_rate.noise_share,
        low=low,
        high=high,
        n=len(y),
    )
    quality = get_label_quality_scores(claimed, proba)
    yield from of_flags(
        "cleanlab", find_label_issues(claimed, proba, n_jobs=1), -quality
    )


if __name__ == "__main__":
    measured = [row for name, dataset in SETS.items() for row in rows_of(name, dataset)]
    run = RunResult.from_rows(
        measured,
        command="python docs/results/given_probabilities.py",
        settings={"run": {"seed": SEED, "data": list(SETS)}},
        environment=describe_environment(),
    )
    run.save(Path(__file__).with_name("given-probabilities-label-noise-0"))
