"""Recipes of training, and the parameters that they brought."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.classifiers._presets import PRESETS
from sklgm.losses import softmax_loss

both = pytest.mark.parametrize("classifier", [SoftmaxClassifier, LGMClassifier])


def colour_images(n=80, seed=0):
    """Two classes: bright on the left or on the right of the middle, or above it."""
    rng = np.random.RandomState(seed)
    y = np.arange(n) % 2
    X = rng.uniform(0.0, 0.5, size=(n, 3, 16, 16)).astype(np.float32)
    X[y == 1, :, :8] += 0.5
    return X, y


@both
@pytest.mark.parametrize("name", PRESETS)
def test_from_preset_sets_ordinary_parameters(classifier, name):
    clf = classifier.from_preset(name, feature_dim=7, lr=0.1)
    params = clf.get_params()
    expected = {**PRESETS[name], "feature_dim": 7, "lr": 0.1}
    assert {key: params[key] for key in expected} == expected
    assert clone(clf).get_params() == params


def test_from_preset_of_lgm_weighs_the_likelihood_and_may_be_changed():
    clf = LGMClassifier.from_preset("natural_images")
    assert (clf.likelihood_weight, clf.margin) == (0.5, 1.0)
    assert LGMClassifier.from_preset("natural_images", margin=0.5).margin == 0.5


@both
def test_an_unknown_preset_is_an_error(classifier):
    with pytest.raises(ValueError, match="name must be one of .*got 'imagenet'"):
        classifier.from_preset("imagenet")


@both
def test_a_preset_learns(classifier):
    X, y = colour_images()
    clf = classifier.from_preset(
        "natural_images", max_epochs=8, batch_size=16, lr=0.05, random_state=0
    ).fit(X, y)
    X_test, y_test = colour_images(seed=1)
    assert clf.score(X_test, y_test) > 0.9


@both
def test_test_time_flip_makes_features_the_same_for_mirror_images(classifier):
    X, y = colour_images(40)
    flipped = X[..., ::-1].copy()
    settings = {"feature_dim": 4, "max_epochs": 1, "random_state": 0}
    clf = classifier("airbench", test_time_flip=True, **settings).fit(X, y)
    plain = classifier("airbench", **settings).fit(X, y)
    features = clf.transform(X)
    np.testing.assert_allclose(features, clf.transform(flipped), rtol=1e-4, atol=1e-6)
    assert not np.allclose(plain.transform(X), plain.transform(flipped), atol=1e-3)
    if classifier is SoftmaxClassifier:  # L-GM starts its means from such features
        expected = (plain.transform(X) + plain.transform(flipped)) / 2.0
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


@both
def test_test_time_flip_of_rows_is_an_error(classifier, blobs):
    with pytest.raises(ValueError, match="test_time_flip=True needs images"):
        classifier(test_time_flip=True).fit(*blobs)


class Rates(Callback):
    """Records the learning rate of each step."""

    seen: list[float] = []  # noqa: RUF012 - skorch copies callbacks, not classes

    def on_batch_begin(self, net, training=None, **kwargs):
        if training:
            self.seen.append(net.optimizer_.param_groups[0]["lr"])


@both
def test_triangle_rises_and_falls_once_over_both_losses(classifier, blobs):
    X, y = blobs
    Rates.seen.clear()
    settings = {"batch_size": 30, "max_epochs": 8, "lr": 0.02, "random_state": 0}
    classifier("identity", lr_schedule="triangle", callbacks=[Rates()], **settings).fit(
        X, y
    )
    if classifier is LGMClassifier:  # softmax_warmup is for networks that are trained
        Rates.seen.clear()
        classifier("mlp", lr_schedule="triangle", callbacks=[Rates()], **settings).fit(
            X, y
        )
    n_steps = 8 * -(-len(X) // 30)
    share = np.arange(n_steps) / n_steps
    expected = 0.02 * np.where(
        share < 0.23, 0.2 + 0.8 * share / 0.23, (1.0 - share) / (1.0 - 0.23)
    )
    np.testing.assert_allclose(Rates.seen, expected, rtol=1e-6)


def test_rates_of_the_lgm_epochs_and_of_its_means_are_multiples(blobs):
    rates = []

    class Groups(Callback):
        def on_batch_begin(self, net, training=None, **kwargs):
            if training:
                groups = net.optimizer_.param_groups
                rates.append(sorted({group["lr"] for group in groups}))

    LGMClassifier(
        lr=0.01,
        lgm_lr_factor=0.5,
        means_lr_factor=4.0,
        lr_schedule="constant",
        max_epochs=2,
        batch_size="all",
        callbacks=[Groups()],
    ).fit(*blobs)
    np.testing.assert_allclose(rates[0], [0.01])
    np.testing.assert_allclose(rates[1], [0.005, 0.02])


@pytest.mark.parametrize("is_chunk", [False, True])
def test_gradients_of_the_lgm_epochs_are_shortened(blobs, is_chunk):
    X, y = blobs
    norms = []

    class Norms(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            gradients = [p.grad for _, p in named_parameters if p.grad is not None]
            norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    settings = {"max_epochs": 2, "batch_size": "all", "callbacks": [Norms()]}

    def norms_of(max_grad_norm):
        norms.clear()
        clf = LGMClassifier(random_state=0, max_grad_norm=max_grad_norm, **settings)
        clf.partial_fit(X, y, classes=np.unique(y)) if is_chunk else clf.fit(X, y)
        return list(norms)

    free, shortened = norms_of(None), norms_of(1e-3)
    assert free[-1] > 1e-2
    assert shortened[-1] == pytest.approx(1e-3, rel=1e-3)
    if not is_chunk:  # the first epoch is softmax
        assert shortened[0] == pytest.approx(free[0])
    assert norms_of(2 * free[-1])[-1] == pytest.approx(free[-1])


def test_lgm_smooths_labels_in_its_softmax_epochs(blobs):
    X, y = blobs

    def first_loss(label_smoothing, softmax_warmup):
        clf = LGMClassifier(
            label_smoothing=label_smoothing,
            softmax_warmup=softmax_warmup,
            max_epochs=2,
            batch_size="all",
            random_state=0,
        )
        return clf.fit(X, y).history_[0, "train_loss"]

    plain, some, more = (first_loss(share, 0.5) for share in (0.0, 0.3, 0.6))
    assert abs(some - plain) > 1e-3
    assert more - plain == pytest.approx(2.0 * (some - plain), rel=1e-4)
    assert first_loss(0.0, 0.0) == first_loss(0.3, 0.0)


def test_label_smoothing_follows_its_formula():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    y_encoded = torch.tensor([0, 1, 2, 1, 0])
    log_proba = logits.log_softmax(dim=1)
    expected = [
        -(1 - 0.2) * row[z] - 0.2 / 3 * row.sum()
        for row, z in zip(log_proba, y_encoded, strict=True)
    ]
    found = softmax_loss(logits, y_encoded, 0.2)
    assert torch.allclose(found, torch.stack(expected))


@both
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_an_error(classifier, value, blobs):
    with pytest.raises(ValueError, match="'label_smoothing' parameter"):
        classifier(label_smoothing=value).fit(*blobs)
