"""The one door through which an attack reaches a network."""

import copy
import inspect
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklgm._inputs import resolve_device
from sklgm.classifiers import RobustGaussianClassifier
from sklgm.nn import GaussianMixtureHead
from sklgm.poisoning._affine import affine_map
from sklgm.poisoning._folding import folded
from sklgm.poisoning._split_module import split_module
from sklgm.poisoning._surrogate import InputShape, Surrogate


class _TrainingLoss(nn.Module):
    """Mean training loss of instances under one label, as a module.

    A module, so that its parameters can be replaced by others for one call, those of
    the criterion's head among them.
    """

    def __init__(self, network: nn.Module, criterion: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion

    def forward(self, X: Tensor, label: Tensor, are_features: bool) -> Tensor:
        """Mean loss of instances, or of their features, that all claim ``label``."""
        features = X if are_features else _features(self.network, X)
        head: Any = self.network.head
        outputs = head(features)
        logits, *further = outputs if isinstance(outputs, tuple) else (outputs,)
        y_encoded = label.expand(len(features))
        if self.criterion is None:
            return nn.functional.cross_entropy(logits, y_encoded)
        losses: Tensor = self.criterion(
            (logits, features, *further), y_encoded, head, True
        )
        return losses.mean()


class NetworkSurrogate:
    """A frozen deep copy of a network, behind an affine map of its input.

    Parameters
    ----------
    network : nn.Module
        A module with submodules ``backbone`` and ``head``; see `make_surrogate`.
    input_shape : tuple of int or None
        Shape of one instance; None passes instances as they come.
    classes : ndarray of shape (n_classes,) or None
        Label of each column of the head's output.
    scale, shift : ndarray of shape (n_features,), or None
        The network sees ``X * scale + shift`` (on flattened instances); None for
        both leaves X as it is.
    device : str, torch.device or None, default=None
        Where the copy lives; None is where the network lives.
    criterion : nn.Module or None, default=None
        ``criterion(outputs, y_encoded, head, training)`` gives the training loss of
        each row, as in :mod:`sklgm.losses`; None is the cross-entropy of the logits.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        input_shape: InputShape | None,
        classes: NDArray[Any] | None,
        scale: NDArray[np.float64] | None = None,
        shift: NDArray[np.float64] | None = None,
        device: str | torch.device | None = None,
        criterion: nn.Module | None = None,
    ) -> None:
        copied: Any = _frozen_copy(network)
        if device is not None:
            copied.to(device)
        self._loss = _TrainingLoss(copied, criterion)
        # The same features, a quarter faster; gradients of parameters need the layers.
        self._folded = folded(copied)
        self.input_shape = input_shape
        self.classes = classes
        parameter = _first_float_tensor(copied)
        self.device = torch.device("cpu" if device is None else device)
        self.dtype = torch.float32
        if parameter is not None:
            self.device, self.dtype = parameter.device, parameter.dtype
        self._scale = self._to_tensor(scale)
        self._shift = self._to_tensor(shift)

    def features(self, X: Tensor) -> Tensor:
        """Give the features of instances, differentiable in `X`.

        Parameters
        ----------
        X : Tensor of shape (n_samples, ...)
            Instances, before the affine map.

        Returns
        -------
        Tensor of shape (n_samples, feature_dim)
            Features f(x).
        """
        return _features(self._folded, self._network_input(X))

    def log_joint(self, features: Tensor) -> Tensor:
        """Give the first output of the head.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of `features`.

        Returns
        -------
        Tensor of shape (n_samples, n_classes)
            Logits.
        """
        head: Any = self._loss.network.head
        output = head(features)
        logits: Tensor = output[0] if isinstance(output, tuple) else output
        return logits

    def claimed_distances(self, features: Tensor, y_encoded: Tensor) -> Tensor:
        """Give the squared Mahalanobis distance of each row to the class it claims.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of `features`.
        y_encoded : Tensor of int of shape (n_samples,)
            Claimed class indices z.

        Returns
        -------
        Tensor of shape (n_samples,)
            D_z(f).

        Raises
        ------
        TypeError
            If the head has no Gaussians.
        """
        head = self._loss.network.head
        if not isinstance(head, GaussianMixtureHead):
            raise TypeError(
                "model must have class Gaussians for this attack: an LGMClassifier, or "
                "the pair of a backbone and a GaussianMixtureHead; its head is a "
                f"{type(head).__name__}"
            )
        return head.claimed_squared_mahalanobis(features, y_encoded)

    def predict(self, X: Tensor) -> Tensor:
        """Predict class indices.

        Parameters
        ----------
        X : Tensor of shape (n_samples, ...)
            Instances, before the affine map.

        Returns
        -------
        Tensor of int64 of shape (n_samples,)
            Columns of the largest logits.
        """
        with torch.no_grad():
            log_joint = self.log_joint(self.features(X))
            return log_joint.argmax(dim=1)

    def parameter_gradients(
        self, X: Tensor, y_encoded: Tensor, *, parameters: str = "all"
    ) -> Tensor:
        """Give gradients of the training loss of groups, differentiable in `X`.

        Parameters
        ----------
        X : Tensor of shape (n_groups, n_samples, ...)
            Groups of instances, before the affine map.
        y_encoded : Tensor of int of shape (n_groups,)
            Index of the class that the instances of each group claim.
        parameters : {"all", "head"}, default="all"
            By which parameters of the network.

        Returns
        -------
        Tensor of shape (n_groups, n_parameters)
            Gradient of the mean loss of each group, flattened.
        """
        chosen: dict[str, Tensor] = {
            name: parameter
            for name, parameter in self._loss.named_parameters()
            if parameters == "all" or name.startswith("network.head.")
        }
        of_head = parameters == "head"
        # What the chosen parameters do not touch is computed for all groups as one.
        given = self.features if of_head else self._network_input
        instances = given(X.flatten(0, 1))
        instances = instances.reshape(*X.shape[:2], *instances.shape[1:])

        def loss(chosen: dict[str, Tensor], rows: Tensor, label: Tensor) -> Tensor:
            value: Tensor = torch.func.functional_call(
                self._loss, chosen, (rows, label, of_head)
            )
            return value

        # One gradient a group, of all groups at once.
        gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(
            chosen, instances, y_encoded
        )
        return torch.cat([part.flatten(1) for part in gradients.values()], dim=1)

    def _network_input(self, X: Tensor) -> Tensor:
        if self._scale is not None and self._shift is not None:
            # In the precision of X: casting first would round the raw values.
            rows = X.flatten(1) * self._scale.to(X.dtype) + self._shift.to(X.dtype)
            X = rows.reshape(X.shape)
        if self.input_shape is not None:
            shape = tuple(X.shape[1:])
            flat = (math.prod(self.input_shape),)
            if shape not in (self.input_shape, flat):
                raise ValueError(
                    f"instances must have the shape {self.input_shape} of those that "
                    f"model takes, or be rows of {flat[0]} values, got instances of "
                    f"shape {shape}"
                )
            X = X.reshape(len(X), *self.input_shape)
        return X.to(self.dtype)

    def _to_tensor(self, values: NDArray[np.float64] | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values).to(self.device)


def make_surrogate(
    model: Any,
    *,
    input_shape: InputShape | None = None,
    classes: ArrayLike | None = None,
    device: str | torch.device | None = None,
) -> Surrogate:
    """Adapt a model so that it can be attacked.

    The surrogate holds a deep copy of the network, in evaluation mode and without
    hooks: the model itself is never called or changed.

    Parameters
    ----------
    model : fitted classifier, FrozenEstimator, Pipeline, nn.Module, pair or Surrogate
        A fitted sklgm classifier; a Pipeline of one and a `RobustGaussianClassifier` of
        its features; an ``nn.Module`` with submodules ``backbone`` and ``head``, or the
        pair of modules ``(backbone, head)``; any other ``nn.Module`` whose last linear
        layer gives its logits, which is cut there; any of these inside a
        `FrozenEstimator`, or behind the affine scalers of a fitted `Pipeline`
        (`StandardScaler`, `MinMaxScaler`, `MaxAbsScaler`, `RobustScaler`,
        ``"passthrough"``), which become part of the surrogate, so that poisons live in
        the pipeline's raw input space. Samplers of imbalanced-learn among them are
        passed over. A `Surrogate` is returned as it is.
    input_shape : tuple of int or None, default=None
        Shape of one instance as the network takes it; None is the classifier's
        ``input_shape_``, and for a module "as they come".
    classes : array-like of shape (n_classes,) or None, default=None
        Labels of the logits' columns; None is the classifier's ``classes_``, and
        for a module "not known".
    device : str, torch.device or None, default=None
        Where the copy computes; "auto" is a GPU if there is one, None where the model's
        parameters are.

    Returns
    -------
    Surrogate
        The adapted model.

    Raises
    ------
    ValueError
        If a step of a Pipeline is neither an affine scaler nor a sampler, or clips (the
        message names the step), an ``nn.Module`` has no linear layer to cut it at, or
        the device does not exist.
    TypeError
        If the model is none of the above.
    NotFittedError
        If a classifier or a Pipeline is not fitted.

    Examples
    --------
    >>> import torch
    >>> from sklgm.poisoning import make_surrogate
    >>> backbone, head = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
    >>> surrogate = make_surrogate((backbone, head))
    >>> surrogate.features(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """
    if isinstance(model, Surrogate):
        return model
    steps, last = _split_pipeline(model)
    gaussians: RobustGaussianClassifier | None = None
    if isinstance(last, RobustGaussianClassifier) and steps:
        gaussians, (_, last) = last, steps.pop()
    # Scalers are folded in order: x -> x * scale + shift.
    scale: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] | None = None
    for name, step in steps:
        step_scale, step_shift = affine_map(name, step)
        if scale is None or shift is None:
            scale, shift = step_scale, step_shift
        else:
            scale, shift = scale * step_scale, shift * step_scale + step_shift

    offsets = getattr(last, "_column_offsets", None)  # of a network that centres
    if offsets is not None:
        scale = np.ones(len(offsets)) if scale is None else scale
        shift = (0.0 if shift is None else shift) - offsets

    network = _network_of(last)
    if gaussians is not None:
        network = _with_gaussians(network, gaussians)
    if input_shape is None:
        input_shape = getattr(last, "input_shape_", None)
    if classes is None:
        classes = getattr(last, "classes_", None)
    return NetworkSurrogate(
        network,
        input_shape=None if input_shape is None else tuple(input_shape),
        classes=None if classes is None else np.asarray(classes),
        scale=scale,
        shift=shift,
        device=None if device is None else resolve_device(device),
        criterion=None if gaussians else copy.deepcopy(_criterion_of(last)),
    )


def _split_pipeline(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Named steps that transform, in order, and the model they lead to."""
    model = _unfreeze(model)
    if not isinstance(model, Pipeline):
        return [], model
    check_is_fitted(model)
    steps = []
    for name, step in model.steps[:-1]:
        # Samplers of imbalanced-learn leave alone what is predicted.
        samples = hasattr(step, "fit_resample")
        if step is not None and not isinstance(step, str) and not samples:
            steps.append((name, _unfreeze(step)))
    further, last = _split_pipeline(model.steps[-1][1])
    return steps + further, last


def _unfreeze(model: Any) -> Any:
    while isinstance(model, FrozenEstimator):
        model = model.estimator
    return model


def _network_of(model: Any) -> nn.Module:
    """Find the module with `backbone` and `head`, not yet copied."""
    if isinstance(model, tuple) and len(model) == 2:
        backbone, head = model
        if isinstance(backbone, nn.Module) and isinstance(head, nn.Module):
            return nn.ModuleDict({"backbone": backbone, "head": head})
    if isinstance(model, nn.Module):
        if not _has_parts(model):
            backbone, head = split_module(model)
            return nn.ModuleDict({"backbone": backbone, "head": head})
        network: Any = model
    else:
        if hasattr(model, "fit"):
            check_is_fitted(model)
        network = getattr(getattr(model, "net_", None), "module_", None)
    if not _has_parts(network):
        raise TypeError(
            "model must be a fitted sklgm classifier, an nn.Module, the pair of "
            "modules (backbone, head), or a FrozenEstimator or Pipeline around one; "
            f"got {type(model).__name__}"
        )
    module: nn.Module = network
    return module


def _has_parts(network: Any) -> bool:
    return all(
        isinstance(getattr(network, name, None), nn.Module)
        for name in ("backbone", "head")
    )


def _with_gaussians(
    network: nn.Module, gaussians: RobustGaussianClassifier
) -> nn.Module:
    """Copy a network, with class Gaussians in place of its head."""
    copied: Any = copy.deepcopy(network)
    n_classes, feature_dim = gaussians.means_.shape
    head = GaussianMixtureHead(
        feature_dim,
        n_classes,
        covariance_type=gaussians.covariance_type,
        variance=float(np.mean(gaussians.covariances_)),
        priors=gaussians.priors_.tolist(),
    )
    head.set_gaussians(
        torch.from_numpy(gaussians.means_),
        torch.as_tensor(np.log(gaussians.covariances_)),
    )
    copied.head = head.to(next(copied.head.parameters()))
    return copied  # type: ignore[no-any-return]


def _features(network: Any, X: Tensor) -> Tensor:
    """Features (n_samples, feature_dim) of a network with `backbone`."""
    # A network's method `features` may do more than its backbone: normalise.
    has_method = inspect.ismethod(getattr(network, "features", None))
    features: Tensor = network.features(X) if has_method else network.backbone(X)
    if not isinstance(features, Tensor):
        raise TypeError(
            "the backbone of model must give a tensor of features, got "
            f"{type(features).__name__}; of a pair, the backbone comes first"
        )
    return features.flatten(1)


def _criterion_of(model: Any) -> nn.Module | None:
    """Find the criterion that a classifier was trained with; None if there is none."""
    criterion: nn.Module | None = getattr(
        getattr(model, "net_", None), "criterion_", None
    )
    return criterion


def _frozen_copy(network: nn.Module) -> nn.Module:
    """Copy a network; fix its parameters and evaluation mode, drop its hooks."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in network.modules():
        # A deep copy shares the functions of its hooks with the original: a
        # recording hook would see the attack's passes.
        for name, registry in vars(module).items():
            if name.endswith("_hooks") and "state_dict" not in name:
                registry.clear()
    return network


def _first_float_tensor(network: nn.Module) -> Tensor | None:
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            return tensor
    return None
