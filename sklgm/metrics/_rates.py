"""Rates with their counts and intervals, and differences of paired rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, sem
from scipy.stats import t as student_t


@dataclass(frozen=True)
class Rate:
    """A share of successes with its confidence interval and its counts.

    Parameters
    ----------
    value : float
        ``n_success / n_targets``, in [0, 1]; nan if ``n_targets`` is 0.
    low : float
        Lower end of the interval, in [0, 1].
    high : float
        Upper end of the interval, in [0, 1].
    n_success : int
        Number of successes.
    n_targets : int
        Number of cases that count.

    See Also
    --------
    wilson_rate : Makes one from the two counts.
    """

    value: float
    low: float
    high: float
    n_success: int
    n_targets: int


def wilson_rate(n_success: int, n_targets: int, *, confidence: float = 0.95) -> Rate:
    """Share of successes with a Wilson score interval.

    Parameters
    ----------
    n_success : int
        Number of successes, in [0, `n_targets`].
    n_targets : int
        Number of cases, at least 0.
    confidence : float, default=0.95
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Rate
        With ``n_targets == 0`` nothing is known: the value is nan and the interval
        is (0, 1).

    Raises
    ------
    ValueError
        If the counts are negative, `n_success` exceeds `n_targets`, or `confidence`
        is not in (0, 1).

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22, 1927.

    Examples
    --------
    >>> from sklgm.metrics import wilson_rate
    >>> rate = wilson_rate(3, 20)
    >>> f"{rate.value:.2f} [{rate.low:.3f}, {rate.high:.3f}]"
    '0.15 [0.052, 0.360]'
    """
    check_confidence(confidence)
    if n_targets < 0:
        raise ValueError(f"n_targets={n_targets!r} must be at least 0.")
    if not 0 <= n_success <= n_targets:
        raise ValueError(
            f"n_success={n_success!r} must be in [0, n_targets={n_targets!r}]."
        )
    if n_targets == 0:
        return Rate(float("nan"), 0.0, 1.0, 0, 0)
    interval = binomtest(int(n_success), int(n_targets)).proportion_ci(
        confidence, method="wilson"
    )
    return Rate(
        value=float(n_success / n_targets),
        low=float(interval.low),
        high=float(interval.high),
        n_success=int(n_success),
        n_targets=int(n_targets),
    )


@dataclass(frozen=True)
class RateDifference:
    """A difference of two rates over the same cases, with its confidence interval.

    Parameters
    ----------
    value : float
        First rate minus second, in [-1, 1]; nan if ``n`` is 0.
    low : float
        Lower end of the interval, in [-1, 1].
    high : float
        Upper end of the interval, in [-1, 1].
    n : int
        Number of cases, each with an outcome in both.

    See Also
    --------
    paired_rate_difference : Makes one from the outcomes.
    """

    value: float
    low: float
    high: float
    n: int


def paired_rate_difference(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95
) -> RateDifference:
    """Difference of two success rates over the same cases, with its interval.

    For two attacks on the same targets, or two models on the same rows. Cases that
    are easy for both cancel out, so the interval is mostly narrower than what two
    separate intervals suggest.

    Parameters
    ----------
    first : array-like of shape (n_cases,)
        Whether each case is a success: true and false, or 1 and 0.
    second : array-like of shape (n_cases,)
        The same for the same cases, in the same order.
    confidence : float, default=0.95
        Coverage of the interval, in (0, 1).

    Returns
    -------
    RateDifference
        Rate of `first` minus rate of `second`. Without cases nothing is known: the
        value is nan and the interval is (-1, 1).

    Raises
    ------
    ValueError
        If an input is not one-dimensional, of another length than the other, or
        holds other values than true and false; if `confidence` is not in (0, 1).

    See Also
    --------
    wilson_rate : The interval of a single rate.

    Notes
    -----
    Method 10 of Newcombe (1998), square-and-add. With a cases that are a success in
    both, b in `first` only, c in `second` only and d in neither, n = a + b + c + d,
    rates p1 = (a + b) / n and p2 = (a + c) / n, and their Wilson intervals (l1, u1)
    and (l2, u2)::

        low  = p1 - p2 - sqrt((p1 - l1)^2 - 2 phi (p1 - l1) (u2 - p2) + (u2 - p2)^2)
        high = p1 - p2 + sqrt((p2 - l2)^2 - 2 phi (p2 - l2) (u1 - p1) + (u1 - p1)^2)
        phi  = C / sqrt((a + b) (c + d) (a + c) (b + d)), and 0 where that is 0 / 0
        C    = max(a d - b c - n / 2, 0) where a d > b c, else a d - b c

    The n / 2 is a continuity correction of the correlation. Targets are the cases:
    the interval covers their draw, not that of the trained networks.

    References
    ----------
    R. G. Newcombe, "Improved confidence intervals for the difference between
    binomial proportions based on paired data", Statistics in Medicine 17, 1998.

    Examples
    --------
    >>> from sklgm.metrics import paired_rate_difference
    >>> difference = paired_rate_difference([1, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1])
    >>> f"{difference.value:.2f} [{difference.low:.2f}, {difference.high:.2f}]"
    '0.33 [-0.15, 0.65]'
    """
    check_confidence(confidence)
    in_first = _check_outcomes(first, "first")
    in_second = _check_outcomes(second, "second")
    if in_first.shape != in_second.shape:
        raise ValueError(
            f"second has {in_second.size} entries but first has {in_first.size}."
        )
    n = in_first.size
    if n == 0:
        return RateDifference(float("nan"), -1.0, 1.0, 0)
    rate_1 = wilson_rate(int(in_first.sum()), n, confidence=confidence)
    rate_2 = wilson_rate(int(in_second.sum()), n, confidence=confidence)
    phi = _corrected_correlation(in_first, in_second)
    value = rate_1.value - rate_2.value
    below = _square_and_add(rate_1.value - rate_1.low, rate_2.high - rate_2.value, phi)
    above = _square_and_add(rate_2.value - rate_2.low, rate_1.high - rate_1.value, phi)
    return RateDifference(value, max(-1.0, value - below), min(1.0, value + above), n)


def attack_success_rate(
    predicted_labels: ArrayLike,
    base_labels: ArrayLike,
    *,
    control_labels: ArrayLike | None = None,
    target_labels: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Rate:
    """Share of targets that are predicted as their base label after retraining.

    A weak classifier misses some targets without any attack. Given what the same
    training without poisons predicts (the control arm), only the targets that it
    gets right count.

    Parameters
    ----------
    predicted_labels : array-like of shape (n_targets,)
        Labels that the retrained model gives the targets.
    base_labels : array-like of shape (n_targets,)
        Label that the poisons of each target claim.
    control_labels : array-like of shape (n_targets,), default=None
        Labels that the model retrained without poisons gives the targets.
    target_labels : array-like of shape (n_targets,), default=None
        True labels of the targets. Needed exactly when `control_labels` is given.
    confidence : float, default=0.95
        Coverage of the Wilson interval, in (0, 1).

    Returns
    -------
    Rate
        ``n_targets`` is the number of targets that count. If none does, the value
        is nan and the interval is (0, 1).

    Raises
    ------
    ValueError
        If an input is empty, not one-dimensional or of another length than
        `predicted_labels`; if strings are compared with numbers; if only one of
        `control_labels` and `target_labels` is given; if a base label equals the
        true label of its target; if `confidence` is not in (0, 1).

    See Also
    --------
    make_attack_scorer : The same measure inside ``cross_validate``.

    Examples
    --------
    >>> from sklgm.metrics import attack_success_rate
    >>> rate = attack_success_rate(
    ...     ["cat", "dog", "cat", "cat"],
    ...     ["cat", "cat", "cat", "cat"],
    ...     control_labels=["dog", "dog", "cat", "dog"],
    ...     target_labels=["dog", "dog", "dog", "dog"],
    ... )
    >>> rate.n_success, rate.n_targets
    (2, 3)
    """
    predicted = _check_labels(predicted_labels, "predicted_labels")
    base = _check_labels(base_labels, "base_labels", like=predicted)
    if (control_labels is None) != (target_labels is None):
        given, missing = ("control_labels", "target_labels")
        if control_labels is None:
            given, missing = missing, given
        raise ValueError(
            f"{given} was given but {missing}=None: a control arm needs both."
        )
    counted = np.ones(predicted.shape, dtype=bool)
    if control_labels is not None and target_labels is not None:
        control = _check_labels(control_labels, "control_labels", like=predicted)
        target = _check_labels(target_labels, "target_labels", like=predicted)
        if np.any(base == target):
            index = int(np.flatnonzero(base == target)[0])
            raise ValueError(
                f"base_labels[{index}]={base[index]!r} equals target_labels[{index}]: "
                "the base label must differ from the true label of the target."
            )
        counted = control == target
    success = (predicted == base) & counted
    return wilson_rate(
        int(np.count_nonzero(success)),
        int(np.count_nonzero(counted)),
        confidence=confidence,
    )


def mean_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float, float]:
    """Mean of a sample with its Student-t interval.

    Parameters
    ----------
    values : array-like of shape (n_samples,)
        Finite numbers, such as one AUROC a trial.
    confidence : float in (0, 1), default=0.95
        Confidence level of the interval.
    bounds : tuple of (float, float), default=(-inf, inf)
        Range of the quantity; the interval is cut to it.

    Returns
    -------
    value, low, high : float
        The mean and the ends of the interval; both ends are nan where all values are
        the same (a single one among them), which says nothing of their spread.

    Raises
    ------
    ValueError
        If `values` is empty or not finite, or `confidence` is outside (0, 1).

    Examples
    --------
    >>> from sklgm.metrics import mean_interval
    >>> [round(x, 3) for x in mean_interval([0.8, 0.9, 1.0])]
    [0.9, 0.652, 1.148]
    """
    check_confidence(confidence)
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
        raise ValueError(
            f"values must be a non-empty 1-D array of finite numbers, got {values!r}"
        )
    mean = float(sample.mean())
    if np.ptp(sample) == 0.0:
        return mean, float("nan"), float("nan")
    quantile = student_t.ppf(0.5 + confidence / 2, len(sample) - 1)
    half = float(quantile * sem(sample))
    return mean, max(mean - half, bounds[0]), min(mean + half, bounds[1])


def make_attack_scorer(
    X_target: Any, base_label: ArrayLike
) -> Callable[[Any, Any, Any], float]:
    """Scorer of resistance to an attack: one minus the attack success rate.

    For ``scoring=`` of ``cross_validate`` and ``GridSearchCV``, where greater must
    be better: 1 means that no target was misled, 0 that all were. The estimator
    that is scored must have been fitted on poisoned rows (a `PoisonCrafter` step,
    or poisons already among the rows). The held-out fold is not used.

    Parameters
    ----------
    X_target : array-like of shape (n_targets, ...)
        Target instances, as the estimator's ``predict`` takes them.
    base_label : label, or array-like of shape (n_targets,)
        The label that the poisons claim: one for all targets, or one per target.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)`` returning a float in [0, 1]. It pickles.

    Raises
    ------
    ValueError
        If `X_target` is empty or `base_label` has another length.

    See Also
    --------
    attack_success_rate : With interval, and with a control arm.

    Notes
    -----
    There is no control arm: a target that the estimator gives the base label
    without any attack counts as a success of the attack.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklgm.metrics import make_attack_scorer
    >>> X, y = np.zeros((4, 2)), np.array([0, 0, 0, 1])
    >>> scorer = make_attack_scorer(X_target=np.ones((2, 2)), base_label=[0, 1])
    >>> scorer(DummyClassifier().fit(X, y), X, y)
    0.5
    """
    shape = np.shape(X_target)
    if not shape or shape[0] == 0:
        raise ValueError(
            f"X_target of shape {shape} must hold at least one target instance."
        )
    base_labels = np.asarray(base_label)
    if base_labels.ndim == 0:
        base_labels = np.full(shape[0], base_labels)
    if base_labels.shape != (shape[0],):
        raise ValueError(
            f"base_label of shape {base_labels.shape} must be one label or one for "
            f"each of the {shape[0]} rows of X_target."
        )
    return _AttackScorer(X_target, base_labels)


@dataclass(frozen=True, eq=False)
class _AttackScorer:
    """What `make_attack_scorer` returns; a class, so that it pickles."""

    X_target: Any
    base_labels: NDArray[Any]

    def __call__(self, estimator: Any, X: Any = None, y: Any = None) -> float:
        """One minus the attack success rate of `estimator` on the targets."""
        rate = attack_success_rate(estimator.predict(self.X_target), self.base_labels)
        return 1.0 - rate.value

    def __repr__(self) -> str:
        return f"make_attack_scorer(<{len(self.base_labels)} targets>)"


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must be in (0, 1).")


def _check_outcomes(outcomes: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return a vector of true and false, perhaps empty."""
    array = np.asarray(outcomes)
    if array.ndim != 1:
        raise ValueError(f"{name} of shape {array.shape} must be one-dimensional.")
    values = np.unique(array)
    if array.size and (
        array.dtype.kind not in "biuf" or not np.all((values == 0) | (values == 1))
    ):
        raise ValueError(
            f"{name} must hold true and false (or 1 and 0), got {values[:5]}."
        )
    return array.astype(bool)


