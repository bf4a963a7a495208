"""Certified accuracy: right, and proved to stay so under a number of poisons."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_consistent_length

from sklgm.metrics._rates import Rate, wilson_rate


def certified_accuracy(
    y_true: ArrayLike,
    predicted_labels: ArrayLike,
    certified_poisons: ArrayLike,
    n_poisons: int,
    *,
    confidence: float = 0.95,
) -> Rate:
    """Share of rows that are right and proved to stay so under so many poisons.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    predicted_labels : array-like of shape (n_samples,)
        Predictions.
    certified_poisons : array-like of shape (n_samples,)
        Poisons that each prediction withstands, as a classifier's
        ``certified_poisons`` returns them.
    n_poisons : int >= 0
        Number of poisons; 0 gives the accuracy.
    confidence : float in (0, 1), default=0.95
        Coverage of the Wilson interval.

    Returns
    -------
    Rate
        The share with its interval over rows.

    Raises
    ------
    ValueError
        If lengths differ, there is no row, or ``n_poisons`` is negative.

    Examples
    --------
    >>> from sklgm.metrics import certified_accuracy
    >>> certified_accuracy([0, 1, 1], [0, 1, 0], [5, 2, 9], n_poisons=3).n_success
    1
    """
    _check_n_poisons(n_poisons)
    check_consistent_length(y_true, predicted_labels, certified_poisons)
    if len(np.asarray(y_true)) == 0:
        raise ValueError("y_true must have at least 1 row")
    is_right = np.asarray(y_true) == np.asarray(predicted_labels)
    holds = is_right & (np.asarray(certified_poisons) >= n_poisons)
    return wilson_rate(int(holds.sum()), len(holds), confidence=confidence)


def predict_certified(
    estimator: Any, X: Any, **parameters: Any
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Predictions, and how many poisons each provably withstands.

    Parameters
    ----------
    estimator : fitted classifier, Pipeline or FrozenEstimator
        A classifier with ``certified_poisons``, or what ends in one.
    X : array-like of shape (n_samples, ...)
        Rows, as the estimator's ``predict`` takes them.
    **parameters : dict
        For ``certified_poisons`` of the estimator: ``threat``, ``change``,
        ``assume_trusted_features``, of the steps before it, too.

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        Predicted labels.
    counts : ndarray of int of shape (n_samples,)
        What ``certified_poisons`` returns.

    Raises
    ------
    TypeError
        If the classifier has no ``certified_poisons``.
    ValueError
        If a step of a Pipeline before it was fitted to the rows in question, unless
        ``assume_trusted_features``: poisons may do anything to it.
    """
    assumes = bool(parameters.get("assume_trusted_features", False))
    while isinstance(estimator, Pipeline | FrozenEstimator):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        for name, step in estimator.steps[:-1]:
            if not assumes and _learns(step):
                raise ValueError(
                    f"the step {name!r} was fitted to the rows in question, so that "
                    "poisons among them could be anything to it: fit it to trusted "
                    "rows and put it into a FrozenEstimator, or set "
                    "assume_trusted_features=True"
                )
        if len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator[-1]
    if not hasattr(estimator, "certified_poisons"):
        raise TypeError(
            f"estimator {type(estimator).__name__} has no certified_poisons: take "
            "a RobustGaussianClassifier, LGMClassifier or PartitionedClassifier"
        )
    takes = inspect.signature(estimator.certified_poisons).parameters
    if "assume_trusted_features" not in takes:  # it was about the steps alone
        parameters.pop("assume_trusted_features", None)
    return estimator.predict(X), estimator.certified_poisons(X, **parameters)


def _learns(step: Any) -> bool:
    """Whether what a step does depends on the rows that it was fitted to."""
    if step is None or isinstance(step, str | FrozenEstimator):  # passed on, or dropped
        return False
    if isinstance(step, Pipeline):
        return any(_learns(part) for _, part in step.steps)
    if isinstance(step, FeatureUnion):
        return any(_learns(part) for _, part in step.transformer_list)
    if hasattr(step, "transformers_"):  # a ColumnTransformer
        return any(_learns(part) for _, part, _ in step.transformers_)
    return bool(get_tags(step).requires_fit)


def make_certified_scorer(
    n_poisons: int, **parameters: Any
) -> Callable[[Any, Any, Any], float]:
    """Scorer of certified accuracy, to choose settings by.

    For ``scoring=`` of ``cross_validate`` and ``GridSearchCV``. The score counts the
    rows of the held-out fold that are right and whose prediction is proved to
    withstand so many poisoned training rows. The rows must be trusted for this
    choice: a certificate is about rows that come later, or about those it was given.

    Parameters
    ----------
    n_poisons : int >= 0
        Number of poisons; 0 gives the accuracy.
    **parameters : dict
        For ``certified_poisons`` of the estimator: ``threat``, ``change``,
        ``assume_trusted_features``.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` returning a float in [0, 1], for a classifier with
        ``certified_poisons``, or a Pipeline or FrozenEstimator that ends in one. It
        pickles.

    Raises
    ------
    ValueError
        If ``n_poisons`` is negative.

    See Also
    --------
    certified_accuracy : With its interval.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklgm import RobustGaussianClassifier
    >>> from sklgm.metrics import make_certified_scorer
    >>> search = GridSearchCV(
    ...     RobustGaussianClassifier(variance=1.0, trim=0.25),
    ...     {"location": ["median", "trimmed_mean"]},
    ...     scoring=make_certified_scorer(15),
    ... )
    >>> search.fit(*load_iris(return_X_y=True)).best_params_
    {'location': 'median'}
    """
    _check_n_poisons(n_poisons)
    return _CertifiedScorer(int(n_poisons), parameters)


@dataclass(frozen=True)
class _CertifiedScorer:
    """What `make_certified_scorer` returns; a class, so that it pickles."""

    n_poisons: int
    parameters: dict[str, Any] = field(default_factory=dict)

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Certified accuracy of a fitted estimator on the rows."""
        labels, counts = predict_certified(estimator, X, **self.parameters)
        rate = certified_accuracy(y, labels, counts, self.n_poisons)
        return rate.value

    def __repr__(self) -> str:
        return f"make_certified_scorer({self.n_poisons})"


def _check_n_poisons(n_poisons: Any) -> None:
    if not isinstance(n_poisons, Integral) or isinstance(n_poisons, bool):
        raise TypeError(f"n_poisons must be an int, got {n_poisons!r}")
    if n_poisons < 0:
        raise ValueError(f"n_poisons must be at least 0, got {n_poisons!r}")
