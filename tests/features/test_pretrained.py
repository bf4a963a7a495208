import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from sklgm import SoftmaxClassifier
from sklgm.features import extract, load_torchvision, remove_classifier
from sklgm.features._pretrained import _read_state
from sklgm.features._removal import classifier_path

# One of each family that torchvision has.
ARCHITECTURES = {
    "alexnet": "classifier.6",
    "convnext_tiny": "classifier.2",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier.1",
    "googlenet": "fc",
    "inception_v3": "fc",
    "maxvit_t": "classifier.5",
    "mnasnet0_5": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "resnet18": "fc",
    "shufflenet_v2_x0_5": "fc",
    "squeezenet1_1": "classifier.1",
    "swin_t": "head",
    "vgg11": "classifier.6",
    "vit_b_16": "heads.head",
}


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return models.resnet18(weights=None, num_classes=7).eval()


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.RandomState(0).rand(3, 3, 64, 64)).float()


def features_of(network, images):
    """What the last layer of a resnet gets."""
    seen = []
    handle = network.fc.register_forward_pre_hook(lambda _, X: seen.append(X[0]))
    with torch.no_grad():
        network(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_classification_layer_of_torchvisions_networks_is_known(name):
    slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        network = models.get_model(name, weights=None, **slow)
    assert classifier_path(network) == ARCHITECTURES[name]
    assert classifier_path(remove_classifier(network)) is None


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_features_are_what_the_classification_layer_gets(
    resnet, images, tmp_path, suffix
):
    path = tmp_path / f"own{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(resnet.state_dict(), path)
    loaded = load_torchvision("resnet18", path)
    assert (loaded.n_classes, loaded.feature_dim) == (7, 512)
    assert not loaded.training
    torch.testing.assert_close(loaded(images), features_of(resnet, images))


def test_weights_without_a_classification_layer(resnet, images, tmp_path):
    state = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "own.pth")
    loaded = load_torchvision("resnet18", tmp_path / "own.pth")
    assert loaded.n_classes is None
    torch.testing.assert_close(loaded(images), features_of(resnet, images))


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("state_dict", "module."),
        ("model", "_orig_mod.module."),
        ("model_state_dict", "module._orig_mod."),
        ("state_dict", "model."),
    ],
)
def test_checkpoints_of_training_scripts(resnet, images, tmp_path, wrapper, prefix):
    state = {prefix + name: value for name, value in resnet.state_dict().items()}
    torch.save({"epoch": 3, wrapper: state}, tmp_path / "own.pth")
    loaded = load_torchvision("resnet18", tmp_path / "own.pth")
    torch.testing.assert_close(loaded(images), features_of(resnet, images))


def test_side_branches_that_only_training_uses_may_be_missing(tmp_path):
    network = models.googlenet(weights=None, init_weights=False, num_classes=5)
    state = network.state_dict()
    own = {k: v for k, v in state.items() if not k.startswith(("aux1", "aux2"))}
    torch.save(own, tmp_path / "own.pth")
    loaded = load_torchvision("googlenet", tmp_path / "own.pth")
    assert (loaded.n_classes, loaded.feature_dim) == (5, 1024)
    assert loaded(torch.zeros(2, 3, 64, 64)).shape == (2, 1024)


def test_the_names_of_old_densenets_are_known(tmp_path):
    old = ["norm.1.weight", "conv.2.weight", "norm.2.running_mean"]
    block = "features.denseblock1.denselayer1"
    torch.save(
        {f"{block}.{name}": torch.zeros(1) for name in old}, tmp_path / "own.pth"
    )
    names = list(_read_state(tmp_path / "own.pth"))
    assert names == [
        f"{block}.{name}"
        for name in ("norm1.weight", "conv2.weight", "norm2.running_mean")
    ]


def test_the_transform_is_that_of_the_architecture_or_the_file(resnet, tmp_path):
    wide = models.resnet50(weights=None)
    paths = [tmp_path / "own.pth", tmp_path / "resnet50-0676ba61.pth"]
    for path in paths:
        torch.save(wide.state_dict(), path)
    image = Image.new("RGB", (300, 500))
    best, first = (load_torchvision("resnet50", path).transform for path in paths)
    assert best(image).shape == first(image).shape == (3, 224, 224)
    assert (best.resize_size, first.resize_size) == ([232], [256])


def test_it_is_a_backbone(resnet, images, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "own.pth")
    network = load_torchvision("resnet18", tmp_path / "own.pth")
    classifier = SoftmaxClassifier(network, freeze_backbone=True, random_state=0)
    classifier.fit(images, [0, 1, 0])
    np.testing.assert_allclose(
        classifier.transform(images), extract(network, images), rtol=1e-4, atol=1e-5
    )


class Payload:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Payload(), "holds more than tensors"),
        ([1, 2], "holds no state dict"),
        ({"fc.weight": 3}, "holds no state dict"),
        ({"fc.weight": torch.zeros(5, 512)}, r"it lacks conv1\.weight, .*, \.\.\."),
    ],
    ids=["code", "list", "numbers", "another"],
)
def test_files_that_are_no_weights_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "own.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"weights=.*own\.pth.*{message}"):
        load_torchvision("resnet18", path)
    assert capsys.readouterr().out == ""


def test_weights_of_another_shape_are_refused(resnet, tmp_path):
    state = {**resnet.state_dict(), "conv1.weight": torch.zeros(64, 3, 3, 3)}
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(ValueError, match="not those of architecture='resnet18'.*conv1"):
        load_torchvision("resnet18", tmp_path / "own.pth")


def test_damaged_and_missing_files_and_unknown_networks_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="weights=.*own.pth' is not a file"):
        load_torchvision("resnet18", tmp_path / "own.pth")
    (tmp_path / "own.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match="weights=.*cannot be read"):
        load_torchvision("resnet18", tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="architecture must be .*did you mean resnet"):
        load_torchvision("resnet19", tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="architecture must be"):
        load_torchvision("fasterrcnn_resnet50_fpn", tmp_path / "own.safetensors")


def test_a_classification_layer_that_is_left_on_is_said(resnet, images):
    with pytest.warns(UserWarning, match="7 logits of its classification layer 'fc'"):
        extract(resnet, images)
    network = remove_classifier(resnet)
    assert isinstance(resnet.fc, nn.Linear)
    np.testing.assert_allclose(
        extract(network, images), features_of(resnet, images), rtol=1e-4, atol=1e-5
    )


class LikeTimm(nn.Module):
    """The interface of timm's networks; an identity follows the last layer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Sequential()
        self.reset_classifier(2)
        self.head.flatten = nn.Identity()

    def get_classifier(self):
        return self.head.fc

    def reset_classifier(self, num_classes):
        self.head.fc = nn.Linear(3, num_classes) if num_classes > 0 else nn.Identity()

    def forward(self, X):
        return self.head(self.body(X))


LikeTimm.__module__ = "timm.models.like"


def test_networks_of_timm_take_their_classification_layer_off_themselves():
    X = np.ones((2, 4), dtype=np.float32)
    network = LikeTimm()
    with pytest.warns(UserWarning, match=r"2 logits of its .* layer 'head\.fc'"):
        extract(network, X)
    np.testing.assert_array_equal(
        extract(remove_classifier(network), X), extract(network.body, X)
    )
    assert network.head.fc.out_features == 2


def test_networks_without_a_known_classification_layer_are_refused():
    with pytest.raises(ValueError, match="network=Sequential has no classification"):
        remove_classifier(nn.Sequential(nn.Linear(2, 2)))
