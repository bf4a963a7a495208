"""JPEG compression, and an attacker who looks through it."""

import numpy as np
import pytest
import torch

from sklgm.poisoning import (
    AdaptivePosterior,
    GradientMatching,
    JpegSurrogate,
    compress_jpeg,
    craft,
    make_surrogate,
)


def smooth_images(n, n_channels):
    ramp = np.linspace(0, 1, 16)
    image = 0.5 * (ramp[:, None] + ramp[None, :])
    return np.broadcast_to(image, (n, n_channels, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_smooth_images_stay_and_fine_noise_is_lost(n_channels):
    X = smooth_images(2, n_channels)
    noise = np.random.default_rng(0).choice([-0.03, 0.03], size=X.shape)
    found = compress_jpeg(X)
    assert found.dtype == np.float32
    assert np.abs(found - X).max() < 0.03
    noisy = np.clip(X + noise, 0, 1).astype(np.float32)
    left = np.abs(compress_jpeg(noisy) - X).mean()
    assert left < 0.7 * np.abs(noisy - X).mean()
    np.testing.assert_allclose(found * 255, np.rint(found * 255), atol=1e-4)


def test_a_lower_quality_loses_more():
    X = np.random.default_rng(0).uniform(size=(2, 1, 16, 16)).astype(np.float32)
    lost = [np.abs(compress_jpeg(X, q) - X).mean() for q in (90, 50, 10)]
    assert lost == sorted(lost)


@pytest.mark.parametrize(
    ("shape", "factor", "quality", "message"),
    [
        ((2, 5), 1, 75, "X must hold images"),
        ((2, 2, 8, 8), 1, 75, "X must hold images"),
        ((2, 1, 8, 8), 255, 75, r"X must be in \[0, 1\]"),
        ((2, 1, 8, 8), 1, 0, r"quality must be an int in \[1, 95\], got 0"),
    ],
)
def test_what_cannot_be_compressed_is_an_error(shape, factor, quality, message):
    with pytest.raises(ValueError, match=message):
        compress_jpeg(np.full(shape, 0.5 * factor), quality)


def test_the_surrogate_sees_what_the_encoder_leaves(image_network, images):
    plain = make_surrogate(image_network)
    behind = JpegSurrogate(plain, 30)
    X = torch.tensor(images[0], requires_grad=True)
    decoded = torch.tensor(compress_jpeg(images[0], 30))
    torch.testing.assert_close(behind.features(X), plain.features(decoded))
    assert torch.equal(behind.predict(X), plain.predict(decoded))
    labels = torch.tensor([1, 2])
    groups = [x.detach().reshape(2, 2, 1, 6, 6) for x in (X, decoded)]
    torch.testing.assert_close(
        behind.parameter_gradients(groups[0], labels),
        plain.parameter_gradients(groups[1], labels),
    )
    # The gradient passes the encoder as if it were not there.
    gradient = torch.autograd.grad(behind.features(X).sum(), X)[0]
    decoded.requires_grad_()
    expected = torch.autograd.grad(plain.features(decoded).sum(), decoded)[0]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    "attack", ["feature_collision", GradientMatching(), AdaptivePosterior()], ids=str
)
def test_attacks_reach_through_the_encoder(attack, image_network, images):
    behind = JpegSurrogate(make_surrogate(image_network), 75)
    result = craft(
        behind,
        *images,
        attack=attack,
        base_label=1,
        similarity_weight=0.0,
        max_iter=30,
        poison_group=np.arange(4),
    )
    assert (result.objective_final < result.objective_initial).all()


def test_one_who_knows_comes_closer_than_one_who_does_not(image_network, images):
    plain = make_surrogate(image_network)
    behind = JpegSurrogate(plain, 50)
    settings = {"similarity_weight": 0.0, "max_iter": 60}
    found = [
        craft(model, *images, **settings).X_poison.copy() for model in (plain, behind)
    ]
    target = behind.features(torch.tensor(images[1]))
    distances = [
        float((behind.features(torch.tensor(X)) - target).norm(dim=1).mean())
        for X in found
    ]
    assert distances[1] < distances[0]
