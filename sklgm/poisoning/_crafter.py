"""The poisoning of a training set as a scikit-learn transformer."""

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import Tags, check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sklgm._inputs import resolve_device, validate_instances
from sklgm._random import RandomState, draw_seed
from sklgm._running import interrupts_raised
from sklgm._sklearn_private import HasMethods, Interval, StrOptions, fit_context
from sklgm.persistence import PersistenceMixin
from sklgm.poisoning._attack import Attack
from sklgm.poisoning._bases import (
    check_bases,
    draw_bases,
    labels_per_target,
    other_labels,
)
from sklgm.poisoning._craft import ATTACKS, craft, resolve_attack
from sklgm.poisoning._craft_result import collect_result
from sklgm.poisoning._network_surrogate import make_surrogate
from sklgm.poisoning._surrogate import Surrogate

FloatArray = NDArray[np.floating[Any]]


class PoisonCrafter(
    OneToOneFeatureMixin, TransformerMixin, PersistenceMixin, BaseEstimator
):
    """Poison a training set with clean labels, to test how a model withstands it.

    `fit_transform` returns the training X with some rows of the base class overwritten
    by poisons: they look like before and keep their label, but in the features of a
    surrogate model they sit on a target. A model trained on them tends to give the
    target the base class. `transform` passes data through unchanged, so that as a step
    of a Pipeline the crafter poisons the training and nothing else.

    Use it to attack a training pipeline of one's own; use `craft` where the bases are
    given.

    Parameters
    ----------
    estimator : estimator, nn.Module, pair of them or None, default=None
        The surrogate: a clone is fitted on the X and y of `fit`. An sklgm classifier,
        or a Pipeline of affine scalers that ends in one (see `make_surrogate`). A
        `FrozenEstimator`, an ``nn.Module`` and a pair ``(body, head)`` are used as they
        are; a module gives one logit for each class of y, in sorted order. None is
        ``SoftmaxClassifier()``.
    attack : str or Attack, default="feature_collision"
        ``"feature_collision"`` (Poison Frogs), ``"convex_polytope"``,
        ``"bullseye_polytope"``, ``"gradient_matching"`` (Witches' Brew),
        ``"adaptive_likelihood"`` or ``"adaptive_posterior"`` (against L-GM, by one who
        knows it), or an :class:`~sklgm.poisoning.Attack` with options.
    X_target : array-like of shape (n_targets, ...) or None, default=None
        The targets, instances like those of X but not among them. None draws one row of
        X, for trying out only: it stays in the training set with its true label, which
        works against the attack.
    target_label : label, array-like of shape (n_targets,) or None, default=None
        True label of the targets, one for all or one each. None is what the surrogate
        predicts; for a drawn target, its label in y.
    base_label : label, array-like of shape (n_targets,) or None, default=None
        The class whose rows become poisons, one for all targets or one each; never that
        of the target. None draws another class than the target's for each target.
    joint_targets : bool, default=False
        Whether all targets of one base label share its poisons, which then aim at
        their mean; for attacks that take several targets (the polytopes, gradient
        matching).
    budget : int or float, default=1
        Poisons per target (with `joint_targets` a base label): an int is their number,
        a float in (0, 1] the share of the base class, rounded up. 0 is none: nothing
        is fitted or poisoned.
    max_perturbation : float or None, default=None
        Bound > 0 on how far a pixel may be from the base (l-infinity), in units of X.
        None: no bound.
    similarity_weight : float, default=1e-3
        Weight beta >= 0 of the squared distance to the base, summed over pixels or
        columns, each in widths of its ``pixel_range``: units of X do not matter.
    step_size : float or None, default=None
        First step of the search, > 0, in the same units, from which it shrinks to 0.
        None finds one for each poison and iteration.
    watermark_opacity : float, default=0.0
        Share of the target, in [0, 1), blended into the base where the search starts.
    pixel_range : tuple of (low, high) or None, default=None
        Range the poisons stay in; X must lie in it. None is the range of X in `fit`: of
        each column for 2-D X, of all pixels for images.
    feature_scaling : {"base_distance"} or None, default="base_distance"
        Of ``attack="feature_collision"``: "base_distance" divides squared feature
        distances by that of base and target, so that `similarity_weight` means the same
        on every network. None leaves them as they are, as in Poison Frogs.
    max_iter : int, default=100
        Forward and backward passes of the search, >= 1.
    batch_size : int, default=128
        Poisons crafted at once, >= 1; bounds the memory.
    random_state : int, RandomState instance or None, default=None
        Seed of the drawn target, base classes and bases, and of the clone of
        `estimator` where its own ``random_state`` is None.
    device : str or torch.device, default="auto"
        Where poisons are crafted; "auto" is a GPU if there is one.

    Attributes
    ----------
    X_poison_ : ndarray of shape (n_poisons, ...)
        The poisons, those of the first target first; X's dtype, float32 for integers.
    poison_indices_ : ndarray of int of shape (n_poisons,)
        Row of X that each poison overwrites.
    poison_target_ : ndarray of int of shape (n_poisons,)
        Row of `X_target_` that each poison is for; with `joint_targets` the first of
        those that share it.
    X_target_ : ndarray of shape (n_targets, ...)
        The targets; empty if `budget` is 0.
    target_label_, base_label_ : ndarray of shape (n_targets,)
        True class of each target, and class of its poisons.
    result_ : CraftResult
        Objective, feature distance, perturbation norms, iterations and stop reason of
        each poison.
    objective_initial_, objective_final_ : ndarray of shape (n_poisons,)
        The objective before and after the search.
    feature_distance_initial_, feature_distance_final_ : ndarray of shape (n_poisons,)
        Feature distance from the target, of base and poison. Feature units.
    estimator_ : estimator or None
        The fitted surrogate; None if `budget` is 0.
    n_iter_ : int
        Iterations of the longest search, at least 1.
    n_features_in_ : int
        Values an instance has.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X; only where they are all strings.
    input_shape_ : tuple of int
        Shape of an instance of X.

    Raises
    ------
    ValueError
        If y has one class, labels are unknown or those of base and target are equal, a
        module has another number of logits than y has classes,
        the base class has fewer rows than `budget` asks for, `joint_targets` gives an
        attack several targets that takes one, X lies outside `pixel_range`, or a step
        of the Pipeline is not an affine scaler.

    See Also
    --------
    craft : Turns given bases into poisons.
    flip_labels : The dirty-label attack to compare with.

    Notes
    -----
    A poison that the search could not move is a result, not an error: see
    ``result_.stop_reason``. Poisons of uint8 images are floats in the range of the
    images; rounding them back weakens the attack.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras and
       T. Goldstein, "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS 2018, Equation (1) and Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklgm import SoftmaxClassifier
    >>> from sklgm.poisoning import PoisonCrafter
    >>> rng = np.random.RandomState(0)
    >>> y = np.repeat([0, 1], 20)
    >>> X = (rng.uniform(size=(40, 5)) + y[:, None]) / 2
    >>> X_target = np.full((1, 5), 0.9)
    >>> crafter = PoisonCrafter(
    ...     SoftmaxClassifier(max_epochs=5, random_state=0),
    ...     X_target=X_target, target_label=1, budget=3, random_state=0,
    ... )
    >>> X_poisoned = crafter.fit_transform(X, y)
    >>> int((X_poisoned != X).any(axis=1).sum())
    3
    >>> y[crafter.poison_indices_].tolist()
    [0, 0, 0]
    >>> bool((crafter.result_.collision_ratio < 0.5).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["fit", "predict"]), torch.nn.Module, tuple, None],
        "attack": [StrOptions(set(ATTACKS)), Attack],
        "X_target": ["array-like", None],
        "target_label": "no_validation",
        "base_label": "no_validation",
        "joint_targets": ["boolean"],
        "budget": [
            Interval(Integral, 0, None, closed="left"),
            Interval(Real, 0, 1, closed="both"),
        ],
        "max_perturbation": [Interval(Real, 0, None, closed="neither"), None],
        "similarity_weight": [Interval(Real, 0, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), None],
        "watermark_opacity": [Interval(Real, 0, 1, closed="left")],
        "pixel_range": [tuple, list, None],
        "feature_scaling": [StrOptions({"base_distance"}), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "device": [str, torch.device],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        attack: str | Attack = "feature_collision",
        X_target: ArrayLike | None = None,
        target_label: Any = None,
        base_label: Any = None,
        joint_targets: bool = False,
        budget: int | float = 1,
        max_perturbation: float | None = None,
        similarity_weight: float = 1e-3,
        step_size: float | None = None,
        watermark_opacity: float = 0.0,
        pixel_range: tuple[ArrayLike, ArrayLike] | None = None,
        feature_scaling: str | None = "base_distance",
        max_iter: int = 100,
        batch_size: int = 128,
        random_state: RandomState = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.estimator = estimator
        self.attack = attack
        self.X_target = X_target
        self.target_label = target_label
        self.base_label = base_label
        self.joint_targets = joint_targets
        self.budget = budget
        self.max_perturbation = max_perturbation
        self.similarity_weight = similarity_weight
        self.step_size = step_size
        self.watermark_opacity = watermark_opacity
        self.pixel_range = pixel_range
        self.feature_scaling = feature_scaling
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.random_state = random_state
        self.device = device

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the surrogate, draw the bases and craft the poisons.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            The training set, not changed.
        y : array-like of shape (n_samples,)
            Its labels, of at least two classes.

        Returns
        -------
        PoisonCrafter
            Itself.
        """
        y = np.asarray(validate_data(self, y=y))
        X = _as_floats(validate_instances(self, X, reset=True))
        check_consistent_length(X, y)
        check_classification_targets(y)
        pixel_range = _checked_pixel_range(self.pixel_range, X)
        device = resolve_device(self.device)

        rng = check_random_state(self.random_state)
        target_label: NDArray[Any] | None
        base_label: NDArray[Any] | None
        if self.budget == 0:
            self.estimator_ = None
            indices = poison_target = np.empty(0, dtype=np.int64)
            X_target, target_label, base_label = X[indices], y[indices], y[indices]
            result = collect_result([], X[indices])
        else:
            classes = _checked_classes(y)
            seed = draw_seed(rng)
            X_target, target_label = self._targets(X, y, classes, rng)
            base_label = labels_per_target(
                "base_label", self.base_label, len(X_target), classes
            )
            # What is known to fail should fail before the surrogate is trained.
            self._check_bases(y, base_label, target_label)

            self.estimator_ = self._fitted_estimator(X, y, seed)
            surrogate = _checked_surrogate(self.estimator_, X, classes, device)
            if target_label is None:
                target_label = _predicted_labels(surrogate, X_target)
            if base_label is None:
                base_label = other_labels(target_label, classes, rng)
            self._check_bases(y, base_label, target_label)
            group_label, target_group = self._groups(base_label)
            indices, poison_group = draw_bases(y, group_label, self.budget, rng)
            first_target = np.unique(target_group, return_index=True)[1]
            poison_target = first_target[poison_group]
            result = craft(
                surrogate,
                X[indices],
                X_target,
                attack=self.attack,
                poison_group=poison_group,
                target_group=target_group,
                base_label=y[indices],
                similarity_weight=self.similarity_weight,
                step_size=self.step_size,
                max_perturbation=self.max_perturbation,
                watermark_opacity=self.watermark_opacity,
                pixel_range=pixel_range,
                feature_scaling=self.feature_scaling,
                max_iter=self.max_iter,
                batch_size=self.batch_size,
            )

        self.X_poison_ = result.X_poison
        self.poison_indices_ = indices
        self.poison_target_ = poison_target
        self.X_target_ = X_target
        self.target_label_ = target_label
        self.base_label_ = base_label
        self.result_ = result
        self.objective_initial_ = result.objective_initial
        self.objective_final_ = result.objective_final
        self.feature_distance_initial_ = result.feature_distance_initial
        self.feature_distance_final_ = result.feature_distance_final
        # scikit-learn asks for at least 1, also where there was nothing to search.
        self.n_iter_ = int(result.n_iter.max(initial=1))
        return self

    def fit_transform(self, X: ArrayLike, y: ArrayLike | None = None) -> FloatArray:
        """Poison a training set.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            The training set, not changed.
        y : array-like of shape (n_samples,)
            Its labels, of at least two classes. They stay as they are.

        Returns
        -------
        ndarray of the shape of X
            A copy of X with the rows `poison_indices_` overwritten by `X_poison_`.
            Integers become float32.
        """
        self.fit(X, y)
        X_poisoned = _as_floats(validate_instances(self, X, reset=False)).copy()
        X_poisoned[self.poison_indices_] = self.X_poison_
        return X_poisoned.reshape(_shape(X))

    def transform(self, X: ArrayLike) -> FloatArray:
        """Return X unchanged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, *input_shape)
            Instances.

        Returns
        -------
        ndarray of the shape of X
            The instances. Integers become float32.
        """
        check_is_fitted(self)
        X_checked = _as_floats(validate_instances(self, X, reset=False))
        return X_checked.reshape(_shape(X))

    def _targets(
        self,
        X: FloatArray,
        y: NDArray[Any],
        classes: NDArray[Any],
        rng: np.random.RandomState,
    ) -> tuple[FloatArray, NDArray[Any] | None]:
        """Return the targets, and their labels where the surrogate is not needed."""
        if self.X_target is not None:
            X_target = _checked_targets(self.X_target, X)
            return X_target, labels_per_target(
                "target_label", self.target_label, len(X_target), classes
            )
        # One row, of the asked class, or at least not of the class of the bases.
        target_label = labels_per_target("target_label", self.target_label, 1, classes)
        base_label = labels_per_target("base_label", self.base_label, 1, classes)
        is_candidate = np.ones(len(y), dtype=bool)
        if target_label is not None:
            is_candidate = y == target_label
        elif base_label is not None:
            is_candidate = y != base_label
        row = rng.choice(np.flatnonzero(is_candidate), size=1)
        return X[row], y[row]

    def _groups(
        self, base_label: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Label of the poisons of each group, and the group of each target."""
        if not self.joint_targets:
            return base_label, np.arange(len(base_label))
        group_label, target_group = np.unique(base_label, return_inverse=True)
        return group_label, target_group

    def _check_bases(
        self,
        y: NDArray[Any],
        base_label: NDArray[Any] | None,
        target_label: NDArray[Any] | None,
    ) -> None:
        if base_label is None:
            return
        check_bases(y, base_label, target_label, 0)
        group_label, target_group = self._groups(base_label)
        check_bases(y, group_label, None, self.budget)
        attack = resolve_attack(self.attack)
        if len(group_label) < len(target_group) and not attack.takes_several_targets:
            raise ValueError(
                f"joint_targets=True gives one group of poisons several targets, but "
                f"attack={attack.name!r} takes one"
            )

    def _fitted_estimator(self, X: FloatArray, y: NDArray[Any], seed: int) -> Any:
        if isinstance(self.estimator, torch.nn.Module | tuple):
            return self.estimator
        if self.estimator is None:
            from sklgm.classifiers import SoftmaxClassifier

            estimator = SoftmaxClassifier(device=self.device)
        else:
            estimator = clone(self.estimator)
        _seed(estimator, seed)
        with interrupts_raised():
            return estimator.fit(X, y)

    def __sklearn_tags__(self) -> Tags:
        """Tags: y is required, images are welcome, the float type is kept."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _checked_surrogate(
    estimator: Any, X: FloatArray, classes: NDArray[Any], device: torch.device
) -> Surrogate:
    """Adapt the surrogate; one without labels has those of y."""
    if not isinstance(estimator, torch.nn.Module | tuple):
        return make_surrogate(estimator, device=device)
    surrogate = make_surrogate(estimator, classes=classes, device=device)
    with torch.no_grad():
        row = torch.from_numpy(X[:1].copy()).to(surrogate.device)
        n_logits = surrogate.log_joint(surrogate.features(row)).shape[1]
    if n_logits != len(classes):
        raise ValueError(
            f"estimator gives {n_logits} logits, but y has {len(classes)} classes"
        )
    return surrogate


