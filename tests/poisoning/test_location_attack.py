"""Poisons in feature space: never stronger than a certificate, or than the truth."""

import numpy as np
import pytest

from sklgm import LGMClassifier, RobustGaussianClassifier
from sklgm.poisoning import attack_locations
from tests.poisoning.location_problems import (
    Problem,
    strongly_searched,
    true_changes,
)


def check_problems(seeds):
    """Certificate <= truth <= attack, row by row; how often each says "stays"."""
    stays = np.zeros(3, dtype=int)
    for seed in seeds:
        problem = Problem(seed)
        r = problem.n_poisons
        is_certified = problem.certified >= r
        is_changed = true_changes(problem, r)
        attack = attack_locations(
            problem.clf,
            problem.X,
            problem.y,
            problem.X_new,
            r,
            **problem.kind,
            random_state=0,
        )
        assert not (is_certified & is_changed).any(), seed
        assert not (attack.is_changed & ~is_changed).any(), seed
        for i in np.flatnonzero(attack.is_changed)[:1]:  # a refit confirms it
            X, y = attack.poison(i)
            check_poisons(problem, X, y, r)
            (label,) = problem.refitted(X, y).predict(problem.X_new[[i]])
            assert label != problem.predicted[i], seed
        stays += [is_certified.sum(), (~is_changed).sum(), (~attack.is_changed).sum()]
    return stays


def check_poisons(problem, X, y, r):
    """No more rows of a class are poisons than r, and labels of rows stay."""
    n = len(problem.X)
    differs = (X[:n] != problem.X).any(axis=1)
    np.testing.assert_array_equal(y[:n], problem.y)
    if problem.change == "insert":
        assert not differs.any()
        counts = np.bincount(y[n:], minlength=1)
    else:
        assert len(X) == n
        counts = np.bincount(y[differs], minlength=1)
    assert counts.max() <= r
    if problem.threat == "one_class":
        assert np.count_nonzero(counts) <= 1


def test_a_tie_that_rounding_decides_is_attacked_from_its_own_prediction():
    problem = Problem(4216)
    distances = np.square(problem.X_new[:1, None] - problem.clf.means_).sum(axis=2)
    assert (distances == 1.0).all()
    assert problem.predicted[0] != 0
    check_problems([4216])


def test_certificate_truth_and_attack_stand_in_this_order():
    certified, true, attacked = check_problems(range(64))
    assert 0 < certified <= true <= attacked < 4 * 64
    assert attacked - true <= 0.02 * true  # the search finds nearly all there is


@pytest.mark.slow
def test_certificate_truth_and_attack_stand_in_this_order_1000_times():
    certified, true, attacked = check_problems(range(1000, 2000))
    assert 0 < certified <= true <= attacked
    assert attacked - true <= 0.01 * true


def check_strong_searches(seeds, n_swaps):
    """No search breaks a certificate at its own count; how many were tried."""
    found = {seed: strongly_searched(seed, n_swaps) for seed in seeds}
    assert [seed for seed, is_broken in found.items() if is_broken] == []
    return sum(is_broken is not None for is_broken in found.values())


def test_no_strong_search_breaks_a_certificate():
    assert check_strong_searches(range(16), n_swaps=30) >= 8


@pytest.mark.slow
def test_no_strong_search_of_200_breaks_a_certificate():
    assert check_strong_searches(range(100, 420), n_swaps=300) >= 200


def test_inserted_rows_are_attacked_exactly():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    X = 2.0 * np.eye(3, 5)[y] + rng.normal(size=(90, 5))
    clf = RobustGaussianClassifier(location="median", variance=1.0, priors=[1, 1, 1])
    clf.fit(X, y)
    certified = clf.certified_poisons(X, change="insert")
    for r in (1, 4, 9):
        attack = attack_locations(clf, X, y, X, r, change="insert")
        np.testing.assert_array_equal(attack.is_changed, certified < r)


