"""Poisons beside their bases."""

import numpy as np
import pytest

from sklgm.plotting import PoisonDisplay


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("n_targets", [1, 4])
def test_display_shows_four_rows(ax, n_channels, n_targets):
    rng = np.random.default_rng(0)
    X_base = rng.uniform(0.2, 0.8, size=(4, n_channels, 6, 5))
    X_target = rng.uniform(size=(n_targets, n_channels, 6, 5))
    X_poison = X_base + 0.05
    display = PoisonDisplay.from_images(
        X_base, X_target, X_poison, titles=list("abcd"), ax=ax
    )
    assert display.ax_ is ax
    assert display.amplification_ == 10
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert labels == ["base", "target", "poison", "change\n× 10"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list("abcd")
    shown = np.asarray(ax.images[0].get_array())
    expected = np.broadcast_to(X_base[0].transpose(1, 2, 0), (6, 5, 3))
    np.testing.assert_allclose(shown[:6, :5], expected)
    np.testing.assert_allclose(shown[-6:, :5], 1.0)  # 0.5 + 10 * 0.05


def test_pixels_are_read_in_their_range(ax):
    X = np.full((1, 1, 4, 4), 64.0)
    display = PoisonDisplay.from_images(
        X, X, X + 8, pixel_range=(0, 128), amplification=2, ax=ax
    )
    shown = np.asarray(display.ax_.images[0].get_array())
    np.testing.assert_allclose(shown[:4, :4], 0.5)
    np.testing.assert_allclose(shown[-4:, :4], 0.5 + 2 * 8 / 128)


def test_unchanged_images_are_not_amplified(ax):
    X = np.zeros((1, 1, 4, 4))
    assert PoisonDisplay.from_images(X, X, X, ax=ax).amplification_ == 1


def test_inputs_are_not_modified(ax):
    X = np.full((2, 1, 4, 4), 0.5)
    X.flags.writeable = False
    PoisonDisplay.from_images(X, X, X, ax=ax)
    assert np.all(X == 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X_base": np.ones((4, 4))}, r"X_base of shape \(4, 4\)"),
        ({"X_poison": np.ones((1, 1, 4, 4))}, r"X_poison of shape \(1, 1, 4, 4\)"),
        ({"X_target": np.ones((3, 1, 4, 4))}, r"X_target of shape \(3, 1, 4, 4\)"),
        ({"X_target": np.ones((2, 2, 4, 4))}, r"X_target of shape \(2, 2, 4, 4\)"),
        ({"titles": ["a"]}, "titles has 1 entries for 2 rows"),
        ({"amplification": 0}, "amplification=0 must be positive"),
        ({"pixel_range": (1, 0)}, r"pixel_range=\(1, 0\) must be"),
    ],
)
def test_display_rejects_what_does_not_fit(options, message):
    X = np.ones((2, 1, 4, 4))
    arguments = {"X_base": X, "X_target": X, "X_poison": X} | options
    with pytest.raises(ValueError, match=message):
        PoisonDisplay(**arguments)
