"""Attack a pipeline: poisons crafted on a surrogate, and the pipeline retrained."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone, is_clusterer, is_outlier_detector, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklgm._inputs import resolve_device
from sklgm._random import RandomState, draw_seed
from sklgm._running import Progress, row_chunks, show_nothing
from sklgm._running._workers import check_n_jobs
from sklgm.classifiers import SoftmaxClassifier
from sklgm.metrics import wilson_rate
from sklgm.poisoning import (
    Attack,
    Surrogate,
    craft,
    make_surrogate,
    resolve_attack,
    split_module,
)
from sklgm.poisoning._craft import check_range, check_settings
from sklgm.red_teaming._frames import Frame
from sklgm.red_teaming._result import RedTeamResult
from sklgm.red_teaming._values import find_levels, range_of, rounded

_TEST_SIZE = 0.25
# A scalar range that is wider than that of the values, by so much, is not of pixels.
_WIDE = 2.0


def red_team(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    surrogate: Any = None,
    attack: str | Attack = "feature_collision",
    n_targets: int = 50,
    budget: int | float = 0.1,
    X_target: ArrayLike | None = None,
    y_target: ArrayLike | None = None,
    max_perturbation: float | None = None,
    similarity_weight: float = 1e-4,
    watermark_opacity: float = 0.0,
    pixel_range: tuple[ArrayLike, ArrayLike] | None = None,
    max_iter: int = 100,
    n_jobs: int | None = None,
    random_state: RandomState = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> RedTeamResult:
    """Attack a pipeline with clean-label poisons, and count how often it is misled.

    For each target, a row that the pipeline has not seen, a label is drawn that it is
    to be given. Rows of that label are changed so that, to a surrogate model, they look
    like the target; they keep their label. The pipeline is trained anew with these rows
    among the others, and asked for the target.

    Parameters
    ----------
    estimator : estimator, nn.Module or pair (body, head)
        What is attacked: any scikit-learn classifier or Pipeline, cloned and trained
        once without poisons and once for each target. A torch module, or a pair of its
        body and head, is trained on by :class:`~sklgm.SoftmaxClassifier` from its
        weights, all layers; for another training wrap it yourself.
    X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
        Rows, as ``estimator`` takes them; numbers. A frame of pandas or polars stays
        one for ``estimator``, with its names and types.
    y : array-like of shape (n_samples,)
        Labels.
    surrogate : classifier, Pipeline, nn.Module, pair, Surrogate or None, default=None
        What the poisons are crafted on; see :func:`sklgm.poisoning.make_surrogate`. One
        that is not fitted is trained on the rows without poisons. None: the pipeline
        itself as trained without poisons, where it ends in an sklgm classifier, so that
        gradients reach X; else a network that is trained to predict what the pipeline
        predicts, and the attack is a black-box one.
    attack : str or Attack, default="feature_collision"
        As in :func:`sklgm.poisoning.craft`.
    n_targets : int >= 1, default=50
        Targets that the pipeline without poisons gets right; fewer if there are not so
        many.
    budget : int or float, default=0.1
        Poisons per target: an int is their number, a float in (0, 1] the share of the
        rows of the label that they claim, rounded up.
    X_target, y_target : array-like or None, default=None
        Rows that targets are drawn from, not among those of X but in its units, and
        their labels. None holds a quarter of X out, by class.
    max_perturbation : float or None, default=None
        Bound > 0 on how far a value may be from its base (l-infinity), in units of X.
        None: no bound.
    similarity_weight : float >= 0, default=1e-4
        As in :func:`sklgm.poisoning.craft`, in widths of ``pixel_range``.
    watermark_opacity : float in [0, 1), default=0.0
        Share of the target blended into its bases.
    pixel_range : tuple of (low, high) or None, default=None
        Range the poisons stay in, in units of X. None is the range of X: of each
        column for 2-D X, of all pixels for images. Rows that are flattened images
        share one range: give ``(0, 1)`` or ``(0, 255)``.
    max_iter : int >= 1, default=100
        Iterations of the attack.
    n_jobs : int or None, default=None
        Pipelines that are trained side by side, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Seed of targets, bases and imitation, and of every ``random_state`` of the
        estimator that is None: with and without poisons it has the same seed.
    device : str or torch.device, default="auto"
        Where poisons are crafted and networks trained.
    progress : callable or None, default=None
        Called with the name of a stage, steps done and steps in all.

    Returns
    -------
    RedTeamResult
        One row per target, the success rate with its control arm and interval, and the
        poisons.

    Raises
    ------
    ValueError
        If X does not hold finite numbers or is of another length than y, y has one
        class, only one of ``X_target`` and ``y_target`` is given, or they have other
        types or labels than X and y, a class has fewer rows than ``budget`` asks for,
        no target is predicted right without poisons, or a parameter is out of its
        range.
    TypeError
        If ``estimator`` or ``surrogate`` is none of the above.

    See Also
    --------
    PoisonCrafter : Poisons a training set, as a step of a Pipeline.
    sklgm.poisoning.attack_locations : The strongest attack on robust class means.

    Notes
    -----
    *Control arm.* Only targets count that the same training without poisons gets right.
    The seed is the same in both arms, so that a changed prediction is due to the
    poisons.

    *Black box.* Poisons that fool an imitation need not fool the pipeline. A low rate
    then says that this attack failed, not that the pipeline is safe: give a
    ``surrogate`` that is closer to it, or a certificate
    (:class:`~sklgm.PartitionedClassifier`).

    *Values.* Poisons hold values that X could hold. Where X has integers or booleans, a
    column of whole numbers alone, or nothing but multiples of 1/255 in [0, 1] or whole
    numbers in [0, 255], they are rounded to such values before they are injected,
    within ``max_perturbation``: what is measured is what can be saved, as an image too.

    *Units.* An imitation of rows standardises their columns; distances are in widths of
    ``pixel_range``. So the units of X do not matter.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklgm import SoftmaxClassifier, red_team
    >>> from sklgm.datasets import make_gaussian_classes
    >>> X, y = make_gaussian_classes(200, 3, 5, random_state=0)
    >>> pipe = make_pipeline(StandardScaler(), LogisticRegression())
    >>> imitation = SoftmaxClassifier(max_epochs=5, random_state=0)
    >>> result = red_team(
    ...     pipe, X, y, surrogate=imitation, n_targets=3, budget=5, random_state=0
    ... )
    >>> result.success_rate.n_targets, result.is_black_box
    (3, False)
    """
    _check_settings(n_targets, budget, n_jobs)
    check_settings(
        similarity_weight=similarity_weight,
        max_perturbation=max_perturbation,
        watermark_opacity=watermark_opacity,
        max_iter=max_iter,
    )
    if isinstance(surrogate, str):
        raise TypeError(f"surrogate must be a model, got the text {surrogate!r}")
    attack = resolve_attack(attack)
    device = resolve_device(device)
    rng = check_random_state(random_state)
    seed = draw_seed(rng)
    frame = Frame.of(X)
    if frame is not None:
        X_target = frame.in_order("X_target", X_target)
        _check_names(surrogate, frame)
    X, y = _checked_rows("X", X, "y", y)
    levels = find_levels(X, frame.whole_columns() if frame is not None else ())
    levels.check_bound(max_perturbation)
    if pixel_range is not None:
        check_range(pixel_range)
    X_train, y_train, train_rows, X_pool, y_pool, pool_rows = _split(
        X, y, X_target, y_target, seed
    )
    classes = np.unique(y_train)
    if len(classes) < 2:
        raise ValueError("y must have at least 2 classes, a target's and a base's")
    victim = _Victim(_seeded(_as_estimator(estimator, device), seed), frame)
    show = progress or show_nothing

    show("train without poisons", 0, 1)
    control = victim.fitted(X_train, y_train)
    control_labels = victim.predicted(control, X_pool)
    is_right = control_labels == y_pool
    show("train without poisons", 1, 1)
    if not is_right.any():
        raise ValueError(
            "no target: estimator, trained without poisons, gets none of the "
            f"{len(y_pool)} rows right that targets are drawn from"
        )
    targets = rng.permutation(np.flatnonzero(is_right))[:n_targets]
    base_labels = np.asarray(
        [rng.choice(classes[classes != label]) for label in y_pool[targets]],
        dtype=classes.dtype,
    )
    bases, poison_target = _draw_bases(y_train, base_labels, budget, rng)

    show("craft poisons", 0, 1)
    pixel_range = range_of(X_train) if pixel_range is None else pixel_range
    agreement: float | None = None
    if surrogate is not None:
        kind = "given"
        adapted = _given(surrogate, victim, X_train, y_train, seed, device)
    else:
        adapted, kind, agreement = _own_or_imitation(
            victim,
            control,
            (X_train, y_train),
            (X_pool, control_labels),
            pixel_range,
            seed,
            device,
        )
    crafted = craft(
        adapted,
        X_train[bases],
        X_pool[targets],
        attack=attack,
        poison_group=poison_target,
        base_label=y_train[bases] if attack.needs_base_label else None,
        similarity_weight=similarity_weight,
        max_perturbation=max_perturbation,
        watermark_opacity=watermark_opacity,
        pixel_range=pixel_range,
        max_iter=max_iter,
        device=device,
    )
    X_poison = rounded(
        crafted.X_poison, X_train[bases], levels, pixel_range, max_perturbation
    )
    show("craft poisons", 1, 1)

    show("train with poisons", 0, len(targets))
    trained = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_predict_poisoned)(
            victim,
            X_train,
            y_train,
            bases[poison_target == t],
            X_poison[poison_target == t],
            X_pool,
            y_pool,
            int(target),
        )
        for t, target in enumerate(targets)
    )
    predicted, accuracies = [], []
    for label, accuracy in trained:
        predicted.append(label)
        accuracies.append(accuracy)
        show("train with poisons", len(predicted), len(targets))
    return RedTeamResult(
        target_indices=pool_rows[targets],
        target_labels=y_pool[targets],
        base_labels=base_labels,
        control_labels=control_labels[targets],
        predicted_labels=np.asarray(predicted, dtype=y.dtype),
        accuracies=np.asarray(accuracies),
        control_accuracy=wilson_rate(int(is_right.sum()), len(is_right)),
        X_poison=X_poison,
        X_base=X_train[bases],
        poison_indices=train_rows[bases],
        poison_target=poison_target,
        collision_ratio=_collision_ratio(
            adapted, X_poison, X_train[bases], X_pool[targets], poison_target
        ),
        objective_ratio=_ratio(crafted.objective_final, crafted.objective_initial),
        surrogate=kind,
        agreement=agreement,
        eight_bit_scale=levels.eight_bit_scale,
        settings={
            "estimator": repr(victim.estimator),
            "surrogate": None if surrogate is None else type(surrogate).__name__,
            "attack": repr(attack),
            "n_targets": int(n_targets),
            "budget": int(budget) if isinstance(budget, Integral) else float(budget),
            "max_perturbation": max_perturbation,
            "similarity_weight": similarity_weight,
            "watermark_opacity": watermark_opacity,
            "max_iter": max_iter,
            "random_state": int(random_state)
            if isinstance(random_state, Integral)
            else None,
            "n_train": len(X_train),
            "n_pool": len(X_pool),
        },
    )


def _check_settings(n_targets: Any, budget: Any, n_jobs: Any) -> None:
    check_n_jobs(n_jobs)
    if not isinstance(n_targets, Integral) or n_targets < 1:
        raise ValueError(f"n_targets must be an int >= 1, got {n_targets!r}")
    is_bool = isinstance(budget, bool | np.bool_)
    is_count = isinstance(budget, Integral) and not is_bool and int(budget) >= 1
    is_share = isinstance(budget, Real) and not isinstance(budget, Integral)
    if not is_count and not (is_share and 0 < float(budget) <= 1):
        raise ValueError(
            f"budget must be an int >= 1 or a share in (0, 1], got {budget!r}"
        )


def _check_names(surrogate: Any, frame: Frame) -> None:
    """Refuse a fitted surrogate that knows the columns in another order."""
    known = getattr(surrogate, "feature_names_in_", None)
    if known is not None and [*known] != frame.names:
        raise ValueError(
            f"surrogate was fitted to the columns {[*known]}, but X has {frame.names}"
        )


def _checked_rows(
    name: str, X: ArrayLike, y_name: str, y: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any]]:
    rows = check_array(X, allow_nd=True, input_name=name)
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"{y_name} must be one-dimensional, got shape {labels.shape}")
    check_consistent_length(rows, labels)
    check_classification_targets(labels)
    return rows, labels


def _split(
    X: NDArray[Any],
    y: NDArray[Any],
    X_target: ArrayLike | None,
    y_target: ArrayLike | None,
    seed: int,
) -> tuple[NDArray[Any], ...]:
    """Training rows and rows for targets, each with labels and row numbers."""
    if (X_target is None) != (y_target is None):
        raise ValueError("X_target and y_target must be given together")
    if X_target is not None and y_target is not None:
        X_pool, y_pool = _checked_rows("X_target", X_target, "y_target", y_target)
        if X_pool.shape[1:] != X.shape[1:]:
            raise ValueError(
                f"X_target must hold instances of shape {X.shape[1:]} like X, got "
                f"{X_pool.shape[1:]}"
            )
        rows = np.arange(len(X)), np.arange(len(X_pool))
        return X, y, rows[0], _in_type_of(X, X_pool), _among(y, y_pool), rows[1]
    train, pool = train_test_split(
        np.arange(len(X)), test_size=_TEST_SIZE, stratify=y, random_state=seed
    )
    train, pool = np.sort(train), np.sort(pool)
    return X[train], y[train], train, X[pool], y[pool], pool


def _as_estimator(estimator: Any, device: torch.device) -> Any:
    """Make an estimator of what is attacked."""
    if isinstance(estimator, tuple) and len(estimator) == 2:
        body, head = estimator
        if isinstance(body, nn.Module) and isinstance(head, nn.Module):
            return SoftmaxClassifier(body, device=device)
    if isinstance(estimator, nn.Module):
        body = getattr(estimator, "backbone", None)
        if not isinstance(body, nn.Module):
            body, _ = split_module(estimator)
        return SoftmaxClassifier(body, device=device)
    is_estimator = hasattr(estimator, "fit") and hasattr(estimator, "predict")
    if not is_estimator or _is_of_another_kind(estimator):
        raise TypeError(
            "estimator must be a classifier or Pipeline with fit and predict, an "
            f"nn.Module, or a pair (body, head); got {type(estimator).__name__}"
        )
    return estimator


def _is_of_another_kind(estimator: Any) -> bool:
    kinds = (is_regressor, is_clusterer, is_outlier_detector)
    try:
        return any(kind(estimator) for kind in kinds)
    except (AttributeError, TypeError):  # an estimator without tags
        return False


def _seeded(estimator: Any, seed: int) -> Any:
    """Clone an estimator; every ``random_state`` that is None gets a fixed seed."""
    estimator = clone(estimator)
    rng = np.random.RandomState(seed)
    params = estimator.get_params(deep=True)
    names = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    seeds = {name: draw_seed(rng) for name in names if params[name] is None}
    return estimator.set_params(**seeds)


def _draw_bases(
    y: NDArray[Any],
    base_labels: NDArray[Any],
    budget: int | float,
    rng: np.random.RandomState,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that become poisons, and for which target; each target is by itself."""
    bases, targets = [], []
    for t, label in enumerate(base_labels):
        rows = np.flatnonzero(y == label)
        n = (
            int(budget)
            if isinstance(budget, Integral)
            else max(1, math.ceil(round(float(budget) * len(rows), 9)))
        )
        if n > len(rows):
            raise ValueError(
                f"budget={budget!r} asks for {n} rows of class {label!s}, but only "
                f"{len(rows)} of the training rows have this label"
            )
        bases.append(rng.choice(rows, n, replace=False))
        targets.append(np.full(n, t))
    return np.concatenate(bases), np.concatenate(targets)


