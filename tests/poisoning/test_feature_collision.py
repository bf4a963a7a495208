import numpy as np
import pytest
import torch

from sklgm.poisoning._feature_collision import collision_objective, is_at_target


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)


def test_objective_matches_the_equation_in_loops(features):
    f, t = features
    scale = torch.arange(1.0, 6.0, dtype=torch.float64)
    result = collision_objective(f, t, scale)
    for i in range(5):
        expected = sum((f[i, j] - t[i, j]).item() ** 2 for j in range(4))
        assert result[i].item() == pytest.approx(expected / scale[i].item())


def test_objective_is_one_at_the_base_in_units_of_the_base_distance(features):
    base, target = features
    scale = collision_objective(base, target)
    one = collision_objective(base, target, scale)
    torch.testing.assert_close(one, torch.ones(5, dtype=torch.float64))


def test_objective_has_the_right_gradient(features):
    f, t = features
    assert torch.autograd.gradcheck(
        lambda x: collision_objective(x, t, 3.0), (f.requires_grad_(),)
    )


def test_gradient_vanishes_at_the_target(features):
    f = features[0].requires_grad_()
    collision_objective(f, features[0].detach()).sum().backward()
    assert f.grad.abs().max() == 0


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_extreme_features_stay_finite(size):
    f, t = torch.tensor([[[size] * 3], [[0.0] * 3]], dtype=torch.float64)
    assert collision_objective(f, t).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_counts_as_at_the_target(dtype):
    t = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]], dtype=dtype)
    eps = np.float64(torch.finfo(dtype).eps)
    f = t + torch.tensor([[2 * eps, 0], [0, 1e3 * eps], [0, 0]], dtype=dtype)
    assert is_at_target(f, t).tolist() == [True, False, True]
