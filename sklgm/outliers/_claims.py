"""What a fitted model says of features and claimed labels."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from torch import Tensor

from sklgm._inputs import split_steps, transform_by_steps
from sklgm.gaussian import (
    estimate_gaussians,
    log_density,
    log_determinant,
    squared_mahalanobis,
)

# Share of each class that the Gaussians on the input columns leave out.
_COLUMN_TRIM = 0.25
# Variance of a column that is constant in every class, in units of its scale.
_CONSTANT_VARIANCE = 1e-3
# Rows whose densities are computed at once.
_CHUNK = 4096
_LOWEST = np.finfo(np.float64).min


@dataclass(frozen=True)
class ColumnGaussians:
    """Trimmed diagonal class Gaussians on the input columns.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, or ``[0]`` for a single unlabelled Gaussian.
    priors_ : ndarray of shape (n_classes,)
        Shares of the classes.
    means_ : ndarray of shape (n_classes, n_features)
        Class means.
    log_variances_ : ndarray of shape (n_classes, n_features)
        Natural log of the variances.
    n_dimensions_ : int
        Number of columns that vary within a class.
    """

    classes_: NDArray[Any]
    priors_: NDArray[np.float64]
    means_: NDArray[np.float64]
    log_variances_: NDArray[np.float64]
    n_dimensions_: int

    @classmethod
    def from_rows(cls, X: ArrayLike, y: NDArray[Any] | None) -> Self:
        """Estimate from rows (n_samples, ...), flattened; y None: one Gaussian.

        The floor of the variances is a share of their average over columns, so that
        columns are brought to one scale first: their units change no score.
        """
        rows = np.array(X, dtype=np.float64)  # a copy, to be scaled in place
        rows = rows.reshape(len(rows), -1)
        labels = np.zeros(len(rows), dtype=np.int64) if y is None else y
        classes, y_encoded = np.unique(labels, return_inverse=True)
        scales, varies = _column_scales(rows, y_encoded, relative_rounding(X))
        rows /= scales
        # What never varies within a class has no part in the choice of rows.
        _, first_rows = np.unique(y_encoded, return_index=True)
        means = rows[first_rows]
        log_variances = np.full_like(means, np.log(_CONSTANT_VARIANCE))
        if varies.any():
            estimate = estimate_gaussians(
                torch.from_numpy(rows if varies.all() else rows[:, varies]),
                torch.from_numpy(y_encoded),
                len(classes),
                covariance_type="diag",
                trim=_COLUMN_TRIM,
            )
            means[:, varies] = estimate.means.numpy()
            log_variances[:, varies] = estimate.log_variances.numpy()
        return cls(
            classes,
            np.bincount(y_encoded) / len(y_encoded),
            means * scales,
            log_variances + 2.0 * np.log(scales),
            int(varies.sum()),
        )

    def predict_joint_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log joint ``log pi_k + log N_k(x)``, shape (n_samples, n_classes)."""
        rows = np.asarray(X)
        means = torch.tensor(self.means_)
        log_variances = torch.tensor(self.log_variances_)
        n_classes, n_features = means.shape
        log_determinants = log_determinant(log_variances, "diag", n_classes, n_features)
        joint = np.empty((len(rows), n_classes))
        for start in range(0, len(rows), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            density = log_density(
                squared_mahalanobis(
                    _flat_rows(rows[chunk]), means, log_variances, "diag"
                ),
                log_determinants,
                n_features,
            )
            joint[chunk] = density.numpy()
        joint += np.log(self.priors_)
        return joint

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log posterior ``log p(k | x)``, shape (n_samples, n_classes)."""
        joint = self.predict_joint_log_proba(X)
        total = logsumexp(joint, axis=1, keepdims=True)
        log_proba: NDArray[np.float64] = joint - np.maximum(total, _LOWEST)
        return log_proba


def relative_rounding(X: ArrayLike) -> float:
    """Relative rounding error of values.

    Parameters
    ----------
    X : array-like
        Values.

    Returns
    -------
    float
        Machine epsilon of a floating type, else that of float64.
    """
    dtype = np.asarray(X).dtype
    is_floating = np.issubdtype(dtype, np.floating)
    return float(np.finfo(dtype if is_floating else np.float64).eps)


def _column_scales(
    rows: NDArray[np.float64], y_encoded: NDArray[np.int64], rounding: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Typical deviation within classes of each column, and whether there is any.

    It is the median of those deviations from the class median that are not 0, which
    neither outliers nor a column that is mostly 0 decide. A column without any takes
    the deviations from the median of all rows, then its absolute value, then 1.
    """
    of_classes = [np.flatnonzero(y_encoded == k) for k in np.unique(y_encoded)]
    n_columns = rows.shape[1]
    scales, varies = np.ones(n_columns), np.zeros(n_columns, dtype=bool)
    for j in range(n_columns):
        column = rows[:, j].copy()
        negligible = 8.0 * rounding * np.abs(column)
        within = column.copy()
        for of_class in of_classes:
            within[of_class] -= np.median(within[of_class])
        for deviations in (within, column - np.median(column), column):
            sizes = np.abs(deviations)
            sizes = sizes[sizes > negligible]
            if len(sizes) > 0:
                scales[j] = np.median(sizes)
                varies[j] = deviations is within
                break
    return scales, varies


def claimed_log_density(
    model: Any, X: Any, claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log density of each row's features under the class it claims.

    Parameters
    ----------
    model : fitted classifier
        With ``predict_joint_log_proba`` and class priors (:class:`LGMClassifier`,
        ``GaussianNB``), or a Pipeline that ends in one.
    X : ndarray or DataFrame of shape (n_samples, ...)
        Instances.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``log N_z(f)``, natural log, float64.

    Raises
    ------
    ValueError
        If the model has no class Gaussians.
    """
    joint, log_priors = _log_joint(model, X)
    density: NDArray[np.float64] = joint[np.arange(len(claimed)), claimed]
    return density - log_priors[claimed]


def claimed_log_density_and_posterior(
    model: Any, X: Any, claimed: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log density under the claimed class, and its log posterior, in one pass.

    Parameters
    ----------
    model : fitted classifier
        As for :func:`claimed_log_density`.
    X : ndarray or DataFrame of shape (n_samples, ...)
        Instances.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.

    Returns
    -------
    density, posterior : ndarray of shape (n_samples,)
        ``log N_z(f)`` and ``log p(z | f)``, natural log, float64.

    Raises
    ------
    ValueError
        If the model has no class Gaussians.
    """
    joint, log_priors = _log_joint(model, X)
    own = joint[np.arange(len(claimed)), claimed]
    return own - log_priors[claimed], _log_posterior(joint, claimed)


def _log_posterior(
    joint: NDArray[np.float64], claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log posterior from ``log p(k | f)`` plus any constant a row, (n_samples, K).

    By the odds against the claim: a sure row has not 0, but a small number below it,
    so that sure rows keep their order until those odds underflow, at ``exp(-745)``.
    """
    rows = np.arange(len(claimed))
    own = joint[rows, claimed]
    others = joint.copy()
    others[rows, claimed] = -np.inf
    # Of a row that is infinitely far from every class no label is likely.
    is_possible = own > -np.inf
    log_odds = np.full(len(own), np.inf)  # against the claim
    log_odds[is_possible] = logsumexp(others[is_possible], axis=1) - own[is_possible]
    posterior: NDArray[np.float64] = -np.logaddexp(0.0, log_odds)
    return posterior


def _log_joint(model: Any, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``log pi_k + log N_k(f)``, (n_samples, n_classes), and ``log pi_k``."""
    last, Xt = _last_step(model, X)
    priors = getattr(last, "priors_", getattr(last, "class_prior_", None))
    if priors is None or not hasattr(last, "predict_joint_log_proba"):
        raise ValueError(_NO_DENSITY.format(name=type(last).__name__))
    joint = np.asarray(last.predict_joint_log_proba(Xt), dtype=np.float64)
    return joint, np.log(priors)


def gaussian_dimensions(model: Any) -> int:
    """Dimension of the class Gaussians of a model.

    Parameters
    ----------
    model : fitted classifier
        As for :func:`claimed_squared_mahalanobis`.

    Returns
    -------
    int
        Number d of feature dimensions; of ``GaussianNB`` and
        :class:`ColumnGaussians` without those that are constant in every class.

    Raises
    ------
    ValueError
        If the model has no class Gaussians that are known.
    """
    last = split_steps(model)[1]
    variances = _class_variances(last)
    if isinstance(last, ColumnGaussians):
        return max(last.n_dimensions_, 1)
    # Naive Bayes adds epsilon_ to all variances.
    varies = variances > getattr(last, "epsilon_", 0.0) * (1.0 + 1e-6)
    return max(int(varies.any(axis=0).sum()), 1)


def claimed_squared_mahalanobis(
    model: Any, X: Any, claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Squared Mahalanobis distance of each row to the class it claims.

    Parameters
    ----------
    model : fitted classifier
        An :class:`LGMClassifier`, ``GaussianNB`` or :class:`ColumnGaussians`, or a
        Pipeline that ends in one.
    X : ndarray or DataFrame of shape (n_samples, ...)
        Instances.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``D_z = -2 log N_z(f) - log|Sigma_z| - d log 2 pi``, without one half, >= 0.

    Raises
    ------
    ValueError
        If the model has no class Gaussians that are known.
    """
    variances = _class_variances(split_steps(model)[1])
    at_mean = np.log(2.0 * np.pi * variances).sum(axis=1)
    density = claimed_log_density(model, X, claimed)
    squared: NDArray[np.float64] = -2.0 * density - at_mean[claimed]
    return np.maximum(squared, 0.0)  # float32 densities may exceed their maximum


def _class_variances(last: Any) -> NDArray[np.float64]:
    """Variances of every class and dimension, (n_classes, feature_dim)."""
    if hasattr(last, "log_variances_"):  # ColumnGaussians
        return np.exp(np.asarray(last.log_variances_, dtype=np.float64))
    if hasattr(last, "var_"):  # GaussianNB
        return np.asarray(last.var_, dtype=np.float64)
    if not (hasattr(last, "means_") and hasattr(last, "covariance_type")):
        raise ValueError(_NO_DENSITY.format(name=type(last).__name__))
    variances = np.asarray(last.covariances_, dtype=np.float64)
    if last.covariance_type == "spherical":
        variances = variances[:, None]  # (n_classes, 1)
    return np.broadcast_to(variances, np.shape(last.means_))


def claimed_log_posterior(
    model: Any, X: Any, claimed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log posterior probability of the class that each row claims.

    Parameters
    ----------
    model : fitted classifier
        Anything with ``predict_log_proba`` or ``predict_proba``.
    X : ndarray or DataFrame of shape (n_samples, ...)
        Instances.
    claimed : ndarray of shape (n_samples,)
        Indices of the claimed classes.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``log p(z | f)`` <= 0, natural log, float64.

    Raises
    ------
    ValueError
        If the model gives no probabilities, or knows one class only.
    """
    with np.errstate(divide="ignore"):  # a tree takes the logarithm of 0
        if hasattr(model, "predict_log_proba"):
            log_proba = np.asarray(model.predict_log_proba(X), dtype=np.float64)
        elif hasattr(model, "predict_proba"):
            log_proba = np.log(np.asarray(model.predict_proba(X), dtype=np.float64))
        else:
            raise ValueError(
                "the posterior of a claim needs an estimator with predict_proba; "
                f"{type(split_steps(model)[1]).__name__} has none"
            )
    if log_proba.shape[1] < 2:
        raise ValueError(
            "the posterior of a claim compares classes, but there is one: give rows of "
            "two classes at least, or score_kind='likelihood', or no labels"
        )
    # A probability that underflowed, or that no class has, still ranks last.
    return np.maximum(_log_posterior(log_proba, claimed), _LOWEST)


def has_mixture_density(model: Any) -> bool:
    """Whether :func:`mixture_log_density` takes the model.

    Parameters
    ----------
    model : fitted classifier
        Any model.

    Returns
    -------
    bool
        Whether it, or the last step of a Pipeline, gives densities.
    """
    _, last = split_steps(model)
    return hasattr(last, "predict_joint_log_proba") or hasattr(last, "score_samples")


def mixture_log_density(model: Any, X: Any) -> NDArray[np.float64]:
    """Log density of each row's features whatever its label.

    Parameters
    ----------
    model : fitted classifier
        With ``predict_joint_log_proba``, else with ``score_samples``.
    X : ndarray or DataFrame of shape (n_samples, ...)
        Instances.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``log sum_k pi_k N_k(f)``, or the model's own ``score_samples``; float64.

    Raises
    ------
    ValueError
        If the model has neither.
    """
    last, Xt = _last_step(model, X)
    if hasattr(last, "predict_joint_log_proba"):
        joint = np.asarray(last.predict_joint_log_proba(Xt), dtype=np.float64)
        density: NDArray[np.float64] = logsumexp(joint, axis=1)
        return density
    if hasattr(last, "score_samples"):
        return np.asarray(last.score_samples(Xt), dtype=np.float64)
    raise ValueError(_NO_DENSITY.format(name=type(last).__name__))


_NO_DENSITY = (
    "estimator {name} has no class Gaussians: use an LGMClassifier, or fit Gaussians "
    "on its features with make_pipeline(FrozenEstimator(fitted), "
    "LGMClassifier(backbone='identity', max_epochs=0, trim=0.25)), or give labels and "
    "score_kind='posterior'"
)


def _flat_rows(X: ArrayLike) -> Tensor:
    rows = np.array(X, dtype=np.float64)  # a copy: torch wants to own it
    return torch.from_numpy(rows.reshape(len(rows), -1))


def _last_step(model: Any, X: Any) -> tuple[Any, Any]:
    """Last step of a pipeline and its input; any other model and X."""
    steps_before, last = split_steps(model)
    return last, transform_by_steps(steps_before, X)
