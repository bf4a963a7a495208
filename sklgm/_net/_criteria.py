"""Losses as criteria of the net, one value per row."""

from torch import Tensor, nn

from sklgm.losses import (
    fixed_variance_lgm_loss,
    lgm_classification_loss,
    lgm_likelihood_loss,
    softmax_loss,
)
from sklgm.nn import GaussianMixtureHead


class Criterion(nn.Module):
    """A loss of each row of a batch."""

    def of_training(
        self, features: Tensor, y_encoded: Tensor, head: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Loss of each row (n_samples,) and logits (n_samples, n_classes)."""
        logits, *_ = head(features)
        loss: Tensor = self((logits, features), y_encoded, head, True)
        return loss, logits


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
        loss = lgm_classification_loss(logits, distances, y_encoded, margin)
        if self.likelihood_weight > 0.0:
            likelihood = lgm_likelihood_loss(
                distances, head.log_determinants(), y_encoded
            )
            loss = loss + self.likelihood_weight * likelihood
        return loss

    def of_training(
        self, features: Tensor, y_encoded: Tensor, head: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Loss of each row and logits, in few operations for a fixed variance."""
        assert isinstance(head, GaussianMixtureHead)
        if head.covariance_type != "identity":
            return super().of_training(features, y_encoded, head)
        return fixed_variance_lgm_loss(
            features,
            y_encoded,
            head.means,
            float(head.log_variances),  # its floor is below: it is not learnt
            head.log_priors,
            margin=self.margin,
            likelihood_weight=self.likelihood_weight,
        )


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
