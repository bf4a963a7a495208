"""``fit`` warns of images that look like 8-bit pixels, and of nothing else."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.exceptions import UnscaledImagesWarning

TINY = {"feature_dim": 3, "max_epochs": 1, "batch_size": 16, "random_state": 0}
Y = np.arange(24) % 2
PIXELS = np.random.default_rng(0).integers(0, 256, size=(24, 1, 8, 8), dtype=np.uint8)
PIXELS[0, 0, 0, 0] = 255
SCALED = PIXELS / np.float32(255)
CLASSIFIERS = pytest.mark.parametrize("cls", [LGMClassifier, SoftmaxClassifier])


@CLASSIFIERS
@pytest.mark.parametrize(
    "X",
    [PIXELS, PIXELS.astype(np.float32), PIXELS / 255 * 16, np.minimum(PIXELS, 2)],
    ids=["uint8", "float", "0-to-16", "uint8-of-few-values"],
)
def test_unscaled_images_are_warned_of_where_fit_is_called(cls, X):
    with pytest.warns(UnscaledImagesWarning, match=r"values from 0 to .*255") as found:
        cls(**TINY).fit(X, Y)
    assert [warning.filename for warning in found] == [__file__]
    assert "load_image_folder" in str(found[0].message)


@CLASSIFIERS
def test_the_classifier_is_trained_as_without_the_warning(cls):
    with pytest.warns(UnscaledImagesWarning):
        warned = cls(**TINY).fit(PIXELS, Y)
    flat = cls(**TINY).set_params(backbone="mlp").fit(PIXELS.reshape(24, -1), Y)
    with pytest.warns(UnscaledImagesWarning):
        same = cls(**TINY).set_params(backbone="mlp").fit(PIXELS, Y)
    assert warned.n_iter_ == 1
    np.testing.assert_array_equal(
        same.predict(PIXELS), flat.predict(PIXELS[:, 0].reshape(24, -1))
    )


@CLASSIFIERS
@pytest.mark.parametrize(
    "X",
    [
        SCALED,
        SCALED * 1.2,
        (SCALED - SCALED.mean()) / SCALED.std() * 30,
        PIXELS.astype(np.float32) * 10,
        PIXELS // 128,
        PIXELS.reshape(24, -1),
        PIXELS.reshape(24, 8, 8),
        PIXELS.repeat(5, axis=1),
    ],
    ids=[
        "scaled",
        "a-little-above-1",
        "standardised",
        "another-quantity",
        "uint8-of-0-and-1",
        "flat-rows",
        "without-channels",
        "of-five-channels",
    ],
)
def test_no_false_alarm(cls, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cls(**TINY).set_params(backbone="mlp").fit(X, Y)


def test_flat_rows_that_are_folded_are_images():
    clf = SoftmaxClassifier(input_shape=(1, 8, 8), **TINY)
    with pytest.warns(UnscaledImagesWarning):
        clf.fit(PIXELS.reshape(24, -1), Y)


def test_partial_fit_warns_in_its_first_call_only():
    clf = SoftmaxClassifier(**TINY)
    with pytest.warns(UnscaledImagesWarning) as found:
        clf.partial_fit(PIXELS, Y, classes=[0, 1])
    assert [warning.filename for warning in found] == [__file__]
    clf.partial_fit(PIXELS, Y)
    assert len(clf.predict(PIXELS)) == 24


def test_a_stream_is_judged_by_its_first_item():
    labels = torch.as_tensor(Y)
    with pytest.warns(UnscaledImagesWarning):
        SoftmaxClassifier(**TINY).fit(TensorDataset(torch.as_tensor(PIXELS), labels))
    SoftmaxClassifier(**TINY).fit(TensorDataset(torch.as_tensor(SCALED), labels))
