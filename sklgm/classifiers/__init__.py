"""Classifiers: L-GM, softmax to compare it with, and those that are certified."""

from sklgm.classifiers._lgm import LGMClassifier
from sklgm.classifiers._partitioned import PartitionedClassifier
from sklgm.classifiers._robust_gaussian import RobustGaussianClassifier
from sklgm.classifiers._softmax import SoftmaxClassifier

__all__ = [
    "LGMClassifier",
    "PartitionedClassifier",
    "RobustGaussianClassifier",
    "SoftmaxClassifier",
]
