"""The estimators inside scikit-learn's meta-estimators, searches and displays.

Each case is one composition of the user guide's page `compose`, by name.
"""

import pickle

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import (
    FilteredClassifier,
    LGMClassifier,
    LGMOutlierDetector,
    PoisonCrafter,
    PoisonFilter,
    SoftmaxClassifier,
)
from sklgm.metrics import make_attack_scorer

matplotlib.use("agg")

SETTINGS = {"feature_dim": 8, "max_epochs": 15, "lr": 0.02, "random_state": 0}
CLASSIFIERS = [LGMClassifier, SoftmaxClassifier]
both = pytest.mark.parametrize("classifier", CLASSIFIERS)

X, Y = load_iris(return_X_y=True)
X_TARGET = X[[60, 70]]  # two versicolors, left out of what is poisoned
REST = np.setdiff1d(np.arange(len(X)), [60, 70])


def scaled(classifier, **settings):
    return make_pipeline(StandardScaler(), classifier(**SETTINGS | settings))


def poisoned(classifier, **settings):
    """A crafter, then a classifier: fitted on poisons, asked about clean rows."""
    poison = PoisonCrafter(
        SoftmaxClassifier("identity", max_epochs=5, random_state=0),
        X_target=X_TARGET,
        target_label=1,
        base_label=2,
        max_iter=5,
        random_state=0,
        **settings,
    )
    return make_pipeline(poison, classifier(**SETTINGS))


# Pipelines


def classifier_last(classifier):
    return scaled(classifier)


def feature_extractor(classifier):
    return make_pipeline(
        StandardScaler(), classifier(**SETTINGS), LogisticRegression(max_iter=500)
    )


def calibrated(classifier):
    return CalibratedClassifierCV(scaled(classifier), cv=3)


def calibrated_frozen(classifier):
    return CalibratedClassifierCV(FrozenEstimator(scaled(classifier).fit(X, Y)), cv=3)


def stacking(classifier):
    return StackingClassifier(
        [("network", scaled(classifier)), ("linear", LogisticRegression(max_iter=500))],
        cv=3,
    )


def voting(classifier):
    return VotingClassifier(
        [("network", scaled(classifier)), ("linear", LogisticRegression(max_iter=500))],
        voting="soft",
    )


def bagging(classifier):
    return BaggingClassifier(scaled(classifier), n_estimators=3, random_state=0)


def one_vs_rest(classifier):
    return OneVsRestClassifier(scaled(classifier))


def filtered(classifier):
    return FilteredClassifier(
        scaled(classifier), LGMOutlierDetector(contamination=0.03, random_state=0)
    )


def sampling_pipeline(classifier):
    return make_sampling_pipeline(
        StandardScaler(),
        PoisonFilter(LGMOutlierDetector(contamination=0.03, random_state=0)),
        classifier(**SETTINGS),
    )


COMPOSED = [
    classifier_last,
    feature_extractor,
    calibrated,
    calibrated_frozen,
    stacking,
    voting,
    bagging,
    one_vs_rest,
    filtered,
    sampling_pipeline,
]


@both
@pytest.mark.parametrize("compose", COMPOSED, ids=lambda compose: compose.__name__)
def test_a_composed_classifier_learns_is_reproducible_and_pickles(classifier, compose):
    fitted = compose(classifier).fit(X, Y)
    assert fitted.score(X, Y) > 0.9
    proba = fitted.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).predict_proba(X), proba
    )
    np.testing.assert_array_equal(compose(classifier).fit(X, Y).predict_proba(X), proba)


@both
def test_a_crafter_before_the_classifier_poisons_training_alone(classifier):
    pipe = poisoned(classifier, budget=10)
    pipe.fit(X[REST], Y[REST])
    crafter = pipe[0]
    assert len(crafter.poison_indices_) == 20
    assert set(Y[REST][crafter.poison_indices_]) == {2}
    np.testing.assert_array_equal(crafter.transform(X), X)  # test rows stay clean
    trained_on = X[REST].copy()
    trained_on[crafter.poison_indices_] = crafter.X_poison_
    expected = classifier(**SETTINGS).fit(trained_on, Y[REST])
    np.testing.assert_array_equal(pipe.predict_proba(X), expected.predict_proba(X))


