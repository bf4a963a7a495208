"""sklgm.classifiers._network: partial_fit, interruption, schedules, kinds of data."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sklgm import LGMClassifier, SoftmaxClassifier

CLASSIFIERS = [LGMClassifier, SoftmaxClassifier]
both = pytest.mark.parametrize("classifier", CLASSIFIERS)
SETTINGS = {"feature_dim": 4, "max_epochs": 3, "lr": 0.01, "batch_size": 16}


class CountedRows(Dataset):
    """Rows of arrays as (instance, label) items; counts how often each is read."""

    def __init__(self, X, y):
        self.X, self.y = X, y
        self.n_reads = np.zeros(len(X), dtype=int)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, row):
        self.n_reads[row] += 1
        return torch.tensor(self.X[row]), self.y[row]


# partial_fit


@both
def test_partial_fit_is_one_epoch_a_call(classifier, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0)
    for n_calls in (1, 2, 3):
        clf.partial_fit(X, y, classes=[0, 1, 2])
        assert clf.n_iter_ == n_calls
    assert clf.net_.history[-1, "train_loss"] < clf.net_.history[0, "train_loss"]


@both
def test_partial_fit_learns_from_a_stream_of_chunks(classifier):
    rng = np.random.RandomState(0)
    clf = classifier(feature_dim=4, lr=0.01, random_state=0)
    for _ in range(30):
        y = rng.randint(3, size=50)
        X = 4.0 * np.eye(3, 4)[y] + rng.normal(size=(50, 4))
        clf.partial_fit(X, y, classes=[0, 1, 2])
    y = np.arange(300) % 3
    X = 4.0 * np.eye(3, 4)[y] + rng.normal(size=(300, 4))
    assert clf.score(X, y) > 0.9


@both
def test_partial_fit_takes_chunks_of_single_classes(classifier):
    rng = np.random.RandomState(0)
    clf = classifier("identity", lr=0.05, random_state=0)
    for step in range(60):
        label = ["a", "b", "c"][step % 3]
        X = 4.0 * np.eye(3)[step % 3] + rng.normal(size=(20, 3))
        clf.partial_fit(X, np.full(20, label), classes=["c", "b", "a"])
    assert clf.classes_.tolist() == ["a", "b", "c"]
    assert clf.predict(4.0 * np.eye(3)).tolist() == ["a", "b", "c"]


def test_a_class_starts_from_the_first_rows_that_are_seen_of_it(blobs):
    X, y = blobs
    clf = LGMClassifier("identity", lr=1e-12, random_state=0)
    clf.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    clf.partial_fit(X[y == 2], y[y == 2])
    means = [X[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(clf.means_, means, atol=1e-5)


def test_priors_of_partial_fit_are_the_shares_of_all_rows_so_far(blobs):
    X, y = blobs
    clf = LGMClassifier("identity", random_state=0)
    clf.partial_fit(X[:30], y[:30], classes=[0, 1, 2])
    # Class 2 was not seen yet: it counts as one row.
    np.testing.assert_allclose(clf.priors_, np.array([20, 10, 1]) / 31, rtol=1e-6)
    clf.partial_fit(X[30:], y[30:])
    np.testing.assert_allclose(clf.priors_, 1 / 3, rtol=1e-6)
    assert clf.class_count_.tolist() == [20, 20, 20]


@both
def test_partial_fit_goes_on_from_a_fit(classifier, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0).fit(X, y)
    before = clf.net_
    clf.partial_fit(X, y)
    assert clf.net_ is before
    assert clf.n_iter_ == SETTINGS["max_epochs"] + 1


@both
def test_partial_fit_is_reproducible_and_survives_pickling(classifier, blobs):
    X, y = blobs
    first = classifier(**SETTINGS, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    second = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(
        first.partial_fit(X, y).predict_proba(X),
        second.partial_fit(X, y).predict_proba(X),
    )


@both
def test_weights_of_partial_fit_compare_chunks(classifier, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0)
    clf.partial_fit(X, y, classes=[0, 1, 2], sample_weight=np.full(len(y), 0.5))
    clf.partial_fit(X, y, sample_weight=np.full(len(y), 2.0))
    assert clf.class_count_.tolist() == [50.0, 50.0, 50.0]


@both
@pytest.mark.parametrize(
    ("settings", "arguments", "match"),
    [
        ({}, {}, "classes must be passed on the first call"),
        (
            {},
            {"classes": [0, 1]},
            r"y holds \[2\], which are not among the known classes",
        ),
        ({}, {"classes": [0]}, "at least 2 classes"),
        ({"class_weight": "balanced"}, {"classes": [0, 1, 2]}, "class_weight"),
        (
            {"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}},
            {"classes": [0, 1, 2]},
            "sample_weight and class_weight leave no row",
        ),
    ],
)
def test_what_partial_fit_cannot_do_is_an_error(
    classifier, settings, arguments, match, blobs
):
    with pytest.raises(ValueError, match=match):
        classifier(**settings).partial_fit(*blobs, **arguments)


@both
def test_there_is_no_partial_fit_with_early_stopping(classifier, blobs):
    clf = classifier(**SETTINGS, early_stopping=True)
    assert not hasattr(clf, "partial_fit")
    clf.fit(*blobs).set_params(early_stopping=False)
    with pytest.raises(ValueError, match="cannot go on from a fit with early_stopping"):
        clf.partial_fit(*blobs)


def test_there_is_no_partial_fit_with_trim():
    clf = LGMClassifier(trim=0.1)
    assert not hasattr(clf, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        clf.partial_fit([[0.0], [1.0]], [0, 1], classes=[0, 1])


@both
def test_a_wrong_first_call_may_be_put_right(classifier, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0)
    for wrong in ([0, 1], [0]):
        with pytest.raises(ValueError, match="known classes|at least 2 classes"):
            clf.partial_fit(X, y, classes=wrong)
    assert clf.partial_fit(X, y, classes=[0, 1, 2]).n_iter_ == 1


@both
def test_class_counts_add_up_over_all_ways_to_fit(classifier, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0)
    clf.fit(X, y, sample_weight=np.full(60, 10.0))
    np.testing.assert_allclose(clf.class_count_, 200)
    clf.partial_fit(X[:20], y[:20], sample_weight=np.full(20, 10.0))
    np.testing.assert_allclose(clf.class_count_, [400, 200, 200])
    if classifier is LGMClassifier:
        np.testing.assert_allclose(clf.priors_, [0.5, 0.25, 0.25], rtol=1e-6)
    clf.set_params(warm_start=True).fit(X, y)
    np.testing.assert_allclose(clf.class_count_, [420, 220, 220])


@both
@pytest.mark.parametrize("bad", [np.nan, 1e39])
def test_a_chunk_that_fails_leaves_the_classifier_as_it_was(classifier, bad, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    before, n_epochs = clf.predict_proba(X), len(clf.history_)
    rows = X[:20].copy()
    rows[-1] = bad
    with pytest.raises(ValueError, match="NaN|diverged|too large"):
        clf.partial_fit(CountedRows(rows, y[:20]))
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert len(clf.history_) == n_epochs
    again = clf.partial_fit(X, y).predict_proba(X)
    assert np.isfinite(again).all()


@both
def test_a_changed_dtype_waits_for_the_next_fit(classifier, blobs):
    X, y = blobs
    clf = classifier(**SETTINGS, random_state=0).fit(X, y)
    before = clf.predict_proba(X)
    clf.set_params(dtype="float64")
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert clf.partial_fit(X, y).predict_proba(X).dtype == np.float32
    assert clf.fit(X, y).predict_proba(X).dtype == np.float64


# Epochs, interruption, schedules


@both
def test_no_epochs_leaves_the_start(classifier, blobs):
    X, y = blobs
    clf = classifier("identity", max_epochs=0, random_state=0).fit(X, y)
    assert clf.n_iter_ == 0
    assert len(clf.history_) == 0
    assert set(clf.predict(X)) <= {0, 1, 2}


class InterruptInEpoch(Callback):
    """What Ctrl-C does: KeyboardInterrupt, raised from deep inside an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, training, **kwargs):
        if training and len(net.history) == self.epoch:
            press_ctrl_c()


