"""scikit-learn classifiers that resist clean-label poisoning."""

from importlib.metadata import version

from sklgm.classifiers import LGMClassifier, SoftmaxClassifier
from sklgm.outliers import LGMOutlierDetector
from sklgm.poisoning import PoisonCrafter

__version__ = version("sklgm")

__all__ = [
    "LGMClassifier",
    "LGMOutlierDetector",
    "PoisonCrafter",
    "SoftmaxClassifier",
]
