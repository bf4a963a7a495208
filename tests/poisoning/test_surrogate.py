import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from torch import nn

from sklgm.classifiers import (
    LGMClassifier,
    RobustGaussianClassifier,
    SoftmaxClassifier,
)
from sklgm.nn import resnet18
from sklgm.poisoning import Surrogate, make_surrogate
from tests.poisoning.conftest import assert_same, snapshot


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"classifier": SoftmaxClassifier}, id="softmax"),
        pytest.param({"classifier": LGMClassifier}, id="lgm"),
        pytest.param(
            {"classifier": SoftmaxClassifier, "normalize_features": True},
            id="normalized features",
        ),
        pytest.param({"classifier": LGMClassifier, "dtype": "float64"}, id="float64"),
    ],
)
def test_classifier_and_surrogate_agree(training_set, new_rows, settings):
    settings = {"max_epochs": 2, "feature_dim": 5, "random_state": 0, **settings}
    clf = settings.pop("classifier")(**settings).fit(*training_set)
    surrogate = make_surrogate(clf)
    X = torch.tensor(new_rows)
    features = surrogate.features(X)
    np.testing.assert_allclose(features.numpy(), clf.transform(new_rows), rtol=1e-6)
    assert features.dtype == surrogate.dtype
    predicted = surrogate.classes[surrogate.predict(X).numpy()]
    assert (predicted == clf.predict(new_rows)).all()
    assert surrogate.input_shape == clf.input_shape_


def test_flat_rows_are_folded_into_images():
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(30, 1, 6, 6)).astype(np.float32)
    y = np.repeat(["a", "b"], 15)
    clf = SoftmaxClassifier(max_epochs=1, feature_dim=4, random_state=0).fit(X, y)
    surrogate = make_surrogate(clf)
    images = torch.tensor(X[:3])
    assert torch.equal(
        surrogate.features(images), surrogate.features(images.flatten(1))
    )


def test_module_pair_and_attributes_give_the_same_surrogate(relu_network):
    X = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(2, 6)
    pair = make_surrogate((relu_network.backbone, relu_network.head), classes="abc")
    whole = make_surrogate(relu_network, classes=list("abc"))
    features = relu_network.backbone(X)
    for surrogate in (pair, whole):
        assert isinstance(surrogate, Surrogate)
        assert torch.equal(surrogate.features(X), features)
        assert torch.equal(surrogate.log_joint(features), relu_network.head(features))
        assert surrogate.predict(X).tolist() == relu_network(X)[0].argmax(1).tolist()
        assert surrogate.dtype == torch.float64
    assert whole.classes.tolist() == ["a", "b", "c"]


def test_head_may_return_a_tuple(relu_network):
    class TupleHead(nn.Module):
        def forward(self, features):
            return features[:, :2], "further"

    surrogate = make_surrogate((relu_network.backbone, TupleHead()))
    assert surrogate.log_joint(torch.ones(3, 8)).shape == (3, 2)


def test_a_surrogate_is_returned_as_it_is(relu_network):
    surrogate = make_surrogate(relu_network)
    assert make_surrogate(surrogate) is surrogate


def test_a_network_without_parameters_computes_in_float32():
    surrogate = make_surrogate((nn.Flatten(), nn.Identity()))
    X = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    assert surrogate.features(X).dtype == torch.float32
    assert surrogate.device == torch.device("cpu")


def test_features_are_differentiable_in_the_input_only(relu_network):
    surrogate = make_surrogate(relu_network)
    X = torch.rand(2, 6, dtype=torch.float64, requires_grad=True)
    surrogate.features(X).sum().backward()
    assert X.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in relu_network.parameters())


def test_model_is_neither_called_nor_changed(image_network):
    calls = []
    image_network.backbone.register_forward_hook(lambda *_: calls.append("forward"))
    image_network.head.register_forward_pre_hook(lambda *_: calls.append("pre"))
    image_network.train()
    image_network.backbone[1].eval()  # mixed modes must survive
    before = copy.deepcopy(snapshot(image_network))
    surrogate = make_surrogate(image_network)
    X = torch.rand(4, 1, 6, 6)
    assert torch.equal(surrogate.features(X), surrogate.features(X))  # no dropout
    surrogate.predict(X)
    assert_same(before, snapshot(image_network))
    assert calls == []


