from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from sklgm.datasets import load_digits_images
from sklgm.datasets._labelled_splits import scale_pixels, stratified_split

Y = np.repeat(["a", "b", "c"], [10, 20, 30])


def test_split_keeps_the_share_of_every_class():
    _, test = stratified_split(Y, test_size=0.2, random_state=0)
    labels, counts = np.unique(Y[test], return_counts=True)
    assert dict(zip(labels, counts, strict=True)) == {"a": 2, "b": 4, "c": 6}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_split_uses_every_row_once_in_ascending_order(seed):
    train, test = stratified_split(Y, test_size=0.3, random_state=seed)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train, test])), np.arange(len(Y))
    )
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)


def test_split_depends_on_the_seed_only():
    first, again, other = (
        stratified_split(Y, test_size=0.3, random_state=seed)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("test_size", [0, 1, -0.1, 1.5, 5, float("nan")])
def test_share_outside_the_open_interval_is_refused(test_size):
    with pytest.raises(ValueError, match=r"test_size must be .*\(0, 1\), got "):
        stratified_split(Y, test_size=test_size, random_state=0)


@pytest.mark.parametrize("test_size", ["0.2", None, True])
def test_share_that_is_no_number_is_refused(test_size):
    with pytest.raises(TypeError, match="test_size must be a float"):
        stratified_split(Y, test_size=test_size, random_state=0)


def test_class_with_a_single_row_is_named():
    with pytest.raises(ValueError, match="class 'b' has a single row"):
        stratified_split(np.array(["a", "a", "b"]), test_size=0.5, random_state=0)


@pytest.mark.parametrize("test_size", [0.01, 0.99])
def test_side_with_fewer_rows_than_classes_is_refused(test_size):
    with pytest.raises(ValueError, match="each side needs at least one row a class"):
        stratified_split(Y, test_size=test_size, random_state=0)


def test_pixels_are_divided_by_255_in_float32():
    scaled = scale_pixels(np.array([0, 51, 255], dtype=np.uint8))
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, np.array([0, 0.2, 1], dtype=np.float32))


def test_digits_are_images_in_the_unit_range():
    digits = load_digits_images()
    assert digits.name == "digits"
    assert digits.X_train.shape == (1347, 1, 8, 8)
    assert digits.X_test.shape == (450, 1, 8, 8)
    assert digits.X_train.dtype == digits.X_test.dtype == np.float32
    assert (digits.X_train.min(), digits.X_train.max()) == (0, 1)
    assert digits.class_names == tuple("0123456789")
    np.testing.assert_array_equal(np.unique(digits.y_test), np.arange(10))


def test_digits_split_follows_the_parameters():
    by_seed = [load_digits_images(random_state=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(by_seed[0].X_test, by_seed[1].X_test)
    assert not np.array_equal(by_seed[0].X_test, by_seed[2].X_test)
    assert len(load_digits_images(test_size=0.5).y_test) == 899


def test_splits_cannot_be_reassigned():
    digits = load_digits_images()
    with pytest.raises(FrozenInstanceError):
        digits.name = "other"
