"""Certified accuracy and the scorer of it."""

import pickle

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from sklgm import LGMClassifier, PartitionedClassifier, RobustGaussianClassifier
from sklgm.metrics import certified_accuracy, make_certified_scorer, wilson_rate


@pytest.mark.parametrize(("n_poisons", "n_right"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_rows_count_that_are_right_and_certified(n_poisons, n_right):
    rate = certified_accuracy([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 2, 9], n_poisons)
    assert rate == wilson_rate(n_right, 4)


def test_it_never_grows_with_the_number_of_poisons():
    rng = np.random.default_rng(0)
    y, predicted, counts = rng.integers(0, 3, size=(3, 100))
    values = [certified_accuracy(y, predicted, counts, r).value for r in range(5)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(np.mean(y == predicted))


@pytest.mark.parametrize(
    "estimator",
    [
        RobustGaussianClassifier(location="median"),
        make_pipeline(
            FrozenEstimator(StandardScaler().fit(np.eye(4))),
            "passthrough",
            FunctionTransformer(),
            RobustGaussianClassifier(location="median"),
        ),
        LGMClassifier("identity", location="trimmed_mean", trim=0.25),
        PartitionedClassifier(GaussianNB(), n_partitions=5),
    ],
    ids=["robust", "pipeline", "lgm", "partitioned"],
)
def test_scorer_is_the_certified_accuracy_of_what_is_fitted(estimator, blobs):
    X, y = blobs
    fitted = estimator.fit(X, y)
    last, rows = fitted, X
    if hasattr(fitted, "steps"):
        last, rows = fitted[-1], fitted[:-1].transform(X)
    counts = last.certified_poisons(rows)
    for r in (0, 1, 3):
        expected = np.mean((fitted.predict(X) == y) & (counts >= r))
        scorer = pickle.loads(pickle.dumps(make_certified_scorer(r)))
        assert scorer(fitted, X, y) == pytest.approx(expected)
        assert scorer(FrozenEstimator(fitted), X, y) == pytest.approx(expected)


def test_parameters_reach_the_estimator(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    scorer = make_certified_scorer(4, threat="any")
    expected = np.mean(clf.certified_poisons(X, threat="any") >= 4)
    assert scorer(clf, X, y) == pytest.approx(expected)


def test_it_scores_searches_and_cross_validation(blobs):
    X, y = blobs
    search = GridSearchCV(
        RobustGaussianClassifier(location="trimmed_mean", variance=1.0),
        {"trim": [0.0, 0.3]},
        scoring=make_certified_scorer(3),
        cv=2,
    ).fit(X, y)
    assert search.best_params_ == {"trim": 0.3}  # without trim nothing is certified
    scores = cross_validate(
        search.best_estimator_, X, y, scoring=make_certified_scorer(1), cv=2
    )
    assert (scores["test_score"] > 0.5).all()


def test_an_estimator_without_certificates_is_named(blobs):
    clf = LogisticRegression().fit(*blobs)
    with pytest.raises(TypeError, match="LogisticRegression has no certified_poisons"):
        make_certified_scorer(1)(clf, *blobs)


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (0.5, TypeError)])
def test_number_of_poisons_is_checked(value, error):
    with pytest.raises(error, match="n_poisons must be"):
        make_certified_scorer(value)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_lists_of_one_row_are_not_taken_for_all_rows(position):
    lists = [[0, 1, 1], [0, 1, 0], [5, 2, 9]]
    lists[position] = lists[position][:1]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        certified_accuracy(*lists, n_poisons=1)


def test_steps_that_poisons_can_change_are_not_certified(blobs):
    X, y = blobs
    head = RobustGaussianClassifier(location="median")
    pipe = make_pipeline(StandardScaler(), head).fit(X, y)
    with pytest.raises(ValueError, match="the step 'standardscaler' was fitted to"):
        make_certified_scorer(1)(pipe, X, y)
    nested = make_pipeline(make_pipeline(StandardScaler()), head).fit(X, y)
    with pytest.raises(ValueError, match="the step 'pipeline' was fitted to"):
        make_certified_scorer(1)(nested, X, y)
    assume = make_certified_scorer(1, assume_trusted_features=True)
    expected = make_certified_scorer(1)(pipe[-1], pipe[:-1].transform(X), y)
    assert assume(pipe, X, y) == assume(nested, X, y) == expected


def test_steps_of_steps_that_learn_nothing_are_certified(blobs):
    X, y = blobs
    frozen = FrozenEstimator(StandardScaler().fit(X))
    head = RobustGaussianClassifier(location="median")
    for step in (
        make_pipeline(Normalizer(), FunctionTransformer()),
        make_pipeline(frozen),
        make_union(Normalizer(), "passthrough"),
        ColumnTransformer([("kept", "passthrough", [0, 1]), ("other", "drop", [2])]),
    ):
        pipe = make_pipeline(step, head).fit(X, y)
        assert 0 < make_certified_scorer(1)(pipe, X, y) <= 1
    learning = make_pipeline(make_union(Normalizer(), StandardScaler()), head)
    with pytest.raises(ValueError, match="the step 'featureunion' was fitted to"):
        make_certified_scorer(1)(learning.fit(X, y), X, y)


def test_without_rows_there_is_no_certified_accuracy():
    with pytest.raises(ValueError, match="at least 1 row"):
        certified_accuracy([], [], [], 1)


def test_a_pipeline_of_one_step_is_that_step(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median")
    scorer = make_certified_scorer(4)
    assert scorer(make_pipeline(clf).fit(X, y), X, y) == scorer(clf, X, y) > 0.5
