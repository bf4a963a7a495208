"""Training losses as pure functions of tensors, one value per row.

The large-margin Gaussian mixture (L-GM) loss and the softmax cross-entropy it is
compared with.
"""

from sklgm.losses._fused import FusedLoss, diag_lgm_loss, fixed_variance_lgm_loss
from sklgm.losses._terms import (
    lgm_classification_loss,
    lgm_likelihood_loss,
    lgm_loss,
    softmax_loss,
    weighted_mean,
)

__all__ = [
    "FusedLoss",
    "diag_lgm_loss",
    "fixed_variance_lgm_loss",
    "lgm_classification_loss",
    "lgm_likelihood_loss",
    "lgm_loss",
    "softmax_loss",
    "weighted_mean",
]
