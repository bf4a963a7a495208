"""A trained network from what a file holds of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sklgm._inputs import resolve_device
from sklgm._net import weights_of
from sklgm._random import generators_kept
from sklgm.nn import FeatureNetwork, GaussianMixtureHead, LinearHead, make_backbone
from sklgm.persistence import GivenError, UnstorableError


def check_backbone(
    backbone: Any, input_shape: tuple[int, ...], network: FeatureNetwork
) -> None:
    """Refuse to store a network that its parameters would not make again.

    Parameters
    ----------
    backbone : str, nn.Module or callable
        The parameter; one of the user's own is given again and not checked.
    input_shape : tuple of int
        Shape of one instance.
    network : FeatureNetwork
        What was trained.

    Raises
    ------
    UnstorableError
        If the parameter was changed since ``fit``.
    """
    if not isinstance(backbone, str):
        return
    weights = network.backbone.state_dict()
    try:
        _named_backbone(backbone, input_shape, _feature_dim(network.head), weights)
    except ValueError as error:
        raise UnstorableError(
            f"backbone={backbone!r} is not what was fitted: set it back, or fit again "
            f"({error})"
        ) from error


def stored_network(
    backbone: Any, input_shape: tuple[int, ...], state: Mapping[str, Any]
) -> FeatureNetwork:
    """Build a network with stored weights.

    Parameters
    ----------
    backbone : str, nn.Module or callable
        Its name, or what the user gives again.
    input_shape : tuple of int
        Shape of one instance.
    state : mapping
        As :func:`sklgm._net.net_state` gave it.

    Returns
    -------
    FeatureNetwork
        On the CPU.

    Raises
    ------
    GivenError
        If what the user gives has other weights.
    ValueError
        If a named one has other weights: the file is damaged.
    """
    weights = weights_of(state, "backbone")
    head = _head(weights_of(state, "head"), state["covariance_type"])
    feature_dim = _feature_dim(head)
    dtype = next(head.parameters()).dtype
    if isinstance(backbone, str):
        made = _named_backbone(backbone, input_shape, feature_dim, weights)
        made = made.to_empty(device="cpu").to(dtype)
    else:
        made = _given_backbone(backbone, input_shape, feature_dim).to(dtype)
        try:
            _check_weights(made, weights)
        except ValueError as error:
            raise GivenError(f"backbone={type(backbone).__name__} {error}") from error
    made.load_state_dict(weights)
    return FeatureNetwork(
        made,
        head,
        normalize_features=state["normalize_features"],
        freeze_backbone=state["freeze_backbone"],
        autocast=state["autocast"],
        test_time_flip=state["test_time_flip"],
    )


def loading_device(asked: Any, device: str | torch.device) -> torch.device:
    """Where a loaded network is put.

    Parameters
    ----------
    asked : str, torch.device or None
        What the user asks for; None is what the estimator was fitted with.
    device : str or torch.device
        That.

    Returns
    -------
    torch.device
        It; the CPU where this machine has none such and nothing was asked for.

    Raises
    ------
    GivenError
        If what was asked for does not exist.
    """
    try:
        return resolve_device(device if asked is None else asked)
    except ValueError as error:
        if asked is None:
            return torch.device("cpu")
        raise GivenError(str(error)) from error


def _named_backbone(
    name: str,
    input_shape: tuple[int, ...],
    feature_dim: int,
    weights: Mapping[str, Tensor],
) -> nn.Module:
    """Backbone without memory, if it has these weights."""
    with torch.device("meta"):  # nothing is allocated before shapes were compared
        made = make_backbone(name, input_shape, feature_dim)
    _check_weights(made, weights)
    return made


def _given_backbone(
    backbone: Any, input_shape: tuple[int, ...], feature_dim: int
) -> nn.Module:
    if not (isinstance(backbone, nn.Module) or callable(backbone)):
        raise GivenError(
            "backbone must be the nn.Module or the callable that was fitted, got "
            f"{backbone!r}"
        )
    if isinstance(backbone, nn.Module):
        return make_backbone(backbone, input_shape, feature_dim)
    with generators_kept():  # a function of the user's draws its weights
        return make_backbone(backbone, input_shape, feature_dim)


def _feature_dim(head: nn.Module) -> int:
    """Features that a head takes."""
    return int(next(head.parameters()).shape[1])


def _head(weights: Mapping[str, Tensor], covariance_type: Any) -> nn.Module:
    """Head with these weights, which say how large it is."""
    head: nn.Module
    if covariance_type is None:
        n_classes, feature_dim = weights["linear.weight"].shape
        with torch.device("meta"):  # nothing is drawn
            head = LinearHead(feature_dim, n_classes)
        dtype = weights["linear.weight"].dtype
    else:
        n_classes, feature_dim = weights["means"].shape
        with torch.device("meta"):
            head = GaussianMixtureHead(
                feature_dim, n_classes, covariance_type=covariance_type
            )
        dtype = weights["means"].dtype
    head = head.to_empty(device="cpu").to(dtype)
    _check_weights(head, weights)
    head.load_state_dict(dict(weights))
    return head


def _check_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    if set(own) != set(weights):
        differs = sorted(set(own) ^ set(weights))[0]
        raise ValueError(f"has other weights: {differs!r} is only in one of the two")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise ValueError(
                f"has other weights: {name!r} has shape {tuple(tensor.shape)}, and "
                f"{tuple(weights[name].shape)} in what was fitted"
            )
