import numpy as np
import pytest
from scipy.special import log_softmax

from sklgm.outliers._log_posteriors import precise_log_softmax, without_floor


def test_probabilities_that_underflow_keep_their_order_without_the_floor():
    log_proba = log_softmax(np.array([[0.0, -800.0, -900.0, -3.0]]), axis=1)
    sharpened = without_floor(log_proba, 0.01)
    assert np.isfinite(sharpened).all()
    assert np.argsort(sharpened[0]).tolist() == [2, 1, 3, 0]
    assert np.exp(sharpened).sum() == pytest.approx(1.0)


def test_one_class_is_certain():
    assert precise_log_softmax(np.array([[-7.0], [3.0]])).tolist() == [[0.0], [0.0]]
