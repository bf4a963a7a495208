"""Models that detectors train: a given classifier, or Gaussians on the columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.classifiers import RobustGaussianClassifier
from sklgm.outliers._evidence import Evidence, TrainedModel, fitted_estimator


def column_gaussians(X: Any, y: NDArray[Any] | None) -> RobustGaussianClassifier:
    """Trimmed diagonal class Gaussians on columns or features.

    Parameters
    ----------
    X : ndarray or DataFrame of shape (n_train, ...)
        Rows; instances of more dimensions are flattened.
    y : ndarray of shape (n_train,) or None
        Labels; None: one Gaussian, of class 0.

    Returns
    -------
    RobustGaussianClassifier
        Fitted, with ``covariance_type="diag"``: units of columns change no score.
    """
    labels = np.zeros(len(X), dtype=np.int64) if y is None else y
    return RobustGaussianClassifier(covariance_type="diag").fit(X, labels)


def train(estimator: Any, X: Any, y: NDArray[Any] | None) -> TrainedModel:
    """Train what a detector asks for posteriors or densities.

    Parameters
    ----------
    estimator : classifier, FrozenEstimator or None
        None: :func:`column_gaussians`.
    X : ndarray or DataFrame of shape (n_train, ...)
        Rows to train on.
    y : ndarray of shape (n_train,) or None
        Their claimed labels.

    Returns
    -------
    TrainedModel
        The fitted model.

    Raises
    ------
    ValueError
        As :func:`fitted_estimator`.
    """
    fitted = (
        column_gaussians(X, y)
        if estimator is None
        else fitted_estimator(estimator, X, y)
    )
    classes = np.asarray(getattr(fitted, "classes_", [0]))
    return TrainedModel(fitted, classes, len(X))


def check_posterior(evidence: Evidence, name: str) -> None:
    """Refuse a model that gives no probabilities.

    Parameters
    ----------
    evidence : Evidence
        What it says.
    name : str
        Name of the estimator.

    Raises
    ------
    ValueError
        If it gives none.
    """
    if evidence.log_proba is None:
        raise ValueError(
            "the posterior of a claim needs an estimator with predict_proba; "
            f"{name} has none"
        )
