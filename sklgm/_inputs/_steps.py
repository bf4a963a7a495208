"""The estimator inside a Pipeline or a FrozenEstimator, and what comes before it."""

from __future__ import annotations

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline


def split_steps(estimator: Any) -> tuple[list[Any], Any]:
    """Split an estimator into its last step and those before it.

    Parameters
    ----------
    estimator : estimator
        Any estimator, Pipeline, or FrozenEstimator of either, to any depth.

    Returns
    -------
    steps_before : list of transformers
        Those that X passes before it reaches the last step.
    last_step : estimator
        Neither a Pipeline nor frozen.
    """
    steps_before = []
    while isinstance(estimator, (FrozenEstimator, Pipeline)):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        else:
            if len(estimator) > 1:
                steps_before.append(estimator[:-1])
            estimator = estimator[-1]
    return steps_before, estimator


def transform_by_steps(steps: list[Any], X: Any) -> Any:
    """Pass instances through transformers in turn.

    Parameters
    ----------
    steps : list of transformers
        Fitted ones; none leaves X as it is.
    X : array-like of shape (n_samples, ...)
        Instances.

    Returns
    -------
    array-like of shape (n_samples, ...)
        What the last of them returns.
    """
    for step in steps:
        X = step.transform(X)
    return X
