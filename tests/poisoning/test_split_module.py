"""Networks without named parts are cut before their last linear layer."""

import numpy as np
import pytest
import torch
from torch import nn

from sklgm.poisoning import PoisonCrafter, craft, make_surrogate, split_module


class Tail(nn.Module):
    """A linear layer that comes last in order, and is not what is predicted from."""

    def __init__(self):
        super().__init__()
        self.first, self.side = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, X):
        return self.first(X)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.Dropout(0.5), nn.Sequential(nn.Linear(5, 3))
    )


@pytest.mark.parametrize("tail", [None, nn.Softmax(dim=1), nn.LogSoftmax(dim=1)])
def test_head_of_backbone_are_the_logits(network, tail):
    module = network if tail is None else nn.Sequential(network, tail)
    module.eval()
    backbone, head = split_module(module)
    X = torch.randn(4, 6)
    logits = head(backbone.eval()(X))
    assert torch.equal(logits, network.eval()(X))
    assert sum(p.numel() for p in backbone.parameters()) == 6 * 5 + 5


def test_training_mode_does_not_disturb_the_check(network):
    backbone, _ = split_module(network)
    assert backbone.train()(torch.randn(8, 6)).shape == (8, 5)


def test_the_given_module_is_not_changed(network):
    names = [name for name, _ in network.named_modules()]
    split_module(network)
    assert [name for name, _ in network.named_modules()] == names
    assert network(torch.ones(2, 6)).shape == (2, 3)


def test_a_layer_that_is_not_the_last_is_noticed():
    backbone, _ = split_module(Tail())
    with pytest.raises(ValueError, match="'side', is not what the network predicts"):
        backbone(torch.randn(4, 6))


def test_a_single_layer_is_a_head():
    backbone, head = split_module(nn.Linear(6, 3))
    assert head(backbone(torch.ones(2, 6))).shape == (2, 3)


def test_a_module_without_a_linear_layer_is_refused():
    with pytest.raises(ValueError, match="ReLU has no linear layer to cut it at"):
        make_surrogate(nn.ReLU())


def test_poisons_are_crafted_on_any_module(network):
    X = np.random.default_rng(0).uniform(size=(3, 6)).astype(np.float32)
    whole = craft(network.eval(), X[:2], X[2:], similarity_weight=0.0)
    parts = craft(split_module(network), X[:2], X[2:], similarity_weight=0.0)
    np.testing.assert_array_equal(whole.X_poison, parts.X_poison)
    assert (whole.collision_ratio < 0.5).all()


@pytest.mark.parametrize("kind", ["module", "pair"])
def test_a_crafter_takes_a_module_as_it_is(network, kind):
    rng = np.random.default_rng(0)
    X, y = rng.uniform(size=(30, 6)), np.repeat(["a", "b", "c"], 10)
    estimator = network if kind == "module" else split_module(network)
    crafter = PoisonCrafter(
        estimator,
        X_target=X[:1] + 0.01,
        target_label="a",
        base_label="b",
        budget=2,
        random_state=0,
    ).fit(X, y)
    assert crafter.estimator_ is estimator
    assert crafter.base_label_.tolist() == ["b"]
    assert set(y[crafter.poison_indices_]) == {"b"}
    assert (crafter.result_.collision_ratio < 1).all()


def test_a_crafter_asks_a_module_for_the_label_of_the_target(network):
    X, y = np.random.default_rng(0).uniform(size=(30, 6)), np.repeat([3, 5, 7], 10)
    crafter = PoisonCrafter(network, X_target=X[:1], budget=2, random_state=0)
    crafter.fit(X, y)
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(X[:1]).float())
    assert crafter.target_label_.tolist() == [[3, 5, 7][int(logits.argmax())]]


def test_a_crafter_counts_the_logits_of_a_module(network):
    X, y = np.random.default_rng(0).uniform(size=(8, 6)), np.repeat([0, 1], 4)
    crafter = PoisonCrafter(network, X_target=X[:1], base_label=1, target_label=0)
    with pytest.raises(ValueError, match="gives 3 logits, but y has 2 classes"):
        crafter.fit(X, y)
