"""Distances of features to class Gaussians, and their log densities.

Every function is pure. Tensors are (n_samples, feature_dim) for features,
(n_classes, feature_dim) for means; ``log_variances`` has the shape that
:func:`log_variances_shape` gives for a covariance type.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

CovarianceType = Literal["identity", "spherical", "diag", "tied_diag"]
COVARIANCE_TYPES: tuple[str, ...] = get_args(CovarianceType)


def log_variances_shape(
    covariance_type: CovarianceType, n_classes: int, feature_dim: int
) -> tuple[int, ...]:
    """Shape of ``log_variances`` for a covariance type.

    Parameters
    ----------
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}
        Structure of the class covariances.
    n_classes, feature_dim : int
        Number of classes and of feature dimensions.

    Returns
    -------
    tuple of int
        ``()``, ``(n_classes,)``, ``(n_classes, feature_dim)`` or
        ``(feature_dim,)``, in the order of the types above.

    Raises
    ------
    ValueError
        If ``covariance_type`` is not one of the four.
    """
    shapes: dict[str, tuple[int, ...]] = {
        "identity": (),
        "spherical": (n_classes,),
        "diag": (n_classes, feature_dim),
        "tied_diag": (feature_dim,),
    }
    if covariance_type not in shapes:
        raise ValueError(
            f"covariance_type must be one of {COVARIANCE_TYPES}, "
            f"got {covariance_type!r}"
        )
    return shapes[covariance_type]


def squared_mahalanobis(
    features: Tensor,
    means: Tensor,
    log_variances: Tensor,
    covariance_type: CovarianceType = "identity",
) -> Tensor:
    """Squared Mahalanobis distance of every row to every class mean.

    ``D[i, k] = (f_i - mu_k)' inv(Sigma_k) (f_i - mu_k)``, without one half.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Features f, any finite values.
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variances : Tensor
        Natural logarithms of the variances; shape by :func:`log_variances_shape`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        Structure of the class covariances Sigma.

    Returns
    -------
    Tensor of shape (n_samples, n_classes)
        Distances >= 0, in float64 (float32 on devices without it): cast to float32
        they could no longer tell the classes apart for a row that is far from all.

    Raises
    ------
    ValueError
        If ``covariance_type`` is unknown or ``log_variances`` has another shape.

    Notes
    -----
    The (n_samples, n_classes, feature_dim) array of differences is never made:
    the square is expanded into at most two matrix products and the norms they
    need. Expanding cancels digits where D is small against ``|f|**2``, so the
    features are first centred on the mean of the class means and the products
    are taken in float64 (float32 on devices without it).
    """
    return ClassDistances(means, log_variances, covariance_type).to_all(features).T


class ClassDistances:
    """Squared Mahalanobis distances of many rows, some at a time.

    What is the same for all rows is computed once.

    Parameters
    ----------
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variances : Tensor
        Natural logarithms of the variances; shape by :func:`log_variances_shape`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        Structure of the class covariances Sigma.
    tolerance : float, default=0.0
        Error of a distance that is accepted for speed: rows of float32 are computed as
        such, but for those where rounding could exceed it.

    Raises
    ------
    ValueError
        If ``covariance_type`` is unknown or ``log_variances`` has another shape.

    Notes
    -----
    In float32 the error of ``D = |f|^2 - 2 f . mu + |mu|^2``, each weighted by the
    precisions, is at most ``(d + 8) eps (|f|^2 + |mu|^2)`` for d dimensions and ``eps =
    2 ** -23``: sums of d products lose d / 2 eps of their terms' sizes at worst, in
    whatever order (Higham), and twice ``f . mu`` is at most as large as both squares.
    Of many dimensions no row would be within the tolerance, and none is tried.

    References
    ----------
    N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, SIAM
    2002, section 3.1.
    """

    def __init__(
        self,
        means: Tensor,
        log_variances: Tensor,
        covariance_type: CovarianceType = "identity",
        *,
        tolerance: float = 0.0,
    ) -> None:
        _check_shape(log_variances, covariance_type, *means.shape)
        self.covariance_type = covariance_type
        work = torch.float32 if means.device.type == "mps" else torch.float64
        self.means = means.to(work)
        precisions = torch.exp(-log_variances.to(work))
        self._claims = self.means, precisions
        self._to_all = self._parts(means.detach().to(work).mean(dim=0))
        feature_dim = means.shape[1]
        error = (feature_dim + 8) * torch.finfo(torch.float32).eps
        self._largest_size = tolerance / error
        # Rows of a class have squares of about feature_dim, and so have the means.
        self._is_fast = self._largest_size > 2 * feature_dim
        if self._is_fast:
            centre = self._to_all[0].float()
            parts = self._parts(centre.to(work))  # what both types hold
            self._to_all_rounded = tuple(part.float() for part in parts)
            self._claims_rounded = self.means.float(), precisions.float()
            squares = self._by_classes(precisions) * self.means.square()
            self._from_origin = squares.sum(dim=1).float()  # (n_classes,)

    def _parts(self, centre: Tensor) -> tuple[Tensor, ...]:
        """Centre, precisions, and weighted means and their sizes from there.

        The distance does not change when features and means are shifted together.
        """
        means, precisions = self._claims
        precisions = self._by_classes(precisions)
        mu = means - centre
        weight = mu * precisions
        return centre, precisions, weight, (weight * mu).sum(dim=1, keepdim=True)

    def _by_classes(self, precisions: Tensor) -> Tensor:
        if self.covariance_type in ("identity", "spherical"):
            return precisions.reshape(-1, 1)
        return precisions

    def to_all(self, features: Tensor) -> Tensor:
        """Distances of rows to the means of all classes.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Features f, any finite values.

        Returns
        -------
        Tensor of shape (n_classes, n_samples)
            Distances >= 0, in float64 (float32 on devices without it). By classes
            first: a product with few columns takes several times as long.
        """
        work = self.means.dtype
        if not self._is_rounded(features):
            return self._expanded(features.to(work), *self._to_all)[0].clamp_min_(0.0)
        rounded, sizes = self._expanded(features, *self._to_all_rounded)
        distances = rounded.to(work)
        for rows in self._inaccurate(sizes.amax(dim=0)):
            exact, _ = self._expanded(features[rows].to(work), *self._to_all)
            distances[:, rows] = exact
        return distances.clamp_min_(0.0)

    def to_claimed(self, features: Tensor, y_encoded: Tensor) -> Tensor:
        """Distances of rows to the mean of the class that each claims.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Features f, any finite values.
        y_encoded : Tensor of int of shape (n_samples,)
            Claimed class indices z, in [0, n_classes).

        Returns
        -------
        Tensor of shape (n_samples,)
            Distances >= 0, in float64 (float32 on devices without it).
        """
        work, kind = self.means.dtype, self.covariance_type
        if not self._is_rounded(features):
            return _claimed_squares(features.to(work), y_encoded, *self._claims, kind)
        rounded = _claimed_squares(features, y_encoded, *self._claims_rounded, kind)
        sizes = rounded + self._from_origin.index_select(0, y_encoded)
        distances = rounded.to(work)
        for rows in self._inaccurate(sizes):
            distances[rows] = _claimed_squares(
                features[rows].to(work), y_encoded[rows], *self._claims, kind
            )
        return distances

    def _is_rounded(self, features: Tensor) -> bool:
        return self._is_fast and features.dtype == torch.float32

    def _expanded(
        self,
        features: Tensor,
        centre: Tensor,
        precisions: Tensor,
        weight: Tensor,
        of_means: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Distances (n_classes, n_samples), and sizes of the terms they are made of."""
        f = features - centre
        squares = f.square()
        if self.covariance_type == "diag":
            sizes = torch.addmm(of_means, precisions, squares.T)
        elif self.covariance_type == "tied_diag":
            sizes = squares @ precisions + of_means
        else:
            sizes = torch.addcmul(of_means, precisions, squares.sum(dim=1))
        return torch.addmm(sizes, weight, f.T, alpha=-2.0), sizes

    def _inaccurate(self, sizes: Tensor) -> list[Tensor]:
        """Numbers of rows that float32 is too coarse for: one tensor, or none.

        Where it is too coarse for most, it is not tried again.
        """
        is_accurate = sizes <= self._largest_size
        if is_accurate.all():
            return []
        rows = torch.nonzero(~is_accurate, as_tuple=True)[0]
        self._is_fast = 2 * len(rows) <= len(sizes)
        return [rows]


