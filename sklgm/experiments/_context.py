"""What the protocols of a run share: rows, runner, networks, and how to write rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklgm._running import Runner
from sklgm.classifiers import (
    LGMClassifier,
    RobustGaussianClassifier,
    SoftmaxClassifier,
)
from sklgm.datasets import LabelledSplits
from sklgm.experiments._partition import Partition, make_partition
from sklgm.experiments._settings import RunSettings
from sklgm.metrics import mean_interval, wilson_rate

Classifier = LGMClassifier | SoftmaxClassifier
Item = TypeVar("Item")


class Context:
    """What the protocols of a run share.

    Parameters
    ----------
    settings : RunSettings
        Settings of the run.
    splits : LabelledSplits
        The data set.
    runner : Runner
        Carries out stages.

    Attributes
    ----------
    settings, splits, runner
        As given.
    partition : Partition
        Rows for networks, heads and targets.
    networks : dict of str to classifier
        ``"softmax"`` and ``"lgm"``, fitted when they are first asked for; not to be
        changed.
    """

    def __init__(
        self, settings: RunSettings, splits: LabelledSplits, runner: Runner
    ) -> None:
        self.settings = settings
        self.splits = splits
        self.runner = runner
        self.partition: Partition = make_partition(settings, splits)

    @cached_property
    def networks(self) -> dict[str, Classifier]:
        """The networks, trained on the same rows for as many epochs, as a stage."""
        return {
            name: self.trained(name, clf)
            for name, clf in make_networks(self.settings).items()
        }

    @cached_property
    def head_variances(self) -> dict[str, float]:
        """Variances of class Gaussians on the features of each network.

        L-GM's own, and as large a multiple of the variance within classes of softmax
        features. Rows of the refit, which may be poisoned, are not looked at.
        """
        lgm = self.networks["lgm"]
        assert isinstance(lgm, LGMClassifier)
        return {
            "softmax": self.variance_of(self.networks["softmax"], lgm.variance_scale),
            "lgm": float(np.mean(lgm.covariances_)),
        }

    def variance_of(self, clf: Classifier, scale: float) -> float:
        """Scale the variance within classes of a network's features.

        Parameters
        ----------
        clf : fitted classifier
            Its features of the rows that trained it are taken.
        scale : float > 0
            Factor.

        Returns
        -------
        float
            Of the rows that trimming keeps, averaged over dimensions.
        """
        rows = self.partition
        within = RobustGaussianClassifier().fit(
            clf.transform(rows.X_backbone), rows.y_backbone
        )
        return scale * float(within.covariances_)

    def at(self, **changes: Any) -> Context:
        """Change settings of the run, and with them rows and networks.

        Parameters
        ----------
        **changes
            Settings that differ.

        Returns
        -------
        Context
            With the same data and runner.
        """
        return Context(
            self.settings.model_copy(update=changes), self.splits, self.runner
        )

    def stage(
        self, name: str, function: Callable[[], Iterable[Item]]
    ) -> Iterator[Item]:
        """Carry out a stage, or take what it gave before it was interrupted.

        Parameters
        ----------
        name : str
            Unique for these settings of the run.
        function : callable
            Gives items that can be pickled.

        Returns
        -------
        iterator
            Over the items.
        """
        stage = f"{name}, {self.settings!r}"
        return iter(self.runner.once(stage, lambda: list(function())))

    def trained(self, name: str, clf: Classifier) -> Classifier:
        """Train a network on the rows for networks, as a stage.

        Parameters
        ----------
        name : str
            Unique for these settings of the run.
        clf : classifier
            Unfitted.

        Returns
        -------
        classifier
            Fitted.
        """

        def fit() -> Iterator[Classifier]:
            self.runner.progress(f"train {name}", 0, 1)
            yield clf.fit(self.partition.X_backbone, self.partition.y_backbone)
            self.runner.progress(f"train {name}", 1, 1)

        return next(self.stage(f"train {name}", fit))

    def columns(self, protocol: str) -> dict[str, Any]:
        """Columns that all rows and trials of a protocol share.

        Parameters
        ----------
        protocol : str
            Its name.

        Returns
        -------
        dict of str to object
            ``dataset``, ``protocol`` and ``seed``.
        """
        return {
            "dataset": self.partition.name,
            "protocol": protocol,
            "seed": self.settings.seed,
        }


def make_networks(settings: RunSettings, **changes: Any) -> dict[str, Classifier]:
    """Make the networks under comparison.

    Parameters
    ----------
    settings : RunSettings
        Their parameters.
    **changes
        Parameters that both have.

    Returns
    -------
    dict of str to classifier
        Unfitted, by ``"softmax"`` and ``"lgm"``.
    """
    shared: dict[str, Any] = {
        "feature_dim": settings.feature_dim,
        "max_epochs": settings.max_epochs,
        "device": settings.device,
        "random_state": settings.seed,
        **changes,
    }
    return {
        "softmax": SoftmaxClassifier(settings.backbone, **shared),
        "lgm": LGMClassifier(settings.backbone, margin=settings.margin, **shared),
    }


def rate(n_cases: int, n: int) -> dict[str, Any]:
    """Columns of a share of cases, with its Wilson interval.

    Parameters
    ----------
    n_cases, n : int
        Cases, and how many there could be.

    Returns
    -------
    dict of str to float or int
        ``value``, ``low``, ``high`` and ``n``; nan where ``n`` is 0.
    """
    wilson = wilson_rate(n_cases, n)
    return {"value": wilson.value, "low": wilson.low, "high": wilson.high, "n": n}


def mean(
    values: ArrayLike, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> dict[str, Any]:
    """Columns of a mean, with its Student-t interval.

    Parameters
    ----------
    values : array-like of shape (n_values,)
        At least one.
    bounds : tuple of float, default=(-inf, inf)
        What the interval is cut to.

    Returns
    -------
    dict of str to float or int
        ``value``, ``low``, ``high`` and ``n``.
    """
    measured: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    value, low, high = mean_interval(measured, bounds=bounds)
    return {"value": value, "low": low, "high": high, "n": len(measured)}
