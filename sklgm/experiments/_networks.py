"""The networks under comparison, softmax and L-GM."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._settings import RunSettings
from sklgm.poisoning import compress_jpeg

Classifier = LGMClassifier | SoftmaxClassifier


class CompressedNetwork:
    """A network whose training images are re-encoded as JPEG before it sees them.

    Parameters
    ----------
    clf : fitted classifier
        The network.
    quality : int in [1, 95]
        As in :func:`sklgm.poisoning.compress_jpeg`.
    """

    def __init__(self, clf: Classifier, quality: int) -> None:
        self.clf = clf
        self.quality = quality

    def transform(self, X: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Give the features of training images.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_channels, height, width)
            Images.

        Returns
        -------
        ndarray of shape (n_samples, feature_dim)
            Features of what the encoder leaves.
        """
        features: NDArray[np.floating[Any]] = self.clf.transform(
            compress_jpeg(X, self.quality)
        )
        return features

    def predict(self, X: NDArray[np.float32]) -> NDArray[Any]:
        """Predict labels of test images, which are not re-encoded.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_channels, height, width)
            Images.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        labels: NDArray[Any] = self.clf.predict(X)
        return labels


def make_networks(settings: RunSettings, **changes: Any) -> dict[str, Classifier]:
    """Make the networks under comparison.

    Parameters
    ----------
    settings : RunSettings
        Their parameters.
    **changes
        Parameters that both have.

    Returns
    -------
    dict of str to classifier
        Unfitted, by ``"softmax"`` and ``"lgm"``.
    """
    shared: dict[str, Any] = {
        "feature_dim": settings.feature_dim,
        "device": settings.device,
        "random_state": settings.seed,
    }
    if settings.recipe is not None:
        shared |= changes
        return {
            "softmax": SoftmaxClassifier.from_preset(settings.recipe, **shared),
            "lgm": LGMClassifier.from_preset(settings.recipe, **shared),
        }
    shared |= {"max_epochs": settings.max_epochs, **changes}
    return {
        "softmax": SoftmaxClassifier(settings.backbone, **shared),
        "lgm": LGMClassifier(settings.backbone, margin=settings.margin, **shared),
    }
