"""sklgm.nn._airbench: whitening, fast biases, features of one scale."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.nn import airbench, airbench_narrow
from sklgm.nn._airbench import (
    FrugalMaxPool2d,
    ShiftedBatchNorm2d,
    StandardScaler1d,
    Whitening,
)
from sklgm.poisoning import make_surrogate


def images(n=40, shape=(3, 16, 16), seed=0):
    """Smooth colour images in [0, 1]: neighbours and channels are correlated."""
    rng = np.random.RandomState(seed)
    low = rng.uniform(size=(n, shape[0], 4, 4))
    low += rng.uniform(size=(n, 1, 4, 4))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(low), size=shape[1:], mode="bicubic"
    )
    return (smooth / 2.0).clamp(0.0, 1.0).float()


def patches(X, stride):
    """Patches of 2 x 2 strides, by loops, shape (n_patches, n_values)."""
    side = 2 * stride
    cut = [
        x[:, i : i + side, j : j + side].reshape(-1)
        for x in X
        for i in range(0, x.shape[1] - side + 1, stride)
        for j in range(0, x.shape[2] - side + 1, stride)
    ]
    return torch.stack(cut).double()


@pytest.mark.parametrize(
    ("backbone", "n_millions"), [(airbench, 118), (airbench_narrow, 33)]
)
def test_multiplications_are_those_of_the_docstring(backbone, n_millions):
    network = backbone((3, 32, 32), 64).eval()
    with FlopCounterMode(display=False) as counter:  # one product is two operations
        network(torch.zeros(1, 3, 32, 32))
    assert round(counter.get_total_flops() / 2e6) == n_millions


@pytest.mark.parametrize("stride", [1, 2])
def test_filters_are_uncorrelated_of_mean_0_and_sorted_by_variance(stride):
    X = images()
    whitening = Whitening(3, stride=stride)
    whitening.start_from(X)
    half = whitening(X)[:, :12]
    values = half.transpose(0, 1).flatten(1).double()  # (n_directions, n_patches)
    assert torch.allclose(values.mean(dim=1), torch.zeros(12).double(), atol=1e-3)
    of_patches = torch.cov(patches(X, stride).T, correction=0)
    variances = torch.linalg.eigvalsh(of_patches).flip(0)
    expected = variances[:12] / (variances[:12] + 1e-4 * variances[0])
    found = torch.cov(values, correction=0)
    assert torch.allclose(found, torch.diag(expected), atol=2e-3)


def test_each_direction_comes_with_either_sign():
    X = images()
    whitening = Whitening(3)
    whitening.start_from(X)
    filtered = whitening(X)
    assert torch.allclose(filtered[:, :12], -filtered[:, 12:], atol=1e-5)


def test_an_offset_of_the_images_changes_no_filter():
    X = images().double()
    near, far = Whitening(3).double(), Whitening(3).double()
    near.start_from(X)
    far.start_from(X + 1e4)
    assert torch.allclose(near(X), far(X + 1e4), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5, 1e4])
def test_images_without_contrast_give_finite_filters(value):
    network = airbench((3, 16, 16), 5)
    network.start_from(torch.full((8, 3, 16, 16), value))
    with torch.no_grad():
        assert bool(torch.isfinite(network(torch.rand(4, 3, 16, 16))).all())


def test_gray_images_have_no_more_directions_than_a_patch_has_values():
    whitening = Whitening(1)
    assert whitening.weight.shape == (8, 1, 2, 2)
    whitening.start_from(images(shape=(1, 16, 16)))
    assert bool(torch.isfinite(whitening.weight).all())


def test_whitening_is_not_trained_but_its_bias_is():
    network = airbench((3, 16, 16), 5)
    names = {name for name, _ in network.named_parameters() if name.startswith("0.")}
    assert names == {"0.bias"}


def test_normalisation_is_that_of_torch_with_a_bias_of_64_times_the_rate():
    X = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.arange(4.0).view(1, 4, 1, 1)
    plain, shifted = nn.BatchNorm2d(4), ShiftedBatchNorm2d(4)
    for layer in (plain, shifted):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        (layer(X) * weight).sum().backward()
        optimizer.step()
    learnt = 8.0 * shifted.shift.detach()
    assert torch.allclose(learnt, 64.0 * plain.bias.detach(), rtol=1e-5)
    with torch.no_grad():
        shifted.shift.zero_()
        expected = nn.functional.batch_norm(X, None, None, training=True)
        assert torch.allclose(shifted(X), expected, atol=1e-5)


def test_features_of_a_training_batch_have_mean_0_and_one_scale():
    X = 7.0 + 3.0 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    features = StandardScaler1d(6)(X)
    assert torch.allclose(features.mean(dim=0), torch.zeros(6), atol=1e-6)
    rms = features.square().mean(dim=0).sqrt()
    assert torch.allclose(rms, torch.full((6,), 1.0 / 6.0), atol=1e-5)


@pytest.mark.parametrize(("side", "stride"), [(16, 1), (63, 1), (64, 2), (128, 4)])
def test_larger_images_have_patches_further_apart(side, stride):
    network = airbench((3, side, side), 5).eval()
    assert network[0].stride == stride
    with torch.no_grad():
        assert network(torch.rand(2, 3, side, side)).shape == (2, 5)


@pytest.mark.parametrize("classifier", [SoftmaxClassifier, LGMClassifier])
def test_classifiers_take_the_whitening_from_the_training_images(classifier):
    X = images()
    y = np.arange(len(X)) % 2
    clf = classifier("airbench", feature_dim=4, max_epochs=0, random_state=0)
    clf.fit(X.numpy(), y)
    expected = Whitening(3)
    expected.start_from(X)
    found = clf.net_.module_.backbone[0]
    assert torch.allclose(found.weight, expected.weight, atol=1e-5)
    assert torch.allclose(found.offset, expected.offset, atol=1e-5)


def test_the_whitening_of_a_module_of_ones_own_is_left_alone():
    X = images()
    own = airbench((3, 16, 16), 4)
    own.start_from(images(seed=1))
    clf = SoftmaxClassifier(own, max_epochs=1, random_state=0)
    clf.fit(X.numpy(), np.arange(len(X)) % 2)
    assert torch.equal(clf.net_.module_.backbone[0].weight, own[0].weight)


def test_partial_fit_takes_the_whitening_from_the_first_chunk():
    X, y = images().numpy(), np.arange(40) % 2
    clf = SoftmaxClassifier("airbench", feature_dim=4, random_state=0)
    clf.partial_fit(X, y, classes=[0, 1])
    first = clf.net_.module_.backbone[0].weight.clone()
    clf.partial_fit(images(seed=1).numpy(), y)
    assert torch.equal(clf.net_.module_.backbone[0].weight, first)
    expected = Whitening(3)
    expected.start_from(images())
    assert torch.allclose(first, expected.weight, atol=1e-5)


@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_frugal_maxima_are_those_of_torch_with_their_gradients(memory_format, dtype):
    generator = torch.Generator().manual_seed(0)
    X = torch.randint(9, (3, 4, 7, 10), generator=generator)  # many ties
    X = X.to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    ours, expected = FrugalMaxPool2d(2)(X), nn.MaxPool2d(2)(X)
    assert torch.equal(ours, expected)
    assert ours.stride() == expected.stride()
    towards = torch.randn(ours.shape, generator=generator).to(dtype)
    (gradient,) = torch.autograd.grad(ours, X, towards)
    (of_torch,) = torch.autograd.grad(expected, X, towards)
    assert torch.equal(gradient, of_torch)
    assert gradient.stride() == of_torch.stride()


def test_frugal_maxima_have_second_derivatives():
    # Gradient matching differentiates the gradients of a network.
    X = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda X: FrugalMaxPool2d(2)(X) ** 2, X)


def test_frugal_maxima_keep_places_in_two_bytes_and_no_input(monkeypatch):
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks

    def noting(pack, unpack):
        return hooks(lambda tensor: kept.append(pack(tensor)) or kept[-1], unpack)

    monkeypatch.setattr(torch.autograd.graph, "saved_tensors_hooks", noting)
    FrugalMaxPool2d(2)(torch.randn(2, 3, 8, 8, requires_grad=True))
    tensors = [value for value in kept if isinstance(value, torch.Tensor)]
    assert [value.dtype for value in tensors] == [torch.int16]
    assert [value for value in kept if value is not tensors[0]] == [(2, 3, 8, 8)]


def test_maxima_of_large_images_have_places_beyond_two_bytes():
    X = torch.randn(1, 1, 200, 200, requires_grad=True)
    (gradient,) = torch.autograd.grad(FrugalMaxPool2d(2)(X).sum(), X)
    (of_torch,) = torch.autograd.grad(nn.MaxPool2d(2)(X).sum(), X)
    assert torch.equal(gradient, of_torch)


def test_frugal_maxima_are_compiled_as_those_of_torch():
    X = torch.randn(2, 3, 6, 6, requires_grad=True)
    compiled = torch.compile(FrugalMaxPool2d(2), backend="eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(X).sum(), X)
    (expected,) = torch.autograd.grad(nn.MaxPool2d(2)(X).sum(), X)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("transform", ["grad", "vmap of grad"])
def test_frugal_maxima_take_the_transforms_of_torch(transform):
    X = torch.randn(4, 2, 3, 6, 6)

    def value(pool, X):
        return (pool(X) ** 2).sum()

    def transformed(pool):
        if transform == "grad":
            return torch.func.grad(lambda X: value(pool, X))(X[0])
        return torch.func.vmap(torch.func.grad(lambda X: value(pool, X)))(X)

    expected = transformed(nn.MaxPool2d(2))
    torch.testing.assert_close(transformed(FrugalMaxPool2d(2)), expected)


def test_gradients_of_all_parameters_are_those_of_each_image():
    # As gradient matching takes them.
    torch.manual_seed(0)
    body, head = airbench((3, 32, 32), 8).eval(), nn.Linear(8, 3).eval()
    surrogate = make_surrogate(
        (body, head), input_shape=(3, 32, 32), classes=np.arange(3)
    )
    X = torch.rand(2, 2, 3, 32, 32, requires_grad=True)
    gradients = surrogate.parameter_gradients(X, torch.tensor([0, 1]), parameters="all")
    (of_images,) = torch.autograd.grad(gradients.square().sum(), X)
    assert torch.isfinite(of_images).all()
    assert of_images.abs().sum() > 0
