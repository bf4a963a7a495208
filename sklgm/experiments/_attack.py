"""What all protocols need of an attack: its name, its bounds, what it cost."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.classifiers import LGMClassifier
from sklgm.experiments._backbones import Classifier
from sklgm.experiments._config import WATERMARK, ExperimentConfig
from sklgm.experiments._judging import (
    claimed_distances,
    claimed_surprisals,
)
from sklgm.experiments._partition import Partition
from sklgm.metrics import mean_interval
from sklgm.poisoning import (
    AdaptiveLikelihood,
    AdaptivePosterior,
    Attack,
    CraftResult,
    FeatureCollision,
    GradientMatching,
    make_surrogate,
    resolve_attack,
)
from sklgm.results import Record

#: Rate of false alarms whose threshold an adaptive attack knows.
_FALSE_ALARM_RATE = 0.01


@dataclass(frozen=True)
class PlannedAttack:
    """An attack with all that the protocols may vary.

    Parameters
    ----------
    name : str
        Name in records.
    attack : Attack
        The attack; an adaptive one is completed by :meth:`against`.
    max_perturbation : float or None, default=None
        l-infinity bound in pixel units.
    watermark_opacity : float, default=0.0
        See :func:`sklgm.poisoning.craft`.
    reach : float or None, default=None
        How far from the claimed class mean the likelihood attack goes, as a share of
        the distance at which trimming begins; how improbable the claims of the
        posterior attack are, as a share of the surprisal at which 1 % of the clean rows
        are flagged. None: as far as its base.
    """

    name: str
    attack: Attack
    max_perturbation: float | None = None
    watermark_opacity: float = 0.0
    reach: float | None = None

    def against(
        self,
        clf: Classifier,
        head: LGMClassifier,
        features: NDArray[np.floating[Any]],
        y: NDArray[Any],
    ) -> tuple[Any, Attack]:
        """Complete the attack for one backbone, by one who knows its defence.

        Parameters
        ----------
        clf : fitted classifier
            Whose features are attacked.
        head : LGMClassifier
            Trimmed Gaussians, fitted to clean features of it.
        features, y : ndarray
            Those features and their labels.

        Returns
        -------
        model, attack
            For :func:`sklgm.poisoning.craft`.
        """
        if not isinstance(self.attack, AdaptiveLikelihood | AdaptivePosterior):
            return clf, self.attack
        network = copy.deepcopy(clf.net_.module_)
        network.head = head.net_.module_.head
        surrogate = make_surrogate(
            network,
            input_shape=clf.input_shape_,
            classes=clf.classes_,
            device=next(network.parameters()).device,
        )
        if self.reach is None:
            return surrogate, self.attack
        if isinstance(self.attack, AdaptivePosterior):
            surprisals = claimed_surprisals(head, features, y)
            flagged_from = np.quantile(surprisals, 1.0 - _FALSE_ALARM_RATE)
            # Odds that underflow are flagged from 0 on, which no claim is below.
            surprisal = max(float(self.reach * flagged_from), np.finfo(float).tiny)
            return surrogate, dataclasses.replace(self.attack, max_surprisal=surprisal)
        assert isinstance(head.trim, float)  # as the settings of a run have it
        own = claimed_distances(head, features, y)
        trimmed_from = [
            np.quantile(own[y == label], 1.0 - head.trim) for label in head.classes_
        ]
        max_distance = tuple(float(self.reach**2 * d) for d in trimmed_from)
        return surrogate, dataclasses.replace(self.attack, max_distance=max_distance)


def attacks_of(
    config: ExperimentConfig, *, matched_parameters: str = "head"
) -> list[PlannedAttack]:
    """List the attacks of a run, each with each bound.

    Parameters
    ----------
    config : ExperimentConfig
        Settings: ``attacks``, ``max_perturbations``, ``adaptive_reach``.
    matched_parameters : {"head", "all"}, default="head"
        Parameters whose gradient is matched: those that the victims train.

    Returns
    -------
    list of PlannedAttack
        In the order of the settings.
    """
    return [
        plan_attack(config, name, bound, matched_parameters=matched_parameters)
        for name in config.attacks
        for bound in config.max_perturbations
    ]


def plan_attack(
    config: ExperimentConfig,
    name: str,
    max_perturbation: float | None,
    *,
    matched_parameters: str = "head",
) -> PlannedAttack:
    """Make an attack of its name and its bound.

    Parameters
    ----------
    config : ExperimentConfig
        Settings.
    name : str
        One of ``attacks``.
    max_perturbation : float or None
        l-infinity bound in pixel units.
    matched_parameters : {"head", "all"}, default="head"
        See :func:`attacks_of`.

    Returns
    -------
    PlannedAttack
        The attack.
    """
    named = attack_name(name, max_perturbation)
    if name == WATERMARK:
        return PlannedAttack(
            named,
            FeatureCollision(),
            max_perturbation,
            watermark_opacity=config.watermark_opacity,
        )
    if name == GradientMatching.name:
        matching = GradientMatching(matched_parameters)
        return PlannedAttack(named, matching, max_perturbation)
    return PlannedAttack(
        named, resolve_attack(name), max_perturbation, reach=config.adaptive_reach
    )


def attack_name(
    attack: str, max_perturbation: float | None, reach: float | None = None
) -> str:
    """Name of an attack in records.

    Parameters
    ----------
    attack : str
        Its own name.
    max_perturbation : float or None
        l-infinity bound in pixel units.
    reach : float or None, default=None
        See :class:`PlannedAttack`; named where it is swept.

    Returns
    -------
    str
        Such as ``"feature_collision"``, with ``_linf_8_255`` for a bound of 8 / 255
        and ``_reach_0.5`` for a reach.
    """
    name = attack if reach is None else f"{attack}_reach_{reach:g}"
    if max_perturbation is None:
        return name
    steps = max_perturbation * 255
    if abs(steps - round(steps)) < 1e-6:
        return f"{name}_linf_{round(steps)}_255"
    return f"{name}_linf_{max_perturbation:g}"


def effort_records(
    protocol: str,
    config: ExperimentConfig,
    partition: Partition,
    model: str,
    attack: str,
    n_poisons: int,
    crafted: CraftResult,
) -> list[Record]:
    """Mean perturbation and collision of the poisons against one backbone.

    Parameters
    ----------
    protocol : str
        See :class:`sklgm.results.Record`, as for ``model`` and ``attack``.
    config : ExperimentConfig
        Settings.
    partition : Partition
        Rows.
    model, attack : str
        Whose features were attacked, and how.
    n_poisons : int
        Poisons a target.
    crafted : CraftResult
        Poisons with diagnostics; those that could not be crafted do not count.

    Returns
    -------
    list of Record
        Collision ratio, l2 and l-infinity, with Student-t intervals over poisons.
    """
    finite = np.isfinite(crafted.collision_ratio)
    if not finite.any():
        return []
    return [
        Record(
            protocol,
            partition.name,
            model,
            attack,
            n_poisons,
            "attack",
            metric,
            *mean_interval(values[finite]),
            int(finite.sum()),
            config.seed,
        )
        for metric, values in (
            ("collision_ratio", crafted.collision_ratio),
            ("l2", crafted.l2),
            ("linf", crafted.linf),
        )
    ]
