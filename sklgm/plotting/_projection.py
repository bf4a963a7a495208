"""Affine maps of features, and of their Gaussians, to the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

PROJECTIONS = ("pca", "lda")


@dataclass(frozen=True, eq=False)
class PlaneProjection:
    """The affine map from a feature vector f to ``components @ (f - center)``.

    Attributes
    ----------
    components : ndarray of shape (2, feature_dim)
        The matrix A.
    center : ndarray of shape (feature_dim,)
        The vector c.
    axis_labels : tuple of (str, str)
        What the two axes show.
    """

    components: NDArray[np.float64]
    center: NDArray[np.float64]
    axis_labels: tuple[str, str]

    def points(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project points f to A (f - c).

        Parameters
        ----------
        features : ndarray of shape (n, feature_dim)
            Features or class means.

        Returns
        -------
        ndarray of shape (n, 2)
        """
        points: NDArray[np.float64] = (features - self.center) @ self.components.T
        return points

    def covariances(
        self, covariances: NDArray[np.float64], covariance_type: str, n_classes: int
    ) -> NDArray[np.float64]:
        """Project covariance matrices S to A S A'.

        Parameters
        ----------
        covariances : ndarray
            Of the shape that `covariance_type` has.
        covariance_type : {"identity", "spherical", "diag", "tied_diag", "full"}
            What the shape of `covariances` means.
        n_classes : int
            Number of classes.

        Returns
        -------
        ndarray of shape (n_classes, 2, 2)
        """
        A = self.components
        if covariance_type == "full":
            return A @ covariances @ A.T
        if covariance_type == "spherical":
            covariances = covariances[:, np.newaxis]  # (n_classes, 1)
        variances = np.broadcast_to(covariances, (n_classes, A.shape[1]))
        # A times a diagonal matrix: its columns scaled. (n_classes, 2, feature_dim)
        return (A * variances[:, np.newaxis, :]) @ A.T


def fit_projection(
    features: NDArray[np.float64], claimed_labels: NDArray[Any], projection: str
) -> PlaneProjection:
    """Fit the map to the plane; two columns stay as they are.

    Parameters
    ----------
    features : ndarray of shape (n_samples, feature_dim)
        Finite features with at least 2 columns.
    claimed_labels : ndarray of shape (n_samples,)
        Label of each row.
    projection : {"pca", "lda"}
        Principal components, or linear discriminants of the claimed labels.

    Returns
    -------
    PlaneProjection

    Raises
    ------
    ValueError
        If `projection` is unknown, or the features do not determine two directions.
    """
    if projection not in PROJECTIONS:
        raise ValueError(f"projection={projection!r} must be 'pca' or 'lda'.")
    if features.shape[1] == 2:
        return PlaneProjection(np.eye(2), np.zeros(2), ("feature 1", "feature 2"))
    if projection == "pca":
        return _principal_components(features)
    return _linear_discriminants(features, claimed_labels)


def _principal_components(features: NDArray[np.float64]) -> PlaneProjection:
    if len(features) < 2:
        raise ValueError(
            f"projection='pca' needs at least 2 rows of features, got {len(features)}."
        )
    # The seed matters for many rows of many columns only: their SVD is randomised.
    pca = PCA(n_components=2, random_state=0)
    with np.errstate(invalid="ignore"):  # equal rows have no variance: 0 / 0
        pca.fit(features)
    shares = pca.explained_variance_ratio_
    return PlaneProjection(
        pca.components_,
        pca.mean_,
        (
            f"principal component 1{_share_of('variance', shares[0])}",
            f"principal component 2{_share_of('variance', shares[1])}",
        ),
    )


def _linear_discriminants(
    features: NDArray[np.float64], claimed_labels: NDArray[Any]
) -> PlaneProjection:
    classes, y_encoded = np.unique(claimed_labels, return_inverse=True)
    if len(classes) < 3:
        raise ValueError(
            f"projection='lda' needs rows of at least 3 classes, got {len(classes)}: "
            "use projection='pca'."
        )
    if not any(
        np.ptp(features[y_encoded == k], axis=0).any() for k in range(len(classes))
    ):
        raise ValueError(
            "projection='lda' needs rows that differ within a class: use "
            "projection='pca'."
        )
    lda = LinearDiscriminantAnalysis(n_components=2)
    with np.errstate(invalid="ignore"):  # equal class means: 0 / 0
        lda.fit(features, y_encoded)
    if lda.scalings_.shape[1] < 2:
        raise ValueError(
            "projection='lda' finds fewer than 2 directions that separate the class "
            "means: use projection='pca'."
        )
    shares = lda.explained_variance_ratio_
    return PlaneProjection(
        lda.scalings_[:, :2].T,
        lda.xbar_,
        (
            f"discriminant 1{_share_of('between-class variance', shares[0])}",
            f"discriminant 2{_share_of('between-class variance', shares[1])}",
        ),
    )


def _share_of(whole: str, share: float) -> str:
    return f" ({100 * share:.0f} % of {whole})" if np.isfinite(share) else ""
