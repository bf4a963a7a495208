"""Votes over partitions, and how many rows they withstand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from sklgm import LGMClassifier, PartitionedClassifier


def partitioned(estimator=None, **settings):
    settings = {"n_partitions": 5, "random_state": 0, **settings}
    return PartitionedClassifier(estimator or GaussianNB(), **settings)


def test_votes_are_those_of_clones_on_the_partitions(blobs):
    X, y = blobs
    clf = partitioned().fit(X, y)
    votes = np.zeros((60, 3))
    for p, estimator in enumerate(clf.estimators_):
        rows = clf.partitions_ == p
        alone = GaussianNB().fit(X[rows], y[rows])
        np.testing.assert_array_equal(estimator.predict(X), alone.predict(X))
        votes[np.arange(60), alone.predict(X)] += 1
    np.testing.assert_allclose(clf.predict_proba(X), votes / 5)
    np.testing.assert_array_equal(clf.predict(X), votes.argmax(axis=1))


@pytest.mark.parametrize("estimator", [GaussianNB(), DecisionTreeClassifier()])
def test_the_order_of_rows_and_other_rows_change_no_partition(estimator, blobs):
    X, y = blobs
    clf = partitioned(estimator).fit(X, y)
    order = np.random.default_rng(0).permutation(60)
    shuffled = partitioned(estimator).fit(X[order], y[order])
    np.testing.assert_array_equal(shuffled.partitions_, clf.partitions_[order])
    np.testing.assert_array_equal(shuffled.predict_proba(X), clf.predict_proba(X))
    fewer = partitioned(estimator).fit(X[10:], y[10:])
    np.testing.assert_array_equal(fewer.partitions_, clf.partitions_[10:])


def votes_classifier(votes):
    """A fitted classifier whose clones vote as asked, (n_classes,)."""
    n_classes = len(votes)
    clf = partitioned(n_partitions=int(sum(votes)))
    classes = np.arange(n_classes)
    clf.classes_ = classes
    clf.n_features_in_ = 1
    clf.estimators_ = [
        DummyClassifier(strategy="constant", constant=k).fit(classes[:, None], classes)
        for k in classes
        for _ in range(votes[k])
    ]
    return clf


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=4).filter(any))
def test_certified_rows_are_those_of_the_literal_count(votes):
    clf = votes_classifier(votes)
    found = int(clf.certified_poisons([[0.0]])[0])
    first = int(np.argmax(votes))

    def withstands(r):
        """Whether no way of moving r votes changes the first class."""
        # A label that no row has yet may be the first of all.
        before = [0, *votes]
        for rival in range(len(before)):
            if rival != first + 1:
                changed = np.array(before)
                taken = min(r, changed[first + 1])
                changed[first + 1] -= taken
                changed[rival] += taken
                if int(np.argmax(changed)) != first + 1:
                    return False
        return True

    assert withstands(found)
    assert not withstands(found + 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_inserted_removed_or_flipped_rows_break_a_certificate(seed, blobs):
    X, y = blobs
    rng = np.random.default_rng(seed)
    clf = partitioned(DecisionTreeClassifier(), n_partitions=11).fit(X, y)
    predicted, certified = clf.predict(X), clf.certified_poisons(X)
    for r in range(1, certified.max() + 1):
        is_certified = certified >= r
        for _ in range(5):
            n_removed = int(rng.integers(0, r + 1))
            kept = rng.permutation(60)[n_removed:]
            bad = X[rng.integers(60, size=r - n_removed)] + rng.normal(
                scale=3.0, size=(r - n_removed, 4)
            )
            X_bad = np.concatenate([X[kept], bad])
            y_bad = np.concatenate([y[kept], rng.integers(0, 3, size=len(bad))])
            found = partitioned(DecisionTreeClassifier(), n_partitions=11)
            found.fit(X_bad, y_bad)
            np.testing.assert_array_equal(
                found.predict(X)[is_certified], predicted[is_certified]
            )
            flipped = y.copy()  # a label alone changes the vote of one partition
            flipped[rng.integers(60, size=r)] = rng.integers(0, 3)
            found.fit(X, flipped)
            np.testing.assert_array_equal(
                found.predict(X)[is_certified], predicted[is_certified]
            )


def test_partitions_of_one_label_vote_for_it_and_empty_ones_do_not():
    X = np.arange(6.0)[:, None]
    clf = partitioned(n_partitions=40).fit(X, ["a", "b"] * 3)
    n_filled = len(np.unique(clf.partitions_))
    assert len(clf.estimators_) == n_filled < 7
    constants = [e for e in clf.estimators_ if isinstance(e, DummyClassifier)]
    assert len(constants) >= n_filled - 1
    assert clf.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(6))


@pytest.mark.parametrize("new_label", [-1, 9])
def test_a_row_with_a_label_that_no_row_had_breaks_no_certificate(new_label):
    # Empty partitions once voted for the first label there is.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = (X[:, 0] > 0).astype(int) + 5
    clf = partitioned(LogisticRegression(), n_partitions=60).fit(X, y)
    certified = clf.certified_poisons(X)
    assert certified.max() > 2
    bad = partitioned(LogisticRegression(), n_partitions=60)
    bad.fit(np.vstack([X, [[0.0, 0.0]]]), np.append(y, new_label))
    is_certified = certified >= 1
    np.testing.assert_array_equal(
        bad.predict(X)[is_certified], clf.predict(X)[is_certified]
    )


def test_no_vote_is_certified_against_half_of_the_rows_with_a_new_first_label():
    X = np.arange(4.0)[:, None]
    clf = partitioned(DecisionTreeClassifier(), n_partitions=40).fit(X, [1, 1, 1, 1])
    (count,) = np.unique(clf.certified_poisons(X))
    n = len(clf.estimators_)
    # So many poisons flip as many votes: of a tie the new label would win.
    assert 2 * count < n <= 2 * (count + 1)


@pytest.mark.parametrize("kind", ["array", "frame", "mixed", "text"])
def test_a_row_of_another_type_moves_no_other_row(kind):
    pandas = pytest.importorskip("pandas")
    values = np.arange(24).reshape(12, 2)
    y = np.arange(12) % 2

    def parts(rows):
        if kind == "frame":
            rows = pandas.DataFrame(rows)
        elif kind == "mixed":
            rows = pandas.DataFrame(rows, columns=["first", "second"])
            rows["word"] = "a"
        elif kind == "text":
            rows = rows.astype(str)
        clf = partitioned(DummyClassifier(), n_partitions=1000)
        return clf.fit(rows, y[: len(rows)]).partitions_

    other = np.array([[0.5, 1e9]])
    if kind == "text":
        other = np.array([["a much longer word", "b"]])
    y = np.append(y, 0)
    whole, more = parts(values), parts(np.concatenate([values, other]))
    np.testing.assert_array_equal(more[:12], whole)
    assert len(np.unique(whole)) > 6


@pytest.mark.parametrize("kind", ["float32", "frame", "polars", "sparse", "images"])
def test_inputs_of_every_kind_are_taken(kind, blobs, tiny_images):
    X, y = blobs
    estimator = LogisticRegression()
    if kind == "float32":
        X = X.astype(np.float32)
    elif kind == "frame":
        X = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    elif kind == "polars":
        X = pytest.importorskip("polars").DataFrame(X, schema=list("abcd"))
    elif kind == "sparse":
        X = sparse.csr_matrix(X)
    else:
        X, y = tiny_images
        estimator = LGMClassifier("identity", location="mean")
    clf = partitioned(estimator, n_partitions=3).fit(X, y)
    assert clf.score(X, y) > 0.8
    assert clf.certified_poisons(X).max() == 1


@pytest.mark.parametrize("estimator", [Ridge(), KMeans(2)])
def test_what_is_no_classifier_is_refused(estimator, blobs):
    with pytest.raises(ValueError, match="estimator must be a classifier, got"):
        partitioned(estimator).fit(*blobs)


class Strange(DummyClassifier):
    def predict(self, X):
        return np.full(len(X), "none of them")


def test_votes_for_labels_that_there_are_not_are_refused(blobs):
    X, y = blobs
    clf = partitioned(Strange(), n_partitions=3).fit(X, np.array(list("abc"))[y])
    with pytest.raises(ValueError, match="must predict labels of y, such as 'a', got"):
        clf.predict(X)


def test_clones_are_fitted_side_by_side_to_the_same_result(blobs):
    X, y = blobs
    here, there = (
        partitioned(DecisionTreeClassifier(), n_jobs=n).fit(X, y) for n in (1, 2)
    )
    np.testing.assert_array_equal(here.predict_proba(X), there.predict_proba(X))


def test_clones_have_seeds_of_their_own(blobs):
    clf = partitioned(DecisionTreeClassifier()).fit(*blobs)
    seeds = {e.random_state for e in clf.estimators_}
    assert len(seeds) == 5


@pytest.mark.parametrize(("n_rows", "n_labels"), [(50, 60), (60, 50)])
def test_rows_and_labels_are_as_many(n_rows, n_labels, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        partitioned().fit(X[:n_rows], y[:n_labels])


def test_rows_have_the_columns_of_the_training_rows(blobs):
    clf = partitioned().fit(*blobs)
    assert clf.n_features_in_ == 4
    with pytest.raises(ValueError, match="X has 3 features, but PartitionedClassifier"):
        clf.predict(blobs[0][:, :3])


def test_one_row_is_judged_as_among_others(blobs):
    clf = partitioned().fit(*blobs)
    assert clf.predict(blobs[0][:1]).tolist() == clf.predict(blobs[0])[:1].tolist()


def test_lists_of_numbers_are_taken(blobs):
    X, y = blobs
    found = partitioned().fit(X.tolist(), y.tolist()).predict(X.tolist())
    np.testing.assert_array_equal(found, partitioned().fit(X, y).predict(X))
