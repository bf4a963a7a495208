"""The terms of the losses, literally, and their sum."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sklgm.gaussian import (
    CovarianceType,
    claimed_squared_mahalanobis,
    class_logits,
    log_determinant,
    log_variances_shape,
)
from sklgm.losses._fused import check_terms


def lgm_classification_loss(
    logits: Tensor,
    claimed_distances: Tensor,
    y_encoded: Tensor,
    margin: float = 0.0,
) -> Tensor:
    """Cross-entropy of the margin logits, L_cls.

    ``D_z`` is multiplied by ``1 + margin`` for the claimed class z, so that the logit
    of z falls by ``margin * D_z / 2`` (Wan et al. 2018, eq. 9).

    Parameters
    ----------
    logits : Tensor of shape (n_samples, n_classes)
        ``log pi_k + log N_k(f)``, up to a constant per row.
    claimed_distances : Tensor of shape (n_samples,)
        Squared Mahalanobis distance D_z of each row to the class it claims.
    y_encoded : Tensor of shape (n_samples,)
        Claimed class indices z, int64.
    margin : float >= 0, default=0.0
        Classification margin alpha, without unit.

    Returns
    -------
    Tensor of shape (n_samples,)
        Loss of each row, in nats.
    """
    if margin > 0.0:
        fall = -0.5 * margin * claimed_distances
        logits = logits.scatter_add(1, y_encoded[:, None], fall[:, None])
    return F.cross_entropy(logits, y_encoded, reduction="none")


def lgm_likelihood_loss(
    claimed_distances: Tensor, log_determinants: Tensor, y_encoded: Tensor
) -> Tensor:
    """Negative log-likelihood of the claimed class without its constant, L_lkd.

    ``(D_z + log|Sigma_z|) / 2`` (Wan et al. 2018, eq. 6).

    Parameters
    ----------
    claimed_distances : Tensor of shape (n_samples,)
        Squared Mahalanobis distance D_z of each row to the class it claims.
    log_determinants : Tensor of shape (n_classes,)
        ``log|Sigma_k|``.
    y_encoded : Tensor of shape (n_samples,)
        Claimed class indices z, int64.

    Returns
    -------
    Tensor of shape (n_samples,)
        Loss of each row, in nats; may be negative.

    Notes
    -----
    The distance includes the covariance. The code published with the paper
    leaves it out of this term, so that its learned variances collapse.
    """
    return 0.5 * (claimed_distances + log_determinants[y_encoded])


def lgm_loss(
    features: Tensor,
    y_encoded: Tensor,
    means: Tensor,
    log_variances: Tensor | None = None,
    *,
    covariance_type: CovarianceType = "identity",
    log_priors: Tensor | None = None,
    margin: float = 0.0,
    likelihood_weight: float = 0.1,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Large-margin Gaussian mixture loss, L = L_cls + lambda L_lkd.

    The loss that :class:`~sklgm.LGMClassifier` trains with, for those with a torch
    loop of their own. It costs little more than a linear layer with cross-entropy:
    nothing of shape (n_samples, n_classes) is made but the logits.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Output of the backbone.
    y_encoded : Tensor of shape (n_samples,)
        Claimed class indices, int64, in [0, n_classes).
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variances : Tensor or None, default=None
        Log-variances, shape by :func:`sklgm.gaussian.log_variances_shape`; None
        stands for variances of 1.
    covariance_type : {"identity", "spherical", "diag", "tied_diag"}, default="identity"
        Structure of the class covariances Sigma.
    log_priors : Tensor of shape (n_classes,) or None, default=None
        Natural log of the class priors pi; None stands for equal priors.
    margin : float >= 0, default=0.0
        Classification margin alpha, without unit.
    likelihood_weight : float >= 0, default=0.1
        Weight lambda of the likelihood term.
    sample_weight : Tensor of shape (n_samples,) or None, default=None
        Weights >= 0 of the rows; the mean is over rows, not over weights.

    Returns
    -------
    Tensor of shape ()
        Mean loss in nats; differentiable in all tensors but the labels.

    Raises
    ------
    ValueError
        If ``margin`` or ``likelihood_weight`` is negative or not finite, or if
        ``log_variances`` has another shape than the covariance type asks for.

    References
    ----------
    W. Wan, Y. Zhong, T. Li, J. Chen, "Rethinking Feature Distribution for Loss
    Functions in Image Classification", CVPR 2018, eq. 4 to 11.

    Examples
    --------
    >>> import torch
    >>> from sklgm.losses import lgm_loss
    >>> features = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> means = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> round(float(lgm_loss(features, torch.tensor([0, 1]), means)), 4)
    0.1269
    """
    check_terms(margin, likelihood_weight)
    n_classes, feature_dim = means.shape
    if log_variances is None:
        shape = log_variances_shape(covariance_type, n_classes, feature_dim)
        log_variances = features.new_zeros(shape)
    logits = class_logits(features, means, log_variances, covariance_type, log_priors)
    claimed_distances = claimed_squared_mahalanobis(
        features, y_encoded, means, log_variances, covariance_type
    )
    loss = lgm_classification_loss(logits, claimed_distances, y_encoded, margin)
    if likelihood_weight > 0.0:
        log_determinants = log_determinant(
            log_variances, covariance_type, n_classes, feature_dim
        )
        likelihood = lgm_likelihood_loss(claimed_distances, log_determinants, y_encoded)
        loss = loss + likelihood_weight * likelihood
    return weighted_mean(loss, sample_weight)


def softmax_loss(
    logits: Tensor, y_encoded: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Softmax cross-entropy of each row.

    Parameters
    ----------
    logits : Tensor of shape (n_samples, n_classes)
        Unnormalised log probabilities.
    y_encoded : Tensor of shape (n_samples,)
        Class indices, int64.
    label_smoothing : float in [0, 1), default=0.0
        Share eps of the label that is spread evenly over all classes.

    Returns
    -------
    Tensor of shape (n_samples,)
        Loss of each row, in nats.

    Notes
    -----
    With K classes, log probabilities ``log p_k`` and the class z of the row the loss is
    ``-(1 - eps) log p_z - eps / K sum_k log p_k`` (Szegedy et al., "Rethinking the
    Inception Architecture for Computer Vision", CVPR 2016, section 7).
    """
    return F.cross_entropy(
        logits, y_encoded, reduction="none", label_smoothing=label_smoothing
    )


def weighted_mean(loss: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Mean over rows of the weighted loss.

    Parameters
    ----------
    loss : Tensor of shape (n_samples,)
        Loss of each row.
    sample_weight : Tensor of shape (n_samples,) or None
        Weights >= 0 with mean 1 over the whole training set. The mean is not
        normalised by the batch's weights: that would change the objective from
        batch to batch.

    Returns
    -------
    Tensor of shape ()
        ``(w * l).mean()``.
    """
    if sample_weight is None:
        return loss.mean()
    return torch.mean(sample_weight * loss)
