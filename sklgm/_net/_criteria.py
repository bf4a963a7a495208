"""Losses as criteria of the net."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sklgm.gaussian import (
    claimed_squared_mahalanobis,
    class_logits,
    log_determinant,
)
from sklgm.losses import (
    diag_lgm_loss,
    fixed_variance_lgm_loss,
    lgm_classification_loss,
    lgm_likelihood_loss,
    softmax_loss,
    weighted_mean,
)
from sklgm.nn import GaussianMixtureHead


class TrainingLoss(NamedTuple):
    """What a training step computes from the features of a batch.

    Attributes
    ----------
    loss : Tensor of shape ()
        Weighted mean loss.
    logits : Tensor of shape (n_samples, n_classes)
        Logits of the head.
    claimed_distances : Tensor of shape (n_samples,) or None
        Squared Mahalanobis distances to the claimed class, up to a factor that all rows
        share, where there are Gaussians.
    """

    loss: Tensor
    logits: Tensor
    claimed_distances: Tensor | None


class Criterion(nn.Module):
    """A loss of each row of a batch."""

    def of_training(
        self,
        features: Tensor,
        y_encoded: Tensor,
        head: nn.Module,
        sample_weight: Tensor | None,
    ) -> TrainingLoss:
        """Loss of a training batch."""
        logits, *_ = head(features)
        loss: Tensor = self((logits, features), y_encoded, head, True)
        return TrainingLoss(weighted_mean(loss, sample_weight), logits, None)


class LGMCriterion(Criterion):
    """Large-margin Gaussian mixture loss of a batch, one value per row.

    Parameters
    ----------
    margin : float >= 0
        Classification margin in training; validation uses 0.
    likelihood_weight : float >= 0
        Weight of the likelihood term.
    """

    def __init__(self, margin: float, likelihood_weight: float) -> None:
        super().__init__()
        self.margin = margin
        self.likelihood_weight = likelihood_weight

    def forward(
        self,
        outputs: tuple[Tensor, ...],
        y_encoded: Tensor,
        head: GaussianMixtureHead,
        training: bool,
    ) -> Tensor:
        """Loss of each row, shape (n_samples,)."""
        logits, features, *_ = outputs
        distances = head.claimed_squared_mahalanobis(features, y_encoded)
        margin = self.margin if training else 0.0
        return self._of_distances(
            logits, distances, y_encoded, head.log_determinants(), margin
        )

    def _of_distances(
        self,
        logits: Tensor,
        distances: Tensor,
        y_encoded: Tensor,
        log_determinants: Tensor,
        margin: float,
    ) -> Tensor:
        loss = lgm_classification_loss(logits, distances, y_encoded, margin)
        if self.likelihood_weight > 0.0:
            likelihood = lgm_likelihood_loss(distances, log_determinants, y_encoded)
            loss = loss + self.likelihood_weight * likelihood
        return loss

    def of_training(
        self,
        features: Tensor,
        y_encoded: Tensor,
        head: nn.Module,
        sample_weight: Tensor | None,
    ) -> TrainingLoss:
        """Loss of a training batch, in few operations but for ``"spherical"``."""
        assert isinstance(head, GaussianMixtureHead)
        means: Tensor = head.means
        if head.covariance_type == "diag":
            fused = diag_lgm_loss(
                features,
                y_encoded,
                means,
                head.log_variances,
                head.log_priors,
                min_log_variance=head.min_log_variance,
                margin=self.margin,
                likelihood_weight=self.likelihood_weight,
                sample_weight=sample_weight,
            )
            return TrainingLoss(*fused)
        log_variance = 0.0
        if head.covariance_type == "identity":
            log_variance = float(head.log_variances)  # its floor is below: not learnt
        elif head.covariance_type == "tied_diag":
            # In units of the standard deviations all variances are 1.
            scale = torch.exp(-0.5 * head.floored_log_variances())
            features, means = features * scale, means * scale
        else:
            variances = head.floored_log_variances()  # once, since it costs as well
            gaussians = (head.means, variances, head.covariance_type)
            logits = class_logits(features, *gaussians, head.log_priors)
            distances = claimed_squared_mahalanobis(features, y_encoded, *gaussians)
            log_determinants = log_determinant(
                variances, head.covariance_type, *head.means.shape
            )
            of_rows = self._of_distances(
                logits, distances, y_encoded, log_determinants, self.margin
            )
            loss = weighted_mean(of_rows, sample_weight)
            return TrainingLoss(loss, logits, distances.detach())
        loss, logits, squares = fixed_variance_lgm_loss(
            features,
            y_encoded,
            means,
            log_variance,
            head.log_priors,
            margin=self.margin,
            likelihood_weight=self.likelihood_weight,
            sample_weight=sample_weight,
        )
        if head.covariance_type == "tied_diag" and self.likelihood_weight > 0.0:
            share = 1.0 if sample_weight is None else sample_weight.mean()
            of_units = 0.5 * self.likelihood_weight * head.log_determinants()[0]
            loss = loss + share * of_units
        return TrainingLoss(loss, logits, squares)


class SoftmaxCriterion(Criterion):
    """Softmax cross-entropy of a batch, one value per row.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default=0.0
        Label smoothing in training; validation uses 0.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self,
        outputs: tuple[Tensor, ...],
        y_encoded: Tensor,
        head: nn.Module,
        training: bool,
    ) -> Tensor:
        """Loss of each row, shape (n_samples,)."""
        smoothing = self.label_smoothing if training else 0.0
        return softmax_loss(outputs[0], y_encoded, smoothing)
