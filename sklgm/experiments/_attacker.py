"""One who knows a network and its defence, and crafts poisons for targets."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklgm.experiments._networks import CompressedNetwork
from sklgm.experiments._protocol import mean
from sklgm.experiments._settings import WATERMARK, CraftSettings, PlannedAttack
from sklgm.poisoning import (
    AdaptiveJoint,
    AdaptiveLikelihood,
    AdaptivePosterior,
    Attack,
    CraftResult,
    FeatureCollision,
    GradientMatching,
    JpegSurrogate,
    craft,
    make_surrogate,
    resolve_attack,
)

#: Rate of false alarms whose threshold an adaptive attack knows.
_FALSE_ALARM_RATE = 0.01
_FIELDS = tuple(CraftResult.__dataclass_fields__)
# Poisons crafted in one call, between two steps of the progress bar.
_CRAFT_CHUNK = 500


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
    others : sequence of Attacker, default=()
        With further networks, for an ensemble. Its adaptive poisons go as far as their
        bases: what a defence allows differs from network to network.
    """

    def __init__(
        self,
        settings: CraftSettings,
        clf: Any,
        defence: Any,
        features: NDArray[np.floating[Any]],
        y: NDArray[Any],
        others: Sequence["Attacker"] = (),
    ) -> None:
        self.settings = settings
        self.others = tuple(others)
        # One who knows of the compression looks through it.
        self.quality = clf.quality if isinstance(clf, CompressedNetwork) else None
        clf = clf.clf if isinstance(clf, CompressedNetwork) else clf
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
        attack = _attack_of(planned, self.settings.augment)
        adaptive = AdaptiveLikelihood | AdaptivePosterior | AdaptiveJoint
        model: Any = self.clf
        if isinstance(attack, adaptive):
            model = make_pipeline(FrozenEstimator(model), FrozenEstimator(self.defence))
        if self.quality is not None:
            model = JpegSurrogate(make_surrogate(model), self.quality)
        if self.others:
            return [model, *(o.prepare(planned)[0] for o in self.others)], attack
        return model, self._completed(attack, planned)

    def _completed(self, attack: Attack, planned: PlannedAttack) -> Attack:
        """Tell an adaptive attack what the defence allows."""
        reach = self.settings.reach if planned.reach is None else planned.reach
        if isinstance(attack, AdaptiveJoint):
            n_of_class = len(self.y) / len(self.defence.classes_)
            n_kept = max(1, round((1.0 - self.defence.trim) * n_of_class))
            attack = dataclasses.replace(attack, n_rows=n_kept)
        if reach is None:
            return attack
        if isinstance(attack, AdaptivePosterior):
            surprisals = self._surprisals()
            flagged_from = np.quantile(surprisals, 1.0 - _FALSE_ALARM_RATE)
            # Odds that underflow are flagged from 0 on, which no claim is below.
            surprisal = max(float(reach * flagged_from), np.finfo(float).tiny)
            return dataclasses.replace(attack, max_surprisal=surprisal)
        if not isinstance(attack, AdaptiveLikelihood | AdaptiveJoint):
            return attack
        claimed = np.searchsorted(self.defence.classes_, self.y)
        distances = self.defence.mahalanobis(self.features)
        own = distances[np.arange(len(claimed)), claimed]
        trimmed_from = [
            np.quantile(own[claimed == k], 1.0 - self.defence.trim)
            for k in range(len(self.defence.classes_))
        ]
        max_distance = tuple(float(reach**2 * distance) for distance in trimmed_from)
        return dataclasses.replace(attack, max_distance=max_distance)

    def _surprisals(self) -> NDArray[np.float64]:
        """Minus the log posteriors of the claims, precise where they are near 0."""
        joint = self.defence.predict_joint_log_proba(self.features)
        claimed = np.searchsorted(self.defence.classes_, self.y)
        is_claimed = np.eye(joint.shape[1], dtype=bool)[claimed]
        others = logsumexp(np.where(is_claimed, -np.inf, joint), axis=1)
        surprisals: NDArray[np.float64] = np.logaddexp(0.0, others - joint[is_claimed])
        return surprisals

    def craft(
        self,
        planned: PlannedAttack,
        X: NDArray[np.float32],
        base_rows: NDArray[np.int64],
        X_target: NDArray[np.float32],
        base_labels: NDArray[Any],
        counts: Collection[int],
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
        counts : collection of int
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
                        n_restarts=self.settings.n_restarts,
                        random_state=start,
                    )
                )
                n_done += len(group) * n_poisons
            crafted[n_poisons] = CraftResult(
                **{n: np.concatenate([getattr(c, n) for c in chunks]) for n in _FIELDS}
            )
        progress(n_all, n_all)
        for n_poisons in counts:
            if n_poisons not in crafted:  # the first of the most
                taken = np.arange(n_targets * most).reshape(n_targets, most)
                rows = taken[:, :n_poisons].ravel()
                crafted[n_poisons] = CraftResult(
                    **{name: getattr(crafted[most], name)[rows] for name in _FIELDS}
                )
        return crafted


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


def _attack_of(planned: PlannedAttack, augment: bool = False) -> Attack:
    """Make the attack; an adaptive one is yet to be told what it may do."""
    if planned.name == WATERMARK:
        return FeatureCollision()
    if planned.name == GradientMatching.name:
        return GradientMatching(planned.matched_parameters, augment)
    return resolve_attack(planned.name)


def _pixel_range(X: NDArray[np.float32]) -> tuple[Any, Any]:
    """Range that poisons stay in: [0, 1] for images, else that of each column."""
    if X.ndim == 4:
        return 0.0, 1.0
    return X.min(axis=0), X.max(axis=0)