def _seed(estimator: Any, seed: int) -> None:
    """Set every ``random_state`` that is None, so that one seed fixes the attack."""
    rng = np.random.RandomState(seed)
    params = estimator.get_params(deep=True)
    names = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    seeds = {name: draw_seed(rng) for name in names if params[name] is None}
    estimator.set_params(**seeds)


def _shape(X: ArrayLike) -> tuple[int, ...]:
    return X.shape if hasattr(X, "shape") else np.asarray(X).shape


def _as_floats(X: NDArray[Any]) -> FloatArray:
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    return X.astype(dtype, copy=False)


def _checked_classes(y: NDArray[Any]) -> NDArray[Any]:
    classes: NDArray[Any] = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            "y must have at least 2 classes, a target's and a base's; got one class"
        )
    return classes


def _checked_pixel_range(
    pixel_range: tuple[ArrayLike, ArrayLike] | None, X: FloatArray
) -> tuple[ArrayLike, ArrayLike]:
    if pixel_range is None:
        # Columns may have different units; the pixels of an image share one.
        axis = 0 if X.ndim == 2 else None
        return X.min(axis=axis), X.max(axis=axis)
    if len(pixel_range) != 2:
        raise ValueError(f"pixel_range must be (low, high), got {pixel_range!r}")
    low, high = (np.asarray(bound, dtype=X.dtype) for bound in pixel_range)
    if (low > high).any() or (X < low).any() or (X > high).any():
        raise ValueError(
            f"X must lie in pixel_range={pixel_range!r}, given as (low, high); got "
            f"values in [{X.min()}, {X.max()}]"
        )
    return low, high


def _checked_targets(X_target: ArrayLike, X: FloatArray) -> FloatArray:
    targets = check_array(X_target, allow_nd=True, dtype=X.dtype, input_name="X_target")
    if math.prod(targets.shape[1:]) != math.prod(X.shape[1:]):
        raise ValueError(
            f"X_target must hold instances of shape {X.shape[1:]} like X, got shape "
            f"{targets.shape[1:]}"
        )
    instances: FloatArray = targets.reshape(len(targets), *X.shape[1:])
    return instances


def _predicted_labels(surrogate: Surrogate, X_target: FloatArray) -> NDArray[Any]:
    if surrogate.classes is None:
        raise ValueError(
            "target_label must be given: the estimator has no classes_ to name its "
            "predictions with"
        )
    rows = torch.from_numpy(X_target.copy()).to(surrogate.device)
    labels: NDArray[Any] = surrogate.classes[surrogate.predict(rows).cpu().numpy()]
    return labels