def press_ctrl_c():
    raise KeyboardInterrupt


@both
def test_ctrl_c_keeps_the_model_so_far_and_says_so(classifier, blobs):
    X, y = blobs
    settings = SETTINGS | {"lr_schedule": "constant", "random_state": 0}
    clf = classifier(**settings | {"max_epochs": 50}, callbacks=[InterruptInEpoch(3)])
    with pytest.warns(UserWarning, match="interrupted after 2 complete epochs") as said:
        clf.fit(X, y)
    assert said[0].filename == __file__
    assert clf.n_iter_ == 2
    shorter = classifier(**settings | {"max_epochs": 2})
    if classifier is SoftmaxClassifier:  # L-GM's warm-up depends on max_epochs
        np.testing.assert_array_equal(
            clf.predict_proba(X), shorter.fit(X, y).predict_proba(X)
        )


@both
def test_ctrl_c_in_partial_fit_says_so(classifier, blobs):
    clf = classifier(**SETTINGS, callbacks=[InterruptInEpoch(1)], random_state=0)
    with pytest.warns(UserWarning, match="interrupted after 0 complete epochs"):
        clf.partial_fit(*blobs, classes=[0, 1, 2])
    assert clf.n_iter_ == 0


class Sleeping(Callback):
    """The user presses Ctrl-C while a callback runs Python code of its own."""

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@both
def test_ctrl_c_in_a_callback_says_so(classifier, blobs):
    clf = classifier(**SETTINGS, callbacks=[Sleeping()], random_state=0)
    with pytest.warns(UserWarning, match="interrupted after 1 complete epochs"):
        clf.fit(*blobs)


