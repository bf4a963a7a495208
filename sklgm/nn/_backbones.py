"""Backbones: from instances to features."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sklgm.nn._airbench import WIDTHS, AirbenchNet

InputShape = tuple[int, ...]
BackboneFactory = Callable[[InputShape, int], nn.Module]


def mlp(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """Multi-layer perceptron with two hidden layers of 128 units.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one instance; flattened.
    feature_dim : int
        Size of the linear output.

    Returns
    -------
    nn.Module
        (n_samples, *input_shape) to (n_samples, feature_dim).
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, feature_dim),
    )


def cnn(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """Small convolutional network: three blocks, batch normalisation.

    Parameters
    ----------
    input_shape : tuple of int
        (n_channels, height, width), at least 4 pixels on each side.
    feature_dim : int
        Size of the linear output.

    Returns
    -------
    nn.Module
        (n_samples, n_channels, height, width) to (n_samples, feature_dim).

    Raises
    ------
    ValueError
        If ``input_shape`` is not that of an image of at least 4 x 4 pixels.
    """
    n_channels, height, width = _image_shape("cnn", input_shape, minimum=4)
    widths = (32, 64, 128)
    layers: list[nn.Module] = []
    for block, n_filters in enumerate(widths):
        layers += [
            nn.Conv2d(n_channels, n_filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_filters),
        ]
        # The maximum before the rectifier gives the same, of a quarter of the values.
        if min(height, width) >= 2 and block < 2:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        if block < 2:
            layers.append(nn.ReLU())
        n_channels = n_filters
    pool = min(4, height, width)
    network = nn.Sequential(
        *layers,
        nn.AdaptiveMaxPool2d(pool),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(n_channels * pool * pool, feature_dim),
    )
    # A third faster on CPUs; results differ by rounding only.
    return network.to(memory_format=torch.channels_last)


def vgg19(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """VGG-19 with batch normalisation for images of 32 x 32 pixels.

    Parameters
    ----------
    input_shape : tuple of int
        (n_channels, height, width), at least 32 pixels on each side.
    feature_dim : int
        Size of the linear output.

    Returns
    -------
    nn.Module
        (n_samples, n_channels, height, width) to (n_samples, feature_dim).

    Raises
    ------
    ValueError
        If ``input_shape`` is not that of an image of at least 32 x 32 pixels.

    References
    ----------
    K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for
    Large-Scale Image Recognition", ICLR 2015, configuration E.
    """
    n_channels, *_ = _image_shape("vgg19", input_shape, minimum=32)
    from torchvision.models import vgg19_bn

    convolutions = vgg19_bn(weights=None).features
    convolutions[0] = nn.Conv2d(n_channels, 64, 3, padding=1)
    network = nn.Sequential(
        convolutions,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, feature_dim),
    )
    return network.to(memory_format=torch.channels_last)


def resnet18(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """ResNet-18 for images of 32 x 32 pixels: 3 x 3 stem, no first pooling.

    Parameters
    ----------
    input_shape : tuple of int
        (n_channels, height, width), at least 8 pixels on each side.
    feature_dim : int
        Size of the linear output.

    Returns
    -------
    nn.Module
        (n_samples, n_channels, height, width) to (n_samples, feature_dim).

    Raises
    ------
    ValueError
        If ``input_shape`` is not that of an image of at least 8 x 8 pixels.

    References
    ----------
    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
    section 4.2 (the CIFAR-10 stem).
    """
    n_channels, *_ = _image_shape("resnet18", input_shape, minimum=8)
    from torchvision.models import resnet18 as torchvision_resnet18

    network: nn.Module = torchvision_resnet18(weights=None, num_classes=feature_dim)
    network.conv1 = nn.Conv2d(n_channels, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network.to(memory_format=torch.channels_last)


def airbench(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """Six convolutions on whitened patches: strong and fast on natural images.

    Parameters
    ----------
    input_shape : tuple of int
        (n_channels, height, width), at least 16 pixels on each side. Patches are 2
        pixels apart from 64 pixels a side on, and 4 from 128 pixels on.
    feature_dim : int
        Size of the output, of mean 0 and root mean square 1/6 over a training batch.

    Returns
    -------
    nn.Module
        (n_samples, n_channels, height, width) to (n_samples, feature_dim). Its method
        ``start_from(X)`` takes the whitening filters, which are not trained, from
        images; the classifiers call it, of whatever module they build by a name or a
        callable, before training.

    Raises
    ------
    ValueError
        If ``input_shape`` is not that of an image of at least 16 x 16 pixels.

    Notes
    -----
    Of an image of 3 x 32 x 32 it takes 118 million multiplications. The layers are
    those of [1]_ but for the last two, a projection and its scaling; biases after a
    normalisation are held in units of 1/8, which makes their rate 64 times that of the
    weights.

    References
    ----------
    .. [1] K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024.
    """
    return _airbench("airbench", input_shape, feature_dim, WIDTHS)


def airbench_narrow(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """As :func:`airbench` with half as many channels: a quarter of the arithmetic.

    Parameters
    ----------
    input_shape : tuple of int
        (n_channels, height, width), at least 16 pixels on each side.
    feature_dim : int
        Size of the output, of mean 0 and root mean square 1/6 over a training batch.

    Returns
    -------
    nn.Module
        (n_samples, n_channels, height, width) to (n_samples, feature_dim). Its method
        ``start_from(X)`` is as that of :func:`airbench`.

    Raises
    ------
    ValueError
        If ``input_shape`` is not that of an image of at least 16 x 16 pixels.

    Notes
    -----
    Of an image of 3 x 32 x 32 it takes 33 million multiplications.
    """
    widths = tuple(width // 2 for width in WIDTHS)
    return _airbench("airbench_narrow", input_shape, feature_dim, widths)


def _airbench(
    name: str, input_shape: InputShape, feature_dim: int, widths: tuple[int, ...]
) -> nn.Module:
    n_channels, height, width = _image_shape(name, input_shape, minimum=16)
    side = min(height, width)
    stride = 1 if side < 64 else 2 if side < 128 else 4
    network = AirbenchNet(n_channels, feature_dim, stride=stride, widths=widths)
    return network.to(memory_format=torch.channels_last)


def identity(input_shape: InputShape, feature_dim: int) -> nn.Module:
    """Flattened instances as features.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one instance.
    feature_dim : int
        Ignored: the features are the input columns.

    Returns
    -------
    nn.Module
        (n_samples, *input_shape) to (n_samples, prod(input_shape)).
    """
    return nn.Flatten()


BACKBONES: dict[str, BackboneFactory] = {
    "mlp": mlp,
    "cnn": cnn,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "airbench": airbench,
    "airbench_narrow": airbench_narrow,
    "identity": identity,
}


def automatic_backbone(input_shape: InputShape, *, is_small: bool = False) -> str:
    """Choose a backbone for instances of a shape.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one instance.
    is_small : bool, default=False
        Whether to choose a small one.

    Returns
    -------
    {"airbench", "cnn", "mlp"}
        What ``"auto"``, or ``"small"``, means in :func:`make_backbone`.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 4:
        return "mlp"
    is_natural = input_shape[0] == 3 and min(input_shape[1:]) >= 32
    return "airbench" if is_natural and not is_small else "cnn"


def make_backbone(
    backbone: str | nn.Module | BackboneFactory,
    input_shape: InputShape,
    feature_dim: int,
) -> nn.Module:
    """Build a backbone from its name, a module or a callable.

    Parameters
    ----------
    backbone : str, nn.Module or callable
        ``"auto"`` (``"airbench"`` for colour images of at least 32 x 32 pixels,
        ``"cnn"`` for others of at least 4 x 4 pixels, else ``"mlp"``), ``"small"``
        (``"cnn"`` for all of these images, else ``"mlp"``), a name of
        :data:`BACKBONES`, a module (deep-copied: its weights are the start) or a
        callable ``(input_shape, feature_dim) -> nn.Module``.
    input_shape : tuple of int
        Shape of one instance.
    feature_dim : int
        Number of features asked for; a module of one's own and ``"identity"``
        have their own.

    Returns
    -------
    nn.Module
        Maps (n_samples, *input_shape) to (n_samples, feature_dim).

    Raises
    ------
    ValueError
        If the name is unknown, or the named backbone does not take the shape.
    TypeError
        If a callable returns something else than an nn.Module.
    """
    if isinstance(backbone, nn.Module):
        return copy.deepcopy(backbone)
    if isinstance(backbone, str):
        name = backbone
        if name in ("auto", "small"):
            name = automatic_backbone(input_shape, is_small=name == "small")
        if name not in BACKBONES:
            raise ValueError(
                f"backbone must be 'auto', 'small', one of {sorted(BACKBONES)}, an "
                f"nn.Module or a callable, got {backbone!r}"
            )
        return BACKBONES[name](input_shape, feature_dim)
    module = backbone(input_shape, feature_dim)
    if not isinstance(module, nn.Module):
        raise TypeError(
            "backbone must return an nn.Module when called with (input_shape, "
            f"feature_dim), got {type(module).__name__}"
        )
    return module


def output_dim(backbone: nn.Module, input_shape: InputShape, dtype: torch.dtype) -> int:
    """Feature dimension of a backbone, found by passing two rows of zeros.

    Parameters
    ----------
    backbone : nn.Module
        The backbone, in any mode; it is run in evaluation mode and put back.
    input_shape : tuple of int
        Shape of one instance.
    dtype : torch.dtype
        Type of the rows.

    Returns
    -------
    int
        Second dimension of its output.

    Raises
    ------
    ValueError
        If the backbone cannot take rows of this shape, or its output is not
        (n_samples, feature_dim).
    """
    parameter = next(backbone.parameters(), torch.empty(0))
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    rows = torch.zeros(2, *input_shape, dtype=dtype, device=parameter.device)
    try:
        with torch.no_grad():
            features: Tensor = backbone(rows)
    except RuntimeError as error:
        raise ValueError(
            f"backbone cannot take instances of shape {input_shape}: {error}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else features
        raise ValueError(
            "backbone must return features of shape (n_samples, feature_dim); for 2 "
            f"instances of shape {input_shape} it returned {shape}"
        )
    return int(features.shape[1])


def _image_shape(
    name: str, input_shape: InputShape, *, minimum: int
) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape[1:]) < minimum:
        raise ValueError(
            f"backbone={name!r} needs images of shape (n_channels, height, width) "
            f"with at least {minimum} pixels a side, got instances of shape "
            f"{input_shape}; set input_shape to fold flat rows into images"
        )
    n_channels, height, width = input_shape
    return n_channels, height, width