SCALERS = [
    pytest.param(StandardScaler(), id="standard"),
    pytest.param(StandardScaler(with_mean=False), id="standard without mean"),
    pytest.param(StandardScaler(with_std=False), id="standard without std"),
    pytest.param(StandardScaler(with_mean=False, with_std=False), id="standard off"),
    pytest.param(MinMaxScaler(feature_range=(-1, 2)), id="minmax"),
    pytest.param(MaxAbsScaler(), id="maxabs"),
    pytest.param(RobustScaler(), id="robust"),
    pytest.param(RobustScaler(with_centering=False), id="robust without center"),
    pytest.param(RobustScaler(with_scaling=False), id="robust without scale"),
    pytest.param("passthrough", id="passthrough"),
    pytest.param(None, id="none"),
    pytest.param(make_pipeline(MaxAbsScaler(), StandardScaler()), id="two scalers"),
]


def as_steps(scaler):
    return scaler.steps if isinstance(scaler, Pipeline) else [("scale", scaler)]


@pytest.mark.parametrize("scaler", SCALERS)
def test_scalers_become_part_of_the_surrogate(training_set, new_rows, scaler):
    X, y = training_set
    scaler = scaler if isinstance(scaler, str | None) else clone(scaler)
    clf = SoftmaxClassifier(max_epochs=1, dtype="float64", random_state=0)
    pipe = Pipeline([*as_steps(scaler), ("clf", clf)]).fit(100 * X - 7, y)
    raw = 100 * new_rows - 7
    surrogate = make_surrogate(pipe)
    features = surrogate.features(torch.tensor(raw))
    np.testing.assert_allclose(features.numpy(), pipe.transform(raw), rtol=1e-9)
    predicted = surrogate.classes[surrogate.predict(torch.tensor(raw)).numpy()]
    assert (predicted == pipe.predict(raw)).all()


@pytest.mark.parametrize("classifier", [SoftmaxClassifier, LGMClassifier])
@pytest.mark.parametrize(
    "covariance_type", ["identity", "spherical", "diag", "tied_diag"]
)
def test_a_pipeline_may_end_in_gaussians_on_the_features_of_a_network(
    training_set, new_rows, classifier, covariance_type
):
    network = classifier(feature_dim=4, max_epochs=1, random_state=0)
    gaussians = RobustGaussianClassifier(covariance_type=covariance_type)
    pipe = make_pipeline(StandardScaler(), network, gaussians).fit(*training_set)
    surrogate = make_surrogate(pipe)
    features = surrogate.features(torch.tensor(new_rows))
    np.testing.assert_allclose(
        features.detach(), pipe[:-1].transform(new_rows), rtol=1e-4, atol=1e-5
    )
    log_proba = surrogate.log_joint(features).log_softmax(dim=1).detach()
    np.testing.assert_allclose(
        log_proba, pipe.predict_log_proba(new_rows), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(surrogate.classes, pipe.classes_)


def test_gaussians_without_a_network_are_an_error(training_set):
    with pytest.raises(TypeError, match="model must be a fitted sklgm classifier"):
        make_surrogate(RobustGaussianClassifier().fit(*training_set))


def test_scaler_is_applied_to_images_too():
    rng = np.random.RandomState(0)
    X, y = rng.uniform(1, 5, size=(30, 36)), np.repeat([0, 1], 15)
    clf = SoftmaxClassifier(max_epochs=1, input_shape=(1, 6, 6), random_state=0)
    pipe = make_pipeline(StandardScaler(), clf).fit(X, y)
    features = make_surrogate(pipe).features(torch.tensor(X).reshape(30, 1, 6, 6))
    np.testing.assert_allclose(
        features.numpy(), pipe.transform(X), rtol=1e-4, atol=1e-5
    )


def test_frozen_and_nested_models_are_unwrapped(fitted_classifier, new_rows):
    X = torch.tensor(new_rows)
    expected = make_surrogate(fitted_classifier).features(X)
    scaler = StandardScaler().fit(new_rows)
    frozen = FrozenEstimator(FrozenEstimator(fitted_classifier))
    assert torch.equal(make_surrogate(frozen).features(X), expected)
    for pipe in (
        make_pipeline(FrozenEstimator(scaler), frozen),
        make_pipeline(scaler, make_pipeline("passthrough", fitted_classifier)),
        FrozenEstimator(make_pipeline(scaler, fitted_classifier)),
    ):
        scaled = torch.tensor(scaler.transform(new_rows))
        torch.testing.assert_close(
            make_surrogate(pipe).features(X),
            make_surrogate(fitted_classifier).features(scaled),
        )


class ShiftedScaler(StandardScaler):
    def transform(self, X):
        return super().transform(X) + 1


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (PCA(2), "Pipeline step 'reduce' is a PCA; .* must be affine scalers"),
        (ShiftedScaler(), "Pipeline step 'reduce' is a ShiftedScaler"),
        (MinMaxScaler(clip=True), "'reduce' is a MinMaxScaler with clip=True"),
    ],
    ids=["pca", "subclass of a scaler", "clip"],
)
def test_other_steps_are_an_error_that_names_them(training_set, step, message):
    clf = SoftmaxClassifier(max_epochs=1, random_state=0)
    steps = [("scale", StandardScaler()), ("reduce", step), ("clf", clf)]
    pipe = Pipeline(steps).fit(*training_set)
    with pytest.raises(ValueError, match=message):
        make_surrogate(pipe)


