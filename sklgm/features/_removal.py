"""The classification layer of networks, found and taken off."""

import copy
import warnings
from typing import Any, TypeGuard

from torch import nn

# Where networks of torchvision and timm have it.
_PARTS = ("fc", "classifier", "head", "heads")
_PACKAGES = ("torchvision.models.", "timm.models.")


def remove_classifier(network: nn.Module) -> nn.Module:
    """Copy a network without its classification layer: it then gives features.

    Parameters
    ----------
    network : nn.Module
        Of torchvision or timm, or another whose classification layer is the last of
        ``fc``, ``classifier``, ``head`` or ``heads``; not changed.

    Returns
    -------
    nn.Module
        From (n_samples, ...) to (n_samples, feature_dim), what the layer got.

    Raises
    ------
    ValueError
        If there is no such layer.

    See Also
    --------
    load_torchvision : Pretrained networks from a file of weights.

    Examples
    --------
    >>> from torch import nn
    >>> from sklgm.features import remove_classifier
    >>> network = nn.Sequential()
    >>> network.body, network.fc = nn.Linear(4, 3), nn.Linear(3, 2)
    >>> remove_classifier(network).fc
    Identity()
    """
    path = classifier_path(network)
    if path is None:
        raise ValueError(
            f"network={type(network).__name__} has no classification layer that is "
            f"the last of {', '.join(_PARTS)}; put nn.Identity() in the place of its "
            "own"
        )
    copied = copy.deepcopy(network)
    if _is_of_timm(copied):
        copied.reset_classifier(0)
    else:
        set_layer(copied, path, nn.Identity())
    return copied


def classifier_path(network: nn.Module) -> str | None:
    """Name of the classification layer.

    Parameters
    ----------
    network : nn.Module
        Any.

    Returns
    -------
    str or None
        Such as ``"fc"`` or ``"classifier.6"``; None if there is none, or an identity
        stands in its place.
    """
    if _is_of_timm(network):
        given: Any = network.get_classifier()
        layer = given[0] if isinstance(given, tuple) else given  # heads of distillation
        paths = (path for path, each in network.named_modules() if each is layer)
        return None if isinstance(layer, nn.Identity) else next(paths, None)
    for name in _PARTS:
        part = getattr(network, name, None)
        if not isinstance(part, nn.Module):
            continue
        layers = [
            (path, layer)
            for path, layer in part.named_modules(prefix=name)
            if isinstance(layer, nn.Identity)
            or next(layer.parameters(recurse=False), None) is not None
        ]
        if layers and isinstance(layers[-1][1], nn.Linear | nn.Conv2d):
            return str(layers[-1][0])
    return None


def _is_of_timm(network: Any) -> TypeGuard[Any]:
    """Whether a network tells its classification layer, and how to take it off."""
    return hasattr(network, "get_classifier") and hasattr(network, "reset_classifier")


def set_layer(network: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer in the place of another.

    Parameters
    ----------
    network : nn.Module
        Changed.
    path : str
        Name of the layer that is replaced.
    layer : nn.Module
        The new one.
    """
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, layer)


def warn_of_classifier(network: nn.Module, *, stacklevel: int) -> None:
    """Warn where a published network gives logits, which would pass for features.

    Parameters
    ----------
    network : nn.Module
        Any; known are those of torchvision and timm.
    stacklevel : int
        Frames above this function to which the warning belongs.
    """
    if not type(network).__module__.startswith(_PACKAGES):
        return
    path = classifier_path(network)
    if path is None:
        return
    n_classes = len(network.get_parameter(f"{path}.weight"))
    warnings.warn(
        f"{type(network).__name__} gives the {n_classes} logits of its classification "
        f"layer {path!r}, not features: give extract remove_classifier(network)",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
