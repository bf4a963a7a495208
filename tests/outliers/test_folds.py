"""sklgm.outliers: the folds, which hold out every row once."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold

from sklgm.outliers._folds import make_folds


def held_out_rows(splits):
    return np.sort(np.concatenate([rows for _, rows in splits]))


@pytest.mark.parametrize("with_labels", [True, False])
def test_every_row_is_held_out_once_of_a_model_that_it_did_not_train(with_labels):
    y = np.arange(53) % 3 if with_labels else None
    splits = make_folds(y, 53, cv=5, seed=0)
    assert len(splits) == 5
    np.testing.assert_array_equal(held_out_rows(splits), np.arange(53))
    for train, rows in splits:
        assert len(np.intersect1d(train, rows)) == 0
        assert len(train) + len(rows) == 53


def test_folds_are_those_of_scikit_learn():
    y = np.arange(60) % 3
    expected = StratifiedKFold(5, shuffle=True, random_state=7).split(y[:, None], y)
    for made, split in zip(make_folds(y, 60, cv=5, seed=7), expected, strict=True):
        np.testing.assert_array_equal(made[0], split[0])
        np.testing.assert_array_equal(made[1], split[1])


def test_another_seed_gives_other_folds():
    y = np.arange(60) % 3
    first, again, other = (make_folds(y, 60, cv=5, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0][1], again[0][1])
    assert not np.array_equal(first[0][1], other[0][1])


def test_a_class_of_few_rows_is_in_as_many_folds():
    y = np.repeat(["a", "b", "c"], [40, 2, 3])
    splits = make_folds(y, 45, cv=5, seed=0)
    assert len(splits) == 5
    np.testing.assert_array_equal(held_out_rows(splits), np.arange(45))
    for train, _ in splits:
        assert set(y[train]) == {"a", "b", "c"}


def test_a_class_of_one_row_trains_every_model_and_is_judged_by_the_first():
    y = np.repeat([0, 1, 2], [20, 1, 20])
    splits = make_folds(y, 41, cv=5, seed=0)
    np.testing.assert_array_equal(held_out_rows(splits), np.arange(41))
    assert all(20 in train for train, _ in splits)
    assert 20 in splits[0][1]


def test_fewer_rows_than_folds_are_held_out_one_by_one():
    assert len(make_folds(None, 3, cv=5, seed=0)) == 3
    assert len(make_folds(np.repeat([0, 1], 3), 6, cv=5, seed=0)) == 3


def test_one_row_cannot_be_held_out():
    with pytest.raises(ValueError, match="n_samples=1: cv=5 holds rows of X out of t"):
        make_folds(None, 1, cv=5, seed=0)
    with pytest.raises(ValueError, match="but every class has only 1 row: give more"):
        make_folds(np.arange(9), 9, cv=5, seed=0)


@pytest.mark.parametrize("cv", [0, 1, -3])
def test_fewer_than_two_folds_are_refused(cv):
    with pytest.raises(ValueError, match=f"cv must be at least 2 folds, got cv={cv}"):
        make_folds(np.arange(9) % 2, 9, cv=cv, seed=0)


def test_folds_that_leave_rows_out_are_refused():
    with pytest.raises(ValueError, match="must hold out every row exactly once"):
        make_folds(np.arange(90) % 3, 90, cv=ShuffleSplit(3, random_state=0), seed=0)


def test_rows_that_train_the_model_they_are_held_out_of_are_refused():
    rows = np.arange(90)
    splits = [(rows, rows[:45]), (rows, rows[45:])]
    with pytest.raises(ValueError, match="cv trains a model on 45 of the rows that it"):
        make_folds(rows % 3, 90, cv=splits, seed=0)


@pytest.mark.parametrize("cv", [KFold(50), GroupKFold(3)], ids=str)
@pytest.mark.parametrize("with_labels", [True, False])
def test_folds_that_cannot_be_made_name_cv(with_labels, cv):
    y = np.arange(45) % 3 if with_labels else None
    with pytest.raises(ValueError, match=r"cv=.* cannot split n_samples=45: "):
        make_folds(y, 45, cv=cv, seed=0)


def test_folds_that_miss_a_class_are_refused():
    y = np.repeat([0, 1, 2], 30)
    with pytest.raises(ValueError, match="without any row of class 0: give more rows"):
        make_folds(y, 90, cv=KFold(3), seed=0)


def test_two_folds_hold_out_half_of_each_class():
    y = np.arange(12) % 3
    splits = make_folds(y, 12, cv=2, seed=0)
    assert [np.bincount(y[rows]).tolist() for _, rows in splits] == [[2, 2, 2]] * 2


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize(("n_groups", "n_folds"), [(12, 5), (3, 3)])
def test_rows_of_a_group_are_held_out_together(n_groups, n_folds, with_labels):
    rng = np.random.default_rng(0)
    groups = np.r_[np.arange(n_groups), rng.integers(n_groups, size=60)]
    y = rng.integers(3, size=len(groups)) if with_labels else None
    splits = make_folds(y, len(groups), cv=5, seed=0, groups=groups)
    assert len(splits) == n_folds
    np.testing.assert_array_equal(held_out_rows(splits), np.arange(len(groups)))
    for train, rows in splits:
        assert len(rows) > 0
        assert not set(groups[train]) & set(groups[rows])


def test_one_group_cannot_be_held_out():
    with pytest.raises(ValueError, match="groups must hold at least 2 groups, got 1"):
        make_folds(np.arange(9) % 2, 9, cv=5, seed=0, groups=np.zeros(9))
