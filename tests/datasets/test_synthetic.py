import numpy as np
import pytest

from sklgm.datasets import make_gaussian_classes, make_stripe_images

MAKERS = [make_gaussian_classes, make_stripe_images]


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_gives_the_same_rows(make):
    (X, y), (X_again, y_again), (X_other, _) = (
        make(random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(X, X_again)
    np.testing.assert_array_equal(y, y_again)
    assert not np.array_equal(X, X_other)
    assert X.dtype == np.float32
    assert y.dtype == np.int64


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("n_samples", "n_classes"), [(7, 7), (50, 4), (5, 1)])
def test_classes_are_as_equal_in_size_as_possible(make, n_samples, n_classes):
    X, y = make(n_samples, n_classes, random_state=0)
    assert len(X) == len(y) == n_samples
    counts = np.bincount(y, minlength=n_classes)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("n_classes", "n_features"), [(2, 1), (5, 1), (3, 5), (9, 2), (10, 2), (4, 300)]
)
def test_neighbouring_means_are_the_separation_apart(n_classes, n_features):
    # Noise of standard deviation 1 vanishes against a separation of 1e6.
    X, y = make_gaussian_classes(
        n_classes, n_classes, n_features, separation=1e6, random_state=0
    )
    distances = np.linalg.norm(X[:, np.newaxis] - X, axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(distances.min(axis=1), 1e6, rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_gaussian_classes_have_unit_variance(seed):
    n_samples = 20000
    X, y = make_gaussian_classes(n_samples, 2, 3, random_state=seed)
    # The standard error of a variance of 1 is sqrt(2 / n); five of them.
    tolerance = 5 * np.sqrt(2 / (n_samples / 2))
    for label in (0, 1):
        np.testing.assert_allclose(np.cov(X[y == label].T), np.eye(3), atol=tolerance)


def test_images_without_noise_are_one_pattern_a_class():
    X, y = make_stripe_images(40, 5, noise=0.0, random_state=0)
    patterns = np.array([X[y == label][0] for label in range(5)])
    np.testing.assert_array_equal(X, patterns[y])
    distances = np.abs(patterns[:, np.newaxis] - patterns).max(axis=(2, 3, 4))
    assert np.all(distances[~np.eye(5, dtype=bool)] > 0.5)


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 6, 9), (1, 2, 2)])
def test_noisy_images_stay_in_the_unit_range(image_shape):
    X, _ = make_stripe_images(20, 3, image_shape, noise=0.5, random_state=0)
    assert X.shape == (20, *image_shape)
    assert (X.min(), X.max()) == (0, 1)


def test_noise_differs_between_channels_and_images():
    X, y = make_stripe_images(20, 2, (2, 8, 8), random_state=0)
    assert not np.array_equal(X[:, 0], X[:, 1])
    assert len(np.unique(X[y == 0], axis=0)) == 10


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1, got 0"),
        ({"n_samples": 2.5}, TypeError, "n_samples must be an int, got 2.5"),
        ({"n_classes": 0}, ValueError, "n_classes must be at least 1, got 0"),
        ({"n_classes": True}, TypeError, "n_classes must be an int, got True"),
        (
            {"n_samples": 3, "n_classes": 4},
            ValueError,
            "n_classes must be at most n_samples=3",
        ),
    ],
)
def test_counts_out_of_range_are_refused(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (make_gaussian_classes, {"n_features": 0}, ValueError, "n_features must be"),
        (make_gaussian_classes, {"separation": -1}, ValueError, "separation must be"),
        (make_gaussian_classes, {"separation": "4"}, TypeError, "separation must be"),
        (make_stripe_images, {"noise": np.nan}, ValueError, "noise must be finite"),
        (make_stripe_images, {"noise": None}, TypeError, "noise must be a float"),
        (make_stripe_images, {"image_shape": (8, 8)}, ValueError, "image_shape must"),
        (make_stripe_images, {"image_shape": 8}, ValueError, "image_shape must"),
        (make_stripe_images, {"image_shape": (1, 1, 8)}, ValueError, "at least 2"),
        (make_stripe_images, {"image_shape": (1, 8.0, 8)}, TypeError, "an int"),
    ],
)
def test_other_parameters_out_of_range_are_refused(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)
