"""What a protocol is, what it is given, and the registry of all of them.

What computes is imported where it is used: the command line reads the registry.
"""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sklgm._running import Runner
from sklgm.experiments._settings import RunSettings, Settings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sklgm.datasets import LabelledSplits
    from sklgm.experiments._networks import Classifier
    from sklgm.experiments._partition import Partition
    from sklgm.results import FigureArrays, ProtocolDescription, Row, Trial

Item = TypeVar("Item")

#: By name, in the order in which they run and are reported: the module whose
#: ``PROTOCOL`` it is, imported when it is asked for.
PROTOCOLS: Mapping[str, str] = {
    "certified": "sklgm.experiments.certified",
    "transfer": "sklgm.experiments.transfer",
    "white-box": "sklgm.experiments.white_box",
    "end-to-end": "sklgm.experiments.end_to_end",
    "frontier": "sklgm.experiments.frontier",
    "contamination": "sklgm.experiments.contamination",
    "peers": "sklgm.experiments.peers",
    "search": "sklgm.experiments.search",
    "label-noise": "sklgm.experiments.label_noise",
    "accuracy": "sklgm.experiments.accuracy",
}


@dataclass(frozen=True)
class Protocol:
    """One way to measure how victims fare.

    Parameters
    ----------
    description : ProtocolDescription
        Its name, what it asks, and which tables and figures its rows fill.
    settings : type of Settings
        Its own settings, with the presets of its own.
    measure : callable
        ``measure(context, settings)`` yields rows of the tidy table, single trials,
        and arrays that figures are drawn from.
    check : callable or None, default=None
        ``check(context, settings)`` raises where data or an extra will not do; called
        before any protocol of a run starts.
    """

    description: ProtocolDescription
    settings: type[Settings]
    measure: Callable[[Context, Any], Iterator[Row | Trial | FigureArrays]]
    check: Callable[[Context, Any], None] | None = None


def get_protocol(name: str) -> Protocol:
    """Find a protocol by its name.

    Parameters
    ----------
    name : str
        A key of :data:`PROTOCOLS`.

    Returns
    -------
    Protocol
        The protocol.

    Raises
    ------
    ValueError
        If there is none of this name.
    ImportError
        If the extra ``cli`` is not installed.

    Examples
    --------
    >>> from sklgm.experiments import get_protocol
    >>> get_protocol("transfer").settings(n_targets=10).n_poisons
    (1, 5, 25)
    """
    if name not in PROTOCOLS:
        raise ValueError(
            f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}"
        )
    protocol: Protocol = importlib.import_module(PROTOCOLS[name]).PROTOCOL
    return protocol


class Context:
    """What the protocols of a run share.

    Parameters
    ----------
    settings : RunSettings
        Settings of the run.
    runner : Runner
        Carries out stages.
    splits : LabelledSplits or None, default=None
        The data set; None loads it.

    Attributes
    ----------
    settings, runner, splits
        As given.
    partition : Partition
        Rows for networks, heads and targets.
    networks : dict of str to classifier
        ``"softmax"`` and ``"lgm"``, fitted when they are first asked for; not to be
        changed.
    """

    def __init__(
        self,
        settings: RunSettings,
        runner: Runner,
        splits: LabelledSplits | None = None,
    ) -> None:
        from sklgm.experiments._partition import load_splits, make_partition

        self.settings = settings
        self.runner = runner
        self.splits: LabelledSplits = splits or load_splits(settings)
        self.partition: Partition = make_partition(settings, self.splits)

    @cached_property
    def networks(self) -> dict[str, Classifier]:
        """The networks, trained on the same rows for as many epochs, as a stage."""
        from sklgm.experiments._networks import make_networks

        return {
            name: self.trained(name, clf)
            for name, clf in make_networks(self.settings).items()
        }

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
            self.settings.model_copy(update=changes), self.runner, self.splits
        )

    def on(self, partition: Partition) -> Context:
        """Change the rows, of the same run.

        Parameters
        ----------
        partition : Partition
            Its rows.

        Returns
        -------
        Context
            With the same settings and runner; stages need names of their own.
        """
        context = copy.copy(self)
        vars(context).pop("networks", None)
        context.partition = partition
        return context

    def stage(
        self, name: str, function: Callable[[], Iterable[Item]]
    ) -> Iterator[Item]:
        """Carry out a stage, or take what it gave before it was interrupted.

        Parameters
        ----------
        name : str
            Unique for these settings of the run.
        function : callable
            Gives records of arrays, or estimators.

        Returns
        -------
        iterator
            Over the items.
        """
        stage = f"{name}, {self.settings!r}"
        return iter(self.runner.once(stage, lambda: list(function())))

    def trained(
        self, name: str, clf: Classifier, label: str | None = None
    ) -> Classifier:
        """Train a network on the rows for networks, as a stage.

        Parameters
        ----------
        name : str
            Unique for these settings of the run.
        clf : classifier
            Unfitted.
        label : str or None, default=None
            What progress calls it; None: `name`.

        Returns
        -------
        classifier
            Fitted.
        """
        said = f"train {label or name}"

        def fit() -> Iterator[Classifier]:
            self.runner.progress(said, 0, 1)
            yield clf.fit(self.partition.X_backbone, self.partition.y_backbone)
            self.runner.progress(said, 1, 1)

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
    from sklgm.metrics import wilson_rate

    wilson = wilson_rate(n_cases, n)
    return {"value": wilson.value, "low": wilson.low, "high": wilson.high, "n": n}


def mean(
    values: ArrayLike, bounds: tuple[float, float] = (-math.inf, math.inf)
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
    import numpy as np

    from sklgm.metrics import mean_interval

    value, low, high = mean_interval(values, bounds=bounds)
    return {"value": value, "low": low, "high": high, "n": np.size(values)}
