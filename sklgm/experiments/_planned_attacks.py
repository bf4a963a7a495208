"""Attacks as the settings of a protocol ask for them, and the poisons they craft."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklgm.experiments._context import Classifier, mean
from sklgm.experiments._settings import (
    Count,
    Distinct,
    Positive,
    Presets,
    Settings,
    Some,
    Weight,
)
from sklgm.experiments._victims import claim_scores
from sklgm.poisoning import (
    AdaptiveLikelihood,
    AdaptivePosterior,
    Attack,
    CraftResult,
    FeatureCollision,
    GradientMatching,
    craft,
    resolve_attack,
)

#: Feature collision that starts from a watermarked base, as an attack of a run.
WATERMARK = "watermark"
#: Rate of false alarms whose threshold an adaptive attack knows.
_FALSE_ALARM_RATE = 0.01
_FIELDS = tuple(CraftResult.__dataclass_fields__)
# Poisons crafted in one call, between two steps of the progress bar.
_CRAFT_CHUNK = 500


def _known(attack: str) -> str:
    if attack != WATERMARK:
        resolve_attack(attack)
    return attack


class CraftSettings(Settings):
    """How poisons are crafted, whatever the attack.

    Parameters
    ----------
    similarity_weight : float >= 0, default=1e-4
        See :func:`sklgm.poisoning.craft`; weaker than its default, for a stronger
        attack.
    max_iter : int, default=100
        Iterations of the attack.
    watermark_opacity : float in [0, 1), default=0.3
        Share of the target blended into its bases by the attack ``"watermark"``, and
        by all attacks end to end.
    reach : float > 0 or None, default=0.95
        How far the adaptive attacks go: the likelihood one as a share of the distance
        from the claimed class mean at which trimming begins, the posterior one as a
        share of the surprisal (minus the log posterior) of its claims at which 1 % of
        the clean rows are flagged. None: as far as their base.
    """

    similarity_weight: Weight = 1e-4
    max_iter: Count = 100
    watermark_opacity: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.3
    reach: Positive | None = 0.95


class AttackSettings(CraftSettings):
    """Which attacks there are, each with each bound.

    Parameters
    ----------
    attacks : tuple of str, default=("feature_collision",)
        Names of attacks, as in :func:`sklgm.poisoning.craft`, and ``"watermark"``:
        feature collision that starts from a watermarked base. Gradient matching is
        that of what the victims train. The adaptive attacks know the trimmed Gaussians
        of the network they are made for.
    bounds : tuple of float > 0 or None, default=(None,)
        l-infinity bounds of the attacks in pixel units; None is unbounded. Instances
        that are no images are not bounded.
    """

    attacks: Annotated[
        tuple[Annotated[str, pydantic.AfterValidator(_known)], ...], Some, Distinct
    ] = ("feature_collision",)
    bounds: Annotated[tuple[Positive | None, ...], Some, Distinct] = (None,)

    presets: ClassVar[Presets] = {
        ("cifar10", "*"): {"bounds": (None, 8 / 255)},
        ("path", "*"): {"bounds": (None, 8 / 255)},
        ("*", "full"): {
            "attacks": (
                "feature_collision",
                WATERMARK,
                "convex_polytope",
                "bullseye_polytope",
                "gradient_matching",
                "adaptive_likelihood",
                "adaptive_posterior",
            )
        },
    }


@dataclass(frozen=True)
class PlannedAttack:
    """An attack with all that a protocol may vary.

    Parameters
    ----------
    name : str
        As in the column ``attack``.
    bound : float or None, default=None
        l-infinity bound in pixel units.
    reach : float or None, default=None
        Reach of an adaptive attack where it is varied; else that of the settings.
    is_watermarked : bool, default=False
        Whether bases are blended with their target.
    matched_parameters : {"head", "all"}, default="head"
        Parameters whose gradient is matched: those that the victims train.
    """

    name: str
    bound: float | None = None
    reach: float | None = None
    is_watermarked: bool = False
    matched_parameters: str = "head"

    def __str__(self) -> str:
        parts = [self.name]
        parts += [] if self.bound is None else [f"at most {255 * self.bound:g}/255"]
        parts += [] if self.reach is None else [f"reach {self.reach:g}"]
        return ", ".join(parts)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns ``attack``, ``bound`` and ``reach``."""
        return {"attack": self.name, "bound": self.bound, "reach": self.reach}

    @property
    def attack(self) -> Attack:
        """The attack; an adaptive one is yet to be told what it may do."""
        if self.name == WATERMARK:
            return FeatureCollision()
        if self.name == GradientMatching.name:
            return GradientMatching(self.matched_parameters)
        return resolve_attack(self.name)


