"""Training losses as pure functions of tensors, one value per row.

The large-margin Gaussian mixture (L-GM) loss and the softmax cross-entropy it is
compared with.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sklgm.gaussian import (
    CovarianceType,
    claimed_squared_mahalanobis,
    class_logits,
    log_determinant,
    log_variances_shape,
)


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
    for name, value in (("margin", margin), ("likelihood_weight", likelihood_weight)):
        if not 0.0 <= value < float("inf"):
            raise ValueError(f"{name} must be a finite float >= 0, got {value!r}")
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


class FixedVarianceLoss(NamedTuple):
    """What :func:`fixed_variance_lgm_loss` computes for a batch.

    Attributes
    ----------
    loss : Tensor of shape ()
        Weighted mean loss in nats; differentiable in features and means.
    logits : Tensor of shape (n_samples, n_classes)
        ``log pi_k + log N_k(f)``, up to a constant per row; without margin or gradient.
    claimed_squares : Tensor of shape (n_samples,)
        Squared Euclidean distance of each row to the mean of the class it claims; no
        gradient.
    """

    loss: Tensor
    logits: Tensor
    claimed_squares: Tensor


def fixed_variance_lgm_loss(
    features: Tensor,
    y_encoded: Tensor,
    means: Tensor,
    log_variance: float,
    log_priors: Tensor,
    *,
    margin: float,
    likelihood_weight: float,
    sample_weight: Tensor | None = None,
) -> FixedVarianceLoss:
    """L-GM loss for one fixed variance, at the price of softmax.

    The same as :func:`lgm_loss` with ``covariance_type="identity"``. The gradient is
    written out and computed with the loss, in few operations: what a small network's
    step costs is their number. It cannot be differentiated twice.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Output of the backbone.
    y_encoded : Tensor of shape (n_samples,)
        Claimed class indices z, int64.
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variance : float
        Natural log of the variance, which is not learnt.
    log_priors : Tensor of shape (n_classes,)
        Natural log of the class priors pi.
    margin : float >= 0
        Classification margin alpha, without unit.
    likelihood_weight : float >= 0
        Weight lambda of the likelihood term.
    sample_weight : Tensor of shape (n_samples,) or None, default=None
        Weights >= 0 of the rows; the mean is over rows, not over weights.

    Returns
    -------
    FixedVarianceLoss
        Loss, logits and distances to the claimed means.

    Notes
    -----
    With margin logits l, softmax p of them and precision P, the gradient of the loss of
    a row is ``g = p - e_z`` in l, and in D_z, which the margin and the likelihood term
    see, ``s / 2`` with ``s = lambda - alpha g_z``. That of the logits in f is ``P mu``,
    and of D_z ``2 P (f - mu_z)``. So with ``a = g - s e_z`` the gradient is
    ``P (sum_k a_k mu_k + s f)`` in f, and ``P a_k (f - mu_k)`` in the mean of class k.
    """
    outputs: tuple[Tensor, Tensor, Tensor] = _FixedVarianceLoss.apply(
        features,
        means,
        y_encoded,
        log_variance,
        log_priors,
        margin,
        likelihood_weight,
        sample_weight,
    )
    return FixedVarianceLoss(*outputs)


class _FixedVarianceLoss(torch.autograd.Function):
    """:func:`fixed_variance_lgm_loss` with its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        means: Tensor,
        y_encoded: Tensor,
        log_variance: float,
        log_priors: Tensor,
        margin: float,
        likelihood_weight: float,
        sample_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_samples, feature_dim = features.shape
        precision = math.exp(-log_variance)
        # Shifted together, logits stay the same up to a constant and lose fewer digits.
        centre = means.mean(dim=0)
        f, mu = features - centre, means - centre
        bias = torch.add(log_priors, mu.square().sum(dim=1), alpha=-0.5 * precision)
        # Classes come first: their softmax then runs along contiguous memory.
        logits = torch.addmm(bias.unsqueeze(1), mu, f.T, alpha=precision)
        claimed = y_encoded.unsqueeze(0)  # (1, n_samples), as all that follows
        differences = f - mu.index_select(0, y_encoded)
        squares = torch.linalg.vecdot(differences, differences).unsqueeze(0)
        margin_logits = logits
        if margin > 0.0:
            fall = squares * (-0.5 * margin * precision)
            margin_logits = logits.scatter_add(0, claimed, fall)
        # Minus the losses, but for a constant.
        gains = torch.log_softmax(margin_logits, dim=0).gather(0, claimed)
        constant = 0.5 * likelihood_weight * feature_dim * log_variance
        if likelihood_weight > 0.0:
            gains.sub_(squares, alpha=0.5 * likelihood_weight * precision)
        # Not the exponential of the former: that takes long where it underflows.
        pulls = torch.softmax(margin_logits, dim=0)
        slopes = torch.rsub(
            pulls.gather(0, claimed), likelihood_weight + margin, alpha=margin
        )
        if sample_weight is None:
            loss = torch.rsub(gains.mean(), constant)
            pulls.scatter_add_(0, claimed, torch.rsub(slopes, -1.0))
        else:
            weights = sample_weight.unsqueeze(0)
            loss = torch.rsub(gains, constant).mul_(weights).mean()
            slopes.mul_(weights)
            pulls.mul_(weights).scatter_add_(0, claimed, -slopes - weights)
        scale = precision / n_samples
        of_features: Tensor | None = None
        if ctx.needs_input_grad[0]:
            of_features = torch.addmm(
                f * slopes.T, pulls.T, mu, alpha=scale, beta=scale
            )
        of_means = torch.addmm(
            mu * pulls.sum(dim=1, keepdim=True), pulls, f, alpha=scale, beta=-scale
        )
        ctx.gradients = (of_features, of_means)
        logits, squares = logits.T, squares[0]
        ctx.mark_non_differentiable(logits, squares)
        ctx.set_materialize_grads(False)
        return loss, logits, squares

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_loss: Tensor | None, *of_others: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if of_loss is None:
            return (None,) * 8
        gradients = [g if g is None else g * of_loss for g in ctx.gradients]
        return (*gradients, *(None,) * 6)


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
