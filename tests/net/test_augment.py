"""sklgm._net._augment, and the classifiers' augment and autocast."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._net import (
    computes_bfloat16,
    make_augmentation,
    random_flip,
    random_shift,
)
from sklgm.datasets import load_digits_images

both = pytest.mark.parametrize("classifier", [LGMClassifier, SoftmaxClassifier])
SETTINGS = {"feature_dim": 4, "max_epochs": 2, "batch_size": 16, "random_state": 0}


def images(n=64, n_channels=2, height=6, width=5):
    X = torch.arange(n * n_channels * height * width, dtype=torch.float32)
    return X.reshape(n, n_channels, height, width)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_images_are_mirrored_about_half_of_the_time():
    X = images(n=400)
    before = X.clone()
    flipped = random_flip(X)
    is_same = (flipped == X).all(dim=(1, 2, 3))
    is_mirrored = (flipped == X.flip(3)).all(dim=(1, 2, 3))
    assert bool((is_same ^ is_mirrored).all())
    assert 160 < int(is_mirrored.sum()) < 240  # 4 standard errors
    assert torch.equal(X, before)


@pytest.mark.parametrize("n_pixels", [1, 2])
def test_each_image_is_shifted_by_whole_pixels_and_reflected(n_pixels):
    X = images()
    shifted = random_shift(X, n_pixels)
    padded = torch.nn.functional.pad(X, (n_pixels,) * 4, mode="reflect")
    seen = set()
    for image, shown in zip(padded, shifted, strict=True):
        at = [
            (i, j)
            for i in range(2 * n_pixels + 1)
            for j in range(2 * n_pixels + 1)
            if torch.equal(image[:, i : i + 6, j : j + 5], shown)
        ]
        assert len(at) == 1
        seen.update(at)
    assert len(seen) > (2 * n_pixels + 1) ** 2 // 2


def test_shifts_grow_with_the_side_of_the_images():
    X = torch.zeros(200, 1, 64, 64)
    X[:, :, 32, 32] = 1.0
    shifted = make_augmentation("crop+flip", (1, 64, 64))(X)
    rows = shifted.amax(dim=(1, 3)).argmax(dim=1)
    assert (int(rows.min()), int(rows.max())) == (28, 36)


def test_transforms_of_torchvision_draw_for_each_image():
    X = images()
    augmentation = make_augmentation(v2.RandomHorizontalFlip(0.5), (2, 6, 5))
    is_same = (augmentation(X) == X).all(dim=(1, 2, 3))
    assert 0 < int(is_same.sum()) < len(X)


def test_a_callable_gets_the_whole_batch():
    augmentation = make_augmentation(lambda X: X.double() + 1.0, (2, 6, 5))
    changed = augmentation(images())
    assert changed.dtype is torch.float32
    assert torch.equal(changed, images() + 1.0)


@both
def test_a_callable_that_changes_the_shape_is_an_error(classifier, tiny_images):
    with pytest.raises(ValueError, match=r"must return a tensor of the shape of its"):
        classifier(augment=lambda X: X[:, :, 1:], **SETTINGS).fit(*tiny_images)


def darkened(X):
    return 0.5 * X


@both
def test_a_classifier_with_its_own_augmentation_can_be_pickled(classifier, tiny_images):
    X, y = tiny_images
    clf = classifier(max_epochs=1, augment=darkened, random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    loaded.partial_fit(X, y)


@both
def test_rows_that_are_no_images_cannot_be_augmented(classifier, blobs):
    with pytest.raises(
        ValueError, match=r"augment='flip' needs images .* got .*\(4,\)"
    ):
        classifier(augment="flip", **SETTINGS).fit(*blobs)


@both
def test_augmented_training_is_reproducible_and_differs_from_plain(
    classifier, tiny_images
):
    X, y = tiny_images
    state = torch.get_rng_state()
    proba = {
        (augment, call): classifier(augment=augment, **SETTINGS)
        .fit(X, y)
        .predict_proba(X)
        for augment in (None, "flip", "crop+flip")
        for call in (0, 1)
    }
    assert torch.equal(torch.get_rng_state(), state)
    for augment in (None, "flip", "crop+flip"):
        np.testing.assert_array_equal(proba[augment, 0], proba[augment, 1])
    assert not np.array_equal(proba[None, 0], proba["flip", 0])
    assert not np.array_equal(proba["flip", 0], proba["crop+flip", 0])


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_only_training_batches_are_augmented(classifier, early_stopping, tiny_images):
    X, y = tiny_images
    n_rows = []

    def counted(batch):
        n_rows.append(len(batch))
        return batch

    clf = classifier(
        augment=counted,
        early_stopping=early_stopping,
        validation_fraction=0.25,
        **SETTINGS,
    ).fit(X, y)
    n_trained = len(X) - (round(0.25 * len(X)) if early_stopping else 0)
    assert sum(n_rows) == SETTINGS["max_epochs"] * n_trained
    clf.predict_proba(X)
    clf.transform(X)
    assert sum(n_rows) == SETTINGS["max_epochs"] * n_trained


@both
def test_autocast_trains_as_accurate_a_network(classifier):
    digits = load_digits_images()
    X, y = digits.X_train, digits.y_train
    X_test, y_test = digits.X_test, digits.y_test
    accuracy = {}
    for autocast in (False, True):
        clf = classifier(max_epochs=6, autocast=autocast, random_state=0).fit(X, y)
        assert clf.transform(X_test).dtype == np.float32
        assert np.isfinite(clf.predict_log_proba(X_test)).all()
        accuracy[autocast] = clf.score(X_test, y_test)
    assert accuracy[False] > 0.9
    assert accuracy[True] >= accuracy[False] - 0.02


def test_autocast_computes_the_backbone_in_bfloat16_in_training_only():
    seen = []

    class Watched(torch.nn.Linear):
        def forward(self, X):
            features = super().forward(X)
            seen.append((self.training, features.dtype))
            return features

    X = np.random.RandomState(0).normal(size=(20, 4)).astype(np.float32)
    clf = SoftmaxClassifier(
        Watched(4, 3), autocast=True, max_epochs=1, random_state=0
    ).fit(X, np.arange(20) % 2)
    clf.predict(X)
    assert {dtype for training, dtype in seen if training} == {torch.bfloat16}
    assert {dtype for training, dtype in seen if not training} == {torch.float32}
    assert {p.dtype for p in clf.net_.module_.parameters()} == {torch.float32}


@both
@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_automatic_autocast_is_where_the_device_computes_bfloat16(
    has_bfloat16, classifier, blobs, monkeypatch
):
    capabilities = {"avx2": True, "avx512_bf16": has_bfloat16, "amx_bf16": False}
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: capabilities, raising=False
    )
    settings = {"max_epochs": 2, "random_state": 0, "device": "cpu"}
    automatic = classifier(autocast="auto", **settings).fit(*blobs)
    chosen = classifier(autocast=has_bfloat16, **settings).fit(*blobs)
    assert automatic.net_.module_.autocast is has_bfloat16
    np.testing.assert_array_equal(
        automatic.decision_function(blobs[0]), chosen.decision_function(blobs[0])
    )


@both
def test_automatic_autocast_leaves_float64_as_it_is(classifier, blobs):
    settings = {"max_epochs": 1, "random_state": 0, "dtype": "float64"}
    fitted = classifier(autocast="auto", **settings).fit(*blobs)
    assert fitted.net_.module_.autocast is False


def test_a_torch_that_cannot_tell_has_no_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_bfloat16(torch.device("cpu"))
    assert not computes_bfloat16(torch.device("meta"))


@both
def test_autocast_of_float64_is_an_error(classifier, blobs):
    with pytest.raises(ValueError, match="autocast=True computes float32 networks"):
        classifier(autocast=True, dtype="float64").fit(*blobs)