def claimed_squared_mahalanobis(
    features: Tensor,
    y_encoded: Tensor,
    means: Tensor,
    log_variances: Tensor,
    covariance_type: CovarianceType = "identity",
) -> Tensor:
    """Squared Mahalanobis distance of every row to the mean of the class it claims.

    ``D_z(f_i)`` for the claimed class z of row i, without one half. The mean is
    gathered per row, so that nothing of shape (n_samples, n_classes) is made and the
    result is exact in float32.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Features f, any finite values.
    y_encoded : Tensor of int of shape (n_samples,)
        Claimed class indices z, in [0, n_classes).
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variances : Tensor
        Natural logarithms of the variances; shape by :func:`log_variances_shape`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        Structure of the class covariances Sigma.

    Returns
    -------
    Tensor of shape (n_samples,)
        Distances >= 0, in the dtype of ``features``.

    Raises
    ------
    ValueError
        If ``covariance_type`` is unknown or ``log_variances`` has another shape.
    """
    _check_shape(log_variances, covariance_type, *means.shape)
    return _claimed_squares(
        features, y_encoded, means, torch.exp(-log_variances), covariance_type
    )


def _claimed_squares(
    features: Tensor,
    y_encoded: Tensor,
    means: Tensor,
    precisions: Tensor,
    covariance_type: CovarianceType,
) -> Tensor:
    # (n_samples, feature_dim)
    squares = (features - means.index_select(0, y_encoded)).square()
    if covariance_type in ("spherical", "diag"):
        precisions = precisions.index_select(0, y_encoded)
    if covariance_type == "diag":
        return (squares * precisions).sum(dim=1)
    if covariance_type == "tied_diag":
        return squares @ precisions
    return squares.sum(dim=1) * precisions


