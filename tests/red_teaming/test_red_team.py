"""Attacks on whole pipelines: success with its control arm, and poisons as files."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sklgm import SoftmaxClassifier, red_team
from sklgm._random import draw_seed
from sklgm.datasets import load_digits_images, make_stripe_images
from sklgm.red_teaming._red_team import _seeded


@pytest.fixture(scope="module")
def digits():
    """Rows of 8-bit pixels in [0, 1], and their labels."""
    data = load_digits_images()
    X = np.rint(data.X_train[:600].reshape(600, -1) * 255) / 255
    return X.astype(np.float32), data.y_train[:600]


@pytest.fixture(scope="module")
def body_and_head():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU()), nn.Linear(16, 10)


@pytest.fixture(scope="module")
def attacked(digits):
    """Nearest neighbours, attacked through a network; do not change it."""
    network = SoftmaxClassifier(max_epochs=8, random_state=0)
    return red_team(
        KNeighborsClassifier(3),
        *digits,
        surrogate=network,
        n_targets=6,
        budget=4,
        random_state=0,
    )


def test_every_counted_target_is_right_without_poisons(attacked, digits):
    X, y = digits
    np.testing.assert_array_equal(attacked.control_labels, attacked.target_labels)
    np.testing.assert_array_equal(y[attacked.target_indices], attacked.target_labels)
    assert (attacked.base_labels != attacked.target_labels).all()
    assert attacked.success_rate.n_targets == 6
    assert attacked.control_accuracy.n_targets == 150
    assert attacked.control_accuracy.value > 0.9
    assert attacked.surrogate == "given"
    assert not attacked.is_black_box
    assert attacked.agreement is None


def test_poisons_replace_rows_of_the_label_they_claim(attacked, digits):
    X, y = digits
    assert np.bincount(attacked.poison_target).tolist() == [4] * 6
    np.testing.assert_array_equal(
        y[attacked.poison_indices], attacked.base_labels[attacked.poison_target]
    )
    np.testing.assert_array_equal(X[attacked.poison_indices], attacked.X_base)
    # Targets are not among the rows that train.
    assert not np.intersect1d(attacked.poison_indices, attacked.target_indices).size
    assert (attacked.X_poison != attacked.X_base).any(axis=1).all()


def test_a_retrained_pipeline_predicts_what_the_result_says(attacked, digits):
    X, y = digits
    pool = np.setdiff1d(np.arange(len(X)), np.flatnonzero(_is_train(attacked, digits)))
    assert len(pool) == 150
    for t in range(6):
        own = attacked.poison_target == t
        X_bad = X.copy()
        X_bad[attacked.poison_indices[own]] = attacked.X_poison[own]
        train = np.setdiff1d(np.arange(len(X)), pool)
        clf = KNeighborsClassifier(3).fit(X_bad[train], y[train])
        (label,) = clf.predict(X[attacked.target_indices[t]][None])
        assert label == attacked.predicted_labels[t]


def _is_train(result, digits):
    """Rows that train: those that the split of this seed does not hold out."""
    from sklearn.model_selection import train_test_split

    X, y = digits
    seed = draw_seed(np.random.RandomState(0))
    train, _ = train_test_split(
        np.arange(len(X)), test_size=0.25, stratify=y, random_state=seed
    )
    is_train = np.zeros(len(X), dtype=bool)
    is_train[train] = True
    return is_train


def test_unbounded_poisons_mislead_what_copies_its_neighbours(digits):
    # One neighbour is as easy to mislead as can be: a poison at the target.
    X, y = digits
    body, head = nn.Flatten(), nn.Linear(64, 10)
    result = red_team(
        KNeighborsClassifier(1),
        X,
        y,
        surrogate=(body, head),
        n_targets=5,
        budget=1,
        similarity_weight=0.0,
        random_state=0,
    )
    assert result.success_rate.value == 1.0
    assert (result.collision_ratio < 0.05).all()


def test_a_head_on_a_frozen_network_is_misled_by_collisions(digits):
    X, y = digits
    network = FrozenEstimator(
        SoftmaxClassifier(max_epochs=10, random_state=0).fit(X[:200], y[:200])
    )
    result = red_team(
        make_pipeline(network, LogisticRegression(max_iter=1000)),
        X[200:],
        y[200:],
        surrogate=network,
        n_targets=8,
        budget=0.9,
        random_state=0,
    )
    assert result.success_rate.low > 0.25
    assert result.control_accuracy.value > 0.8
    # Nobody notices: the accuracy stays.
    assert result.accuracies.mean() > result.control_accuracy.value - 0.1


def test_a_pipeline_without_gradients_is_imitated_and_that_is_said(digits):
    X, y = digits
    pipe = make_pipeline(
        StandardScaler(), PCA(20), RandomForestClassifier(10, n_jobs=1)
    )
    result = red_team(pipe, X, y, n_targets=3, budget=0.2, random_state=0)
    assert result.surrogate == "imitation"
    assert result.is_black_box
    assert 0.7 < result.agreement <= 1.0
    assert "black box, on an imitation" in repr(result)
    n_rows = [int(np.ceil(0.2 * np.sum(y[_is_train(result, digits)] == label)))
              for label in result.base_labels]  # fmt: skip
    assert np.bincount(result.poison_target).tolist() == n_rows


@pytest.mark.parametrize("kind", ["classifier", "pair", "module"])
def test_a_network_is_attacked_through_itself(kind, digits, body_and_head):
    X, y = digits
    body, head = body_and_head
    attacked = {
        "classifier": SoftmaxClassifier(max_epochs=10, random_state=0),
        "pair": (body, head),
        "module": nn.Sequential(*body, head, nn.LogSoftmax(dim=1)),
    }[kind]
    before = [p.clone() for p in body.parameters()]
    result = red_team(attacked, X, y, n_targets=2, budget=3, random_state=0)
    assert result.surrogate == "own"
    assert result.control_accuracy.value > 0.5
    for parameter, was in zip(body.parameters(), before, strict=True):
        assert torch.equal(parameter, was)


def test_a_fitted_surrogate_is_not_fitted_again(digits):
    X, y = digits
    network = SoftmaxClassifier(max_epochs=2, random_state=0).fit(X, y)
    weights = [p.clone() for p in network.net_.module_.parameters()]
    for surrogate in (network, FrozenEstimator(network)):
        result = red_team(
            LogisticRegression(max_iter=200),
            X,
            y,
            surrogate=surrogate,
            n_targets=1,
            budget=1,
            random_state=0,
        )
        assert result.surrogate == "given"
    for parameter, was in zip(network.net_.module_.parameters(), weights, strict=True):
        assert torch.equal(parameter, was)


def test_the_same_seed_gives_the_same_attack_in_any_number_of_processes(digits):
    X, y = digits
    results = [
        red_team(
            RandomForestClassifier(5),
            X,
            y,
            surrogate=SoftmaxClassifier(max_epochs=2),
            n_targets=3,
            budget=5,
            random_state=7,
            n_jobs=n_jobs,
        )
        for n_jobs in (1, 2)
    ]
    first, second = results
    np.testing.assert_array_equal(first.X_poison, second.X_poison)
    np.testing.assert_array_equal(first.predicted_labels, second.predicted_labels)
    np.testing.assert_array_equal(first.accuracies, second.accuracies)


def test_poisons_are_8_bit_and_keep_their_bound(digits):
    X, y = digits
    bound = 8.5 / 255
    result = red_team(
        KNeighborsClassifier(1),
        X,
        y,
        surrogate=SoftmaxClassifier(max_epochs=2, random_state=0),
        n_targets=2,
        budget=3,
        max_perturbation=bound,
        random_state=0,
    )
    assert result.is_8_bit
    values = result.X_poison * 255
    np.testing.assert_allclose(values, np.rint(values), atol=1e-3)
    change = np.abs(result.X_poison - result.X_base).max()
    assert 7 / 255 < change <= 8 / 255 + 1e-6  # whole steps within the bound


def test_rows_of_other_numbers_are_not_rounded(blobs):
    X, y = blobs
    result = red_team(
        LogisticRegression(),
        X,
        y,
        surrogate=SoftmaxClassifier(max_epochs=2, random_state=0),
        n_targets=2,
        budget=2,
        random_state=0,
    )
    assert not result.is_8_bit
    assert (result.X_poison >= X.min(axis=0)).all()
    assert (result.X_poison <= X.max(axis=0)).all()


def attack_on(estimator, X, y, **changes):
    settings = {"n_targets": 3, "budget": 4, "random_state": 0}
    return red_team(estimator, X, y, **settings | changes)


@pytest.fixture(scope="module")
def table():
    """Three columns of other units: sizes, counts beyond 255, and yes or no."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=200)
    sizes = rng.normal(y, 0.7)
    counts = rng.poisson(300 + 40 * y)
    flags = rng.random(200) < 0.3 + 0.4 * y
    return np.column_stack([sizes, counts, flags]), y


