"""Heads: from features to class logits."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklgm.gaussian import (
    CovarianceType,
    claimed_squared_mahalanobis,
    class_logits,
    log_determinant,
    log_variances_shape,
)

# Learned variances stay above this share of the variance they started from.
_RELATIVE_VARIANCE_FLOOR = 1e-4


class GaussianMixtureHead(nn.Module):
    """One Gaussian per class; its logits are log joint densities up to a constant.

    Parameters
    ----------
    feature_dim : int
        Number of feature dimensions d.
    n_classes : int
        Number of classes K.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        ``"identity"``: ``variance`` times I, fixed; ``"spherical"``: one learned
        variance per class; ``"diag"``: one per class and dimension; ``"tied_diag"``:
        one learned diagonal for all classes.
    variance : float > 0, default=1.0
        The fixed variance, or where learning starts; squared feature units.
    priors : sequence of n_classes floats or None, default=None
        Class priors, positive; normalised to sum to 1. None: equal priors.

    Attributes
    ----------
    means : nn.Parameter of shape (n_classes, feature_dim)
        Class means, drawn from N(0, ``variance``); :meth:`set_gaussians` starts
        them from data.
    log_variances : nn.Parameter, or a buffer for ``"identity"``
        Shape by :func:`sklgm.gaussian.log_variances_shape`.
    log_priors : buffer of shape (n_classes,)
        Natural log of the priors.
    min_log_variance : buffer of shape ()
        Floor of the log-variances that enter the density.

    Raises
    ------
    ValueError
        If ``variance`` is not a finite positive float, ``covariance_type`` is
        unknown, or ``priors`` are not ``n_classes`` positive numbers.
    """

    means: nn.Parameter
    log_variances: Tensor
    log_priors: Tensor
    min_log_variance: Tensor

    def __init__(
        self,
        feature_dim: int,
        n_classes: int,
        *,
        covariance_type: CovarianceType = "identity",
        variance: float = 1.0,
        priors: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 < variance < float("inf"):
            raise ValueError(f"variance must be a finite float > 0, got {variance!r}")
        self.feature_dim = feature_dim
        self.n_classes = n_classes
        self.covariance_type: CovarianceType = covariance_type
        self.means = nn.Parameter(
            math.sqrt(variance) * torch.randn(n_classes, feature_dim)
        )
        shape = log_variances_shape(covariance_type, n_classes, feature_dim)
        log_variances = torch.full(shape, math.log(variance))
        if covariance_type == "identity":
            self.register_buffer("log_variances", log_variances)
        else:
            self.log_variances = nn.Parameter(log_variances)
        priors = [1.0] * n_classes if priors is None else priors
        log_priors = _log_shares(priors, n_classes).to(self.means.dtype)
        self.register_buffer("log_priors", log_priors)
        # A buffer: a state_dict without it would load as other densities.
        floor = math.log(variance * _RELATIVE_VARIANCE_FLOOR)
        self.register_buffer("min_log_variance", torch.tensor(floor))

    def forward(self, features: Tensor) -> tuple[Tensor]:
        """Log joint densities up to a constant per row; see `class_logits`.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of the backbone.

        Returns
        -------
        tuple of one Tensor of shape (n_samples, n_classes)
            ``log pi_k + log N_k(f) + c(f)``.
        """
        return (
            class_logits(
                features,
                self.means,
                self.floored_log_variances(),
                self.covariance_type,
                self.log_priors,
            ),
        )

    def claimed_squared_mahalanobis(
        self, features: Tensor, y_encoded: Tensor
    ) -> Tensor:
        """Squared Mahalanobis distance of each row to the class it claims.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of the backbone.
        y_encoded : Tensor of int of shape (n_samples,)
            Claimed class indices.

        Returns
        -------
        Tensor of shape (n_samples,)
            Distances >= 0.
        """
        return claimed_squared_mahalanobis(
            features,
            y_encoded,
            self.means,
            self.floored_log_variances(),
            self.covariance_type,
        )

    def floored_log_variances(self) -> Tensor:
        """Log-variances that enter the density: never below the floor.

        Returns
        -------
        Tensor
            Natural logs; shape by :func:`sklgm.gaussian.log_variances_shape`.
        """
        # The gradient of clamp_min takes longer: it looks for ties.
        is_below = self.log_variances < self.min_log_variance
        return torch.where(is_below, self.min_log_variance, self.log_variances)

    def log_determinants(self) -> Tensor:
        """Log-determinants of the class covariances.

        Returns
        -------
        Tensor of shape (n_classes,)
            ``log|Sigma_k|``, natural log.
        """
        return log_determinant(
            self.floored_log_variances(),
            self.covariance_type,
            self.n_classes,
            self.feature_dim,
        )

    @torch.no_grad()
    def start_from(self, means: Tensor, variance: float) -> None:
        """Set where learning starts.

        Parameters
        ----------
        means : Tensor of shape (n_classes, feature_dim)
            Class means.
        variance : float > 0
            Variance of every class and dimension: fixed for ``"identity"``.
        """
        self.means.copy_(means)
        self.log_variances.fill_(math.log(variance))
        self.min_log_variance.fill_(math.log(variance * _RELATIVE_VARIANCE_FLOOR))

    @torch.no_grad()
    def set_gaussians(
        self,
        means: Tensor,
        log_variances: Tensor | None = None,
        *,
        classes: Tensor | None = None,
    ) -> None:
        """Overwrite the means, and the variances where they are not fixed.

        Parameters
        ----------
        means : Tensor of shape (n_chosen, feature_dim)
            New means of the chosen classes.
        log_variances : Tensor or None, default=None
            New log-variances, as for ``n_chosen`` classes; ignored for
            ``"identity"``, whose variance is fixed. Estimated values may lie below
            the floor of learned ones: the floor then moves down to them.
        classes : Tensor of int of shape (n_chosen,) or None, default=None
            The chosen classes; None: all. Variances shared by all classes are
            overwritten whatever was chosen.
        """
        chosen = slice(None) if classes is None else classes.to(self.means.device)
        self.means[chosen] = means.to(self.means)
        if log_variances is not None and self.covariance_type != "identity":
            new = log_variances.to(self.log_variances)
            if self.covariance_type == "tied_diag":
                self.log_variances.copy_(new)
            else:
                self.log_variances[chosen] = new
            self.min_log_variance.clamp_max_(self.log_variances.min())

    @torch.no_grad()
    def set_priors(self, priors: Sequence[float]) -> None:
        """Overwrite the class priors.

        Parameters
        ----------
        priors : sequence of n_classes floats
            Positive; normalised to sum to 1.

        Raises
        ------
        ValueError
            If they are not ``n_classes`` positive numbers.
        """
        self.log_priors.copy_(_log_shares(priors, self.n_classes))


def _log_shares(priors: Sequence[float], n_classes: int) -> Tensor:
    shares = torch.as_tensor(priors, dtype=torch.float64, device="cpu")
    if shares.shape != (n_classes,) or not bool((shares > 0).all()):
        raise ValueError(f"priors must be {n_classes} positive numbers, got {priors!r}")
    return (shares / shares.sum()).log()


class LinearHead(nn.Module):
    """Linear logits, the head of softmax classification.

    Parameters
    ----------
    feature_dim : int
        Number of feature dimensions.
    n_classes : int
        Number of classes.
    """

    def __init__(self, feature_dim: int, n_classes: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.linear = nn.Linear(feature_dim, n_classes)

    def forward(self, features: Tensor) -> tuple[Tensor]:
        """Logits of features.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of the backbone.

        Returns
        -------
        tuple of one Tensor of shape (n_samples, n_classes)
            The logits.
        """
        return (self.linear(features),)
