"""What an attack may ask of a model."""

from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor

InputShape = tuple[int, ...]


@runtime_checkable
class Surrogate(Protocol):
    """What an attack may ask of a model.

    Any object with these members can be attacked. Attacks that need more, such as
    the trainable parameters with the training loss, extend this protocol when they
    come.

    Attributes
    ----------
    input_shape : tuple of int or None
        Shape of one instance as the network takes it; instances given in another
        shape of the same size are reshaped. None takes them as they come.
    classes : ndarray of shape (n_classes,) or None
        Label of each column of `log_joint`; None where they are not known.
    device : torch.device
        Where the tensors passed in must be.
    dtype : torch.dtype
        Type in which the network computes; inputs of other types are cast.
    """

    input_shape: InputShape | None
    classes: NDArray[Any] | None
    device: torch.device
    dtype: torch.dtype

    def features(self, X: Tensor) -> Tensor:
        """Give the features, differentiable in `X`.

        Parameters
        ----------
        X : Tensor of shape (n_samples, ...)
            Instances in the space in which poisons are crafted.

        Returns
        -------
        Tensor of shape (n_samples, feature_dim)
            Features f(x), each row a function of its own instance alone.
        """
        ...

    def log_joint(self, features: Tensor) -> Tensor:
        """Give the logits of features.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of `features`.

        Returns
        -------
        Tensor of shape (n_samples, n_classes)
            Log joint density log p(f, k), up to a constant a row.
        """
        ...

    def predict(self, X: Tensor) -> Tensor:
        """Predict class indices.

        Parameters
        ----------
        X : Tensor of shape (n_samples, ...)
            Instances.

        Returns
        -------
        Tensor of int64 of shape (n_samples,)
            Columns of the largest `log_joint`; index `classes` for labels.
        """
        ...


@runtime_checkable
class TrainableSurrogate(Surrogate, Protocol):
    """A surrogate that can also say how training would move it."""

    def parameter_gradients(
        self, X: Tensor, y_encoded: Tensor, *, parameters: str = "all"
    ) -> Tensor:
        """Give gradients of the training loss of groups, differentiable in `X`.

        Parameters
        ----------
        X : Tensor of shape (n_groups, n_samples, ...)
            Groups of instances.
        y_encoded : Tensor of int of shape (n_groups,)
            Index of the class that the instances of each group claim.
        parameters : {"all", "head"}, default="all"
            By which parameters.

        Returns
        -------
        Tensor of shape (n_groups, n_parameters)
            Gradient of the mean loss of each group, flattened.
        """
        ...


@runtime_checkable
class GaussianSurrogate(Surrogate, Protocol):
    """A surrogate that can also say how far features lie from the class they claim."""

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
            D_z(f), differentiable in ``features``.
        """
        ...
