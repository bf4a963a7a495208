"""A network without named parts, cut before its last linear layer."""

import copy

import torch
from torch import Tensor, nn


def split_module(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Cut a network before its last linear layer.

    Parameters
    ----------
    module : nn.Module
        A classifier whose last linear layer gives its logits. Not changed.

    Returns
    -------
    backbone, head : nn.Module
        Copies: ``head(backbone(X))`` are the logits of ``module(X)``. The backbone
        checks that when it is first called, and raises a ``ValueError`` if the last
        linear layer is not what the prediction comes from.

    Raises
    ------
    ValueError
        If there is no linear layer.
    """
    whole = copy.deepcopy(module)
    names = [name for name, part in whole.named_modules() if type(part) is nn.Linear]
    if not names:
        raise ValueError(
            f"{type(module).__name__} has no linear layer to cut it at; give the pair "
            "(body, head)"
        )
    if names[-1] == "":
        return nn.Flatten(), whole
    head = whole.get_submodule(names[-1])
    return _Body(whole, names[-1]), copy.deepcopy(head)


class _Reached(Exception):  # noqa: N818
    """The last linear layer was reached: nothing after it is needed."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


class _Stop(nn.Module):
    """Stands where the last linear layer was."""

    def forward(self, features: Tensor) -> Tensor:
        """Give the features to who called the network."""
        raise _Reached(features)


class _Body(nn.Module):
    """What comes before the last linear layer of a network."""

    def __init__(self, whole: nn.Module, name: str) -> None:
        super().__init__()
        self.body = copy.deepcopy(whole)
        parent, _, child = name.rpartition(".")
        setattr(self.body.get_submodule(parent), child, _Stop())
        self._name = name
        # In a tuple: no part of the network, which is trained and moved without it.
        self._whole: tuple[nn.Module, ...] = (whole.eval(),)

    def forward(self, X: Tensor) -> Tensor:
        """Features (n_samples, feature_dim) of instances."""
        if self._whole:
            self._check(X)
            self._whole = ()
        return _stopped(self.body, X, self._name)

    @torch.no_grad()
    def _check(self, X: Tensor) -> None:
        whole = copy.deepcopy(self._whole[0]).to(X.device, X.dtype)
        body = copy.deepcopy(self.body).eval().to(X.device, X.dtype)
        logits = whole.get_submodule(self._name)(_stopped(body, X, self._name))
        given = whole(X)
        # What follows the layer, such as a softmax, must leave the order alone.
        is_order_kept = logits.shape == given.shape and torch.equal(
            logits.argmax(dim=1), given.argmax(dim=1)
        )
        if not is_order_kept:
            raise ValueError(_message(self._name))


def _stopped(body: nn.Module, X: Tensor, name: str) -> Tensor:
    try:
        body(X)
    except _Reached as reached:
        return reached.features
    raise ValueError(_message(name))


def _message(name: str) -> str:
    return (
        f"the last linear layer, {name!r}, is not what the network predicts from; give "
        "the pair (body, head)"
    )
