"""Classifiers: L-GM, and softmax to compare it with."""

from sklgm.classifiers._lgm import LGMClassifier
from sklgm.classifiers._softmax import SoftmaxClassifier

__all__ = ["LGMClassifier", "SoftmaxClassifier"]
