"""Certificates: no poisons, whatever they are, change a certified prediction."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklgm import LGMClassifier, RobustGaussianClassifier, SoftmaxClassifier
from sklgm.gaussian import LocationBounds, certified_poisons, estimate_gaussians
from sklgm.gaussian._certificate import _chunks

FAR = 1e6
LOCATIONS = [("median", None), ("trimmed_mean", 0.25), ("trimmed_mean", 0.4)]


def location_of(values, trim):
    """Location of one column, by the estimate that is certified."""
    column = torch.tensor(np.asarray(values, dtype=float))[:, None]
    estimate = estimate_gaussians(
        column,
        torch.zeros(len(column), dtype=torch.long),
        1,
        location="median" if trim is None else "trimmed_mean",
        trim=trim or 0.0,
    )
    return float(estimate.means)


def bounds_of(values, trim):
    return LocationBounds(np.sort(np.asarray(values, dtype=float))[:, None], trim)


@pytest.mark.parametrize(
    "n_rows", [1, 2, 5, 6, pytest.param(9, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("trim", [None, 0.2, 0.25, 0.4])
def test_replaced_rows_reach_the_interval_and_nothing_outside(trim, n_rows):
    rng = np.random.default_rng(n_rows)
    values = np.round(rng.normal(size=n_rows), 1)  # with ties
    bounds = bounds_of(values, trim)
    for r in range(bounds.greatest_count("replace") + 1):
        low, high = (float(end[0]) for end in bounds.interval(r, "replace"))
        reached = [
            location_of(np.concatenate([np.delete(values, rows), poisons]), trim)
            for rows in itertools.combinations(range(n_rows), r)
            for poisons in itertools.product([-FAR, FAR], repeat=r)
        ]
        assert min(reached) == pytest.approx(low)
        assert max(reached) == pytest.approx(high)


@pytest.mark.parametrize(
    "n_rows", [1, 2, 5, 6, pytest.param(9, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("trim", [None, 0.2, 0.25, 0.4])
def test_inserted_rows_reach_the_interval_and_nothing_outside(trim, n_rows):
    rng = np.random.default_rng(n_rows)
    values = np.round(rng.normal(size=n_rows), 1)
    bounds = bounds_of(values, trim)
    for r in range(bounds.greatest_count("insert") + 1):
        low, high = (float(end[0]) for end in bounds.interval(r, "insert"))
        reached = [
            location_of(np.concatenate([values, poisons]), trim)
            for n_inserted in range(r + 1)
            for poisons in itertools.product([-FAR, FAR], repeat=n_inserted)
        ]
        assert min(reached) == pytest.approx(low)
        assert max(reached) == pytest.approx(high)


@pytest.mark.parametrize("change", ["replace", "insert"])
@pytest.mark.parametrize("n_rows", [1, 2, 7, 8, 25])
@pytest.mark.parametrize("trim", [None, 0.1, 0.25])
def test_one_poison_more_takes_the_location_anywhere(trim, n_rows, change):
    values = np.arange(float(n_rows))
    r = bounds_of(values, trim).greatest_count(change) + 1
    left = values[: n_rows - r] if change == "replace" else values
    right = values[r:] if change == "replace" else values
    reached = [
        location_of(np.concatenate([left, np.full(r, FAR)]), trim),
        location_of(np.concatenate([right, np.full(r, -FAR)]), trim),
    ]
    assert max(map(abs, reached)) > FAR / 1e3


def test_median_withstands_just_under_half_of_a_class():
    for n_rows in (1, 2, 3, 10, 11):
        bounds = bounds_of(np.arange(float(n_rows)), None)
        assert bounds.greatest_count("replace") == math.ceil(n_rows / 2) - 1


def poisoned_predictions(clf, X, y, X_new, r, threat, change, rng, n_trials):
    """Predictions after poisonings that aim at each row, and random ones."""
    classes = np.unique(y)
    for trial in range(n_trials):
        X_bad, y_bad = X.copy(), y.copy()
        chosen = classes if threat == "any" else [rng.choice(classes)]
        for k in chosen:
            n_bad = int(rng.integers(0, r + 1)) if trial % 2 else r
            aim = X_new[rng.integers(len(X_new))]
            kind = rng.integers(3)
            poisons = np.repeat(aim[None], n_bad, axis=0)
            if kind == 1:  # away from the row that is aimed at, per column
                poisons = aim + FAR * rng.choice([-1.0, 1.0], size=X.shape[1])
                poisons = np.repeat(poisons[None], n_bad, axis=0)
            elif kind == 2:
                poisons = rng.normal(scale=10.0, size=(n_bad, X.shape[1]))
            if change == "insert":
                X_bad = np.concatenate([X_bad, poisons])
                y_bad = np.concatenate([y_bad, np.full(n_bad, k)])
            else:
                # The rows that hold the location back most are the ones to replace.
                own = np.flatnonzero(y == k)
                toward = (X[own] - X[own].mean(axis=0)) @ (aim - X[own].mean(axis=0))
                order = own[np.argsort(toward)] if trial % 3 else rng.permutation(own)
                X_bad[order[:n_bad]] = poisons
        yield clf.fit(X_bad, y_bad).predict(X_new)


@pytest.mark.parametrize("change", ["replace", "insert"])
@pytest.mark.parametrize("threat", ["one_class", "any"])
@pytest.mark.parametrize(("location", "trim"), LOCATIONS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), n_classes=st.integers(2, 4), d=st.integers(1, 3))
def test_no_poisoning_breaks_a_certificate(
    location, trim, threat, change, seed, n_classes, d
):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, size=n_classes)
    y = np.repeat(np.arange(n_classes), counts)
    centres = rng.normal(scale=3.0, size=(n_classes, d))
    X = np.round(centres[y] + rng.normal(size=(len(y), d)), 1)
    X_new = np.round(rng.normal(scale=3.0, size=(6, d)), 1)
    priors = rng.uniform(0.5, 1.5, size=n_classes)
    clf = RobustGaussianClassifier(
        location=location, trim=trim or 0.0, variance=1.0, priors=priors
    ).fit(X, y)
    predicted = clf.predict(X_new)
    certified = clf.certified_poisons(X_new, threat=threat, change=change)
    assert (certified >= 0).all()
    for r in np.unique(certified[certified > 0]):
        is_certified = certified >= r
        for found in poisoned_predictions(
            clf, X, y, X_new, int(r), threat, change, rng, n_trials=12
        ):
            np.testing.assert_array_equal(found[is_certified], predicted[is_certified])


def test_bisection_finds_what_every_count_says():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [20, 21, 30])
    X = 3.0 * np.eye(3, 4)[y] + rng.normal(size=(71, 4))
    clf = RobustGaussianClassifier(location="median", variance=2.0, priors=[1, 1, 2])
    clf.fit(X, y)
    X_new = 3.0 * np.eye(3, 4)[y] + rng.normal(size=(71, 4))
    found = clf.certified_poisons(X_new)
    # A literal reading of the definition, class by class.
    joint = clf.predict_joint_log_proba(X_new)
    scores = -joint - 2.0 * math.log(2.0 * math.pi * 2.0)
    ordered = [np.sort(X[y == k], axis=0) for k in range(3)]
    expected = []
    for i, f in enumerate(X_new):
        c = int(scores[i].argmin())
        count = 0
        for r in range(1, 10):
            boxes = []
            for k in range(3):
                m = math.ceil(len(ordered[k]) / 2) - 1
                boxes.append((ordered[k][m - r], ordered[k][m + r]))
            least, greatest = [], []
            for k, (low, high) in enumerate(boxes):
                nearest = np.clip(f, low, high)
                farthest = np.where(f - low > high - f, low, high)
                for point, into in ((nearest, least), (farthest, greatest)):
                    distance = ((f - point) ** 2).sum() / 2.0
                    into.append(0.5 * distance - math.log(clf.priors_[k]))
            own_holds = all(scores[i][b] > greatest[c] for b in range(3) if b != c)
            others_hold = all(least[b] > scores[i][c] for b in range(3) if b != c)
            if not (own_holds and others_hold):
                break
            count = r
        expected.append(count)
    assert found.tolist() == expected
    assert max(expected) > 3


def test_any_class_is_never_more_than_one_class():
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], 40)
    X = 4.0 * np.eye(2, 5)[y] + rng.normal(size=(80, 5))
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    one, each = (clf.certified_poisons(X, threat=t) for t in ("one_class", "any"))
    assert (each <= one).all()
    assert one.max() > each.max() > 0


def test_a_tie_is_not_certified():
    X = np.array([[0.0], [0.0], [0.0], [2.0], [2.0], [2.0]])
    y = np.repeat([0, 1], 3)
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    assert clf.certified_poisons([[1.0]]).tolist() == [0]
    assert clf.certified_poisons([[0.0]]).tolist() == [1]


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({}, {}, "location='kept_mean' has no bound"),
        ({"location": "mean"}, {}, "location='mean' has no bound"),
        (
            {"location": "median", "covariance_type": "diag"},
            {},
            "covariance_type='diag': variances estimated",
        ),
        ({"location": "median"}, {}, "variance='within' is estimated"),
        (
            {"location": "median", "variance": 1.0},
            {"change": "insert"},
            "change='insert' changes the class shares",
        ),
        ({"location": "median", "variance": 1.0}, {"threat": "all"}, "threat must be"),
        ({"location": "median", "variance": 1.0}, {"change": "flip"}, "change must be"),
    ],
)
def test_settings_without_a_bound_say_what_to_set(params, arguments, message, blobs):
    X, y = blobs[0][:50], blobs[1][:50]  # classes of unequal size
    clf = RobustGaussianClassifier(**params).fit(X, y)
    with pytest.raises(ValueError, match=message):
        clf.certified_poisons(X, **arguments)


def test_weighted_rows_have_no_bound(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median", variance=1.0)
    clf.fit(X, y, sample_weight=np.linspace(1, 2, 60))
    with pytest.raises(ValueError, match="sample_weight: rows of different weight"):
        clf.certified_poisons(X)


# Rounding, which poisons of any size could make felt


@pytest.mark.parametrize("far", [1e8, 1e12, 1e30, 1e100])
@pytest.mark.parametrize("trim", [0.0, 0.25])
def test_a_variance_that_poisons_inflate_changes_no_prediction(trim, far):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 11)
    X = 4.0 * np.eye(3)[y] + rng.normal(size=(33, 3))
    clf = RobustGaussianClassifier(location="median", trim=trim)
    predicted = clf.fit(X, y).predict(X)
    is_certified = clf.certified_poisons(X) >= 4
    assert is_certified.sum() > 5
    for k in range(3):
        X_bad = X.copy()
        X_bad[np.flatnonzero(y == k)[:4]] = far
        found = clf.fit(X_bad, y).predict(X)
        assert clf.covariances_ > far
        np.testing.assert_array_equal(found[is_certified], predicted[is_certified])


@pytest.mark.parametrize("change", ["replace", "insert"])
@pytest.mark.parametrize(("trim", "n"), [(0.45, 20), (0.45, 340), (0.3, 10), (0.2, 15)])
def test_no_poison_is_let_in_by_the_rounding_of_a_window(trim, n, change):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], n)
    X = 6.0 * np.eye(2)[y] + rng.normal(size=(2 * n, 2))
    clf = RobustGaussianClassifier(
        location="trimmed_mean", trim=trim, variance=1.0, priors=[1, 1]
    ).fit(X, y)
    predicted, certified = clf.predict(X), clf.certified_poisons(X, change=change)
    r = clf.location_bounds(change=change)[0].greatest_count(change)
    assert r >= trim * n - 1e-6
    for far in (1e17, -1e100):
        for k in (0, 1):
            X_bad, y_bad = X.copy(), y
            poisons = np.full((r, 2), far)
            if change == "replace":
                X_bad[np.flatnonzero(y == k)[:r]] = poisons
            else:
                X_bad, y_bad = np.concatenate([X, poisons]), np.append(y, [k] * r)
            bounds = LocationBounds(np.sort(X[y == k], axis=0), trim)
            low, high = bounds.interval(r, change)
            mean = clf.fit(X_bad, y_bad).means_[k]
            assert (mean >= low - 1e-9).all()
            assert (mean <= high + 1e-9).all()
            is_certified = certified >= r
            np.testing.assert_array_equal(
                clf.predict(X)[is_certified], predicted[is_certified]
            )


def test_means_that_are_far_from_a_third_are_certified_within_rounding():
    # Distances are taken from a centre that the third class pulls away.
    X = np.array([[0.0], [0.0], [0.0], [1e-6], [1e-6], [1e-6], [3e9], [3e9], [3e9]])
    y = np.repeat([0, 1, 2], 3)
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    assert clf.certified_poisons([[0.0], [1e-6]]).tolist() == [0, 0]
    near = RobustGaussianClassifier(location="median").fit(X[:6], y[:6])
    assert near.certified_poisons([[0.0], [1e-6]]).tolist() == [1, 1]


def test_priors_that_are_nearly_equal_need_a_variance():
    X, y = np.arange(6.0)[:, None], np.repeat([0, 1], 3)
    clf = RobustGaussianClassifier(location="median", priors=[1.0, 1.0 + 1e-9])
    with pytest.raises(ValueError, match="variance='within' is estimated"):
        clf.fit(X, y).certified_poisons(X)


# On the features of a network


@pytest.fixture(scope="module")
def backbone(blobs):
    network = SoftmaxClassifier(feature_dim=4, max_epochs=10, random_state=0)
    return network.fit(*blobs).net_.module_.backbone


@pytest.mark.parametrize("location", ["median", "trimmed_mean"])
def test_a_frozen_network_is_certified_as_its_features_are(location, backbone, blobs):
    X, y = blobs
    clf = LGMClassifier(backbone, freeze_backbone=True, location=location, trim=0.25)
    clf.fit(X, np.array(["a", "b", "c"])[y])
    features = clf.transform(X)
    head = RobustGaussianClassifier(location=location, trim=0.25).fit(features, y)
    found = clf.certified_poisons(X)
    np.testing.assert_array_equal(found, head.certified_poisons(features))
    assert found.max() > 2


def test_trained_features_are_certified_only_if_they_are_assumed_to_be_trusted(blobs):
    X, y = blobs
    clf = LGMClassifier(location="median", max_epochs=4, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="the network was trained on the rows in que"):
        clf.certified_poisons(X)
    certified = clf.certified_poisons(X, assume_trusted_features=True)
    assert certified.max() > 2


def certified_images(backbone, rng, **settings):
    X = rng.random((40, 3, 32, 32)).astype(np.float32)
    clf = LGMClassifier(
        backbone, location="median", freeze_backbone=True, random_state=0, **settings
    )
    return clf.fit(X, np.arange(40) % 2), X


@pytest.mark.parametrize("backbone", ["airbench_narrow", "auto"])
def test_a_backbone_that_was_started_from_the_rows_is_not_certified(backbone):
    # Its whitening is theirs: a replaced row changes all features.
    clf, X = certified_images(backbone, np.random.default_rng(0))
    with pytest.raises(ValueError, match="or its first layer made from them"):
        clf.certified_poisons(X[:2])
    clf.certified_poisons(X[:2], assume_trusted_features=True)
    other, _ = certified_images("cnn", np.random.default_rng(0))
    other.certified_poisons(X[:2])


def test_columns_that_were_centred_by_their_mean_are_not_certified():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = np.column_stack([rng.normal(size=60) + 3 * y, 1e9 + rng.normal(size=60)])
    clf = LGMClassifier("mlp", max_epochs=0, location="median", random_state=0)
    with pytest.raises(ValueError, match="was trained on the rows in question"):
        clf.fit(X, y).certified_poisons(X)


@pytest.mark.parametrize("again", [False, True], ids=["as it is", "warm start"])
def test_what_was_trained_stays_so_whatever_parameters_say(again, blobs):
    X, y = blobs
    clf = LGMClassifier("mlp", location="median", max_epochs=2, random_state=0)
    clf.fit(X, y).set_params(freeze_backbone=True, warm_start=again)
    if again:
        clf.fit(X, y)
    with pytest.raises(ValueError, match="the network was trained on the rows in que"):
        clf.certified_poisons(X)
    # Started anew, and frozen, it has not seen them.
    clf.set_params(warm_start=False).fit(X, y).certified_poisons(X)


def test_a_fit_is_certified_by_how_it_was_fitted(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median", priors=[0.2, 0.3, 0.5]).fit(X, y)
    clf.set_params(variance=1.0)
    with pytest.raises(ValueError, match="variance='within' is estimated"):
        clf.certified_poisons(X)
    clf.fit(X, y).set_params(priors=None)
    clf.certified_poisons(X, change="insert")
    clf.fit(X, y).set_params(priors=[1, 1, 1])
    with pytest.raises(ValueError, match="class shares that priors=None takes"):
        clf.certified_poisons(X, change="insert")
    clf.fit(X, y).set_params(location="mean")
    clf.certified_poisons(X)


def test_a_network_has_no_certificate_against_inserted_rows(backbone, blobs):
    clf = LGMClassifier(backbone, freeze_backbone=True, location="median").fit(*blobs)
    with pytest.raises(ValueError, match="certify a RobustGaussianClassifier with pr"):
        clf.certified_poisons(blobs[0], change="insert")


def test_functions_refuse_what_is_none_of_their_choices():
    bounds = LocationBounds(np.arange(5.0)[:, None], None)
    rows, means = np.zeros((1, 1)), np.array([[2.0]])
    for wrong in ({"threat": "oops"}, {"change": "oops"}):
        with pytest.raises(ValueError, match="must be one of"):
            certified_poisons(rows, means, [bounds], np.zeros(1), 1.0, **wrong)
    with pytest.raises(ValueError, match="n_poisons must be at least 0"):
        bounds.interval(-3, "replace")
    with pytest.raises(ValueError, match="each column in increasing order"):
        LocationBounds(np.array([[1.0], [0.0]]), None)


@pytest.mark.parametrize("far", [1e9, 1e12, 1e18])
def test_one_row_has_no_part_in_the_features_of_others(far):
    # A column that float32 would lose is centred by its mean elsewhere.
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 21)
    X = 4.0 * np.eye(3)[y] + rng.normal(size=(63, 3))
    clf = LGMClassifier("identity", location="median", random_state=0).fit(X, y)
    predicted, features = clf.predict(X), clf.transform(X)
    is_certified = clf.certified_poisons(X) >= 1
    assert is_certified.sum() > 40
    X_bad = X.copy()
    X_bad[0] = far
    np.testing.assert_array_equal(clf.fit(X_bad, y).transform(X), features)
    np.testing.assert_array_equal(clf.predict(X)[is_certified], predicted[is_certified])


def test_a_head_by_gradient_has_no_bound(blobs):
    clf = LGMClassifier("identity", max_epochs=2, random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match="location='gradient' has no bound"):
        clf.certified_poisons(blobs[0])


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**40])
def test_as_many_are_certified_in_any_unit(unit):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 11)
    X = 4.0 * np.eye(3)[y] + rng.normal(size=(33, 3))
    expected = RobustGaussianClassifier(location="median").fit(X, y)
    clf = RobustGaussianClassifier(location="median").fit(unit * X, y)
    found = clf.certified_poisons(unit * X)
    np.testing.assert_array_equal(found, expected.certified_poisons(X))
    assert found.max() > 3


@pytest.mark.parametrize("threat", ["one_class", "any"])
def test_classes_that_are_alike_are_not_certified(threat):
    clf = RobustGaussianClassifier(location="median", variance=1.0)
    clf.fit(np.zeros((6, 2)), np.repeat([0, 1], 3))
    assert clf.certified_poisons(np.zeros((1, 2)), threat=threat).tolist() == [0]


def test_one_class_is_certified_while_its_location_has_a_bound():
    clf = RobustGaussianClassifier(location="median", variance=1.0)
    clf.fit(np.arange(5.0)[:, None], np.zeros(5))
    assert clf.certified_poisons([[0.0], [99.0]]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "n_chunks"),
    [(1000, 10, 1), (1000, 0, 1), (8, 2**20, 2), (3, 2**23, 3), (0, 5, 0)],
)
def test_differences_are_held_a_few_million_at_once(n_rows, n_columns, n_chunks):
    chunks = _chunks(n_rows, n_columns)
    assert len(chunks) == n_chunks
    rows = [i for chunk in chunks for i in range(n_rows)[chunk]]
    assert rows == list(range(n_rows))
