"""JPEG compression of training images, and an attacker who knows of it."""

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sklgm.poisoning._surrogate import (
    GaussianSurrogate,
    InputShape,
    Surrogate,
    TrainableSurrogate,
)


def compress_jpeg(X: ArrayLike, quality: int = 75) -> NDArray[np.float32]:
    """Encode images as JPEG and decode them: a cheap defence against poisons.

    What poisons change is often fine and small, and is lost.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_channels, height, width)
        Images in [0, 1] of 1 or 3 channels.
    quality : int in [1, 95], default=75
        Quality of the encoder; lower loses more.

    Returns
    -------
    ndarray of float32 of the shape of X
        The images as they are decoded: 8-bit values over 255.

    Raises
    ------
    ValueError
        If X holds no images of 1 or 3 channels in [0, 1], or ``quality`` is out of its
        range.

    See Also
    --------
    JpegSurrogate : An attacker who knows of it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklgm.poisoning import compress_jpeg
    >>> noise = np.random.default_rng(0).uniform(size=(1, 3, 16, 16))
    >>> bool(compress_jpeg(noise, 20).std() < noise.std())
    True
    """
    from PIL import Image

    X = np.asarray(X)
    if X.ndim != 4 or X.shape[1] not in (1, 3):
        raise ValueError(
            "X must hold images of shape (n_samples, 1 or 3, height, width) to be "
            f"compressed, got shape {X.shape}"
        )
    if X.size and not (X.min() >= 0.0 and X.max() <= 1.0):
        raise ValueError(f"X must be in [0, 1], got [{X.min()}, {X.max()}]")
    if not (isinstance(quality, int | np.integer) and 1 <= quality <= 95):
        raise ValueError(f"quality must be an int in [1, 95], got {quality!r}")
    pixels = np.rint(np.multiply(X, 255.0)).astype(np.uint8)
    compressed = np.empty(X.shape, dtype=np.float32)
    for image, out in zip(pixels, compressed, strict=True):
        stream = io.BytesIO()
        shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(shown).save(stream, "JPEG", quality=int(quality))
        decoded = np.asarray(Image.open(stream), dtype=np.float32) / np.float32(255.0)
        out[...] = decoded if len(image) == 1 else decoded.transpose(2, 0, 1)
    return compressed


class JpegSurrogate:
    """A surrogate behind JPEG compression, for an attacker who knows the defence.

    Images pass through the encoder itself; its gradient is taken for the identity.

    Parameters
    ----------
    surrogate : Surrogate
        What sees the decoded images.
    quality : int in [1, 95], default=75
        As in :func:`compress_jpeg`.

    See Also
    --------
    compress_jpeg : The defence.

    References
    ----------
    A. Athalye, N. Carlini and D. Wagner, "Obfuscated Gradients Give a False Sense of
    Security", ICML 2018 (backward pass differentiable approximation).
    """

    def __init__(self, surrogate: Surrogate, quality: int = 75) -> None:
        self.surrogate = surrogate
        self.quality = quality
        self.input_shape: InputShape | None = surrogate.input_shape
        self.classes: NDArray[Any] | None = surrogate.classes
        self.device: torch.device = surrogate.device
        self.dtype: torch.dtype = surrogate.dtype

    def features(self, X: Tensor) -> Tensor:
        """Give the features of the decoded images.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_channels, height, width)
            Images.

        Returns
        -------
        Tensor of shape (n_samples, feature_dim)
            Features, with a gradient as if they were of X.
        """
        return self.surrogate.features(self._compressed(X))

    def log_joint(self, features: Tensor) -> Tensor:
        """Give the logits of features.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of :meth:`features`.

        Returns
        -------
        Tensor of shape (n_samples, n_classes)
            Those of the surrogate.
        """
        return self.surrogate.log_joint(features)

    def predict(self, X: Tensor) -> Tensor:
        """Predict class indices of the decoded images.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_channels, height, width)
            Images.

        Returns
        -------
        Tensor of int64 of shape (n_samples,)
            Those of the surrogate.
        """
        return self.surrogate.predict(self._compressed(X))

    def parameter_gradients(
        self, X: Tensor, y_encoded: Tensor, *, parameters: str = "all"
    ) -> Tensor:
        """Give gradients of the training loss of groups of decoded images.

        Parameters
        ----------
        X : Tensor of shape (n_groups, n_samples, n_channels, height, width)
            Groups of images.
        y_encoded : Tensor of int of shape (n_groups,)
            Class that each group claims.
        parameters : {"all", "head"}, default="all"
            By which parameters.

        Returns
        -------
        Tensor of shape (n_groups, n_parameters)
            Gradients.

        Raises
        ------
        TypeError
            If the surrogate has no training loss.
        """
        if not isinstance(self.surrogate, TrainableSurrogate):
            raise TypeError("surrogate has no parameter_gradients")
        compressed = self._compressed(X.flatten(0, 1)).reshape(X.shape)
        return self.surrogate.parameter_gradients(
            compressed, y_encoded, parameters=parameters
        )

    def claimed_distances(self, features: Tensor, y_encoded: Tensor) -> Tensor:
        """Give the squared Mahalanobis distance of each row to the class it claims.

        Parameters
        ----------
        features : Tensor of shape (n_samples, feature_dim)
            Output of :meth:`features`.
        y_encoded : Tensor of int of shape (n_samples,)
            Claimed class indices.

        Returns
        -------
        Tensor of shape (n_samples,)
            Those of the surrogate.

        Raises
        ------
        TypeError
            If the surrogate has no Gaussians.
        """
        if not isinstance(self.surrogate, GaussianSurrogate):
            raise TypeError("surrogate has no claimed_distances")
        return self.surrogate.claimed_distances(features, y_encoded)

    def _compressed(self, X: Tensor) -> Tensor:
        images = X.detach().clamp(0.0, 1.0).cpu().numpy()
        decoded = torch.from_numpy(compress_jpeg(images, self.quality)).to(X)
        return X + (decoded - X).detach()
