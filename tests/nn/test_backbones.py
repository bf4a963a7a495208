"""sklgm.nn: backbones by name, as modules and as callables."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.nn import BACKBONES, cnn, make_backbone, output_dim

CASES = [
    ("mlp", (5,)),
    ("mlp", (2, 4, 4)),
    ("cnn", (1, 4, 4)),
    ("cnn", (3, 32, 32)),
    ("cnn", (1, 8, 8)),
    ("cnn", (2, 5, 9)),
    ("vgg19", (1, 32, 32)),
    ("vgg19", (3, 32, 32)),
    ("resnet18", (1, 32, 32)),
    ("resnet18", (3, 32, 32)),
    ("airbench", (3, 32, 32)),
    ("airbench", (1, 16, 20)),
    ("airbench_narrow", (3, 32, 32)),
]


def rows(input_shape, n=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *input_shape, generator=generator)


def parameters_of(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(tensors, others):
    return all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))


class Scaled(nn.Module):
    """Two linear features with batch statistics."""

    def __init__(self, n_features=4):
        super().__init__()
        self.linear = nn.Linear(n_features, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, X):
        return self.norm(self.linear(X))


@pytest.mark.parametrize(
    ("name", "input_shape"), CASES, ids=lambda case: str(case).replace(" ", "")
)
def test_named_backbone_gives_feature_dim_features(name, input_shape):
    backbone = make_backbone(name, input_shape, 7).eval()
    with torch.no_grad():
        features = backbone(rows(input_shape))
    assert features.shape == (2, 7)
    assert bool(torch.isfinite(features).all())
    assert not torch.equal(features[0], features[1])
    assert output_dim(backbone, input_shape, torch.float32) == 7


def test_every_named_backbone_is_tested():
    assert {name for name, _ in CASES} | {"identity"} == set(BACKBONES)


def test_identity_flattens_and_ignores_feature_dim():
    X = rows((2, 3, 3))
    backbone = make_backbone("identity", (2, 3, 3), 7)
    assert torch.equal(backbone(X), X.reshape(2, 18))
    assert output_dim(backbone, (2, 3, 3), torch.float32) == 18


@pytest.mark.parametrize(
    ("input_shape", "has_convolutions"),
    [((1, 8, 8), True), ((1, 4, 4), True), ((1, 3, 8), False), ((64,), False)],
)
def test_auto_takes_convolutions_for_images_only(input_shape, has_convolutions):
    backbone = make_backbone("auto", input_shape, 3)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert bool(convolutions) == has_convolutions
    assert output_dim(backbone, input_shape, torch.float32) == 3


@pytest.mark.parametrize(
    ("input_shape", "auto", "small"),
    [
        ((3, 32, 40), "airbench", "cnn"),
        ((3, 31, 40), "cnn", "cnn"),
        ((1, 32, 32), "cnn", "cnn"),
        ((3, 3, 32), "mlp", "mlp"),
        ((9,), "mlp", "mlp"),
    ],
)
def test_auto_takes_the_strong_network_for_colour_images(input_shape, auto, small):
    for name, expected in (("auto", auto), ("small", small)):
        made = make_backbone(name, input_shape, 3)
        assert str(made) == str(make_backbone(expected, input_shape, 3))


def test_unknown_name_is_listed_with_the_known_ones():
    with pytest.raises(
        ValueError,
        match=r"backbone must be 'auto', 'small', one of \['airb.*got 'resnet50'",
    ):
        make_backbone("resnet50", (3, 32, 32), 4)


@pytest.mark.parametrize(
    ("name", "input_shape", "minimum"),
    [
        ("cnn", (64,), 4),
        ("cnn", (1, 3, 8), 4),
        ("vgg19", (3, 31, 32), 32),
        ("vgg19", (3072,), 32),
        ("resnet18", (3, 7, 7), 8),
    ],
)
def test_shape_that_a_named_backbone_cannot_take_is_named(name, input_shape, minimum):
    with pytest.raises(ValueError, match=f"backbone='{name}' needs images") as error:
        make_backbone(name, input_shape, 4)
    assert f"at least {minimum} pixels a side" in str(error.value)
    assert str(input_shape) in str(error.value)


def test_callable_that_returns_no_module_is_a_type_error():
    with pytest.raises(TypeError, match="backbone must return an nn.Module .* got str"):
        make_backbone(lambda input_shape, feature_dim: "mlp", (4,), 2)


def test_module_is_copied_and_not_changed():
    module = Scaled()
    backbone = make_backbone(module, (4,), 9)
    assert backbone is not module
    assert same(parameters_of(backbone), parameters_of(module))


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Identity(), r"\(2, 1, 4, 4\)"), (nn.Flatten(0), r"\(32,\)")],
)
def test_output_that_is_not_two_dimensional_is_an_error(module, shape):
    message = rf"backbone must return features of shape .* it returned {shape}"
    with pytest.raises(ValueError, match=message):
        output_dim(module, (1, 4, 4), torch.float32)


def test_instances_that_a_backbone_cannot_take_are_named():
    with pytest.raises(ValueError, match=r"cannot take instances of shape \(5,\)"):
        output_dim(nn.Linear(4, 2), (5,), torch.float32)


def test_output_dim_leaves_modes_and_running_statistics_alone():
    backbone = cnn((1, 8, 8), 3).train()
    backbone[1].eval()
    state = copy.deepcopy(backbone.state_dict())
    modes = [module.training for module in backbone.modules()]
    output_dim(backbone, (1, 8, 8), torch.float32)
    assert [module.training for module in backbone.modules()] == modes
    assert same(backbone.state_dict().values(), state.values())


# As the parameter of a classifier

CLASSIFIERS = [LGMClassifier, SoftmaxClassifier]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_training_does_not_change_the_given_module(classifier, blobs):
    module = Scaled()
    state = copy.deepcopy(module.state_dict())
    clf = classifier(module, max_epochs=2, random_state=0).fit(*blobs)
    assert same(module.state_dict().values(), state.values())
    assert module.training
    assert not same(parameters_of(clf.net_.module_.backbone), parameters_of(module))
    assert clf.transform(blobs[0]).shape == (60, 2)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize(
    "settings", [{"max_epochs": 0}, {"freeze_backbone": True, "max_epochs": 3}]
)
def test_untrained_and_frozen_backbones_keep_the_modules_weights(
    classifier, settings, blobs
):
    module = Scaled()
    module(rows((4,), n=8))  # running statistics unlike those of a new module
    state = copy.deepcopy(module.state_dict())
    clf = classifier(module, random_state=0, **settings).fit(*blobs)
    fitted = clf.net_.module_.backbone
    assert same(fitted.state_dict().values(), state.values())
    assert int(fitted.norm.num_batches_tracked) == 1
    with torch.no_grad():
        expected = module.eval()(torch.tensor(blobs[0]).float())
    np.testing.assert_array_equal(clf.transform(blobs[0]), expected.numpy())


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_callable_is_given_the_shape_of_an_instance_and_feature_dim(
    classifier, tiny_images
):
    calls = []

    def backbone(input_shape, feature_dim):
        calls.append((input_shape, feature_dim))
        return nn.Sequential(nn.Flatten(), nn.Linear(64, feature_dim))

    clf = classifier(backbone, feature_dim=3, max_epochs=1, random_state=0)
    clf.fit(*tiny_images)
    assert calls == [((1, 8, 8), 3)]
    assert clf.transform(tiny_images[0]).shape == (36, 3)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_last_batch_of_one_row_trains_batch_normalisation(classifier, blobs):
    X, y = blobs
    clf = classifier(Scaled(), max_epochs=1, batch_size=59, random_state=0).fit(X, y)
    assert int(clf.net_.module_.backbone.norm.num_batches_tracked) == 1
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_flat_rows_for_a_convolutional_backbone_ask_for_input_shape(classifier):
    X = np.zeros((6, 64))
    with pytest.raises(ValueError, match="set input_shape to fold flat rows"):
        classifier("cnn").fit(X, [0, 0, 0, 1, 1, 1])
