"""The networks under comparison, softmax and L-GM."""

from typing import Any

from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.experiments._settings import RunSettings

Classifier = LGMClassifier | SoftmaxClassifier


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