def test_more_poisons_than_a_location_withstands_change_every_prediction():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.repeat(["a", "b"], 20)
    for location, n_poisons in (("median", 10), ("trimmed_mean", 6)):
        clf = RobustGaussianClassifier(location=location, trim=0.25).fit(X, y)
        attack = attack_locations(clf, X, y, X, n_poisons)
        assert attack.is_changed.all()
        found = RobustGaussianClassifier(location=location, trim=0.25)
        for i in range(0, 40, 7):
            (label,) = found.fit(*attack.poison(i)).predict(X[[i]])
            assert label != clf.predict(X[[i]])[0]


def test_no_poisons_change_nothing(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    attack = attack_locations(clf, X, y, X, 0)
    assert not attack.is_changed.any()
    np.testing.assert_array_equal(attack.claimed_labels, clf.predict(X))
    with pytest.raises(ValueError, match="index=0: no poisons were found"):
        attack.poison(0)


def test_the_same_seed_gives_the_same_poisons(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    given = X.copy()
    first, second = (attack_locations(clf, X, y, X, 6, random_state=3) for _ in "ab")
    np.testing.assert_array_equal(first.is_changed, second.is_changed)
    assert first.is_changed.any()
    for i in np.flatnonzero(first.is_changed):
        np.testing.assert_array_equal(first.poison(i)[0], second.poison(i)[0])
    np.testing.assert_array_equal(X, given)


def test_the_head_of_a_network_is_attacked_on_its_features(blobs):
    X, y = blobs
    clf = LGMClassifier(location="median", max_epochs=4, random_state=0).fit(X, y)
    features = clf.transform(X)
    certified = clf.certified_poisons(X, assume_trusted_features=True)
    attack = attack_locations(clf.head_, features, y, features, 5)
    assert not (attack.is_changed & (certified >= 5)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_poisons": -1}, "n_poisons must be an int >= 0, got -1"),
        ({"n_iter": 0}, "n_iter must be an int >= 1, got 0"),
        ({"threat": "all"}, "threat must be one of"),
        ({"X_train": "reversed"}, "must be the rows that classifier was fitted on"),
        ({"y_train": [5] * 60}, "y_train"),
        ({"X": np.ones((3, 2))}, "X must have the 4 columns"),
        ({"X_train": np.ones((60, 5))}, "X_train must have the 4 columns"),
        ({"X_train": np.ones((9, 4)), "y_train": [0] * 9}, "must be the rows that"),
    ],
)
def test_wrong_arguments_say_what_was_expected(changes, message, blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    given = {"X_train": X, "y_train": y, "X": X, "n_poisons": 1, **changes}
    if isinstance(given["X_train"], str):
        given["X_train"] = -X
    with pytest.raises(ValueError, match=message):
        attack_locations(clf, **given)


@pytest.mark.parametrize("change", ["replace", "insert"])
@pytest.mark.parametrize(
    ("unit", "variance"), [(2.0**-20, 1.0), (2.0**20, 1.0), (1.0, 1e9), (1.0, 1e-9)]
)
def test_units_and_variances_leave_the_attack_alone(unit, variance, change):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    X = 1.5 * np.eye(3)[y] + rng.normal(size=(60, 3))

    def changed(unit, variance):
        clf = RobustGaussianClassifier(
            location="median", variance=variance, priors=[1, 1, 1]
        ).fit(unit * X, y)
        attack = attack_locations(
            clf, unit * X, y, unit * X, 6, change=change, random_state=0
        )
        return attack.is_changed

    expected = changed(1.0, 1.0)
    assert expected.sum() > 5
    np.testing.assert_array_equal(changed(unit, variance), expected)


def test_rows_of_tiny_values_are_not_taken_for_those_of_the_fit(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(1e-9 * X, y)
    with pytest.raises(ValueError, match="must be the rows that classifier was fitted"):
        attack_locations(clf, -1e-9 * X, y, X, 1)


def test_images_are_flattened_as_the_classifier_does(tiny_images):
    X, y = tiny_images
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    flat = X.reshape(len(X), -1)
    first, second = (attack_locations(clf, rows, y, rows, 5) for rows in (X, flat))
    np.testing.assert_array_equal(first.is_changed, second.is_changed)


def test_other_classifiers_are_refused(blobs):
    clf = LGMClassifier("identity", max_epochs=0).fit(*blobs)
    with pytest.raises(TypeError, match="such as head_ of an LGMClassifier"):
        attack_locations(clf, *blobs, blobs[0], 1)
