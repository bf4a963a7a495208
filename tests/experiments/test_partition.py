import numpy as np
import pytest

from sklgm.datasets import LabelledSplits, load_npz
from sklgm.experiments import RunSettings
from sklgm.experiments._partition import (
    draw_targets,
    make_partition,
    poison_counts,
    share_counts,
)
from tests.experiments.conftest import tiny_settings


def row_ids(X):
    """One hashable value a row."""
    return {row.tobytes() for row in X}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("evaluation", ["test", "validation"])
def test_rows_of_backbone_refit_and_targets_are_disjoint(tiny_npz, evaluation, seed):
    config = tiny_settings(tiny_npz, evaluation=evaluation, seed=seed)
    partition = make_partition(config, load_npz(tiny_npz))
    parts = [
        row_ids(X) for X in (partition.X_backbone, partition.X_refit, partition.X_test)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_refit_rows_are_class_balanced_and_at_most_a_third(tiny_npz):
    partition = make_partition(
        tiny_settings(tiny_npz, n_refit=2500), load_npz(tiny_npz)
    )
    counts = np.unique(partition.y_refit, return_counts=True)[1]
    assert set(counts) == {300 // 3 // 3}


def test_validation_never_touches_the_test_rows(tiny_npz):
    splits = load_npz(tiny_npz)
    partition = make_partition(tiny_settings(tiny_npz, evaluation="validation"), splits)
    assert not row_ids(partition.X_test) & row_ids(splits.X_test)
    assert len(partition.X_test) == len(splits.X_train) // 6


def test_backbone_rows_are_capped(tiny_npz):
    partition = make_partition(
        tiny_settings(tiny_npz, n_backbone=50), load_npz(tiny_npz)
    )
    assert len(partition.X_backbone) == 50


def test_scarce_class_is_named():
    X = np.zeros((40, 4), dtype=np.float32)
    y = np.array(["a"] * 36 + ["rare"] * 4)
    splits = LabelledSplits("toy", X, y, X, y, ("a", "rare"))
    with pytest.raises(ValueError, match="class 'rare' has 4 training rows"):
        make_partition(RunSettings(), splits)


def test_images_outside_the_unit_range_are_refused_before_training():
    X = np.full((60, 1, 4, 4), 200.0, dtype=np.float32)
    y = np.arange(60) % 2
    splits = LabelledSplits("toy", X, y, X, y, ("0", "1"))
    with pytest.raises(ValueError, match="images of toy must hold values in"):
        make_partition(RunSettings(), splits)


@pytest.mark.parametrize("dtype", [np.float64, bool])
def test_whole_number_labels_become_integers(dtype):
    X = np.zeros((60, 4), dtype=np.float32)
    y = (np.arange(60) % 2).astype(dtype)
    splits = LabelledSplits("toy", X, y, X, y, ("0", "1"))
    assert make_partition(RunSettings(), splits).y_refit.dtype == np.int64


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_targets_are_drawn_until_every_control_has_enough(seed):
    rng = np.random.default_rng(seed)
    y_refit, y_test = np.repeat([0, 1, 2], 20), np.arange(300) % 3
    is_right = rng.random((2, 300)) < [[0.9], [0.5]]
    targets = draw_targets(
        is_right, y_test, y_refit, n_targets=10, n_bases=4, seed=seed
    )
    n_right = is_right[:, targets.rows].sum(axis=1)
    assert n_right.min() == 10
    assert (targets.base_labels != targets.labels).all()
    np.testing.assert_array_equal(
        y_refit[targets.base_rows], np.repeat(targets.base_labels[:, None], 4, axis=1)
    )
    assert all(len(set(rows)) == 4 for rows in targets.base_rows)


def test_largest_number_of_poisons_is_a_tenth_of_the_class():
    asked = (1, 5, 25)
    few, many = np.repeat(np.arange(10), 44), np.repeat(np.arange(10), 250)
    assert poison_counts(many, n_poisons=asked) == {1: None, 5: None, 25: None}
    assert poison_counts(few, n_poisons=asked) == {1: None, 4: None}


@pytest.mark.parametrize(
    ("asked", "n_of_class", "n_bases", "counts"),
    [
        pytest.param({"n_poisons": (2,)}, 50, 90, {2: None}, id="as many as asked"),
        pytest.param({"n_poisons": (50,)}, 30, 90, {3: None}, id="a tenth"),
        pytest.param({"shares": (0.05, 0.2)}, 50, 90, {2: 0.05, 10: 0.2}, id="shares"),
        pytest.param({"shares": (0.1, 0.4)}, 50, 30, {5: 0.1, 10: 0.4}, id="bases"),
    ],
)
def test_poisons_are_as_many_as_asked_and_as_there_are_bases(
    asked, n_of_class, n_bases, counts
):
    y = np.tile([0, 1, 2], n_of_class)
    assert poison_counts(y, n_bases=n_bases, **asked) == counts


def test_counts_are_shares_of_a_class():
    y = np.repeat([0, 1, 2], [40, 40, 60])
    assert share_counts((0.2, 0.01, 0.1), y) == {1: 0.01, 4: 0.1, 8: 0.2}
    assert share_counts((0.001, 0.002), y) == {1: 0.001}
    assert list(share_counts((0.499,), y)) == [19]  # trim must be below one half
    with pytest.raises(ValueError, match=r"shares=.* at least 3 training rows"):
        share_counts((0.1,), y[38:42])
