"""scikit-learn classifiers that resist clean-label poisoning."""

import importlib as _importlib
import typing as _typing
from importlib.metadata import version as _version

if _typing.TYPE_CHECKING:
    from sklgm.auditing import AuditResult, audit
    from sklgm.classifiers import (
        LGMClassifier,
        PartitionedClassifier,
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
    from sklgm.persistence import load, save
    from sklgm.poisoning import PoisonCrafter
    from sklgm.red_teaming import RedTeamResult, red_team

__version__ = _version("sklgm")

__all__ = [
    "ActivationClusteringDetector",
    "AuditResult",
    "ClassMahalanobisDetector",
    "DeepKNNDetector",
    "FilteredClassifier",
    "LGMClassifier",
    "LGMOutlierDetector",
    "PartitionedClassifier",
    "PoisonCrafter",
    "PoisonFilter",
    "RedTeamResult",
    "RobustGaussianClassifier",
    "SelfConfidenceDetector",
    "SoftmaxClassifier",
    "SpectralSignatureDetector",
    "audit",
    "load",
    "red_team",
    "save",
]

# Imported when they are first used: the command line shows its help without torch.
_PACKAGES = {
    "auditing": ("AuditResult", "audit"),
    "classifiers": (
        "LGMClassifier",
        "PartitionedClassifier",
        "RobustGaussianClassifier",
        "SoftmaxClassifier",
    ),
    "filtering": ("FilteredClassifier", "PoisonFilter"),
    "outliers": (
        "ActivationClusteringDetector",
        "ClassMahalanobisDetector",
        "DeepKNNDetector",
        "LGMOutlierDetector",
        "SelfConfidenceDetector",
        "SpectralSignatureDetector",
    ),
    "persistence": ("load", "save"),
    "poisoning": ("PoisonCrafter",),
    "red_teaming": ("RedTeamResult", "red_team"),
}


def __getattr__(name: str) -> _typing.Any:
    for package, names in _PACKAGES.items():
        if name in names:
            return getattr(_importlib.import_module(f"sklgm.{package}"), name)
        if name == package:
            return _importlib.import_module(f"sklgm.{package}")
    raise AttributeError(f"module 'sklgm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
