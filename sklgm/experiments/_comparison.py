"""Victims that are compared under the same attacks on the same targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from sklgm.experiments._attacker import Attacker, effort, trial_effort
from sklgm.experiments._networks import Classifier, CompressedNetwork
from sklgm.experiments._partition import Targets, draw_targets, poison_counts
from sklgm.experiments._protocol import Context, mean, rate
from sklgm.experiments._settings import PlannedAttack, RefitSettings, TargetSettings
from sklgm.experiments._training import (
    Measurement,
    Prediction,
    Rows,
    Target,
    Training,
    measure,
    predict_unpoisoned,
)
from sklgm.experiments._victims import Victim, defence, make_victims
from sklgm.poisoning import CraftResult
from sklgm.results import FigureArrays, PoisonImages, Row, Trial

# Poisons that are shown.
_N_EXAMPLES = 6


class Comparison:
    """Victims that are compared under the same attacks on the same targets.

    Parameters
    ----------
    context : Context
        Rows, runner, and settings of the run.
    protocol : str
        Name in rows.
    trainings : sequence of Training
        Their victims are compared: all heads on features, or all networks.
    settings : TargetSettings
        How many targets there are, and how poisons are crafted.
    n_poisons : sequence of int, default=()
        Numbers of poisons; see :func:`poison_counts`.
    shares : sequence of float, default=()
        Poisoned shares of the base class instead.
    networks : dict of str to classifier or None, default=None
        Whose features are attacked, by name; None: those of the context.
    crafted_on : mapping of str to str, default={}
        Networks that are attacked by the poisons made for another.
    surrogates : mapping of str to sequence of classifier, default={}
        Networks that attackers have in place of one, by its name.
    defences : mapping of str to estimator or None, default=None
        Unfitted trimmed Gaussians that attackers know, by network; None: those of the
        victims.
    targets : Targets or None, default=None
        Drawn before; None draws until each victim's control gets enough of them right.
    rows : tuple of ndarray or None, default=None
        Training rows and their labels; None: those of the refit.
    n_bases : int or None, default=None
        How many of the first rows can be bases; None: all.
    in_detail : bool, default=False
        Whether accuracy and detection are measured with every number of poisons, and
        not with the largest only.
    name : str or None, default=None
        Name in stages, unique in the run; None: that of the protocol.
    """

    def __init__(
        self,
        context: Context,
        protocol: str,
        trainings: Sequence[Training],
        settings: TargetSettings,
        *,
        n_poisons: Sequence[int] = (),
        shares: Sequence[float] = (),
        networks: dict[str, Any] | None = None,
        crafted_on: Mapping[str, str] = MappingProxyType({}),
        surrogates: Mapping[str, Sequence[Any]] = MappingProxyType({}),
        defences: Mapping[str, Any] | None = None,
        targets: Targets | None = None,
        rows: tuple[NDArray[np.float32], NDArray[Any]] | None = None,
        n_bases: int | None = None,
        in_detail: bool = False,
        name: str | None = None,
    ) -> None:
        partition = context.partition
        self.context, self.protocol, self.settings = context, protocol, settings
        self.name = name or protocol
        self.trainings = tuple(trainings)
        self.networks: dict[str, Any] = networks or dict(context.networks)
        self.crafted_on, self.surrogates = crafted_on, surrogates
        self.X, self.y = rows or (partition.X_refit, partition.y_refit)
        self.y_test = partition.y_test
        self.counts = poison_counts(
            self.y, n_poisons=n_poisons, shares=shares, n_bases=n_bases
        )
        self.detail_counts = list(self.counts) if in_detail else [max(self.counts)]
        self.victims = [v for training in self.trainings for v in training.victims]
        self.defences = defences or {
            name: defence(self.victims, name).head for name in self.networks
        }
        # Heads take features; networks that are trained take the rows themselves.
        self.are_features = self.trainings[0].model is None
        self.controls: list[Prediction] = list(
            context.stage(f"{self.name}, control arm", self._control_arm)
        )
        self.is_right = np.array([c.labels == self.y_test for c in self.controls])
        self.targets = targets or draw_targets(
            self.is_right,
            self.y_test,
            self.y[:n_bases],
            n_targets=settings.n_targets,
            n_bases=max(self.counts),
            seed=context.settings.seed,
        )

    @cached_property
    def features(self) -> dict[str, NDArray[np.floating[Any]]]:
        """Of the clean training rows, by network."""
        return {name: clf.transform(self.X) for name, clf in self.networks.items()}

    @cached_property
    def inputs(self) -> dict[str, NDArray[np.floating[Any]]]:
        """What trainings take, by network: the clean rows, or their features."""
        return (
            self.features if self.are_features else dict.fromkeys(self.networks, self.X)
        )

    @cached_property
    def test_inputs(self) -> dict[str, NDArray[np.floating[Any]]]:
        """The same of the test rows."""
        if not self.are_features:
            return dict.fromkeys(self.networks, self.X_test)
        # What is re-encoded are training images.
        return {
            name: _uncompressed(clf).transform(self.X_test)
            for name, clf in self.networks.items()
        }

    @property
    def has_images(self) -> bool:
        """Whether instances are images, and bounds on pixels mean something."""
        return self.context.partition.has_images

    @property
    def X_test(self) -> NDArray[np.float32]:
        """The test rows."""
        return self.context.partition.X_test

    def target(self, t: int) -> Target:
        """Test row, label and base label of one target.

        Parameters
        ----------
        t : int
            Its position.

        Returns
        -------
        tuple of (int, label, label)
            As :func:`measure` takes it.
        """
        targets = self.targets
        return int(targets.rows[t]), targets.labels[t], targets.base_labels[t]

    def counted(self, victim: int) -> NDArray[np.int64]:
        """Positions of the targets that count for a victim.

        Parameters
        ----------
        victim : int
            Its position.

        Returns
        -------
        ndarray of int of shape (n_counted,)
            Those that its control gets right, up to the number that was asked for.
        """
        is_right = self.is_right[victim, self.targets.rows]
        return np.flatnonzero(is_right)[: self.targets.n_counted]

    def clean_rows(self) -> Iterator[Row]:
        """Accuracies without poisons, and the control arm's rate of base labels.

        Yields
        ------
        Row
            Of every victim.
        """
        targets, n_test = self.targets, len(self.y_test)
        n_right = {
            name: int((clf.predict(self.X_test) == self.y_test).sum())
            for name, clf in self.networks.items()
        }
        for victim, control, is_right in zip(
            self.victims, self.controls, self.is_right, strict=True
        ):
            row = partial(Row, **self._columns, **victim.columns)
            yield row(metric="clean_accuracy", **rate(int(is_right.sum()), n_test))
            if victim.variant is None:
                own = n_right[victim.network]
                yield row(metric="backbone_accuracy", **rate(own, n_test))
                is_misled = control.labels[targets.rows] == targets.base_labels
                n_misled = int(is_misled.sum())
                yield row(
                    metric="attack_success_rate", **rate(n_misled, len(is_misled))
                )

    def attack(
        self, attacks: Sequence[PlannedAttack]
    ) -> Iterator[Row | Trial | FigureArrays]:
        """Attack every network by every attack, and train its victims.

        Parameters
        ----------
        attacks : sequence of PlannedAttack
            The attacks.

        Yields
        ------
        Row, Trial or PoisonImages
            Numbers, single targets, and examples of poisons.
        """
        for planned in attacks:
            by_network: dict[str, dict[int, CraftResult]] = {}
            for network in self.networks:
                source = self.crafted_on.get(network, network)
                if source not in by_network:
                    by_network[source] = self.craft(planned, source)
                crafted = by_network[source]
                poisons = self.inputs_of(network, crafted)
                if source == network:
                    yield from self._effort_rows(planned, network, crafted)
                for label, trainings in self._stages(network):
                    yield from self.train(
                        f"train {label} on {network}, {planned}",
                        planned.columns,
                        [(t, n) for t in trainings for n in t.counts(self.counts)],
                        partial(self.poisoned_rows, network, poisons),
                        crafted,
                    )

    def craft(self, planned: PlannedAttack, network: str) -> dict[int, CraftResult]:
        """Craft every poison of every target against one network, for each count.

        Parameters
        ----------
        planned : PlannedAttack
            The attack.
        network : {"softmax", "lgm"}
            Whose features are attacked.

        Returns
        -------
        dict of int to CraftResult
            See :meth:`Attacker.craft`.
        """
        stage = f"craft {planned} on {network}"

        def carry_out() -> list[dict[int, CraftResult]]:
            targets = self.targets
            models = self.surrogates.get(network, [self.networks[network]])
            others = [self._attacker(clf, network) for clf in models[1:]]
            attacker = self._attacker(models[0], network, others)
            return [
                attacker.craft(
                    planned,
                    self.X,
                    targets.base_rows,
                    self.X_test[targets.rows],
                    targets.base_labels,
                    self.counts,
                    partial(self.context.runner.progress, stage),
                )
            ]

        return next(self.context.stage(f"{self.name}, {stage}", carry_out))

    def inputs_of(
        self, network: str, crafted: Mapping[int, CraftResult]
    ) -> dict[int, NDArray[np.floating[Any]]]:
        """Give what trainings take in place of poisons: themselves, or their features.

        Parameters
        ----------
        network : {"softmax", "lgm"}
            Whose features were attacked.
        crafted : mapping of int to CraftResult
            The poisons, by number of them.

        Returns
        -------
        dict of int to ndarray
            By number of poisons; target by target.
        """
        return {n: self._input(network, c.X_poison) for n, c in crafted.items()}

    def poisoned_rows(
        self, network: str, poisons: Mapping[int, NDArray[Any]], n: int, t: int
    ) -> Rows:
        """Replace the bases of one target by its poisons.

        Parameters
        ----------
        network : {"softmax", "lgm"}
            Whose features were attacked.
        poisons : mapping of int to ndarray
            Poisons, or their features, by number of poisons; target by target.
        n : int
            Number of poisons.
        t : int
            Position of the target.

        Returns
        -------
        tuple of ndarray
            Training rows, labels, and which are poisons.
        """
        rows = self.targets.base_rows[t, :n]
        X = self.inputs[network].copy()
        X[rows] = poisons[n][t * n : (t + 1) * n]
        is_poison = np.zeros(len(X), dtype=bool)
        is_poison[rows] = True
        return X, self.y, is_poison

    def train(
        self,
        stage: str,
        columns: Mapping[str, Any],
        pairs: Sequence[tuple[Training, int]],
        make_rows: Callable[[int, int], tuple[Any, ...]],
        crafted: Mapping[int, CraftResult] | None = None,
    ) -> Iterator[Row | Trial]:
        """Train once for each target, and compare the targets' labels.

        Parameters
        ----------
        stage : str
            Name of the stage.
        columns : mapping of str to object
            Columns that say which attack it is.
        pairs : sequence of (Training, int)
            What is trained, with how many poisons.
        make_rows : callable
            ``make_rows(n, t)`` gives the rows of one target with n poisons.
        crafted : mapping of int to CraftResult or None, default=None
            The poisons, by number; None where nothing was crafted.

        Yields
        ------
        Row or Trial
            Numbers, and single targets.
        """
        n_targets = len(self.targets.rows)

        def carry_out() -> list[list[Measurement]]:
            return self.context.runner.map(
                stage,
                measure,
                (
                    (
                        training,
                        make_rows(n, t),
                        self.test_inputs[training.network],
                        self.y_test,
                        self.target(t),
                        n in self.detail_counts,
                    )
                    for training, n in pairs
                    for t in range(n_targets)
                ),
                len(pairs) * n_targets,
                device=self._device(pairs),
            )

        measured = self.context.stage(f"{self.name}, {stage}", carry_out)
        for training, n in pairs:
            of_targets = [next(measured) for _ in range(n_targets)]
            for victim, of_victim in zip(
                training.victims, zip(*of_targets, strict=True), strict=True
            ):
                which = {
                    **self._columns,
                    **victim.columns,
                    **columns,
                    "share": self.counts[n],
                    "n_poisons": n,
                }
                i = self.victims.index(victim)
                yield from self._outcome_rows(which, i, of_victim)
                if victim.variant is None:
                    poisons = None if crafted is None else crafted[n]
                    yield from self._trials(which, i, of_victim, poisons)

    @property
    def _columns(self) -> dict[str, Any]:
        return self.context.columns(self.protocol)

    def _stages(self, network: str) -> list[tuple[str, list[Training]]]:
        """Name what is trained at once: all heads, or one whole network."""
        own = [t for t in self.trainings if t.network == network]
        return [("heads", own)] if self.are_features else [(t.label, [t]) for t in own]

    def _device(self, pairs: Sequence[tuple[Training, int]]) -> torch.device | None:
        model = pairs[0][0].model if pairs else None
        return None if model is None else torch.device(str(model.net_.device))

    def _input(self, network: str, X: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        return self.networks[network].transform(X) if self.are_features else X

    def _attacker(
        self, clf: Any, network: str, others: Sequence[Attacker] = ()
    ) -> Attacker:
        """Make one who has a network, and knows the defence of the one attacked."""
        features = clf.transform(self.X)
        known = clone(self.defences[network]).fit(features, self.y)
        return Attacker(self.settings, clf, known, features, self.y, others)

    def _control_arm(self) -> list[Prediction]:
        predictions: list[list[Prediction]] = self.context.runner.map(
            f"{self.name}, control arm",
            predict_unpoisoned,
            (
                (t, self.inputs[t.network], self.y, self.test_inputs[t.network])
                for t in self.trainings
            ),
            len(self.trainings),
            device=self._device([(t, 0) for t in self.trainings]),
        )
        return [prediction for of_one in predictions for prediction in of_one]

    def _effort_rows(
        self,
        planned: PlannedAttack,
        network: str,
        crafted: Mapping[int, CraftResult],
    ) -> Iterator[Row | FigureArrays]:
        """How far the poisons were pushed, and some of them."""
        most, targets = max(crafted), self.targets
        for metric, columns in effort(crafted[most]):
            yield Row(
                **self._columns,
                **planned.columns,
                victim=network,
                share=self.counts[most],
                n_poisons=most,
                metric=metric,
                **columns,
            )
        if network == "softmax" and self.has_images:
            shown = np.arange(min(_N_EXAMPLES, len(targets.rows)))
            names = dict(
                zip(
                    np.unique(self.y).tolist(),
                    self.context.partition.class_names,
                    strict=False,
                )
            )
            yield PoisonImages(
                protocol=self.protocol,
                **planned.columns,
                X_base=self.X[targets.base_rows[shown, 0]],
                X_target=self.X_test[targets.rows[shown]],
                X_poison=crafted[most].X_poison[shown * most],
                base_names=tuple(names[targets.base_labels[t].item()] for t in shown),
                target_names=tuple(names[targets.labels[t].item()] for t in shown),
            )

    def _outcome_rows(
        self, which: Mapping[str, Any], victim: int, measured: Sequence[Measurement]
    ) -> Iterator[Row]:
        """Rates, accuracy and detection of one victim with one number of poisons."""
        row, targets = partial(Row, **which), self.targets
        is_misled = np.array([m.label for m in measured]) == targets.base_labels
        own = is_misled[self.counted(victim)]
        yield row(metric="attack_success_rate", **rate(int(own.sum()), len(own)))
        if which["variant"] is None:
            is_common = self.is_right[:, targets.rows].all(axis=0)
            common = is_misled[np.flatnonzero(is_common)[: targets.n_counted]]
            columns = rate(int(common.sum()), len(common))
            yield row(metric="attack_success_rate_common", **columns)
        accuracies = [m.accuracy for m in measured if m.accuracy is not None]
        if accuracies:
            # All trainings are scored on the same test rows: these are the sample.
            n_test = len(self.y_test)
            n_right = round(float(np.mean(accuracies)) * n_test)
            yield row(metric="clean_accuracy", **rate(n_right, n_test))
        for score in measured[0].detection:
            pairs = zip(*(m.detection[score] for m in measured), strict=True)
            for metric, values in zip(("auroc", "tpr_at_1pct_fpr"), pairs, strict=True):
                yield row(score=score, metric=metric, **mean(values, (0.0, 1.0)))
        kept = [m.kept_share for m in measured if m.kept_share is not None]
        if kept:
            yield row(metric="kept_share", **mean(kept, (0.0, 1.0)))

    def _trials(
        self,
        which: Mapping[str, Any],
        victim: int,
        measured: Sequence[Measurement],
        crafted: CraftResult | None,
    ) -> Iterator[Trial]:
        control, n = self.controls[victim], which["n_poisons"]
        counted = self.counted(victim)
        for t, of_target in enumerate(measured):
            row, label, base_label = self.target(t)
            poisons = slice(t * n, (t + 1) * n)
            yield Trial(
                **which,
                target_index=row,
                target_label=str(label),
                base_label=str(base_label),
                control_label=str(control.labels[row]),
                predicted_label=str(of_target.label),
                success=bool(of_target.label == base_label),
                counted=t in counted,
                control_margin=control.margin(row, label, base_label),
                margin=of_target.margin,
                auroc=of_target.detection.get("posterior", (None,))[0],
                **({} if crafted is None else trial_effort(crafted, poisons)),
            )


def _uncompressed(clf: Any) -> Classifier:
    """Find the network as test images meet it."""
    network: Classifier = clf.clf if isinstance(clf, CompressedNetwork) else clf
    return network


def compare_heads(
    context: Context,
    protocol: str,
    settings: RefitSettings,
    *,
    victims: Sequence[Victim] | None = None,
    **options: Any,
) -> Comparison:
    """Compare heads on frozen networks, refitted on rows that the networks never saw.

    Parameters
    ----------
    context, protocol
        See :class:`Comparison`.
    settings : RefitSettings
        Targets, epochs of a refit, and how poisons are crafted.
    victims : sequence of Victim or None, default=None
        Which heads; None: those of :func:`make_victims`.
    **options
        Further parameters of :class:`Comparison`.

    Returns
    -------
    Comparison
        Its control arm is fitted.
    """
    if victims is None:
        victims = make_victims(context, settings.refit_epochs)
    trainings = [Training((victim,)) for victim in victims]
    return Comparison(context, protocol, trainings, settings, **options)
