"""Rows that are left out of training, by what training computed anyway."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.utils.data import Dataset

from sklgm import LGMClassifier
from sklgm._net import BatchDataset, TrimmedGaussians, _loss_net
from sklgm._net._trimming import trend
from sklgm.gaussian import COVARIANCE_TYPES, kept_rows

SETTINGS = {"max_epochs": 6, "batch_size": 32, "random_state": 0, "feature_dim": 4}


@pytest.fixture(scope="module")
def mislabelled():
    """Rows of three classes, of which the first twelve claim another."""
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1, 2], 60)
    X = 6.0 * np.eye(3)[y] + rng.normal(size=(180, 3))
    claimed = y.copy()
    claimed[:12] = 1
    return X.astype(np.float32), claimed


class Watcher(Callback):
    """Note the rows left out and the distances of every epoch."""

    def __init__(self):
        self.epochs = []

    def on_epoch_begin(self, net, dataset_train, **kwargs):
        self.kept = dataset_train.is_kept
        self.epochs.append((self.kept.numpy().copy(), torch.zeros(len(self.kept))))

    def on_batch_end(self, net, batch, claimed_distances=None, **kwargs):
        if claimed_distances is not None:  # none in epochs of softmax
            weight = batch[0].get("sample_weight")
            is_kept = self.kept[batch[0]["rows"]]
            assert (weight is None and is_kept.all()) or ((weight > 0) == is_kept).all()
            self.epochs[-1][1][batch[0]["rows"]] = claimed_distances


def watched(X, y, **settings):
    clf = LGMClassifier(callbacks=[Watcher()], **{**SETTINGS, **settings}).fit(X, y)
    return clf, dict(clf.net_.callbacks_)["Watcher"].epochs


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("trim", [0.25, "auto"])
def test_an_epoch_leaves_out_what_fitted_worst_in_the_one_before(
    trim, covariance_type, mislabelled
):
    X, y = mislabelled
    _, epochs = watched(X, y, trim=trim, covariance_type=covariance_type)
    assert len(epochs) == 3  # of the L-GM loss
    for (_, distances), (is_kept, _) in zip(epochs, epochs[1:], strict=False):
        expected = kept_rows(distances, torch.from_numpy(y), 3, trim=trim)
        np.testing.assert_array_equal(is_kept, expected)


def test_mislabelled_rows_are_left_out_from_the_first_epoch_on(mislabelled):
    _, epochs = watched(*mislabelled, trim=0.25, max_epochs=20)
    for is_kept, _ in epochs:
        assert is_kept.sum() == 36 + 54 + 45
        assert is_kept[:12].sum() <= 1


@pytest.mark.parametrize(
    ("settings", "n_estimates"), [({}, 1), ({"softmax_warmup": 0.0}, 2)]
)
def test_trim_passes_over_all_rows_twice(
    settings, n_estimates, mislabelled, monkeypatch
):
    passed = []
    X, y = (np.repeat(values, 10, axis=0) for values in mislabelled)
    X += np.random.RandomState(0).normal(scale=0.1, size=X.shape)
    loader = _loss_net.ordered_loader

    def counted(dataset, **kwargs):
        passed.append(len(dataset))
        return loader(dataset, **kwargs)

    monkeypatch.setattr(_loss_net, "ordered_loader", counted)
    LGMClassifier(trim=0.25, **SETTINGS, **settings).fit(X, y)
    # Of 480, 720 and 600 rows every seventh, tenth and ninth start the Gaussians, and
    # every third, fifth and fourth are enough for an estimate.
    start, estimate, everything = 69 + 72 + 67, 160 + 144 + 150, 1800
    # A single row, the one of the largest value, shows whether features are finite.
    assert passed == [
        *[start, estimate, everything],
        *[estimate] * (n_estimates - 1),
        *[everything, 1],
    ]


def test_a_fitted_net_keeps_no_features(mislabelled):
    clf = LGMClassifier(trim=0.25, **SETTINGS).fit(*mislabelled)
    trimmed = dict(clf.net_.callbacks_)["trimmed"]
    assert isinstance(trimmed, TrimmedGaussians)
    assert trimmed.seen_ == []


def test_rows_that_were_not_seen_stay_as_they_are(mislabelled):
    X, y = mislabelled
    net = LGMClassifier(trim=0.25, **SETTINGS).fit(X, y).net_
    trimmed = dict(net.callbacks_)["trimmed"]
    rows = BatchDataset(X, y, None, torch.float32)
    was_kept = np.arange(180) % 2 == 0
    rows.keep(was_kept)
    trimmed.seen_ = [(torch.arange(60), torch.arange(60.0).flip(0))]
    trimmed.on_epoch_begin(net, rows)
    expected = was_kept.copy()
    # Three quarters of the rows that claim each class: 12 of class 1, 48 of class 0.
    expected[:60] = True
    expected[:3] = False
    expected[12:24] = False
    np.testing.assert_array_equal(rows.is_kept, expected)


class Rows(Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return self.X[index], self.y[index]


def test_streamed_rows_are_left_out_as_those_of_an_array_are(mislabelled):
    X, y = mislabelled
    of_array, of_stream = (
        watched(*rows, trim=0.25)[1] for rows in ((X, y), (Rows(X, y), None))
    )
    for (is_kept, _), (expected, _) in zip(of_stream, of_array, strict=True):
        np.testing.assert_array_equal(is_kept, expected)


def test_a_trend_follows_distances_that_fall():
    scale = torch.linspace(10.0, 4.0, 20_000, dtype=torch.float64)
    noise = torch.rand(20_000, generator=torch.Generator().manual_seed(0)).double()
    ratios = trend(scale * (0.5 + noise)) / scale
    assert (ratios - 1.0).abs().max() < 0.1


@pytest.mark.parametrize("n_samples", [1, 2, 300])
def test_few_distances_have_one_median(n_samples):
    values = trend(torch.arange(1.0, n_samples + 1.0))
    assert values.tolist() == [(n_samples + 1) // 2] * n_samples
    assert (trend(torch.zeros(n_samples)) > 0).all()
