"""Robust class Gaussians: what the other files of estimates leave out."""

import numpy as np
import pytest
import torch

from sklgm.gaussian import estimate_gaussians


@pytest.mark.parametrize("covariance_type", ["tied_diag", "identity"])
def test_a_class_with_a_constant_column_counts_in_the_pooled_variance(covariance_type):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [30, 10])
    features = rng.normal(size=(40, 2)) * np.where(y == 0, 1.0, 3.0)[:, None]
    features[y == 0, 0] = 7.0
    estimate = estimate_gaussians(
        torch.from_numpy(features),
        torch.from_numpy(y),
        2,
        location="mean",
        covariance_type=covariance_type,
        variance="within",
        trim=0.0,
    )
    pooled = sum((y == k).mean() * features[y == k].var(axis=0) for k in (0, 1))
    expected = pooled if covariance_type == "tied_diag" else pooled.mean()
    np.testing.assert_allclose(estimate.log_variances.exp(), expected)
