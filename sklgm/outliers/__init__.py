"""Detectors that judge a row by the label it claims."""

from sklgm.outliers._lgm import LGMOutlierDetector

__all__ = ["LGMOutlierDetector"]