@dataclass(frozen=True, eq=False)
class _Victim:
    """What is attacked, and the frame that its rows are, if they are one."""

    estimator: Any
    frame: Frame | None

    def rows(self, X: NDArray[Any]) -> Any:
        return X if self.frame is None else self.frame.filled(X)

    def fitted(self, X: NDArray[Any], y: NDArray[Any]) -> Any:
        return clone(self.estimator).fit(self.rows(X), y)

    def predicted(self, fitted: Any, X: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(fitted.predict(self.rows(X)))


def _given(
    surrogate: Any,
    victim: _Victim,
    X: NDArray[Any],
    y: NDArray[Any],
    seed: int,
    device: torch.device,
) -> Surrogate:
    """Adapt what the caller gave, fitted to the rows if it is not fitted."""
    if hasattr(surrogate, "fit") and not isinstance(surrogate, FrozenEstimator):
        try:
            check_is_fitted(surrogate)
        except (ValueError, AttributeError):  # NotFittedError is both
            surrogate = _seeded(surrogate, seed).fit(victim.rows(X), y)
    is_module = isinstance(surrogate, nn.Module | tuple)
    classes = np.unique(y) if is_module else None
    try:
        return make_surrogate(surrogate, classes=classes, device=device)
    except TypeError as error:
        raise TypeError(f"surrogate cannot be attacked: {error}") from error


def _own_or_imitation(
    victim: _Victim,
    control: Any,
    training: tuple[NDArray[Any], NDArray[Any]],
    pool: tuple[NDArray[Any], NDArray[Any]],
    pixel_range: tuple[ArrayLike, ArrayLike],
    seed: int,
    device: torch.device,
) -> tuple[Surrogate, str, float | None]:
    """Take the pipeline itself, or a network that imitates it and how well it does."""
    try:
        return make_surrogate(control, device=device), "own", None
    except (TypeError, ValueError):
        pass
    (X, y), (X_pool, control_labels) = training, pool
    labels = victim.predicted(control, X)
    # A class that it never predicts keeps its own rows: poisons may claim it.
    is_missing = np.isin(y, np.setdiff1d(y, labels))
    labels[is_missing] = y[is_missing]
    imitation = _network_of_rows(X, pixel_range, seed, device)
    imitation.fit(_flat(X), labels)
    agreement = float(np.mean(imitation.predict(_flat(X_pool)) == control_labels))
    return make_surrogate(imitation, device=device), "imitation", agreement


def _network_of_rows(
    X: NDArray[Any],
    pixel_range: tuple[ArrayLike, ArrayLike],
    seed: int,
    device: torch.device,
) -> Pipeline:
    """Make a network, not fitted, that sees rows in whatever units they are."""
    low, high = (np.asarray(end, dtype=np.float64) for end in pixel_range)
    scaler: Any = StandardScaler()
    width, own_width = float(high.max() - low.min()), float(X.max()) - float(X.min())
    is_of_pixels = low.ndim == high.ndim == 0 and width <= _WIDE * own_width
    if X.ndim > 2 or is_of_pixels:
        ends = np.repeat([[low.min()], [high.max()]], X[0].size, axis=1)
        scaler = FrozenEstimator(MinMaxScaler().fit(ends))
    network = SoftmaxClassifier(
        input_shape=X.shape[1:] if X.ndim > 2 else None,
        device=device,
        random_state=seed,
    )
    return make_pipeline(scaler, network)


def _flat(X: NDArray[Any]) -> NDArray[np.floating[Any]]:
    float_type = np.float64 if X.dtype == np.float64 else np.float32
    return X.reshape(len(X), -1).astype(float_type, copy=False)


def _in_type_of(X: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Give targets in the type of X, and refuse to lose what it cannot hold."""
    cast = others.astype(X.dtype)
    is_same = X.dtype.kind == "f" or np.array_equal(cast, others)
    if not is_same:
        raise ValueError(
            f"X_target must hold values that X can hold, in the same units; X is of "
            f"type {X.dtype}, and X_target of {others.dtype} has others, up to "
            f"{others.max():g}"
        )
    return cast


def _among(y: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    if not {*y.tolist()} & {*others.tolist()}:
        raise ValueError(
            f"y_target must hold labels of y, such as {y[:1].tolist()[0]!r}, got "
            f"{others[:1].tolist()[0]!r}"
        )
    return others


@torch.no_grad()
def _collision_ratio(
    surrogate: Surrogate,
    X_poison: NDArray[Any],
    X_base: NDArray[Any],
    X_target: NDArray[Any],
    poison_target: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Feature distance of each poison to its target, over that of its base."""

    def features(X: NDArray[Any]) -> NDArray[np.float64]:
        float_type = np.float64 if X.dtype == np.float64 else np.float32
        parts = [
            surrogate.features(
                torch.from_numpy(X[rows].astype(float_type)).to(surrogate.device)
            )
            for rows in row_chunks(X)
        ]
        return torch.cat(parts).double().cpu().numpy()

    target = features(X_target)[poison_target]
    final, initial = (
        np.linalg.norm(features(X) - target, axis=1) for X in (X_poison, X_base)
    )
    return _ratio(final, initial)


def _ratio(
    final: NDArray[np.float64], initial: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quotient, with 0 / 0 = 0."""
    return np.divide(final, initial, out=np.zeros_like(final), where=initial != 0)


def _predict_poisoned(
    victim: _Victim,
    X: NDArray[Any],
    y: NDArray[Any],
    rows: NDArray[np.int64],
    X_poison: NDArray[Any],
    X_pool: NDArray[Any],
    y_pool: NDArray[Any],
    target: int,
) -> tuple[Any, float]:
    """Label of the target, and accuracy, after training on poisons."""
    X = X.copy()
    X[rows] = X_poison
    labels = victim.predicted(victim.fitted(X, y), X_pool)
    return labels[target], float(np.mean(labels == y_pool))
