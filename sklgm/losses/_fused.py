"""The L-GM loss with its gradient written out: few operations, and none twice.

What a small network's step costs is the number of operations; what a head of many
classes costs is the number of passes over its parameters.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklgm.gaussian import log_variances_shape


class FusedLoss(NamedTuple):
    """What :func:`fixed_variance_lgm_loss` and :func:`diag_lgm_loss` compute.

    Attributes
    ----------
    loss : Tensor of shape ()
        Weighted mean loss in nats; differentiable in features, means and log-variances.
    logits : Tensor of shape (n_samples, n_classes)
        ``log pi_k + log N_k(f)``, up to a constant per row; without margin or gradient.
    claimed_distances : Tensor of shape (n_samples,)
        Squared distance of each row to the mean of the class it claims: Euclidean for
        a fixed variance, else Mahalanobis; no gradient.
    """

    loss: Tensor
    logits: Tensor
    claimed_distances: Tensor


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
) -> FusedLoss:
    """L-GM loss for one fixed variance, at the price of softmax.

    The same as :func:`lgm_loss` with ``covariance_type="identity"``. The gradient is
    written out and computed with the loss. It cannot be differentiated twice.

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
    FusedLoss
        Loss, logits and squared Euclidean distances to the claimed means.

    Raises
    ------
    ValueError
        If ``margin`` or ``likelihood_weight`` is negative or not finite.

    Notes
    -----
    With margin logits l, softmax p of them and precision P, the gradient of the loss of
    a row is ``g = p - e_z`` in l, and in D_z, which the margin and the likelihood term
    see, ``s / 2`` with ``s = lambda - alpha g_z``. That of the logits in f is ``P mu``,
    and of D_z ``2 P (f - mu_z)``. So with ``a = g - s e_z`` the gradient is
    ``P (sum_k a_k mu_k + s f)`` in f, and ``P a_k (f - mu_k)`` in the mean of class k.
    """
    check_terms(margin, likelihood_weight)
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
    return FusedLoss(*outputs)


def diag_lgm_loss(
    features: Tensor,
    y_encoded: Tensor,
    means: Tensor,
    log_variances: Tensor,
    log_priors: Tensor,
    *,
    margin: float,
    likelihood_weight: float,
    min_log_variance: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> FusedLoss:
    """L-GM loss for a learnt variance per class and dimension.

    The same as :func:`lgm_loss` with ``covariance_type="diag"``, at little more than
    the price of its six matrix products. The gradient is written out and computed with
    the loss. It cannot be differentiated twice.

    Parameters
    ----------
    features : Tensor of shape (n_samples, feature_dim)
        Output of the backbone.
    y_encoded : Tensor of shape (n_samples,)
        Claimed class indices z, int64.
    means : Tensor of shape (n_classes, feature_dim)
        Class means mu.
    log_variances : Tensor of shape (n_classes, feature_dim)
        Natural logs of the variances.
    log_priors : Tensor of shape (n_classes,)
        Natural log of the class priors pi.
    margin : float >= 0
        Classification margin alpha, without unit.
    likelihood_weight : float >= 0
        Weight lambda of the likelihood term.
    min_log_variance : Tensor of shape () or None, default=None
        Floor of the log-variances; those below it count as the floor and have no
        gradient. None: no floor.
    sample_weight : Tensor of shape (n_samples,) or None, default=None
        Weights >= 0 of the rows; the mean is over rows, not over weights.

    Returns
    -------
    FusedLoss
        Loss, logits and squared Mahalanobis distances to the claimed means.

    Raises
    ------
    ValueError
        If ``margin`` or ``likelihood_weight`` is negative or not finite, or if
        ``log_variances`` has another shape.

    Notes
    -----
    With ``g``, ``s`` and ``a`` as for :func:`fixed_variance_lgm_loss`, and precisions
    ``P_k``, the gradient of the loss of a row is ``sum_k a_k P_k (mu_k - f)`` in f,
    ``a_k P_k (f - mu_k)`` in the mean of class k, and in its log-variances
    ``(a_k P_k (f - mu_k)^2 - g_k + lambda e_zk) / 2``. Sums over rows of the parts in
    ``g`` are expanded into matrix products; those in ``s`` are of the claimed class
    alone, and exact.
    """
    check_terms(margin, likelihood_weight)
    shape = log_variances_shape("diag", *means.shape)
    if tuple(log_variances.shape) != shape:
        raise ValueError(
            f"log_variances must have shape {shape}, got {tuple(log_variances.shape)}"
        )
    # Outside autocast, as the parameters are: what it would cast are small numbers.
    with torch.autocast(features.device.type, enabled=False):
        outputs: tuple[Tensor, Tensor, Tensor] = _DiagLoss.apply(
            features,
            means,
            log_variances,
            y_encoded,
            log_priors,
            min_log_variance,
            margin,
            likelihood_weight,
            sample_weight,
        )
    return FusedLoss(*outputs)


def check_terms(margin: float, likelihood_weight: float) -> None:
    """Check the weights of the terms.

    Parameters
    ----------
    margin, likelihood_weight : float
        To be finite and >= 0.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name, value in (("margin", margin), ("likelihood_weight", likelihood_weight)):
        if not 0.0 <= value < float("inf"):
            raise ValueError(f"{name} must be a finite float >= 0, got {value!r}")