def _corrected_correlation(
    in_first: NDArray[np.bool_], in_second: NDArray[np.bool_]
) -> float:
    """Phi of a paired table with Newcombe's continuity correction."""
    n = in_first.size
    n_both = int(np.count_nonzero(in_first & in_second))
    n_first, n_second = int(in_first.sum()), int(in_second.sum())
    spread = n_first * (n - n_first) * n_second * (n - n_second)
    if spread == 0:
        return 0.0
    # a d - b c, in the margins of the table.
    determinant = float(n * n_both - n_first * n_second)
    if determinant > 0:
        determinant = max(determinant - n / 2, 0.0)
    return float(determinant / np.sqrt(float(spread)))


def _square_and_add(length_1: float, length_2: float, phi: float) -> float:
    """Length of the difference of two correlated deviations."""
    square = length_1**2 - 2 * phi * length_1 * length_2 + length_2**2
    return float(np.sqrt(max(square, 0.0)))


def _check_labels(
    labels: ArrayLike, name: str, *, like: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Labels as a non-empty vector, comparable with `like` where that is given."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} of shape {array.shape} must be one-dimensional and not empty."
        )
    if like is None:
        return array
    if array.shape != like.shape:
        raise ValueError(
            f"{name} has {array.size} entries but predicted_labels has {like.size}."
        )
    # numpy calls 3 and "3" unequal without a word: a silent success rate of 0.
    if {array.dtype.kind, like.dtype.kind} & set("SU") and (
        array.dtype.kind in "biuf" or like.dtype.kind in "biuf"
    ):
        raise ValueError(
            f"{name} (dtype {array.dtype}) and predicted_labels (dtype {like.dtype}) "
            "mix strings and numbers."
        )
    return array
