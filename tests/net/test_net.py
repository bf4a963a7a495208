"""sklgm._net: batches, samplers, callbacks."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm._net import (
    BatchDataset,
    LGMCriterion,
    MarginGrowth,
    NoSingleRowSampler,
    SlicedBatches,
    SoftmaxCriterion,
    ordered_loader,
    shared_tensor,
    train_loader,
)
from sklgm.gaussian import COVARIANCE_TYPES
from sklgm.losses import lgm_loss, softmax_loss, weighted_mean
from sklgm.nn import GaussianMixtureHead


def dataset(n=7, dtype=torch.float32):
    X = np.arange(2 * n).reshape(n, 2)
    X.setflags(write=False)
    return BatchDataset(X, np.arange(n) % 2, np.linspace(0.5, 1.5, n), dtype)


# BatchDataset


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_holds_the_rows_asked_for(dtype):
    batch, y = dataset(dtype=dtype).__getitems__([3, 0])
    assert batch["X"].tolist() == [[6.0, 7.0], [0.0, 1.0]]
    assert batch["X"].dtype is batch["sample_weight"].dtype is dtype
    assert batch["sample_weight"].tolist() == pytest.approx([1.0, 0.5])
    assert y.tolist() == [1, 0]


def test_rows_that_are_not_kept_have_weight_zero():
    rows = dataset()
    rows.keep(np.arange(7) != 3)
    assert rows.__getitems__([2, 3])[0]["sample_weight"].tolist()[1] == 0.0


@pytest.mark.parametrize("dtype", [">f4", ">f8", "longdouble", "uint16", "bool", "f2"])
def test_numbers_of_every_kind_become_tensors(dtype):
    X = np.array([[0, 1], [1, 0]]).astype(dtype)
    batch, _ = BatchDataset(X, None, None, torch.float32).__getitems__([1, 0])
    assert batch["X"].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_batch_is_a_copy_of_its_rows():
    rows = dataset()
    rows.__getitems__([0])[0]["X"].fill_(9.0)
    assert rows.X[0].tolist() == [0, 1]


def test_a_sample_holds_its_share_of_each_class():
    y = np.repeat([0, 1, 3], [400, 90, 5])
    rows = BatchDataset(
        np.arange(500.0)[:, None], np.append(y, [0] * 5), None, torch.float32
    )
    drawn = rows.sample(0.1, 40)
    assert np.bincount(drawn.y_encoded).tolist() == [41, 45, 0, 5]
    batch, labels = drawn.__getitems__(range(len(drawn)))
    taken = batch["X"][:, 0].long().numpy()
    assert labels.tolist() == rows.y_encoded[taken].tolist()
    assert taken.tolist() == sorted(set(taken.tolist()))
    assert np.diff(taken).max() > 10  # of classes 0 and 1 not every m-th


def test_a_sample_of_few_rows_is_all_of_them():
    assert dataset().sample(0.1, 64).rows.tolist() == list(range(7))


# NoSingleRowSampler


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "sizes"),
    [
        (7, 3, [3, 4]),
        (6, 3, [3, 3]),
        (8, 3, [3, 3, 2]),
        (5, 2, [2, 3]),
        (1, 3, [1]),
        (3, 1, [1, 1, 1]),
        (2, 5, [2]),
    ],
)
def test_a_last_batch_of_one_row_joins_the_batch_before(n_rows, batch_size, sizes):
    batches = list(NoSingleRowSampler(range(n_rows), batch_size, False))
    assert [len(batch) for batch in batches] == sizes
    assert sum(batches, []) == list(range(n_rows))


def test_drop_last_drops_an_incomplete_batch():
    assert list(NoSingleRowSampler(range(7), 3, True)) == [[0, 1, 2], [3, 4, 5]]


# train_loader


def loaded_rows(**settings):
    loader = train_loader(
        dataset(), batch_size=3, generator=torch.Generator().manual_seed(0), **settings
    )
    return [int(value) for batch, _ in loader for value in batch["X"][:, 0] // 2]


def test_training_rows_are_shuffled_by_the_given_generator():
    assert loaded_rows() == loaded_rows()
    assert loaded_rows() != list(range(7))
    assert sorted(loaded_rows()) == list(range(7))


def test_rows_stay_in_order_without_shuffle():
    assert loaded_rows(shuffle=False) == list(range(7))


def equal_batches(first, second):
    return all(
        torch.equal(one["X"], other["X"]) and torch.equal(y, z)
        for (one, y), (other, z) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("rows", [None, np.array([5, 0, 3, 2])])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "bool"])
def test_slices_are_the_batches_of_a_loader(drop_last, shuffle, rows, dtype):
    X = np.arange(14).reshape(7, 2).astype(dtype)
    loaded = []
    for settings in ({}, {"num_workers": 0}):
        loader = train_loader(
            BatchDataset(X, np.arange(7) % 2, None, torch.float32, rows),
            batch_size=3,
            generator=torch.Generator().manual_seed(0),
            shuffle=shuffle,
            drop_last=drop_last,
            **settings,
        )
        assert isinstance(loader, SlicedBatches) == (settings == {})
        loaded.append([batch for _ in range(3) for batch in loader])
    assert equal_batches(*loaded)


def test_loaders_move_the_global_generator_alike():
    drawn = []
    for settings in ({}, {"num_workers": 0}):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for loader in (
                train_loader(
                    dataset(), batch_size=3, generator=torch.Generator(), **settings
                ),
                ordered_loader(dataset(), batch_size=3, **settings),
            ):
                list(loader)
            drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1]


def test_slices_carry_weights_only_where_they_are_not_one():
    rows = BatchDataset(np.zeros((4, 2)), np.zeros(4, dtype=int), None, torch.float32)
    batches = ordered_loader(rows, batch_size=4)
    ((batch, _),) = batches
    assert set(batch) == {"X", "rows"}
    rows.keep(np.arange(4) != 2)
    ((batch, _),) = batches
    assert batch["sample_weight"].tolist() == [1.0, 1.0, 0.0, 1.0]


def test_a_slice_is_a_copy_of_its_rows():
    rows = dataset(dtype=torch.float64)
    for batch, _ in ordered_loader(rows, batch_size=7):
        batch["X"].fill_(9.0)
    assert rows.X[0].tolist() == [0, 1]


def test_tensors_share_the_memory_of_arrays(tmp_path):
    X = np.ones((3, 2), dtype=np.float32)
    assert shared_tensor(X).data_ptr() == X.ctypes.data
    np.save(tmp_path / "X.npy", X)
    assert shared_tensor(np.load(tmp_path / "X.npy", mmap_mode="r")).shape == (3, 2)


@pytest.mark.parametrize(
    "X", [np.ones((3, 2), ">f4"), np.ones((3, 2))[::-1]], ids=["byte order", "reversed"]
)
def test_arrays_that_are_no_tensors_are_loaded(X):
    assert shared_tensor(X) is None
    rows = BatchDataset(X, None, None, torch.float32)
    ((batch, _),) = ordered_loader(rows, batch_size=3)
    assert batch["X"].tolist() == [[1.0, 1.0]] * 3


# criteria


def lgm_outputs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = GaussianMixtureHead(3, 2, covariance_type="diag", variance=0.5)
        features = torch.randn(6, 3)
    (logits,) = head(features)
    return head, (logits, features), torch.arange(6) % 2


@pytest.mark.parametrize("training", [True, False])
def test_lgm_criterion_is_the_lgm_loss_and_validates_without_margin(training):
    head, outputs, y = lgm_outputs()
    found = LGMCriterion(0.8, 0.2)(outputs, y, head, training).mean()
    expected = lgm_loss(
        outputs[1],
        y,
        head.means,
        head.log_variances,
        covariance_type="diag",
        margin=0.8 if training else 0.0,
        likelihood_weight=0.2,
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize(("margin", "weight"), [(0.0, 0.0), (0.8, 0.0), (0.8, 0.2)])
@pytest.mark.parametrize("is_weighted", [True, False])
def test_the_loss_of_training_is_the_criterion(
    covariance_type, margin, weight, is_weighted
):
    _, (_, features), y = lgm_outputs()
    head = GaussianMixtureHead(
        3, 2, covariance_type=covariance_type, variance=0.5, priors=[0.2, 0.8]
    )
    criterion = LGMCriterion(margin, weight)
    features = features.requires_grad_()
    if covariance_type != "identity":
        with torch.no_grad():
            head.log_variances += torch.randn(head.log_variances.shape)
    row_weight = torch.linspace(0.0, 1.5, len(features)) if is_weighted else None
    found, logits, distances = criterion.of_training(features, y, head, row_weight)
    of_rows = criterion((*head(features), features), y, head, True)
    expected = weighted_mean(of_rows, row_weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(logits, head(features)[0])
    ratios = distances / head.claimed_squared_mahalanobis(features, y)
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))
    assert not distances.requires_grad
    inputs = (features, *head.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs),
        torch.autograd.grad(expected, inputs),
    )


@pytest.mark.parametrize(("settings", "prints"), [({}, False), ({"verbose": 1}, True)])
def test_only_a_verbose_net_formats_its_log(settings, prints, blobs, capsys):
    clf = SoftmaxClassifier(max_epochs=1, random_state=0, **settings).fit(*blobs)
    assert ("print_log" in dict(clf.net_.callbacks_)) is prints
    assert ("train_loss" in capsys.readouterr().out) is prints


def test_named_optimisers_are_fused_unless_asked_otherwise(blobs):
    for settings, expected in (
        ({}, True),
        ({"optimizer__foreach": True}, None),
        ({"optimizer__fused": False}, False),
    ):
        clf = SoftmaxClassifier(max_epochs=1, random_state=0, **settings).fit(*blobs)
        assert clf.net_.optimizer_.defaults["fused"] is expected


def test_softmax_criterion_is_the_softmax_loss():
    head, outputs, y = lgm_outputs()
    found = SoftmaxCriterion()(outputs, y, head, True)
    assert torch.equal(found, softmax_loss(outputs[0], y))


# MarginGrowth


def margins_of_epochs(growth, n_epochs):
    class Net:
        criterion_ = LGMCriterion(growth.margin, 0.0)
        history: ClassVar[list] = []

    margins = []
    for epoch in range(n_epochs):
        Net.history = [{} for _ in range(epoch + 1)]
        growth.on_epoch_begin(Net)
        margins.append(Net.criterion_.margin)
    return margins


def test_margin_grows_linearly_from_zero():
    assert margins_of_epochs(MarginGrowth(0.8, 4.0), 7) == pytest.approx(
        [0.0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    )


def test_margin_is_full_at_once_without_growth():
    assert margins_of_epochs(MarginGrowth(0.8, 0.0), 2) == [0.8, 0.8]


def test_margin_growth_goes_on_over_partial_fits(blobs):
    X, y = blobs
    clf = LGMClassifier(max_epochs=4, margin=0.8, margin_warmup=1.0, random_state=0)
    margins = []
    for _ in range(6):
        clf.partial_fit(X, y, classes=[0, 1, 2])
        margins.append(clf.net_.criterion_.margin)
    assert margins == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.8])


# schedules


def test_one_cycle_rises_to_its_peak_and_falls_below_its_start(blobs):
    X, y = blobs
    clf = SoftmaxClassifier(max_epochs=4, batch_size=16, lr=0.1, random_state=0)
    fitted = clf.fit(X, y)
    rates = fitted.history_[:, "batches", :, "event_lr"]
    rates = [rate for epoch in rates for rate in epoch]
    assert len(rates) == 16
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < rates[0]  # which is the highest rate / 25


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("step", [0.5, 0.5, 0.5, 0.05]), ("constant", [0.5, 0.5, 0.5, 0.5])],
)
def test_step_takes_a_tenth_of_the_rate_in_the_last_quarter(schedule, expected):
    class Rates(Callback):
        seen = []

        def on_epoch_begin(self, net, **kwargs):
            self.seen.append(net.optimizer_.param_groups[0]["lr"])

    X = np.linspace(-1, 1, 20).reshape(10, 2)
    SoftmaxClassifier(
        "identity", lr=0.5, max_epochs=4, lr_schedule=schedule, callbacks=[Rates()]
    ).fit(X, np.arange(10) % 2)
    assert Rates.seen == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["sgd", torch.optim.LBFGS])
def test_one_cycle_takes_optimisers_without_momentum(optimizer, blobs):
    clf = LGMClassifier(
        "identity", optimizer=optimizer, lr=0.1, batch_size="all", random_state=0
    )
    assert clf.fit(*blobs).score(*blobs) > 0.9


def test_a_schedule_of_the_user_takes_the_place_of_the_own(blobs):
    schedule = LRScheduler(policy="StepLR", step_size=1, gamma=0.5)
    clf = SoftmaxClassifier(
        max_epochs=3, lr=0.1, callbacks=[("mine", schedule)], random_state=0
    ).fit(*blobs)
    assert clf.history_[:, "event_lr"] == pytest.approx([0.1, 0.05, 0.025])
    names = [name for name, _ in clf.net_.callbacks_]
    assert "mine" in names
    assert "lr_schedule" not in names


@pytest.mark.parametrize("classifier", [LGMClassifier, SoftmaxClassifier])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_scorers_of_skorch_see_predicted_classes(classifier, early_stopping, blobs):
    X, y = blobs
    scoring = EpochScoring("accuracy", on_train=not early_stopping, name="accuracy")
    clf = classifier(
        max_epochs=20,
        lr=0.01,
        early_stopping=early_stopping,
        callbacks=[scoring],
        random_state=0,
    ).fit(X, np.array(["a", "b", "c"])[y])
    # The epoch that ends the training is not scored.
    scores = [epoch["accuracy"] for epoch in clf.history_ if "accuracy" in epoch]
    assert len(scores) >= len(clf.history_) / 2 - 1  # softmax epochs among them
    assert scores[-1] > 0.9