class _Slopes(NamedTuple):
    """Loss and its slopes in what it sees of a batch, times the number of rows.

    Attributes
    ----------
    loss : Tensor of shape ()
        Weighted mean loss.
    of_logits : Tensor of shape (n_classes, n_samples)
        ``w g``, or ``w a`` where distances are part of it.
    of_distances : Tensor of shape (1, n_samples)
        ``w s``.
    """

    loss: Tensor
    of_logits: Tensor
    of_distances: Tensor


def _slopes(
    logits: Tensor,
    claimed: Tensor,
    distances: Tensor,
    penalties: Tensor,
    constant: float,
    precision: float,
    margin: float,
    likelihood_weight: float,
    sample_weight: Tensor | None,
    *,
    is_joint: bool,
) -> _Slopes:
    """Loss of a batch whose classes come first, and its slopes.

    ``distances`` and ``penalties`` (1, n_samples) are in units of the precision;
    ``constant`` is a part of the loss of every row. ``is_joint`` says whether slopes of
    distances enter those of logits, which takes fewer operations and loses digits.
    """
    if margin > 0.0:
        fall = distances * (-0.5 * margin * precision)
        logits = logits.scatter_add(0, claimed, fall)
    # Minus the losses, but for the constant.
    gains = torch.log_softmax(logits, dim=0).gather(0, claimed)
    if likelihood_weight > 0.0:
        gains.sub_(penalties, alpha=0.5 * likelihood_weight * precision)
    # Not the exponential of the former: that takes long where it underflows.
    pulls = torch.softmax(logits, dim=0)
    slopes = torch.rsub(
        pulls.gather(0, claimed), likelihood_weight + margin, alpha=margin
    )
    if sample_weight is None:
        loss = torch.rsub(gains.mean(), constant)
        own = torch.rsub(slopes, -1.0) if is_joint else torch.full_like(slopes, -1.0)
        pulls.scatter_add_(0, claimed, own)
    else:
        weights = sample_weight.unsqueeze(0)
        loss = torch.rsub(gains, constant).mul_(weights).mean()
        slopes.mul_(weights)
        own = -slopes - weights if is_joint else -weights
        pulls.mul_(weights).scatter_add_(0, claimed, own)
    return _Slopes(loss, pulls, slopes)


