"""Networks of torchvision with weights from a file."""

import difflib
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sklgm.features._removal import classifier_path, set_layer

# Where training scripts keep the weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# What wrappers of networks put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
# Side branches that are used in training alone.
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# Those that would draw weights for minutes, which are overwritten.
_SLOW = ("googlenet", "inception_v3")
# Names in the densenets that torchvision published first.
_OLD_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


class PretrainedNetwork(nn.Module):
    """A network from images to features, with the transform that it was trained on.

    Parameters
    ----------
    network : nn.Module
        Without a classification layer.
    architecture : str
        Its name.
    transform : callable
        From an RGB image to what the network takes.
    feature_dim : int
        Number of its features.
    n_classes : int or None
        Classes of the classification layer that was taken off; None where the weights
        had none.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        architecture: str,
        transform: Callable[[Any], Tensor],
        feature_dim: int,
        n_classes: int | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.transform = transform
        self.feature_dim = feature_dim
        self.n_classes = n_classes

    def forward(self, X: Tensor) -> Tensor:
        """Features of images.

        Parameters
        ----------
        X : Tensor of shape (n_samples, 3, height, width)
            Images after ``transform``.

        Returns
        -------
        Tensor of shape (n_samples, feature_dim)
            What the classification layer would get.
        """
        features: Tensor = self.network(X)
        return features


def load_torchvision(
    architecture: str, weights: str | os.PathLike[str]
) -> PretrainedNetwork:
    """Load a network of torchvision with weights from a file.

    A classification layer among the weights is taken off.

    Parameters
    ----------
    architecture : str
        Name of a classification network of ``torchvision.models``, such as
        ``"resnet18"``.
    weights : path-like
        State dict: ``.safetensors``, or what ``torch.save`` wrote. Of a checkpoint the
        entry ``state_dict``, ``model_state_dict`` or ``model`` is taken. Nothing but
        tensors is unpickled.

    Returns
    -------
    PretrainedNetwork
        In evaluation mode. ``transform`` is that of the published weights whose file
        has the same name, else that of torchvision's best weights of the architecture.

    Raises
    ------
    ValueError
        If torchvision has no such architecture, or the file holds no state dict, more
        than tensors, or the weights of another network.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    extract : Features of images, with a cache.
    remove_classifier : For networks that come from elsewhere.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if architecture not in names:
        close = difflib.get_close_matches(str(architecture), names, n=3)
        advice = f"did you mean {', '.join(close)}?" if close else "such as resnet18"
        raise ValueError(
            f"architecture must be a classification network of torchvision.models, "
            f"got {architecture!r}: {advice}"
        )
    path = Path(weights)
    state = _read_state(path)
    network = _make_network(architecture)
    layer = classifier_path(network)
    assert layer is not None  # a test looks at all architectures
    n_classes = len(state[f"{layer}.weight"]) if f"{layer}.weight" in state else None
    n_made, feature_dim = network.get_parameter(f"{layer}.weight").shape[:2]
    if n_classes is None:
        set_layer(network, layer, nn.Identity())
    elif n_classes != n_made:
        network = _make_network(architecture, num_classes=n_classes)
    _load(network, state, architecture, path)
    if n_classes is not None:
        set_layer(network, layer, nn.Identity())
    made = PretrainedNetwork(
        network,
        architecture=architecture,
        transform=_transform(architecture, path.name),
        feature_dim=int(feature_dim),
        n_classes=n_classes,
    )
    return made.eval()


def _make_network(architecture: str, **settings: Any) -> nn.Module:
    from torchvision import models

    if architecture in _SLOW:
        settings["init_weights"] = False
    network: nn.Module = models.get_model(architecture, weights=None, **settings)
    return network


def _read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, without what wrappers put around them."""
    if not path.is_file():
        raise FileNotFoundError(f"weights={str(path)!r} is not a file")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            given: Any = load_file(path)
        else:
            given = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights={str(path)!r} holds more than tensors, or is damaged; it is not "
            "unpickled, since that could run any code. Save the state dict alone: "
            "torch.save(network.state_dict(), path)"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(
            f"weights={str(path)!r} cannot be read: "
            f"{str(error) or type(error).__name__}"
        ) from error
    for name in _WRAPPERS:
        if isinstance(given, Mapping) and isinstance(given.get(name), Mapping):
            given = given[name]
    is_state = isinstance(given, Mapping) and len(given) > 0
    if not is_state or not all(isinstance(value, Tensor) for value in given.values()):
        raise ValueError(
            f"weights={str(path)!r} holds no state dict, a dict from names to tensors"
        )
    state = {str(name): value for name, value in given.items()}
    while prefix := next(
        (p for p in _PREFIXES if state and all(n.startswith(p) for n in state)), None
    ):
        state = {name.removeprefix(prefix): t for name, t in state.items()}
    return {_OLD_DENSE.sub(r"\1\2", name): t for name, t in state.items()}


def _load(
    network: nn.Module, state: dict[str, Tensor], architecture: str, path: Path
) -> None:
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # another shape
        raise ValueError(
            f"weights={str(path)!r} are not those of architecture={architecture!r}: "
            f"{' '.join(str(error).split())}"
        ) from error
    differences = [
        f"{verb} {', '.join(names[:3])}" + (", ..." if len(names) > 3 else "")
        for verb, given in (("it lacks", missing), ("it also holds", unexpected))
        if (names := [name for name in given if not name.startswith(_AUXILIARY)])
    ]
    if differences:
        raise ValueError(
            f"weights={str(path)!r} are not those of architecture={architecture!r}: "
            f"{'; '.join(differences)}"
        )


def _transform(architecture: str, file_name: str) -> Callable[[Any], Tensor]:
    from torchvision import models

    published = models.get_model_weights(architecture)
    of_name = [each for each in published if each.url.endswith(f"/{file_name}")]
    made: Callable[[Any], Tensor] = (of_name or [published.DEFAULT])[0].transforms()
    return made
