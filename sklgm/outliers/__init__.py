"""Detectors that judge a row by the label it claims."""

from sklgm.outliers._clustering import ActivationClusteringDetector
from sklgm.outliers._deep_knn import DeepKNNDetector
from sklgm.outliers._lgm_detector import LGMOutlierDetector
from sklgm.outliers._mahalanobis import ClassMahalanobisDetector
from sklgm.outliers._self_confidence import SelfConfidenceDetector
from sklgm.outliers._spectral import SpectralSignatureDetector

__all__ = [
    "ActivationClusteringDetector",
    "ClassMahalanobisDetector",
    "DeepKNNDetector",
    "LGMOutlierDetector",
    "SelfConfidenceDetector",
    "SpectralSignatureDetector",
]