def plan_attacks(
    settings: AttackSettings, *, has_images: bool, **changes: Any
) -> list[PlannedAttack]:
    """List the attacks of a protocol, each with each bound.

    Parameters
    ----------
    settings : AttackSettings
        ``attacks`` and ``bounds``.
    has_images : bool
        Whether bounds in pixel units mean something.
    **changes
        Fields of all of them.

    Returns
    -------
    list of PlannedAttack
        In the order of the settings.
    """
    bounds = settings.bounds if has_images else (None,)
    planned = [
        PlannedAttack(name, bound, is_watermarked=name == WATERMARK)
        for name in settings.attacks
        for bound in bounds
    ]
    return [dataclasses.replace(attack, **changes) for attack in planned]


class Attacker:
    """One who knows a network, its defence, and clean features of it.

    Parameters
    ----------
    settings : CraftSettings
        How poisons are crafted.
    clf : fitted classifier
        Whose features are attacked.
    defence : RobustGaussianClassifier
        Trimmed Gaussians, fitted to clean features of it.
    features : ndarray of shape (n_samples, feature_dim)
        Those features.
    y : ndarray of shape (n_samples,)
        Their labels.
    """

    def __init__(
        self,
        settings: CraftSettings,
        clf: Classifier,
        defence: Any,
        features: NDArray[np.floating[Any]],
        y: NDArray[Any],
    ) -> None:
        self.settings = settings
        self.clf = clf
        self.defence = defence
        self.features = features
        self.y = y

    def prepare(self, planned: PlannedAttack) -> tuple[Any, Attack]:
        """Complete an attack by what the attacker knows.

        Parameters
        ----------
        planned : PlannedAttack
            The attack.

        Returns
        -------
        model, attack
            As :func:`sklgm.poisoning.craft` takes them.
        """
        attack = planned.attack
        if not isinstance(attack, AdaptiveLikelihood | AdaptivePosterior):
            return self.clf, attack
        model = make_pipeline(FrozenEstimator(self.clf), FrozenEstimator(self.defence))
        reach = self.settings.reach if planned.reach is None else planned.reach
        if reach is None:
            return model, attack
        if isinstance(attack, AdaptivePosterior):
            surprisals = -claim_scores(self.defence, "posterior", self.features, self.y)
            flagged_from = np.quantile(surprisals, 1.0 - _FALSE_ALARM_RATE)
            # Odds that underflow are flagged from 0 on, which no claim is below.
            surprisal = max(float(reach * flagged_from), np.finfo(float).tiny)
            return model, dataclasses.replace(attack, max_surprisal=surprisal)
        claimed = np.searchsorted(self.defence.classes_, self.y)
        distances = self.defence.mahalanobis(self.features)
        own = distances[np.arange(len(claimed)), claimed]
        trimmed_from = [
            np.quantile(own[claimed == k], 1.0 - self.defence.trim)
            for k in range(len(self.defence.classes_))
        ]
        max_distance = tuple(float(reach**2 * distance) for distance in trimmed_from)
        return model, dataclasses.replace(attack, max_distance=max_distance)

    def craft(
        self,
        planned: PlannedAttack,
        X: NDArray[np.float32],
        base_rows: NDArray[np.int64],
        X_target: NDArray[np.float32],
        base_labels: NDArray[Any],
        counts: Sequence[int],
        progress: Callable[[int, int], None],
    ) -> dict[int, CraftResult]:
        """Craft every poison of every target, for each number of poisons.

        Poisons of a joint attack depend on how many they are, and are crafted for each
        count; others are the first of those of the largest.

        Parameters
        ----------
        planned : PlannedAttack
            The attack.
        X : ndarray of shape (n_rows, ...)
            Rows of which bases are taken; their range is that of the poisons.
        base_rows : ndarray of int of shape (n_targets, n_bases)
            Bases of each target.
        X_target : ndarray of shape (n_targets, ...)
            The targets.
        base_labels : ndarray of shape (n_targets,)
            Label that the poisons of each target claim.
        counts : sequence of int
            Numbers of poisons, at most ``n_bases``.
        progress : callable
            Called with poisons done and poisons in all.

        Returns
        -------
        dict of int to CraftResult
            By number n of poisons: target by target, n of each, the first n bases.
        """
        model, attack = self.prepare(planned)
        n_targets, most = len(base_rows), max(counts)
        crafted_counts = list(counts) if attack.is_joint else [most]
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
                        model,
                        X[base_rows[group, :n_poisons].ravel()],
                        X_target[group],
                        attack=attack,
                        poison_group=np.repeat(group, n_poisons),
                        target_group=group,
                        base_label=np.repeat(base_labels[group], n_poisons),
                        similarity_weight=self.settings.similarity_weight,
                        max_perturbation=planned.bound,
                        watermark_opacity=self.settings.watermark_opacity
                        if planned.is_watermarked
                        else 0.0,
                        pixel_range=_pixel_range(X),
                        max_iter=self.settings.max_iter,
                    )
                )
                n_done += len(group) * n_poisons
            crafted[n_poisons] = concatenated(chunks)
        progress(n_all, n_all)
        for n_poisons in counts:
            if n_poisons not in crafted:
                crafted[n_poisons] = of_targets(crafted[most], n_targets, n_poisons)
        return crafted


