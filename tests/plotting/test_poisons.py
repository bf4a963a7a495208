"""Poisons beside their bases."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklgm import SoftmaxClassifier
from sklgm.plotting import PoisonDisplay, plot_poison_example
from sklgm.poisoning import PoisonCrafter


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("n_targets", [1, 4])
def test_display_shows_four_rows(ax, n_channels, n_targets):
    rng = np.random.default_rng(0)
    X_base = rng.uniform(0.2, 0.8, size=(4, n_channels, 6, 5))
    X_target = rng.uniform(size=(n_targets, n_channels, 6, 5))
    X_poison = X_base + 0.05
    display = PoisonDisplay.from_predictions(
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
    display = PoisonDisplay.from_predictions(
        X, X, X + 8, pixel_range=(0, 128), amplification=2, ax=ax
    )
    shown = np.asarray(display.ax_.images[0].get_array())
    np.testing.assert_allclose(shown[:4, :4], 0.5)
    np.testing.assert_allclose(shown[-4:, :4], 0.5 + 2 * 8 / 128)


def test_unchanged_images_are_not_amplified(ax):
    X = np.zeros((1, 1, 4, 4))
    assert PoisonDisplay.from_predictions(X, X, X, ax=ax).amplification_ == 1


def test_inputs_are_not_modified(ax):
    X = np.full((2, 1, 4, 4), 0.5)
    X.flags.writeable = False
    PoisonDisplay.from_predictions(X, X, X, ax=ax)
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


# A fitted crafter


def small_crafter(**settings):
    surrogate = SoftmaxClassifier(feature_dim=4, max_epochs=1, random_state=0)
    settings = {"max_iter": 3, "random_state": 0} | settings
    return PoisonCrafter(surrogate, **settings)


@pytest.fixture(scope="module")
def fitted_crafter(tiny_images):
    """Six poisons of two targets. Shared by the module: do not fit it again."""
    X, y = tiny_images
    crafter = small_crafter(
        X_target=1 - X[[0, 15]], target_label=[0, 1], budget=3, pixel_range=(0, 1)
    )
    return crafter.fit(X, y)


def shown_row(display, index):
    """Images of one of the four rows as drawn, of shape (n, height, width)."""
    n_poisons, _, height, width = display.X_base.shape
    shown = np.asarray(display.ax_.images[0].get_array())[..., 0]
    gap = (shown.shape[0] - 4 * height) // 3
    row = shown[index * (height + gap) :][:height]
    step = shown.shape[1] // n_poisons
    return np.array([row[:, i * step :][:, :width] for i in range(n_poisons)])


@pytest.mark.parametrize(("n_poisons", "n_shown"), [(2, 2), (8, 6)])
def test_crafter_gives_bases_targets_and_poisons(
    ax, fitted_crafter, tiny_images, n_poisons, n_shown
):
    X, _ = tiny_images
    display = PoisonDisplay.from_estimator(
        fitted_crafter,
        X,
        n_poisons=n_poisons,
        titles=list("abcdef")[:n_shown],
        amplification=2,
        ax=ax,
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.amplification_ == 2
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list("abcdef")[
        :n_shown
    ]
    base = X[fitted_crafter.poison_indices_[:n_shown], 0]
    target = (1 - X[[0, 0, 0, 15, 15, 15], 0])[:n_shown]
    poison = fitted_crafter.X_poison_[:n_shown, 0]
    np.testing.assert_allclose(shown_row(display, 0), base)
    np.testing.assert_allclose(shown_row(display, 1), target)
    np.testing.assert_allclose(shown_row(display, 2), poison)
    change = np.clip(0.5 + 2 * (poison.astype(float) - base), 0, 1)
    np.testing.assert_allclose(shown_row(display, 3), change)


def test_flat_rows_are_folded(ax, fitted_crafter, tiny_images):
    X, _ = tiny_images
    display = PoisonDisplay.from_estimator(
        fitted_crafter, X.reshape(len(X), -1).tolist(), ax=ax
    )
    np.testing.assert_array_equal(display.X_base, X[fitted_crafter.poison_indices_])


@pytest.mark.parametrize(
    ("of_crafter", "given", "expected"),
    [
        ((-1.0, 17.0), None, (-1.0, 17.0)),
        (None, None, (0.0, 16.0)),
        (None, (0.0, 20.0), (0.0, 20.0)),
    ],
    ids=["of the crafter", "of X", "given"],
)
@pytest.mark.filterwarnings("ignore::sklgm.exceptions.UnscaledImagesWarning")
def test_pixels_are_read_in_the_range_of_the_crafter(
    ax, tiny_images, of_crafter, given, expected
):
    X, y = tiny_images
    X = 16 * X
    crafter = small_crafter(pixel_range=of_crafter, max_iter=1).fit(X, y)
    display = PoisonDisplay.from_estimator(crafter, X, pixel_range=given, ax=ax)
    assert display.pixel_range == expected
    low, high = expected
    base = (X[crafter.poison_indices_, 0] - low) / (high - low)
    np.testing.assert_allclose(shown_row(display, 0), base, rtol=1e-6)


def test_crafter_without_poisons_is_refused(tiny_images):
    crafter = small_crafter(budget=0).fit(*tiny_images)
    with pytest.raises(ValueError, match="no poisons .* fitted with budget=0"):
        PoisonDisplay.from_estimator(crafter, tiny_images[0])


def test_rows_that_are_no_images_are_refused(blobs):
    crafter = small_crafter().fit(*blobs)
    with pytest.raises(ValueError, match=r"X: .* of shape \(4,\), but images of shape"):
        PoisonDisplay.from_estimator(crafter, blobs[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": np.ones((36, 1, 4, 4))}, r"X of shape \(36, 1, 4, 4\) must hold inst"),
        ({"X": np.ones((36, 63))}, r"X of shape \(36, 63\) .* flat rows of 64 values"),
        ({"X": np.ones((1, 1, 8, 8))}, "X has 1 rows, but a poison overwrites row"),
        ({"n_poisons": 0}, "n_poisons=0 must be an integer >= 1"),
        ({"n_poisons": 2.5}, "n_poisons=2.5 must be an integer >= 1"),
        ({"titles": ["a"]}, "titles has 1 entries for 6 rows"),
    ],
)
def test_what_does_not_fit_the_crafter_is_refused(
    fitted_crafter, tiny_images, options, message
):
    with pytest.raises(ValueError, match=message):
        PoisonDisplay.from_estimator(fitted_crafter, **{"X": tiny_images[0]} | options)


def test_what_is_no_fitted_crafter_is_refused(blobs):
    with pytest.raises(NotFittedError, match="PoisonCrafter instance is not fitted"):
        PoisonDisplay.from_estimator(small_crafter(), blobs[0])
    clf = SoftmaxClassifier(max_epochs=0).fit(*blobs)
    with pytest.raises(TypeError, match="crafter=SoftmaxClassifier must be a PoisonCr"):
        PoisonDisplay.from_estimator(clf, blobs[0])


def test_an_example_stands_between_its_base_and_its_target():
    base, target = np.zeros((1, 4, 4)), np.ones((1, 4, 4))
    ax = plot_poison_example(base, base + 0.5, target, base_name="3", target_name="8")
    names = [text.get_text() for text in ax.get_xticklabels()]
    assert names == ["base\nlabel: 3", "poison\nlabel: 3", "target\nlabel: 8"]
    shown = np.asarray(ax.images[0].get_array())[..., 0]
    assert [shown[0, column] for column in (0, 5, 10)] == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match=r"differ in shape: \(1, 4, 4\), \(1, 2, 2\)"):
        plot_poison_example(
            base, base[:, :2, :2], target, base_name="3", target_name="8"
        )
