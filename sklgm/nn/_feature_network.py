"""A backbone with a head."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def backbone_output(backbone: nn.Module, X: Tensor, *, flips: bool) -> Tensor:
    """Output of a backbone, or its mean over images and their mirror images.

    Parameters
    ----------
    backbone : nn.Module
        Maps X to (n_samples, feature_dim).
    X : Tensor of shape (n_samples, *input_shape)
        Instances.
    flips : bool
        Whether to average over each image and its mirror image.

    Returns
    -------
    Tensor of shape (n_samples, feature_dim)
        The output.
    """
    output: Tensor = backbone(X)
    return (output + backbone(X.flip(-1))) / 2.0 if flips else output


class FeatureNetwork(nn.Module):
    """Backbone and head as one network.

    Parameters
    ----------
    backbone : nn.Module
        Maps X to features (n_samples, feature_dim).
    head : nn.Module
        Maps features to a tuple whose first element are the logits.
    normalize_features : bool, default=False
        Scale every feature vector to the norm ``sqrt(feature_dim)``, so that
        a coordinate has unit root mean square.
    freeze_backbone : bool, default=False
        Keep the backbone's parameters and running statistics as they are.
    autocast : bool, default=False
        Compute the backbone in bfloat16 in training mode, by ``torch.autocast``; its
        parameters, and the features that the head gets, keep their type.
    test_time_flip : bool, default=False
        Average the features of each image and of its mirror image wherever the
        backbone is in evaluation mode.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        normalize_features: bool = False,
        freeze_backbone: bool = False,
        autocast: bool = False,
        test_time_flip: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalize_features = normalize_features
        self.autocast = autocast
        self.test_time_flip = test_time_flip
        self.freeze_backbone = False
        self.set_frozen(freeze_backbone)

    def features(self, X: Tensor) -> Tensor:
        """Features that the head sees.

        Parameters
        ----------
        X : Tensor of shape (n_samples, *input_shape)
            Instances.

        Returns
        -------
        Tensor of shape (n_samples, feature_dim)
            Output of the backbone, scaled if ``normalize_features``.
        """
        output: Tensor
        if self.autocast and self.training:
            with torch.autocast(X.device.type, torch.bfloat16):
                output = self.backbone(X).to(X.dtype)
        else:
            flips = self.test_time_flip and not self.backbone.training
            output = backbone_output(self.backbone, X, flips=flips)
        return self.scaled(output)

    def scaled(self, output: Tensor) -> Tensor:
        """Features that the head sees, of rows that passed the backbone before.

        Parameters
        ----------
        output : Tensor of shape (n_samples, feature_dim)
            Output of the backbone.

        Returns
        -------
        Tensor of shape (n_samples, feature_dim)
            The same, scaled if ``normalize_features``.
        """
        if not self.normalize_features:
            return output
        return F.normalize(output, dim=1) * math.sqrt(output.shape[1])

    def forward(
        self, X: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Logits, features, and whatever else the head returns.

        Parameters
        ----------
        X : Tensor of shape (n_samples, *input_shape)
            Instances.
        sample_weight : Tensor of shape (n_samples,) or None, default=None
            Ignored; it travels in the batch for the loss.

        Returns
        -------
        tuple of Tensor
            Logits (n_samples, n_classes), features (n_samples, feature_dim),
            then the head's further outputs.
        """
        features = self.features(X)
        logits, *further = self.head(features)
        return (logits, features, *further)

    def set_frozen(self, freeze_backbone: bool) -> None:
        """Freeze the backbone, or let it be trained again.

        Parameters
        ----------
        freeze_backbone : bool
            Whether its parameters and running statistics stay as they are. A
            change to False lets all of its parameters be trained; no change leaves
            ``requires_grad`` as it is.
        """
        if freeze_backbone != self.freeze_backbone:
            self.backbone.requires_grad_(not freeze_backbone)
        self.freeze_backbone = freeze_backbone

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Set training mode; a frozen backbone stays in evaluation mode.

        Parameters
        ----------
        mode : bool, default=True
            Training mode, else evaluation mode.

        Returns
        -------
        FeatureNetwork
            This network.
        """
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self
