"""A fast, strong network for natural images: whitening, then six convolutions."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels after each group of two convolutions, and of features before the projection.
WIDTHS = (64, 256, 256)
# Root mean square of the features, so that those of 64 dimensions have norm 4/3: the
# step of SGD depends on it.
_FEATURE_SCALE = 1.0 / 6.0
# Rate of the biases, in multiples of that of the weights.
_BIAS_RATE = 64.0
# Weight of the batch at hand in running statistics: they are of the last few batches.
_MOMENTUM = 0.2
# Variance that is added to each direction of patches, as a share of the largest: what
# has less is noise, and would be blown up.
_WHITENING_FLOOR = 1e-4
# Pixels that two bytes can count.
_MOST_PLACES = 2**15
# Images whose patches are held at once.
_IMAGES_AT_ONCE = 32


class Whitening(nn.Module):
    """Patches along their principal directions, each scaled to variance one.

    Each direction comes twice, with either sign, for the rectifier that follows.

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    stride : int, default=1
        Pixels between patches, each of twice as many pixels a side.
    n_directions : int, default=12
        Principal directions, at most those of a patch.

    Attributes
    ----------
    weight : buffer of shape (2 * n_directions, n_channels, 2 * stride, 2 * stride)
        The directions, scaled; at random until :meth:`start_from`.
    offset : buffer of shape (2 * n_directions,)
        Minus the mean patch along them.
    bias : nn.Parameter of shape (2 * n_directions,)
        What is learnt.
    """

    weight: Tensor
    offset: Tensor

    def __init__(
        self, n_channels: int, *, stride: int = 1, n_directions: int = 12
    ) -> None:
        super().__init__()
        side = 2 * stride
        self.stride = stride
        self.n_directions = min(n_directions, n_channels * side * side)
        self.n_filters = 2 * self.n_directions
        half = torch.randn(self.n_directions, n_channels, side, side)
        half /= side * n_channels**0.5
        self.register_buffer("weight", torch.cat([half, -half]))
        self.register_buffer("offset", torch.zeros(self.n_filters))
        self.bias = nn.Parameter(torch.zeros(self.n_filters))

    def forward(self, X: Tensor) -> Tensor:
        """Filter images.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_channels, height, width)
            Images.

        Returns
        -------
        Tensor of shape (n_samples, 2 * n_directions, n_rows, n_columns)
            Patches along the directions.
        """
        return F.conv2d(X, self.weight, self.bias + self.offset, stride=self.stride)

    def start_from(self, X: Tensor) -> None:
        """Take the principal directions of the patches of images.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_channels, height, width)
            Images.
        """
        mean, covariance = self._patch_moments(X.double())
        variances, directions = torch.linalg.eigh(covariance)  # ascending
        floor = _WHITENING_FLOOR * variances[-1] + torch.finfo(X.dtype).tiny
        scaled = directions / (variances.clamp_min(0.0) + floor).sqrt()
        half = scaled.flip(1).T[: self.n_directions]
        offset = half @ mean
        self.weight.copy_(torch.cat([half, -half]).view_as(self.weight))
        self.offset.copy_(torch.cat([-offset, offset]))

    def _patch_moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n_values,) and covariance (n_values, n_values) of patches."""
        center = X.mean()  # of all values: large ones cancel in the products
        n_values = self.weight[0].numel()
        n_patches = 0
        total, products = X.new_zeros(n_values), X.new_zeros(n_values, n_values)
        for images in torch.split(X - center, _IMAGES_AT_ONCE):
            patches = F.unfold(images, 2 * self.stride, stride=self.stride)
            patches = patches.transpose(1, 2).flatten(0, 1)  # (n_patches, n_values)
            n_patches += len(patches)
            total += patches.sum(dim=0)
            products += patches.T @ patches
        mean = total / n_patches
        return mean + center, products / n_patches - mean.outer(mean)


class ShiftedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with biases that learn faster and no learnt scales.

    Parameters
    ----------
    n_channels : int
        Channels.

    Notes
    -----
    The bias is ``sqrt(64)`` times a parameter, which multiplies its rate in gradient
    descent by 64, whatever the optimiser's groups of parameters.
    """

    unit: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels, momentum=_MOMENTUM, affine=False)
        self.shift = nn.Parameter(torch.zeros(n_channels))
        self.register_buffer("unit", torch.ones(n_channels))

    def forward(self, X: Tensor) -> Tensor:
        """Normalise and shift, shape (n_samples, n_channels, height, width)."""
        return F.batch_norm(
            X,
            self.running_mean,
            self.running_var,
            self.unit,
            _BIAS_RATE**0.5 * self.shift,
            self.training,
            _MOMENTUM,
            self.eps,
        )


class FrugalMaxPool2d(nn.MaxPool2d):
    """Maxima that keep little memory for their gradient.

    torch keeps the input, of which the gradient needs the shape only, and the place of
    every maximum in eight bytes, where two are enough for up to 32,768 pixels. It keeps
    all of them where ``torch.compile`` or a transform of ``torch.func`` is at work.
    """

    def forward(self, X: Tensor) -> Tensor:
        """Pool, shape (n_samples, n_channels, height, width)."""
        n_pixels = X.shape[-2] * X.shape[-1]
        pooled: Tensor
        if torch.compiler.is_compiling() or n_pixels > _MOST_PLACES:
            pooled = super().forward(X)
            return pooled
        try:
            address = X.data_ptr()
        except RuntimeError:  # within torch.func tensors have none
            pooled = super().forward(X)
            return pooled
        shape, stride = X.shape, X.stride()
        dtype, device = X.dtype, X.device

        def packed(kept: Tensor) -> Tensor | torch.Size:
            if kept.dtype == torch.int64:
                return kept.to(torch.int16)
            return shape if kept.data_ptr() == address else kept

        def unpacked(kept: Tensor | torch.Size) -> Tensor:
            if isinstance(kept, torch.Size):  # its values play no part
                return torch.empty_strided(kept, stride, dtype=dtype, device=device)
            return kept.to(torch.int64) if kept.dtype == torch.int16 else kept

        with torch.autograd.graph.saved_tensors_hooks(packed, unpacked):
            pooled = super().forward(X)
        return pooled


class StandardScaler1d(nn.BatchNorm1d):
    """Features of one scale: mean 0 and a fixed root mean square.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__(feature_dim, momentum=_MOMENTUM, affine=False)

    def forward(self, X: Tensor) -> Tensor:
        """Scale, shape (n_samples, feature_dim)."""
        return _FEATURE_SCALE * super().forward(X)


class AirbenchNet(nn.Sequential):
    """Whitening, three groups of two convolutions, and a projection.

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    feature_dim : int
        Size of the output.
    stride : int, default=1
        Pixels between the patches of the whitening.
    widths : tuple of int, default=(64, 256, 256)
        Channels of each group.
    """

    def __init__(
        self,
        n_channels: int,
        feature_dim: int,
        *,
        stride: int = 1,
        widths: tuple[int, ...] = WIDTHS,
    ) -> None:
        whitening = Whitening(n_channels, stride=stride)
        layers: list[nn.Module] = [whitening, nn.GELU()]
        n_in = whitening.n_filters
        for n_out in widths:
            layers += [
                _convolution(n_in, n_out),
                FrugalMaxPool2d(2),
                ShiftedBatchNorm2d(n_out),
                nn.GELU(),
                _convolution(n_out, n_out),
                ShiftedBatchNorm2d(n_out),
                nn.GELU(),
            ]
            n_in = n_out
        super().__init__(
            *layers,
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(n_in, feature_dim, bias=False),
            StandardScaler1d(feature_dim),
        )

    def start_from(self, X: Tensor) -> None:
        """Take the whitening from images; see :meth:`Whitening.start_from`."""
        cast(Whitening, self[0]).start_from(X)


def _convolution(n_in: int, n_out: int) -> nn.Conv2d:
    """3 x 3 filters, the first of which pass the channels on as they are."""
    layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[: min(n_in, n_out)])
    return layer
