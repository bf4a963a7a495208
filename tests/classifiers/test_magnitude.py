"""What is too large for a network or a Gaussian is refused in fit."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklgm import LGMClassifier, RobustGaussianClassifier, SoftmaxClassifier

TINY = {"feature_dim": 3, "max_epochs": 2, "batch_size": 16, "random_state": 0}


def rows(scale, n_classes=2, dtype=np.float64):
    rng = np.random.default_rng(0)
    y = np.arange(24) % n_classes
    X = (rng.normal(size=(24, 3)) + y[:, None]) * scale
    return X.astype(dtype), y


@pytest.mark.parametrize("cls", [LGMClassifier, SoftmaxClassifier])
def test_a_column_too_large_for_the_type_is_named(cls):
    X, y = rows(1.0)
    X[5, 1] = -1e39
    with pytest.raises(ValueError, match=r"float32: column 1 reaches 1e\+39 in row 5"):
        cls(**TINY).fit(X, y)
    frame = pd.DataFrame(X, columns=["a", "weight", "c"])
    with pytest.raises(ValueError, match="column 'weight' reaches.*dtype='float64'"):
        cls(**TINY).fit(frame, y)


@pytest.mark.parametrize("shape", [(10, 3), (10_000, 3)])
def test_a_value_in_a_later_chunk_is_found(shape):
    X, y = np.zeros(shape), np.arange(shape[0]) % 2
    X[-1, 2] = 1e300
    with pytest.raises(ValueError, match=f"column 2 reaches .* in row {shape[0] - 1}"):
        SoftmaxClassifier(**TINY).fit(X, y)


MODELS = {
    "lgm": lambda: LGMClassifier(**TINY),
    "lgm, learned": lambda: LGMClassifier(**TINY, covariance_type="diag"),
    "lgm, trimmed": lambda: LGMClassifier(**TINY, trim=0.1),
    "lgm, fixed features": lambda: LGMClassifier("identity", location="median"),
    "softmax": lambda: SoftmaxClassifier(**TINY),
    "gaussians": lambda: RobustGaussianClassifier(covariance_type="diag"),
    "gaussians, median": lambda: RobustGaussianClassifier(location="median"),
}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=8, deadline=None)
@given(
    exponent=st.integers(-40, 300),
    n_classes=st.integers(2, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_fit_succeeds_with_finite_numbers_or_says_why(
    name, exponent, n_classes, dtype
):
    with np.errstate(over="ignore"):
        X, y = rows(10.0**exponent, n_classes, dtype)
    if not np.isfinite(X).all():
        return
    model = MODELS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y)
        except ValueError as error:
            refusal = str(error)
        else:
            refusal = None
        if refusal is not None:
            assert re.search("too large|diverged|not finite", refusal), refusal
            return
        for attribute in ("means_", "covariances_", "priors_"):
            if hasattr(model, attribute):
                assert np.isfinite(getattr(model, attribute)).all()
        assert np.isfinite(model.predict_proba(X)).all()