@pytest.mark.parametrize(
    "model",
    [
        "a string",
        (nn.Linear(2, 2), "head"),
        LogisticRegression().fit([[0.0], [1.0]], [0, 1]),
    ],
    ids=["string", "half a pair", "other classifier"],
)
def test_other_models_are_an_error(model):
    with pytest.raises(TypeError, match="model must be a fitted sklgm classifier"):
        make_surrogate(model)


@pytest.mark.parametrize(
    "model",
    [SoftmaxClassifier(), make_pipeline(StandardScaler(), SoftmaxClassifier())],
    ids=["classifier", "pipeline"],
)
def test_unfitted_models_are_an_error(model):
    with pytest.raises(NotFittedError):
        make_surrogate(model)


def test_a_device_that_does_not_exist_is_an_error(relu_network):
    with pytest.raises(ValueError, match="device='abacus' is not a torch device"):
        make_surrogate(relu_network, device="abacus")


def test_device_auto_exists(relu_network):
    surrogate = make_surrogate(relu_network, device="auto")
    X = torch.rand(2, 6, device=surrogate.device)
    assert surrogate.features(X).device == surrogate.device


# Batch normalisations folded into convolutions


def trained_layers():
    """A convolution and a normalisation whose statistics are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        nn.init.uniform_(layers[1].weight, 0.5, 2.0)
        nn.init.normal_(layers[1].bias)
        layers[1](3.0 * torch.randn(16, 4, 5, 5) + 1.0)
    return layers


class Tapping(nn.Module):
    """Looks at what is between the layers of an nn.Sequential."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*trained_layers(), nn.ReLU())

    def forward(self, X):
        taps = []
        for layer in self.layers:
            X = layer(X)
            taps.append(X.mean(dim=(2, 3)))
        return torch.cat(taps, dim=1)


class OwnFeatures(nn.Module):
    """A network whose features are not what its backbone returns."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(*trained_layers(), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(100, 2)

    def features(self, X):
        return self.backbone[0](X).flatten(1)


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(
            lambda: nn.Sequential(*trained_layers(), nn.ReLU(), nn.Flatten()),
            id="plain",
        ),
        pytest.param(
            lambda: nn.Sequential(nn.Sequential(*trained_layers()), nn.Flatten()),
            id="nested",
        ),
        pytest.param(
            lambda: nn.Sequential(
                trained_layers()[0], nn.BatchNorm2d(4, affine=False), nn.Flatten()
            ),
            id="not affine",
        ),
        pytest.param(
            lambda: nn.Sequential(
                trained_layers()[0],
                nn.BatchNorm2d(4, track_running_stats=False),
                nn.Flatten(),
            ),
            id="without statistics",
        ),
        pytest.param(Tapping, id="tapping"),
        pytest.param(lambda: resnet18((2, 8, 8), 6), id="resnet18"),
    ],
)
def test_features_are_those_of_the_network_as_it_is(backbone):
    network = backbone().eval()
    X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    surrogate = make_surrogate((network, nn.Identity()))
    torch.testing.assert_close(surrogate.features(X), network(X), rtol=1e-4, atol=1e-5)


def test_features_of_a_method_of_the_network_are_left_alone():
    network = OwnFeatures().eval()
    X = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(make_surrogate(network).features(X), network.features(X))