class InterruptedRows(CountedRows):
    """Ctrl-C while a row is read for the n-th time."""

    def __init__(self, X, y, n_reads):
        super().__init__(X, y)
        self.at = n_reads

    def __getitem__(self, row):
        if self.n_reads.sum() == self.at:
            self.n_reads[row] += 1
            raise KeyboardInterrupt
        return super().__getitem__(row)


def test_ctrl_c_in_the_last_trimming_keeps_the_trained_model(blobs):
    X, y = blobs
    settings = SETTINGS | {"trim": 0.1, "random_state": 0}
    stream = CountedRows(X, y)
    LGMClassifier(**settings).fit(stream)
    n_reads = int(stream.n_reads.sum())
    clf = LGMClassifier(**settings)
    with pytest.warns(UserWarning, match="interrupted after 3 complete epochs"):
        clf.fit(InterruptedRows(X, y, n_reads - 5))
    assert clf.n_iter_ == 3
    assert clf.score(X, y) > 0.5


def test_trimming_reaches_workers_that_outlive_an_epoch(blobs):
    X, y = blobs
    y = np.where(np.arange(60) % 15 == 0, (y + 1) % 3, y)
    settings = SETTINGS | {"trim": 0.2, "random_state": 0}
    here = LGMClassifier(**settings).fit(X, y)
    there = LGMClassifier(
        **settings,
        iterator_train__num_workers=1,
        iterator_train__persistent_workers=True,
    ).fit(X, y)
    np.testing.assert_array_equal(here.predict_proba(X), there.predict_proba(X))


@both
def test_a_learning_rate_schedule_sets_the_rate_of_each_epoch(classifier, blobs):
    schedule = LRScheduler(policy="StepLR", step_size=1, gamma=0.5)
    warmup = {"softmax_warmup": 0.0} if classifier is LGMClassifier else {}
    clf = classifier(
        **SETTINGS, **warmup, callbacks=[("schedule", schedule)], random_state=0
    )
    clf.fit(*blobs)
    rates = clf.history_[:, "event_lr"]
    assert rates == pytest.approx([0.01, 0.005, 0.0025])
    assert not hasattr(schedule, "lr_scheduler_"), "the user's callback was changed"


@both
def test_weight_decay_shrinks_the_weights(classifier, blobs):
    norms = []
    for decay in (0.0, 10.0):
        clf = classifier(
            **SETTINGS, optimizer__weight_decay=decay, optimizer="adamw", random_state=0
        ).fit(*blobs)
        weights = [p.detach() for p in clf.net_.module_.backbone.parameters()]
        norms.append(sum(float(weight.norm()) for weight in weights))
    assert norms[1] < norms[0]


# Kinds of data


def frames_of(X):
    names = [f"column {i}" for i in range(X.shape[1])]
    return {
        "pandas": pd.DataFrame(X, columns=names),
        "polars": pl.DataFrame(X, schema=names),
    }


def kinds_of(X, directory):
    path = directory / "X.npy"
    np.save(path, X)
    return {
        "list": X.tolist(),
        "float32": X.astype(np.float32),
        "fortran order": np.asfortranarray(X),
        "memory map": np.load(path, mmap_mode="r"),
        "tensor": torch.tensor(X),
        "tensor with gradient": torch.tensor(X, requires_grad=True),
        "dataset": TensorDataset(torch.tensor(X)),
        **frames_of(X),
    }


KINDS = [
    "list",
    "float32",
    "fortran order",
    "memory map",
    "tensor",
    "tensor with gradient",
    "dataset",
    "pandas",
    "polars",
]