@both
def test_cross_validation_measures_accuracy_under_poisoning(classifier):
    found = cross_validate(
        poisoned(classifier, budget=0.25),
        X[REST],
        Y[REST],
        cv=3,
        return_estimator=True,
        return_indices=True,
    )
    for pipe, test_rows, score in zip(
        found["estimator"], found["indices"]["test"], found["test_score"], strict=True
    ):
        clean = X[REST][test_rows]
        expected = accuracy_score(Y[REST][test_rows], pipe[1].predict(clean))
        assert score == expected
        assert len(pipe[0].poison_indices_) > 0


# Searches

GRIDS = {
    "margin and variance": (
        scaled(LGMClassifier),
        {"lgmclassifier__margin": [0.0, 0.5], "lgmclassifier__variance": [0.5, 2.0]},
    ),
    "covariance_type and likelihood_weight": (
        scaled(LGMClassifier),
        {
            "lgmclassifier__covariance_type": ["identity", "diag"],
            "lgmclassifier__likelihood_weight": [0.01, 0.1],
        },
    ),
    "crafter budget": (
        poisoned(LGMClassifier),
        {"poisoncrafter__budget": [0, 5]},
    ),
    "nested skorch parameter": (
        scaled(LGMClassifier, optimizer__weight_decay=0.0),
        {"lgmclassifier__optimizer__weight_decay": [0.0, 0.1]},
    ),
}


