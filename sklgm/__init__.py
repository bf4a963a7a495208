"""scikit-learn classifiers that resist clean-label poisoning."""

from importlib.metadata import version

from sklgm.auditing._audit import audit
from sklgm.auditing._result import AuditResult
from sklgm.classifiers import (
    LGMClassifier,
    RobustGaussianClassifier,
    SoftmaxClassifier,
)
from sklgm.filtering import FilteredClassifier, PoisonFilter
from sklgm.outliers import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    DeepKNNDetector,
    LGMOutlierDetector,
    SelfConfidenceDetector,
    SpectralSignatureDetector,
)
from sklgm.poisoning import PoisonCrafter

__version__ = version("sklgm")

__all__ = [
    "ActivationClusteringDetector",
    "AuditResult",
    "ClassMahalanobisDetector",
    "DeepKNNDetector",
    "FilteredClassifier",
    "LGMClassifier",
    "LGMOutlierDetector",
    "PoisonCrafter",
    "PoisonFilter",
    "RobustGaussianClassifier",
    "SelfConfidenceDetector",
    "SoftmaxClassifier",
    "SpectralSignatureDetector",
    "audit",
]
