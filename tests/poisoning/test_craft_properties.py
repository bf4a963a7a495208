"""Whatever the input and the settings, poisons keep their bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sklgm.poisoning import craft

SEEDS = st.integers(0, 2**16)


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), nn.Identity()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    low=st.floats(-300, 300, width=32),
    width=st.floats(0.125, 300, width=32),
    max_perturbation=st.none() | st.floats(1e-3, 10),
    watermark_opacity=st.floats(0, 0.99),
    similarity_weight=st.sampled_from([0.0, 1e-4, 1.0]),
    step_size=st.none() | st.sampled_from([1e-3, 1e3]),
)
def test_poisons_stay_in_the_box_and_objectives_do_not_rise(
    dtype,
    seed,
    low,
    width,
    max_perturbation,
    watermark_opacity,
    similarity_weight,
    step_size,
):
    rng = np.random.RandomState(seed)
    low, high = dtype(low), dtype(low + width)
    X_base = np.clip(rng.uniform(low, high, size=(3, 4)).astype(dtype), low, high)
    X_target = rng.uniform(low - 1, high + 1, size=(3, 4)).astype(dtype)
    result = craft(
        network(seed),
        X_base,
        X_target,
        pixel_range=(low, high),
        max_perturbation=max_perturbation,
        watermark_opacity=watermark_opacity,
        similarity_weight=similarity_weight,
        step_size=step_size,
        max_iter=5,
    )
    assert result.X_poison.dtype == dtype
    assert np.isfinite(result.X_poison).all()
    assert (result.X_poison >= low).all()
    assert (result.X_poison <= high).all()
    if max_perturbation is not None:
        assert (np.abs(result.X_poison - X_base) <= max_perturbation).all()
        assert (result.linf <= max_perturbation).all()
    assert (result.objective_final <= result.objective_initial).all()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_permuting_the_poisons_permutes_the_result(seed):
    rng = np.random.RandomState(seed)
    X_base, X_target = rng.uniform(size=(2, 4, 4))
    order = rng.permutation(4)
    backbone, head = network(seed)
    model = backbone.double(), head
    result = craft(model, X_base, X_target, max_iter=5)
    permuted = craft(model, X_base[order], X_target[order], max_iter=5)
    np.testing.assert_allclose(permuted.X_poison, result.X_poison[order], atol=1e-7)