@both
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rows_gives_the_same_model(classifier, kind, blobs, tmp_path):
    X, y = blobs
    X = np.round(X, 2).astype(np.float32).astype(np.float64)
    rows = kinds_of(X, tmp_path)[kind]
    if kind == "dataset":
        rows = TensorDataset(torch.tensor(X), torch.tensor(y))
    expected = classifier(**SETTINGS, random_state=0).fit(X, y)
    clf = classifier(**SETTINGS, random_state=0).fit(rows, y)
    np.testing.assert_array_equal(clf.predict_proba(rows), expected.predict_proba(X))
    np.testing.assert_array_equal(clf.transform(rows), expected.transform(X))


def dropout_backbone(input_shape, feature_dim):
    return torch.nn.Sequential(
        torch.nn.ReLU(inplace=True), torch.nn.Dropout(0.5), torch.nn.Linear(4, 4)
    )


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_dropout_does_not_depend_on_where_rows_are(classifier, early_stopping, blobs):
    X, y = blobs[0].astype(np.float32), blobs[1]
    before = X.copy()
    settings = SETTINGS | {"early_stopping": early_stopping, "random_state": 0}
    clf = classifier(dropout_backbone, **settings).fit(X, y)
    stream = TensorDataset(torch.tensor(X), torch.tensor(y))
    from_stream = classifier(dropout_backbone, **settings).fit(stream)
    np.testing.assert_array_equal(clf.predict_proba(X), from_stream.predict_proba(X))
    np.testing.assert_array_equal(X, before)  # the backbone writes into its batches


class PredictInEpoch(Callback):
    """Passes rows through the net, in evaluation mode, between training batches."""

    def __init__(self, X):
        self.X = X

    def on_batch_end(self, net, training, **kwargs):
        if training:
            net.evaluation_step((torch.tensor(self.X).float(), None))


@both
def test_predictions_in_callbacks_leave_the_training_mode(classifier, blobs):
    X, y = blobs
    settings = SETTINGS | {"random_state": 0, "lr_schedule": "constant"}
    fits = [
        classifier(dropout_backbone, callbacks=callbacks, **settings).fit(X, y)
        for callbacks in ([], [PredictInEpoch(X)])
    ]
    np.testing.assert_array_equal(*(clf.predict_proba(X) for clf in fits))


@both
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_give_feature_names_and_other_names_are_refused(classifier, kind, blobs):
    X, y = blobs
    frame = frames_of(X)[kind]
    clf = classifier(**SETTINGS, random_state=0).fit(frame, y)
    assert clf.feature_names_in_.tolist() == [f"column {i}" for i in range(4)]
    renamed = (
        frame.rename({"column 0": "a"})
        if kind == "polars"
        else frame.rename(columns={"column 0": "a"})
    )
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(renamed)


@both
@pytest.mark.parametrize("kind", ["list", "series", "polars", "tensor"])
def test_every_kind_of_labels_gives_the_same_model(classifier, kind, blobs):
    X, y = blobs
    labels = {
        "list": y.tolist(),
        "series": pd.Series(y),
        "polars": pl.Series(y),
        "tensor": torch.tensor(y),
    }[kind]
    expected = classifier(**SETTINGS, random_state=0).fit(X, y)
    clf = classifier(**SETTINGS, random_state=0).fit(X, labels)
    np.testing.assert_array_equal(clf.predict(X), expected.predict(X))
    assert clf.score(X, labels) == expected.score(X, y)


# Streams


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_dataset_with_labels_gives_the_same_model(
    classifier, early_stopping, tiny_images
):
    X, y = tiny_images
    settings = {"feature_dim": 4, "max_epochs": 2, "early_stopping": early_stopping}
    expected = classifier(**settings, random_state=0).fit(X, y)
    stream = CountedRows(X, y)
    clf = classifier(**settings, random_state=0).fit(stream)
    np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))
    assert clf.input_shape_ == (1, 8, 8)
    assert clf.n_features_in_ == 64


@both
def test_score_reads_a_dataset_once(classifier, tiny_images):
    X, y = tiny_images
    clf = classifier(feature_dim=4, max_epochs=2, random_state=0).fit(X, y)
    stream = CountedRows(X, y)
    assert clf.score(stream) == clf.score(X, y)
    assert stream.n_reads.max() <= 2  # the first item also tells the shape
    assert stream.n_reads[1:].max() == 1


@both
def test_instances_are_held_a_batch_at_a_time(classifier):
    alive, most = [0], [0]

    class Item:
        """Counts the items that exist at one time."""

        def __init__(self):
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self):
            alive[0] -= 1

    class Tracked(np.ndarray):
        item_alive: Item

    class Rows(Dataset):
        def __len__(self):
            return 3000

        def __getitem__(self, row):
            x = np.full(4, float(row % 3)).view(Tracked)
            x.item_alive = Item()
            return x, row % 3

    clf = classifier(**SETTINGS, random_state=0).fit(Rows())
    clf.predict(Rows())
    clf.score(Rows())
    assert most[0] <= 2 * 512  # rows passed at once where nothing is trained