@pytest.mark.parametrize(
    "search_type",
    [GridSearchCV, pytest.param(HalvingGridSearchCV, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(("pipe", "grid"), GRIDS.values(), ids=GRIDS)
def test_searches_are_reproducible_and_their_best_pickles(search_type, pipe, grid):
    settings = {"cv": StratifiedKFold(3, shuffle=True, random_state=0)}
    if search_type is HalvingGridSearchCV:
        settings |= {"min_resources": 60, "factor": 2, "random_state": 0}
    searches = [
        search_type(pipe, grid, **settings).fit(X[REST], Y[REST]) for _ in range(2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    assert np.isfinite(scores[0]).all()
    np.testing.assert_array_equal(scores[0], scores[1])
    best = searches[0].best_estimator_
    assert searches[0].best_params_.keys() == grid.keys()
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(best)).predict(X), best.predict(X)
    )


@pytest.mark.slow
def test_margin_and_variance_can_be_chosen_for_robustness():
    scoring = {
        "accuracy": "accuracy",
        "robustness": make_attack_scorer(X_TARGET, base_label=2),
    }
    search = GridSearchCV(
        poisoned(LGMClassifier, budget=10),
        {"lgmclassifier__margin": [0.0, 0.5], "lgmclassifier__variance": [0.5, 2.0]},
        scoring=scoring,
        refit="robustness",
        cv=3,
    ).fit(X[REST], Y[REST])
    robustness = search.cv_results_["mean_test_robustness"]
    assert robustness.shape == (4,)
    assert np.isin(search.cv_results_["split0_test_robustness"], [0, 0.5, 1]).all()
    assert robustness[search.best_index_] == robustness.max()
    missed = np.mean(search.best_estimator_.predict(X_TARGET) != 2)
    assert scoring["robustness"](search.best_estimator_, None) == missed


def test_the_attack_scorer_works_in_cross_validate():
    found = cross_validate(
        poisoned(SoftmaxClassifier, budget=10),
        X[REST],
        Y[REST],
        scoring={"resists": make_attack_scorer(X_TARGET, [2, 2])},
        cv=3,
        return_estimator=True,
    )
    expected = [np.mean(pipe.predict(X_TARGET) != 2) for pipe in found["estimator"]]
    np.testing.assert_allclose(found["test_resists"], expected)


# Metadata routing


@both
def test_sample_weight_and_groups_are_routed(classifier):
    groups = np.arange(len(X)) % 5
    weight = np.where(Y == 0, 3.0, 1.0)
    with config_context(enable_metadata_routing=True):
        weighted = classifier(**SETTINGS)
        weighted.set_fit_request(sample_weight=True)
        weighted.set_score_request(sample_weight=True)
        found = cross_validate(
            make_pipeline(
                StandardScaler().set_fit_request(sample_weight=False), weighted
            ),
            X,
            Y,
            cv=GroupKFold(5),
            params={"sample_weight": weight, "groups": groups},
            return_estimator=True,
            return_indices=True,
        )
    for pipe, train, test, score in zip(
        found["estimator"],
        found["indices"]["train"],
        found["indices"]["test"],
        found["test_score"],
        strict=True,
    ):
        assert set(groups[train]).isdisjoint(groups[test])
        shares = np.bincount(Y[train], weights=weight[train])
        np.testing.assert_allclose(
            pipe[1].class_count_ / pipe[1].class_count_.sum(), shares / shares.sum()
        )
        predicted = pipe.predict(X[test])
        assert score == accuracy_score(Y[test], predicted, sample_weight=weight[test])


def test_claimed_labels_are_routed_to_the_detector_in_a_pipeline():
    claimed = Y.copy()
    claimed[:5] = 2
    with config_context(enable_metadata_routing=True):
        detector = LGMOutlierDetector(contamination=0.05, random_state=0)
        detector.set_predict_request(labels=True)
        detector.set_decision_function_request(labels=True)
        pipe = make_pipeline(StandardScaler(), detector).fit(X, Y)
        flags = pipe.predict(X, labels=claimed)
        decision = pipe.decision_function(X, labels=claimed)
        without = pipe.predict(X)
    rows = pipe[:-1].transform(X)
    np.testing.assert_array_equal(flags, pipe[-1].predict(rows, labels=claimed))
    np.testing.assert_array_equal(decision < 0, flags == -1)
    assert (flags[:5] == -1).all()
    assert (without[:5] == 1).all()  # their features alone are fine


def test_fit_parameters_are_routed_through_the_filter():
    weight = np.where(Y == 0, 3.0, 1.0)
    detector = LGMOutlierDetector(contamination=0.03, random_state=0)
    with config_context(enable_metadata_routing=True):
        inner = LGMClassifier(**SETTINGS).set_fit_request(sample_weight=True)
        routed = FilteredClassifier(inner, detector).fit(X, Y, sample_weight=weight)
    plain = FilteredClassifier(LGMClassifier(**SETTINGS), detector)
    plain.fit(X, Y, sample_weight=weight)
    np.testing.assert_array_equal(routed.predict_proba(X), plain.predict_proba(X))


# Inspection


@both
def test_permutation_importance_finds_the_columns_that_matter(classifier):
    noisy = np.hstack([X, np.random.RandomState(0).normal(size=(len(X), 1))])
    found = permutation_importance(
        scaled(classifier).fit(noisy, Y), noisy, Y, n_repeats=5, random_state=0
    )
    assert found.importances_mean[2:4].min() > found.importances_mean[4]


@both
def test_a_learning_curve_rises(classifier):
    sizes, train_scores, test_scores = learning_curve(
        scaled(classifier),
        X,
        Y,
        train_sizes=[30, 90],
        cv=3,
        shuffle=True,
        random_state=0,
    )
    assert sizes.tolist() == [30, 90]
    assert train_scores.shape == (2, 3)
    assert test_scores[1].mean() > 0.85


@both
def test_decision_boundaries_are_drawn(classifier):
    pipe = scaled(classifier).fit(X[:, 2:], Y)
    display = DecisionBoundaryDisplay.from_estimator(
        pipe, X[:, 2:], response_method="predict", grid_resolution=20
    )
    assert set(np.unique(display.response)) <= {0, 1, 2}
    assert display.ax_.get_xlim()[0] < X[:, 2].min()
    matplotlib.pyplot.close(display.figure_)


@both
@pytest.mark.parametrize(
    ("kind", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
)
def test_features_come_as_frames_with_names(classifier, kind, frame):
    pipe = scaled(classifier).set_output(transform=kind).fit(X, Y)
    features = pipe.transform(X)
    name = classifier.__name__.lower()
    assert isinstance(features, frame)
    assert list(features.columns) == [f"{name}{i}" for i in range(8)]
    assert pipe.get_feature_names_out().tolist() == list(features.columns)


def test_the_crafter_keeps_the_names_of_the_columns():
    frame = load_iris(as_frame=True).data.iloc[REST]
    crafter = poisoned(LGMClassifier, budget=1)[0].set_params(X_target=X_TARGET)
    out = crafter.set_output(transform="pandas").fit_transform(frame, Y[REST])
    assert out.columns.tolist() == frame.columns.tolist()
    assert crafter.get_feature_names_out().tolist() == frame.columns.tolist()


@pytest.mark.parametrize(
    "estimator",
    [
        scaled(LGMClassifier, optimizer__weight_decay=0.1),
        poisoned(SoftmaxClassifier),
        FilteredClassifier(LGMClassifier(margin=0.7), LGMOutlierDetector()),
        PoisonFilter(LGMOutlierDetector()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_html_representation_names_every_part(estimator):
    html = estimator._repr_html_()
    parts = [estimator, *(v for _, v in getattr(estimator, "steps", []))]
    for part in parts:
        assert type(part).__name__ in html
    if isinstance(estimator, FilteredClassifier):
        assert "0.7" in html