def class_logits(
    features: Tensor,
    means: Tensor,
    log_variances: Tensor,
    covariance_type: CovarianceType = "identity",
    log_priors: Tensor | None = None,
) -> Tensor:
    """Log joint densities up to a constant per row, at the price of a linear layer.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Features f, any finite values.
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variances : Tensor
        Natural logarithms of the variances; shape by :func:`log_variances_shape`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        Structure of the class covariances Sigma.
    log_priors : Tensor of shape (n_classes,) or None, default=None
        Natural log of the class priors pi; None stands for equal priors.

    Returns
    -------
    Tensor of shape (n_samples, n_classes)
        ``log pi_k + log N_k(f) + c(f)``, in the dtype of ``features``: what softmax
        and argmax need.

    Raises
    ------
    ValueError
        If ``covariance_type`` is unknown or ``log_variances`` has another shape.

    Notes
    -----
    With precisions ``P_k``, and features and means shifted by the mean of the class
    means, ``-D_k / 2 = (P_k mu_k) . f - P_k . (f^2 + mu_k^2) / 2``. Where all classes
    have the same precisions the term in ``f^2`` is the constant of the row and is left
    out: the logits are linear in f. Elsewhere the mean precision over classes is taken
    out of it.
    """
    n_classes, feature_dim = means.shape
    _check_shape(log_variances, covariance_type, n_classes, feature_dim)
    # Shifted together, logits stay the same up to the constant and lose fewer digits.
    centre = means.detach().mean(dim=0)
    f, mu = features - centre, means - centre
    precisions = torch.exp(-log_variances)
    if covariance_type == "spherical":
        precisions = precisions[:, None]  # (n_classes, 1)
    weight = precisions * mu  # (n_classes, feature_dim)
    bias = -0.5 * (weight * mu).sum(dim=1)
    if covariance_type in ("spherical", "diag"):
        bias = bias - 0.5 * log_determinant(
            log_variances, covariance_type, n_classes, feature_dim
        )
    if log_priors is not None:
        bias = bias + log_priors
    logits = torch.nn.functional.linear(f, weight, bias)
    if covariance_type in ("identity", "tied_diag"):
        return logits
    excess = -0.5 * (precisions - precisions.mean(dim=0))
    if covariance_type == "spherical":
        return logits + f.square().sum(dim=1, keepdim=True) * excess[:, 0]
    return logits + f.square() @ excess.T


def _check_shape(
    log_variances: Tensor,
    covariance_type: CovarianceType,
    n_classes: int,
    feature_dim: int,
) -> None:
    expected = log_variances_shape(covariance_type, n_classes, feature_dim)
    if tuple(log_variances.shape) != expected:
        raise ValueError(
            f"log_variances must have shape {expected} for covariance_type="
            f"{covariance_type!r}, got {tuple(log_variances.shape)}"
        )


def log_determinant(
    log_variances: Tensor,
    covariance_type: CovarianceType,
    n_classes: int,
    feature_dim: int,
) -> Tensor:
    """Log-determinant of each class covariance.

    Parameters
    ----------
    log_variances : Tensor
        Log-variances; shape by :func:`log_variances_shape`.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}
        Structure of the class covariances.
    n_classes, feature_dim : int
        Number of classes and of feature dimensions.

    Returns
    -------
    Tensor of shape (n_classes,)
        ``log|Sigma_k|``, natural log.
    """
    if covariance_type == "diag":
        return log_variances.sum(dim=1)
    if covariance_type == "tied_diag":
        return log_variances.sum().expand(n_classes)
    return (feature_dim * log_variances).expand(n_classes)


def log_density(
    squared_distances: Tensor, log_determinants: Tensor, feature_dim: int
) -> Tensor:
    """Log density of every row under every class Gaussian.

    ``log N_k(f) = -(D_k + log|Sigma_k| + d log 2 pi) / 2``.

    Parameters
    ----------
    squared_distances : Tensor of shape (n_samples, n_classes)
        Squared Mahalanobis distances D.
    log_determinants : Tensor of shape (n_classes,)
        ``log|Sigma_k|``.
    feature_dim : int
        Number of feature dimensions d.

    Returns
    -------
    Tensor of shape (n_samples, n_classes)
        Natural log of the density, per unit of feature volume.
    """
    constant = feature_dim * math.log(2.0 * math.pi)
    return -0.5 * (squared_distances + log_determinants + constant)