@both
def test_random_items_do_not_move_the_callers_generator(classifier, blobs):
    X, y = blobs

    class Noisy(CountedRows):
        def __getitem__(self, row):
            x, label = super().__getitem__(row)
            return x + 0.1 * torch.randn(4), label

    before = torch.get_rng_state()
    clf = classifier(**SETTINGS, random_state=0).fit(Noisy(X, y))
    clf.predict(Noisy(X, y))
    clf.score(Noisy(X, y))
    assert torch.equal(torch.get_rng_state(), before)


@both
def test_bfloat16_becomes_float32(classifier, blobs):
    X, y = blobs
    rows = torch.tensor(X).bfloat16()
    settings = {**SETTINGS, "random_state": 0}
    expected = classifier(**settings).fit(rows.float(), y).predict_proba(rows.float())
    for kind in (rows, TensorDataset(rows, torch.tensor(y))):
        found = classifier(**settings).fit(kind, y).predict_proba(kind)
        np.testing.assert_array_equal(found, expected)


@both
def test_flat_items_are_folded_into_the_input_shape(classifier, tiny_images):
    X, y = tiny_images
    settings = {"feature_dim": 4, "max_epochs": 1, "input_shape": (1, 8, 8)}
    expected = classifier(**settings, random_state=0).fit(X, y)
    flat = TensorDataset(torch.tensor(X.reshape(len(X), -1)), torch.tensor(y))
    clf = classifier(**settings, random_state=0).fit(flat)
    np.testing.assert_array_equal(clf.predict_proba(flat), expected.predict_proba(X))


@both
def test_datasets_with_string_labels_are_learned(classifier, blobs):
    X, y = blobs
    names = np.array(["cat", "dog", "owl"])[y].tolist()
    clf = classifier(**SETTINGS, random_state=0).fit(CountedRows(X, names))
    assert set(clf.predict(CountedRows(X, names))) <= {"cat", "dog", "owl"}


@both
def test_partial_fit_takes_a_dataset(classifier, blobs):
    stream = CountedRows(*blobs)
    clf = classifier(**SETTINGS, random_state=0)
    clf.partial_fit(stream, classes=[0, 1, 2]).partial_fit(stream)
    assert clf.n_iter_ == 2


class Broken(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


@both
@pytest.mark.parametrize(
    ("dataset", "error", "match"),
    [
        (Endless(), TypeError, "X must be a map-style Dataset"),
        (Broken([]), ValueError, "X holds 0 samples"),
        (Broken([torch.zeros(2), torch.ones(2)]), ValueError, "y=None, but item 0"),
        (Broken([(torch.zeros(2), None)] * 2), ValueError, "y=None, but item 0"),
        (Broken([(torch.tensor(1.0), 0)] * 2), ValueError, "item 0 .* single number"),
        (
            Broken([(torch.zeros(2), torch.eye(3)[0])] * 2),
            ValueError,
            r"that of item 0 of the Broken has shape \(3,\)",
        ),
        (
            DataLoader(TensorDataset(torch.zeros(2, 2))),
            TypeError,
            "does not take a DataLoader as X; give its .dataset",
        ),
        (Broken([({"x": 1}, 0)]), TypeError, "items of X must be tensors or arrays"),
        (
            Broken([(torch.zeros(2), 0), (torch.zeros(3), 1)]),
            ValueError,
            r"several shapes: \(2,\) in item 0, \(3,\) in item 1",
        ),
        (
            Broken([(torch.zeros(2), 0), (torch.full((2,), torch.nan), 1)]),
            ValueError,
            "X holds NaN or infinity in item 1",
        ),
    ],
    ids=[
        "iterable",
        "empty",
        "unlabelled",
        "label none",
        "scalar",
        "one-hot",
        "loader",
        "no array",
        "shapes",
        "nan",
    ],
)
def test_datasets_that_cannot_be_read_are_errors(classifier, dataset, error, match):
    with pytest.raises(error, match=match):
        classifier(**SETTINGS).fit(dataset)


@both
@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 2)])
def test_items_of_another_shape_than_in_fit_are_an_error(classifier, shape, blobs):
    clf = classifier(**SETTINGS, random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match="expect"):
        clf.predict(TensorDataset(torch.zeros(shape)))