class _FusedFunction(torch.autograd.Function):
    """A loss whose gradients were computed with it; subclasses do so."""

    @staticmethod
    def _publish(
        ctx: Any,
        loss: Tensor,
        logits: Tensor,
        distances: Tensor,
        gradients: tuple[Tensor | None, ...],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the gradients in the first inputs, and return what users see."""
        ctx.gradients = gradients
        logits, distances = logits.T, distances[0]
        ctx.mark_non_differentiable(logits, distances)
        ctx.set_materialize_grads(False)
        return loss, logits, distances

    @staticmethod
    def backward(
        ctx: Any, of_loss: Tensor | None, *of_others: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the gradient of a fused loss is computed with it and cannot be "
                "differentiated (create_graph=True); use sklgm.losses.lgm_loss"
            )
        n_inputs = len(ctx.needs_input_grad)
        if of_loss is None:
            return (None,) * n_inputs
        gradients = [g if g is None else g * of_loss for g in ctx.gradients]
        return (*gradients, *(None,) * (n_inputs - len(gradients)))


class _FixedVarianceLoss(_FusedFunction):
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
        differences = features - means.index_select(0, y_encoded)
        squares = torch.linalg.vecdot(differences, differences).unsqueeze(0)
        constant = 0.5 * likelihood_weight * feature_dim * log_variance
        loss, a, slopes = _slopes(
            logits,
            claimed,
            squares,
            squares,
            constant,
            precision,
            margin,
            likelihood_weight,
            sample_weight,
            is_joint=True,
        )
        scale = precision / n_samples
        of_features: Tensor | None = None
        if ctx.needs_input_grad[0]:
            of_features = torch.addmm(f * slopes.T, a.T, mu, alpha=scale, beta=scale)
        of_means = torch.addmm(
            mu * a.sum(dim=1, keepdim=True), a, f, alpha=scale, beta=-scale
        )
        gradients = (of_features, of_means)
        return _FusedFunction._publish(ctx, loss, logits, squares, gradients)


class _DiagLoss(_FusedFunction):
    """:func:`diag_lgm_loss` with its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        means: Tensor,
        log_variances: Tensor,
        y_encoded: Tensor,
        log_priors: Tensor,
        min_log_variance: Tensor | None,
        margin: float,
        likelihood_weight: float,
        sample_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_samples = len(features)
        variances = log_variances
        if min_log_variance is not None:
            variances = torch.maximum(log_variances, min_log_variance)
        # Shifted together, logits stay the same up to a constant and lose fewer digits.
        centre = means.mean(dim=0)
        f, mu = features - centre, means - centre
        precisions = torch.neg(variances).exp_()
        weighted = precisions * mu
        log_determinants = variances.sum(dim=1)
        bias = torch.linalg.vecdot(weighted, mu).add_(log_determinants)
        bias = torch.add(log_priors, bias, alpha=-0.5)
        # The mean precision over classes is a constant of the row.
        excess = precisions - precisions.mean(dim=0)
        f_squared = f.square()
        logits = torch.addmm(bias.unsqueeze(1), weighted, f.T)
        logits.addmm_(excess, f_squared.T, alpha=-0.5)
        claimed = y_encoded.unsqueeze(0)  # (1, n_samples), as all that follows
        differences = features - means.index_select(0, y_encoded)
        # P_z (f - mu_z): exact, where sums of squares would cancel.
        own = differences * precisions.index_select(0, y_encoded)
        distances = torch.linalg.vecdot(differences, own).unsqueeze(0)
        penalties = distances + log_determinants.index_select(0, y_encoded)
        loss, g, slopes = _slopes(
            logits,
            claimed,
            distances,
            penalties,
            0.0,
            1.0,
            margin,
            likelihood_weight,
            sample_weight,
            is_joint=False,
        )
        g.div_(n_samples)
        pulls = own.mul_(slopes.T / n_samples)  # s P_z (f - mu_z)
        of_features: Tensor | None = None
        if ctx.needs_input_grad[0]:
            of_features = torch.addmm(pulls, g.T, weighted)
            # That of the mean precision is 0, since the slopes of a row sum to 0.
            of_features.addcmul_(f, torch.mm(g.T, excess), value=-1.0)
        sums = g.sum(dim=1)
        of_first, of_second = torch.mm(g, f), torch.mm(g, f_squared)
        moved = weighted * sums.unsqueeze(1)
        of_means = torch.addcmul(-moved, precisions, of_first)
        of_means.index_add_(0, y_encoded, pulls, alpha=-1.0)
        weights = torch.ones_like(f[:, 0]) if sample_weight is None else sample_weight
        constants = (-sums).index_add_(
            0, y_encoded, weights, alpha=likelihood_weight / n_samples
        )
        of_variances = of_second.mul_(precisions).addcmul_(moved, mu)
        of_variances.addcmul_(weighted, of_first, value=-2.0)
        of_variances.add_(constants.unsqueeze(1))
        of_variances.index_add_(0, y_encoded, pulls.mul_(differences), alpha=-1.0)
        of_variances.mul_(0.5)
        if min_log_variance is not None:
            of_variances.masked_fill_(log_variances < min_log_variance, 0.0)
        gradients = (of_features, of_means, of_variances)
        return _FusedFunction._publish(ctx, loss, logits, distances, gradients)
