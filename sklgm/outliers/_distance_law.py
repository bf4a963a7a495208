"""Law of squared Mahalanobis distances to Gaussians whose parameters were estimated."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.naive_bayes import GaussianNB

from sklgm.classifiers import RobustGaussianClassifier
from sklgm.gaussian import estimate_gaussians

# Rows of all simulated training sets together, and how many sets there are.
_SIMULATED_ROWS = 60_000
_FEWEST_SETS, _MOST_SETS = 12, 400
# A class of more rows is simulated with as many: what is estimated is then exact.
_MOST_ROWS_PER_CLASS = 1_000
# Rows of which a variance has so few degrees of freedom that distances have none.
_FEWEST_ROWS = 7


@dataclass(frozen=True, eq=False)
class DistanceLaw:
    """Law of the squared distance of a new row to the class that it claims.

    Features are taken to follow the class Gaussians, of which means and variances were
    estimated from few rows; the law of rows that were not among them is wider than the
    chi-square law. A score is ``(d - D) / sqrt(2 d)``.

    Attributes
    ----------
    n_dimensions : int
        Dimension d of the features, without those that never vary.
    scales : ndarray of shape (n_classes,)
        ``D_k / scales_k`` follows the F law below.
    denominators : ndarray of shape (n_classes,)
        Its degrees of freedom of the denominator; infinity is the chi-square law,
        divided by d. Those of the numerator are d.
    log_determinants : ndarray of shape (n_classes,)
        ``log|2 pi Sigma_k|``, natural log.

    Notes
    -----
    For one full covariance S of N rows in K classes (maximum likelihood), with
    ``nu = N - K``, Hotelling's law is exact (Anderson 2003, section 5.2):
    ``D_k = (1 + 1/n_k) N d / (nu - d + 1) F(d, nu - d + 1)``.

    With a variance per class and dimension from n_k rows (naive Bayes) D_k is
    ``(n_k + 1) / (n_k - 1)`` times a sum of d squares of t variables with
    ``n_k - 1`` degrees of freedom, and is given the scaled F law of the same mean and
    variance; at a level of 0.01 that is off by less than a tenth of the level from 10
    rows on.

    For Gaussians that were trimmed, pooled or shrunk the mean and variance are
    simulated: training sets of as many rows are drawn from the Gaussians, and the same
    estimator is fitted to each; given its means m and variances v a new row with
    variances s has a distance of mean ``sum_j (s_j + m_j^2) / v_j`` and variance
    ``sum_j (2 s_j^2 + 4 s_j m_j^2) / v_j^2``. Hardin and Rocke (2005) do so for the
    minimum covariance determinant.

    References
    ----------
    T. W. Anderson, "An Introduction to Multivariate Statistical Analysis", 3rd edition,
    Wiley 2003.

    J. Hardin, D. M. Rocke, "The Distribution of Robust Distances", Journal of
    Computational and Graphical Statistics 14, 2005.
    """

    n_dimensions: int
    scales: NDArray[np.float64]
    denominators: NDArray[np.float64]
    log_determinants: NDArray[np.float64]

    @classmethod
    def of_classifier(cls, last: Any) -> Self:
        """Law for the class Gaussians of a fitted classifier.

        Parameters
        ----------
        last : RobustGaussianClassifier, GaussianNB or LGMClassifier
            Fitted; not a Pipeline.

        Returns
        -------
        DistanceLaw
            The law; a warning says where only the chi-square law is at hand.

        Raises
        ------
        ValueError
            If the classifier has no Gaussians that are known, or too few rows of a
            class were there to estimate its variances.
        """
        head = getattr(last, "head_", last)
        if isinstance(head, GaussianNB):
            return cls._of_naive_bayes(head)
        if not isinstance(head, RobustGaussianClassifier):
            raise ValueError(
                f"calibration='chi2' does not know the Gaussians of estimator "
                f"{type(head).__name__}: take a RobustGaussianClassifier or GaussianNB "
                "on the features, or calibration='auto'"
            )
        variances = _class_variances(head)
        d = max(head.n_dimensions_, 1)
        log_determinants = np.log(2.0 * np.pi * variances).sum(axis=1)
        n_classes = len(head.means_)
        is_fixed = head.covariance_type == "identity" and head.variance != "within"
        if is_fixed or not hasattr(head, "class_count_"):
            warnings.warn(
                f"calibration='chi2' takes the Gaussians of {type(last).__name__} for "
                "exact: they were trained by gradient, or their variance was given. "
                "p-values may be far off. Take RobustGaussianClassifier(covariance_type"
                "='diag') on the features, or calibration='auto'",
                UserWarning,
                stacklevel=2,
            )
            means = np.full(n_classes, float(d))
            return cls(d, *_matched(d, means, 2.0 * means), log_determinants)
        mean, variance = _simulated_moments(head, variances)
        return cls(d, *_matched(d, mean, variance), log_determinants)

    @classmethod
    def _of_naive_bayes(cls, model: GaussianNB) -> Self:
        varies = (model.var_ > model.epsilon_ * (1.0 + 1e-6)).any(axis=0)
        d = max(int(varies.sum()), 1)
        counts = np.asarray(model.class_count_, dtype=np.float64)
        if counts.min() < _FEWEST_ROWS:
            label = model.classes_.tolist()[int(counts.argmin())]
            raise ValueError(
                "calibration='chi2' needs at least "
                f"{_FEWEST_ROWS} rows of each class to estimate variances from, but "
                f"class {label!r} has {counts.min():g}: take calibration='auto', or "
                "RobustGaussianClassifier(covariance_type='tied_diag')"
            )
        nu = counts - 1.0
        factor = (counts + 1.0) / nu
        mean = factor * d * nu / (nu - 2.0)
        variance = (
            factor**2 * d * 2.0 * nu**2 * (nu - 1.0) / ((nu - 2.0) ** 2 * (nu - 4.0))
        )
        return cls(
            d,
            *_matched(d, mean, variance),
            np.log(2.0 * np.pi * np.asarray(model.var_)).sum(axis=1),
        )

    @classmethod
    def of_shared_covariance(
        cls, n_dimensions: int, counts: NDArray[np.int64], shrinkage: float
    ) -> Self:
        """Law for class means and one full covariance.

        Parameters
        ----------
        n_dimensions : int
            Rank d of the features about their class means.
        counts : ndarray of shape (n_classes,)
            Training rows of each class.
        shrinkage : float in [0, 1]
            Share of the covariance that was replaced by a multiple of the identity.

        Returns
        -------
        DistanceLaw
            The law; a warning says where shrinkage makes it wrong.

        Raises
        ------
        ValueError
            If there are too few rows for so many dimensions.
        """
        d, n_train = n_dimensions, int(counts.sum())
        denominator = n_train - len(counts) - d + 1
        if denominator < 2:  # all directions that so many rows can have
            raise ValueError(
                f"calibration='chi2' needs more training rows than {d} dimensions and "
                f"{len(counts)} classes, got {n_train}: take calibration='auto', or "
                "more rows"
            )
        if shrinkage > 0.1:
            warnings.warn(
                "calibration='chi2' is the law of an estimated covariance, but "
                f"covariance='ledoit_wolf' replaced {shrinkage:.0%} of it: p-values "
                "may be far off. Take covariance='empirical', or calibration='auto'",
                UserWarning,
                stacklevel=2,
            )
        scales = (1.0 + 1.0 / counts) * n_train * d / denominator
        n_classes = len(counts)
        return cls(
            d, scales, np.full(n_classes, float(denominator)), np.zeros(n_classes)
        )

    def scores(self, squared_distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised squared distances; higher is more normal.

        Parameters
        ----------
        squared_distances : ndarray of shape (n_samples,)
            Squared Mahalanobis distances D, without one half.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(d - D) / sqrt(2 d)``.
        """
        d = self.n_dimensions
        scores: NDArray[np.float64] = (d - squared_distances) / np.sqrt(2.0 * d)
        return scores

    def density_scores(
        self, log_densities: NDArray[np.float64], claimed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Scores of claims from log densities.

        Parameters
        ----------
        log_densities : ndarray of shape (n_samples,)
            ``log N_z(f)`` under the claimed class, natural log.
        claimed : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            As :meth:`scores`.
        """
        squared = -2.0 * log_densities - self.log_determinants[claimed]
        return self.scores(np.maximum(squared, 0.0))

    def p_values(
        self, scores: NDArray[np.float64], groups: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Upper tail probabilities of the squared distances behind the scores.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            As :meth:`scores` gives them.
        groups : ndarray of shape (n_samples,)
            Indices of the claimed classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``P(D_z >= D)``, in [0, 1].
        """
        d = self.n_dimensions
        ratios = (d - scores * np.sqrt(2.0 * d)) / self.scales[groups]
        p_values = np.empty(len(scores))
        for k in range(len(self.scales)):
            of_class = groups == k
            p_values[of_class] = _f_law(d, self.denominators[k]).sf(ratios[of_class])
        return p_values

    def thresholds(self, level: float) -> NDArray[np.float64]:
        """Score of each class below which the p-value is at most ``level``.

        Parameters
        ----------
        level : float in (0, 1)
            Level of the p-values.

        Returns
        -------
        ndarray of shape (n_classes,)
            The score at the ``1 - level`` quantile of the squared distance.
        """
        d = self.n_dimensions
        quantiles = [_f_law(d, m).isf(level) for m in self.denominators]
        return self.scores(self.scales * np.array(quantiles))

    def smallest_p_values(self) -> NDArray[np.float64]:
        """Smallest p-value that a row may have: there is none above 0.

        Returns
        -------
        ndarray of shape (n_classes,)
            Zeros.
        """
        return np.zeros(len(self.scales))


def _f_law(d: int, denominator: float) -> Any:
    """F law with d and ``denominator`` degrees of freedom; at infinity chi2(d) / d."""
    if np.isinf(denominator):
        return stats.chi2(d, scale=1.0 / d)
    return stats.f(d, denominator)


def _matched(
    d: int, mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and denominator of the F law with d degrees of freedom and these moments.

    ``Var F / (E F)^2 = 2 (d + m - 2) / (d (m - 4))`` for m in the denominator.
    """
    excess = d * variance / mean**2 - 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        denominators = np.where(excess > 1e-9, 4.0 + (2.0 * d + 4.0) / excess, np.inf)
        scales = np.where(
            np.isinf(denominators), mean, mean * (denominators - 2.0) / denominators
        )
    return scales, denominators


def _class_variances(head: RobustGaussianClassifier) -> NDArray[np.float64]:
    """Variances of every class and dimension, (n_classes, feature_dim)."""
    variances = np.asarray(head.covariances_, dtype=np.float64)
    if head.covariance_type == "spherical":
        variances = variances[:, None]  # (n_classes, 1)
    return np.broadcast_to(variances, np.shape(head.means_))


def _simulated_moments(
    head: RobustGaussianClassifier, variances: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the squared distance of a new row to each class."""
    n_classes, n_columns = variances.shape
    d = min(max(head.n_dimensions_, 1), n_columns)
    # Columns that never vary have the same, lowest, variance: the others are kept.
    kept = np.sort(np.argsort(-variances.min(axis=0), kind="stable")[:d])
    true = variances[:, kept]
    counts = np.minimum(
        np.maximum(np.round(head.class_count_), 1).astype(int), _MOST_ROWS_PER_CLASS
    )
    y_encoded = np.repeat(np.arange(n_classes), counts)
    n_sets = int(np.clip(_SIMULATED_ROWS // len(y_encoded), _FEWEST_SETS, _MOST_SETS))
    rng = np.random.default_rng(0)  # the law is a property of the fit
    means, squares = np.zeros(n_classes), np.zeros(n_classes)
    for _ in range(n_sets):
        rows = rng.normal(size=(len(y_encoded), d)) * np.sqrt(true)[y_encoded]
        estimate = estimate_gaussians(
            torch.from_numpy(rows),
            torch.from_numpy(y_encoded),
            n_classes,
            location=head.location,
            covariance_type=head.covariance_type,
            variance=head.variance,
            trim=head.trim,
        )
        m_squared = np.square(estimate.means.numpy())
        v = np.broadcast_to(
            _by_class(estimate.log_variances.exp().numpy(), head.covariance_type),
            true.shape,
        )
        mean = ((true + m_squared) / v).sum(axis=1)
        variance = ((2.0 * true**2 + 4.0 * true * m_squared) / v**2).sum(axis=1)
        means += mean / n_sets
        squares += (variance + mean**2) / n_sets
    return means, squares - means**2


def _by_class(
    variances: NDArray[np.float64], covariance_type: str
) -> NDArray[np.float64]:
    return variances[:, None] if covariance_type == "spherical" else variances