def test_units_of_the_columns_do_not_matter(table):
    X, y = table
    X = X[:, :1] + np.random.default_rng(1).normal(size=(200, 4))
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    small, large = attack_on(pipe, X, y), attack_on(pipe, 4096 * X, y)
    assert small.surrogate == large.surrogate == "imitation"
    assert small.agreement == large.agreement > 0.8
    np.testing.assert_array_equal(small.predicted_labels, large.predicted_labels)
    np.testing.assert_allclose(large.X_poison / 4096, small.X_poison, atol=1e-2)
    assert np.median(small.collision_ratio) < 0.2


def test_poisons_of_a_table_hold_what_its_columns_hold(table):
    X, y = table
    result = attack_on(RandomForestClassifier(10), X, y)
    assert not result.is_8_bit
    np.testing.assert_array_equal(result.X_poison[:, 1:] % 1, 0)
    assert set(result.X_poison[:, 2]) == {0, 1}
    assert (result.X_poison[:, 0] % 1 != 0).any()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_stay_frames_for_the_pipeline(library, table):
    X, y = table
    module = pytest.importorskip(library)
    columns = {"size": X[:, 0], "count": X[:, 1].astype(int), "flag": X[:, 2] > 0}
    frame = module.DataFrame(columns)
    kept = []

    class Keeping(LogisticRegression):
        def fit(self, X, y):
            kept.append(X)
            return super().fit(X, y)

    steps = make_column_transformer(
        (StandardScaler(), ["size", "count"]), ("passthrough", ["flag"])
    )
    from_frame = attack_on(make_pipeline(steps, LogisticRegression()), frame, y)
    assert from_frame.X_poison.shape == (12, 3)
    np.testing.assert_array_equal(from_frame.X_poison[:, 1:] % 1, 0)
    attack_on(Keeping(), frame, y, surrogate=SoftmaxClassifier(max_epochs=1))
    assert all(type(seen) is type(frame) for seen in kept)
    assert list(kept[-1].dtypes) == list(frame.dtypes)
    noted = module.DataFrame(columns | {"note": ["good", "bad"] * 100})
    with pytest.raises(ValueError, match="got other values in 'note': leave these"):
        attack_on(LogisticRegression(), noted, y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_targets_in_another_order_of_columns_are_put_into_theirs(library, table):
    X, y = table
    module = pytest.importorskip(library)
    names = ["size", "count", "flag"]
    frame, pool = (
        module.DataFrame(dict(zip(names, rows.T, strict=True)))
        for rows in (X[:150], X[150:])
    )
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    expected, found = (
        attack_on(pipe, frame, y[:150], X_target=given, y_target=y[150:])
        for given in (pool, pool[names[::-1]])
    )
    np.testing.assert_array_equal(found.X_poison, expected.X_poison)
    assert found.control_accuracy == expected.control_accuracy
    with pytest.raises(ValueError, match="X_target must have the columns of X"):
        attack_on(pipe, frame, y[:150], X_target=pool[names[:2]], y_target=y[150:])
    known = SoftmaxClassifier(max_epochs=1).fit(pool[names[::-1]], y[150:])
    with pytest.raises(ValueError, match="surrogate was fitted to the columns"):
        attack_on(pipe, frame, y[:150], surrogate=known)


def test_a_wide_range_does_not_make_pixels_of_a_table(table):
    X, y = table
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    result = attack_on(pipe, X, y, pixel_range=(-1e6, 1e6))
    assert result.agreement > 0.8


def test_rows_of_yes_and_no_in_floats_stay_so(table):
    _, y = table
    X = (np.random.default_rng(0).random((200, 12)) < 0.3 + 0.4 * y[:, None]) * 1.0
    result = attack_on(LogisticRegression(), X, y)
    assert set(result.X_poison.ravel()) == {0.0, 1.0}
    assert not np.signbit(result.X_poison).any()


@pytest.mark.parametrize(
    ("dtype", "bound", "most"),
    [(np.int32, 2.5, 2.0), (np.uint16, 3, 3.0), (np.float16, 0.03, 0.03)],
)
def test_poisons_of_every_type_keep_their_bound(table, dtype, bound, most):
    X, y = table
    X = (X[:, :1] * 300 + 2000).repeat(5, axis=1)
    X += np.random.default_rng(0).normal(scale=50, size=X.shape)
    X = (X / 1000 if dtype == np.float16 else np.rint(X)).astype(dtype)
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    result = attack_on(pipe, X, y, max_perturbation=bound)
    assert result.X_poison.dtype == dtype
    change = np.abs(result.X_poison.astype(float) - result.X_base)
    assert 0.5 * most < change.max() <= most


def test_yes_and_no_are_not_all_made_yes(table):
    _, y = table
    rng = np.random.default_rng(0)
    X = rng.random((200, 30)) < 0.2 + 0.4 * y[:, None] * (np.arange(30) < 10)
    result = attack_on(LogisticRegression(), X, y, n_targets=10)
    assert result.X_poison.dtype == bool
    assert abs(result.X_poison.mean() - result.X_base.mean()) < 0.2


def test_a_bound_below_one_level_is_refused(digits):
    X, y = digits
    for values, bound in ((X, 0.5 / 255), ((X * 255).astype(np.uint8), 0.5)):
        with pytest.raises(ValueError, match="below one level"):
            attack_on(LogisticRegression(), values, y, max_perturbation=bound)


def test_ratios_are_of_what_was_injected(attacked, digits):
    X, y = digits
    network = SoftmaxClassifier(max_epochs=8, random_state=0)
    is_train = _is_train(attacked, digits)
    seed = draw_seed(np.random.RandomState(0))
    network = _seeded(network, seed).fit(X[is_train], y[is_train])
    of_target = network.transform(X[attacked.target_indices])[attacked.poison_target]
    final, initial = (
        np.linalg.norm(network.transform(rows) - of_target, axis=1)
        for rows in (attacked.X_poison, attacked.X_base)
    )
    np.testing.assert_allclose(attacked.collision_ratio, final / initial, rtol=1e-3)
    assert (attacked.objective_ratio < 1).all()


def test_targets_of_other_units_are_refused(digits):
    X, y = digits
    whole = np.rint(X * 255).astype(np.uint8)
    with pytest.raises(ValueError, match="X_target must hold values that X can hold"):
        attack_on(LogisticRegression(), whole, y, X_target=X[:9], y_target=y[:9])
    result = attack_on(
        LogisticRegression(max_iter=200),
        whole[9:],
        y[9:],
        X_target=whole[:9].astype(float),
        y_target=y[:9],
        surrogate=SoftmaxClassifier(max_epochs=1),
    )
    assert result.X_poison.dtype == np.uint8


def test_settings_are_checked_before_anything_is_trained(digits):
    X, y = digits

    class Refusing(LogisticRegression):
        def fit(self, X, y):
            raise AssertionError

    for wrong in (
        {"max_iter": 0},
        {"max_perturbation": -1},
        {"watermark_opacity": 1},
        {"similarity_weight": -1},
        {"pixel_range": 5},
        {"n_jobs": "x"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            attack_on(Refusing(), X, y, **wrong)
    with pytest.raises(TypeError, match="surrogate must be a model, got the text"):
        attack_on(Refusing(), X, y, surrogate="softmax")


def test_samplers_do_not_make_a_network_a_black_box(digits):
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    pipeline = pytest.importorskip("imblearn.pipeline")
    pipe = pipeline.make_pipeline(
        StandardScaler(),
        over_sampling.RandomOverSampler(random_state=0),
        SoftmaxClassifier(max_epochs=3, random_state=0),
    )
    assert attack_on(pipe, *digits, n_targets=1).surrogate == "own"


def test_targets_can_be_given(digits):
    X, y = digits
    result = red_team(
        KNeighborsClassifier(1),
        X[:400],
        y[:400],
        X_target=X[500:520],
        y_target=y[500:520],
        surrogate=SoftmaxClassifier(max_epochs=2, random_state=0),
        n_targets=3,
        budget=2,
        random_state=0,
    )
    assert (result.target_indices < 20).all()
    np.testing.assert_array_equal(
        y[500:520][result.target_indices], result.target_labels
    )
    np.testing.assert_array_equal(X[result.poison_indices], result.X_base)


def test_a_frame_has_one_row_per_target(attacked):
    frame = attacked.to_frame()
    assert len(frame) == 6
    assert frame["n_poisons"].to_list() == [4] * 6
    assert frame["success"].to_list() == attacked.is_success.tolist()
    assert frame["accuracy"].to_list() == attacked.accuracies.tolist()


def test_poisons_are_saved_as_the_images_that_were_injected(attacked, tmp_path):
    attacked.save(tmp_path, image_shape=(1, 8, 8))
    with (tmp_path / "manifest.csv").open(newline="") as file:
        manifest = list(csv.DictReader(file))
    assert len(manifest) == 24
    for i, line in enumerate(manifest):
        pixels = np.asarray(Image.open(tmp_path / line["file"]))
        expected = attacked.X_poison[i].reshape(8, 8)
        np.testing.assert_array_equal((pixels / 255).astype(np.float32), expected)
        assert int(line["replaced_row"]) == attacked.poison_indices[i]
        t = attacked.poison_target[i]
        assert line["claimed_label"] == str(attacked.base_labels[t])
    summary = json.loads((tmp_path / "red_team.json").read_text())
    assert summary["success_rate"]["n"] == 6
    assert summary["settings"]["budget"] == 4
    with (tmp_path / "targets.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6


@pytest.mark.filterwarnings("ignore::sklgm.exceptions.UnscaledImagesWarning")
def test_images_are_saved_in_colour_and_others_as_numbers(tmp_path, blobs):
    X, y = make_stripe_images(120, 3, (3, 8, 8), noise=0.2, random_state=0)
    X = (np.rint(np.clip(X, 0, 1) * 255)).astype(np.uint8)
    clf = SoftmaxClassifier(max_epochs=2, lr=0.01, random_state=0)
    result = red_team(
        clf, X, y, n_targets=1, budget=2, similarity_weight=1e-9, random_state=0
    )
    assert result.X_poison.dtype == np.uint8
    result.save(tmp_path / "images")
    (first, _) = sorted((tmp_path / "images" / "poisons" / "target-000").iterdir())
    pixels = np.asarray(Image.open(first)).transpose(2, 0, 1)
    rows = result.poison_indices.argsort()
    np.testing.assert_array_equal(pixels, result.X_poison[rows[0]])

    result = red_team(
        LogisticRegression(), *blobs, surrogate=clf, n_targets=1, budget=2,
        random_state=0,
    )  # fmt: skip
    result.save(tmp_path / "rows")
    saved = np.load(tmp_path / "rows" / "poisons.npz")
    np.testing.assert_array_equal(saved["X"], result.X_poison)
    np.testing.assert_array_equal(saved["replaced_row"], result.poison_indices)


@pytest.mark.filterwarnings("ignore::sklgm.exceptions.UnscaledImagesWarning")
def test_masks_of_few_levels_are_saved_as_they_are(tmp_path):
    X, y = make_stripe_images(90, 2, (1, 8, 8), noise=0.2, random_state=0)
    X = np.digitize(X, [0.5, 0.98]).astype(np.uint8)
    surrogate = SoftmaxClassifier(max_epochs=2, random_state=0)
    pipe = make_pipeline(FunctionTransformer(flat), LogisticRegression())
    result = attack_on(pipe, X, y, surrogate=surrogate, n_targets=1)
    result.save(tmp_path)
    files = sorted((tmp_path / "poisons").rglob("*.png"))
    rows = result.poison_indices.argsort()
    for file, row in zip(files, rows, strict=True):
        saved = np.asarray(Image.open(file))
        np.testing.assert_array_equal(saved, result.X_poison[row, 0])


def flat(X):
    return X.reshape(len(X), -1)


def test_poisons_of_an_earlier_result_are_deleted(attacked, tmp_path):
    attacked.save(tmp_path)
    assert (tmp_path / "poisons.npz").exists()
    attacked.save(tmp_path, image_shape=(1, 8, 8))
    assert not (tmp_path / "poisons.npz").exists()
    (tmp_path / "poisons" / "mine.png").write_bytes(b"mine")
    attacked.save(tmp_path, row_names=[f"row {i}" for i in range(600)])
    left = [path for path in (tmp_path / "poisons").rglob("*") if path.is_file()]
    assert left == [tmp_path / "poisons" / "mine.png"]
    with (tmp_path / "manifest.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            assert line["replaced_name"] == f"row {line['replaced_row']}"


def test_nothing_in_a_manifest_is_executed_or_lost(blobs, tmp_path):
    X, y = blobs
    y = np.array(["=cmd()", "b", "c"])[y]
    network = SoftmaxClassifier(max_epochs=1)
    result = attack_on(LogisticRegression(), X, y, surrogate=network, n_targets=9)
    result.save(tmp_path, row_names=[f"@{i}\udcff" for i in range(len(X))])
    with (tmp_path / "manifest.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["claimed_label"] for line in lines} == {"'=cmd()", "b", "c"}
    assert lines[0]["replaced_name"] == f"'@{lines[0]['replaced_row']}\\udcff"


def test_an_image_shape_that_does_not_fit_is_refused(attacked, tmp_path):
    for shape in ((1, 8, 9), (4, 4, 4), (64,)):
        with pytest.raises(ValueError, match="image_shape=.* must be"):
            attacked.save(tmp_path, image_shape=shape)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_targets": 0}, ValueError, "n_targets must be an int >= 1, got 0"),
        ({"budget": 0}, ValueError, "budget must be an int >= 1 or a share"),
        ({"budget": 1.5}, ValueError, "budget must be an int >= 1 or a share"),
        ({"budget": 500}, ValueError, "budget=500 asks for 500 rows of class"),
        ({"X_target": np.ones((2, 64))}, ValueError, "must be given together"),
        ({"attack": "frog"}, ValueError, "attack must be one of"),
        ({"estimator": PCA(2)}, TypeError, "estimator must be a classifier"),
        ({"estimator": LinearRegression()}, TypeError, "must be a classifier or"),
        ({"surrogate": KNeighborsClassifier(1)}, TypeError, "surrogate cannot be atta"),
        ({"budget": True}, ValueError, "budget must be an int >= 1 or a share"),
        (
            {"X_target": np.ones((2, 64)), "y_target": ["0", "1"]},
            ValueError,
            "y_target must hold labels of y, such as",
        ),
        ({"surrogate": nn.ReLU()}, ValueError, "ReLU has no linear layer to cut it"),
    ],
)
def test_wrong_arguments_say_what_was_expected(changes, error, message, digits):
    X, y = digits
    given = {"estimator": KNeighborsClassifier(1), "n_targets": 1, "budget": 1}
    given |= {"surrogate": SoftmaxClassifier(max_epochs=1), "random_state": 0}
    given |= changes
    with pytest.raises(error, match=message):
        red_team(given.pop("estimator"), X, y, **given)


def test_a_pipeline_that_is_never_right_has_no_targets(digits):
    X, y = digits
    clf = DummyClassifier(strategy="constant", constant="nothing")
    with pytest.raises(ValueError, match="gets none of the 20 rows right"):
        red_team(
            clf,
            X,
            np.where(y > 4, "high", "nothing"),
            X_target=X[:20],
            y_target=np.full(20, "high"),
        )


def test_progress_counts_the_targets(digits):
    X, y = digits
    steps = []
    red_team(
        KNeighborsClassifier(1),
        X,
        y,
        surrogate=SoftmaxClassifier(max_epochs=1),
        n_targets=2,
        budget=1,
        random_state=0,
        progress=lambda *step: steps.append(step),
    )
    assert steps[-1] == ("train with poisons", 2, 2)
