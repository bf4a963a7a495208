"""Classifiers: L-GM, softmax to compare it with, and class Gaussians alone."""

from sklgm.classifiers._lgm import LGMClassifier
from sklgm.classifiers._robust_gaussian import RobustGaussianClassifier
from sklgm.classifiers._softmax import SoftmaxClassifier

__all__ = ["LGMClassifier", "RobustGaussianClassifier", "SoftmaxClassifier"]