def of_targets(crafted: CraftResult, n_targets: int, n_poisons: int) -> CraftResult:
    """Take the first poisons of each target.

    Parameters
    ----------
    crafted : CraftResult
        Poisons, target by target.
    n_targets : int
        Number of targets.
    n_poisons : int
        Poisons per target to take, at most as many as there are.

    Returns
    -------
    CraftResult
        Those, target by target.
    """
    rows = np.arange(len(crafted.X_poison)).reshape(n_targets, -1)
    taken = rows[:, :n_poisons].ravel()
    return CraftResult(**{name: getattr(crafted, name)[taken] for name in _FIELDS})


def concatenated(chunks: Sequence[CraftResult]) -> CraftResult:
    """Join results of several calls of :func:`sklgm.poisoning.craft`.

    Parameters
    ----------
    chunks : sequence of CraftResult
        At least one.

    Returns
    -------
    CraftResult
        Poisons in order.
    """
    return CraftResult(
        **{n: np.concatenate([getattr(c, n) for c in chunks]) for n in _FIELDS}
    )


def effort(crafted: CraftResult) -> Iterator[tuple[str, dict[str, Any]]]:
    """Say how far poisons were pushed, and how close they came.

    Parameters
    ----------
    crafted : CraftResult
        Poisons with diagnostics; those that could not be crafted do not count.

    Yields
    ------
    metric, columns
        ``collision_ratio``, ``l2`` and ``linf``: means over poisons.
    """
    is_finite = np.isfinite(crafted.collision_ratio)
    if is_finite.any():
        for metric in ("collision_ratio", "l2", "linf"):
            yield metric, mean(getattr(crafted, metric)[is_finite])


def trial_effort(crafted: CraftResult, poisons: slice) -> dict[str, Any]:
    """Say what the poisons of one target cost.

    Parameters
    ----------
    crafted : CraftResult
        Poisons with diagnostics.
    poisons : slice
        Those of the target.

    Returns
    -------
    dict of str to object
        Columns of a trial.
    """
    reasons, counts = np.unique(crafted.stop_reason[poisons], return_counts=True)
    return {
        "collision_ratio": crafted.collision_ratio[poisons].mean(),
        "l2": crafted.l2[poisons].mean(),
        "linf": crafted.linf[poisons].max(),
        "n_iter": crafted.n_iter[poisons].max(),
        "stop_reason": str(reasons[counts.argmax()]),
    }


def _pixel_range(X: NDArray[np.float32]) -> tuple[Any, Any]:
    """Range that poisons stay in: [0, 1] for images, else that of each column."""
    if X.ndim == 4:
        return 0.0, 1.0
    return X.min(axis=0), X.max(axis=0)
