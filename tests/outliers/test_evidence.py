"""sklgm.outliers: what models say of rows, in one pass through them."""

from typing import ClassVar

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklgm import (
    FilteredClassifier,
    LGMClassifier,
    LGMOutlierDetector,
    PoisonFilter,
    RobustGaussianClassifier,
    SelfConfidenceDetector,
    SoftmaxClassifier,
    audit,
)
from sklgm.outliers._calibration import claimed_log_posterior
from sklgm.outliers._evidence import read_evidence
from sklgm.outliers._log_posteriors import LOWEST

KINDS = ["posterior", "likelihood", "combined"]


@pytest.fixture
def unequal_blobs(blobs):
    """Classes of 5, 20 and 20 rows: the priors differ."""
    X, y = blobs
    return X[15:], y[15:]


def literal_densities(model, X):
    """log N_k(x) of naive Bayes, (n_samples, n_classes)."""
    return np.transpose(
        [
            multivariate_normal.logpdf(X, mean, np.diag(variances))
            for mean, variances in zip(model.theta_, model.var_, strict=True)
        ]
    )


def test_densities_leave_the_prior_out_and_the_mixture_weighs_by_it(unequal_blobs):
    X, y = unequal_blobs
    model = GaussianNB().fit(X, y)
    evidence = read_evidence(model, X, 45)
    densities = literal_densities(model, X)
    np.testing.assert_allclose(evidence.log_densities, densities)
    joint = densities + np.log([1 / 9, 4 / 9, 4 / 9])
    np.testing.assert_allclose(evidence.log_mixture, logsumexp(joint, axis=1))
    np.testing.assert_allclose(
        evidence.log_proba, log_softmax(joint, axis=1), atol=1e-14
    )


@pytest.mark.parametrize("make", [LGMClassifier, SoftmaxClassifier])
def test_the_head_of_a_network_tells_all_from_its_features(make, blobs):
    X, y = blobs
    clf = make(max_epochs=2, feature_dim=3, random_state=0).fit(X, y)
    evidence = read_evidence(clf, X, 60)
    np.testing.assert_allclose(
        evidence.log_proba, clf.predict_log_proba(X), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(evidence.features, clf.transform(X))
    assert (evidence.log_densities is not None) == (make is LGMClassifier)


def test_a_probability_of_zero_is_the_same_whatever_rows_are_asked_about():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 2)), np.arange(90) % 3
    tree = DecisionTreeClassifier(random_state=0).fit(X, y)
    log_proba = read_evidence(tree, X, 90).log_proba
    assert log_proba.min() == pytest.approx(-np.log(93))
    for n in (1, 7, 50):
        some = read_evidence(tree, X[:n], 90).log_proba
        np.testing.assert_array_equal(some, log_proba[:n])


def test_posterior_of_a_row_far_from_every_class_is_the_lowest():
    X = np.array([[0.0], [1.0], [10.0], [11.0]])
    model = GaussianNB().fit(X, [0, 0, 1, 1])
    with np.errstate(over="ignore"):
        evidence = read_evidence(model, [[1e200]], 4)
    assert evidence.log_proba.tolist() == [[LOWEST, LOWEST]]
    assert claimed_log_posterior(evidence.log_proba, np.array([1]))[0] == LOWEST


def test_model_without_probabilities_has_no_posterior(blobs):
    scaler = StandardScaler().fit(blobs[0])
    assert read_evidence(scaler, blobs[0], 60).log_proba is None


def test_steps_that_sample_rows_are_passed_over(blobs):
    X, y = blobs
    pipeline = make_sampling_pipeline(
        StandardScaler(), RandomOverSampler(random_state=0), GaussianNB()
    ).fit(X, y)
    np.testing.assert_allclose(
        np.exp(read_evidence(pipeline, X, 60).log_proba), pipeline.predict_proba(X)
    )


def test_probabilities_that_are_nan_are_refused(blobs):
    class Diverged(LogisticRegression):
        def predict_log_proba(self, X):
            return np.full((len(X), 3), np.nan)

    with pytest.raises(ValueError, match="Diverged gave shape .* Did its training div"):
        read_evidence(Diverged().fit(*blobs), blobs[0], 60)


# One pass


class CountingScaler(TransformerMixin, BaseEstimator):
    """Counts the rows that pass through it; knows them by their first column."""

    passed: ClassVar[list] = []

    def fit(self, X, y=None):
        return self

    def fit_transform(self, X, y=None):  # of the rows that train the model
        return X

    def transform(self, X):
        CountingScaler.passed.append(np.asarray(X)[:, 0].copy())
        return X


class CountingClassifier(GaussianNB):
    """Counts the rows that it is asked about, by any method."""

    passed: ClassVar[list] = []

    def predict_joint_log_proba(self, X):
        CountingClassifier.passed.append(np.asarray(X)[:, 0].copy())
        return super().predict_joint_log_proba(X)

    def predict_log_proba(self, X):
        CountingClassifier.passed.append(np.asarray(X)[:, 0].copy())
        return super().predict_log_proba(X)


@pytest.fixture
def counted(monkeypatch):
    """Rows that can be told apart, their labels, and an estimator that counts them."""
    monkeypatch.setattr(CountingScaler, "passed", [])
    monkeypatch.setattr(CountingClassifier, "passed", [])
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    X = np.c_[np.arange(150) / 150, 4.0 * np.eye(3)[y] + rng.normal(size=(150, 3))]
    return X, y, make_pipeline(CountingScaler(), CountingClassifier())


def assert_each_row_passed_once(X):
    for passed in (CountingScaler.passed, CountingClassifier.passed):
        np.testing.assert_array_equal(np.sort(np.concatenate(passed)), X[:, 0])


@pytest.mark.parametrize("contamination", [None, 0.1])
@pytest.mark.parametrize(
    ("score_kind", "calibration"),
    [(kind, law) for kind in KINDS for law in ("auto", "marginal", "per_class")]
    + [("likelihood", "chi2")],
)
def test_fit_predict_asks_about_each_row_once(
    counted, score_kind, calibration, contamination
):
    X, y, estimator = counted
    LGMOutlierDetector(
        estimator,
        score_kind=score_kind,
        calibration=calibration,
        contamination=contamination,
        false_alarm_rate=0.1,
        random_state=0,
    ).fit_predict(X, y)
    assert_each_row_passed_once(X)


@pytest.mark.parametrize("score_kind", KINDS)
def test_fit_predict_asks_a_frozen_model_about_each_row_once(counted, score_kind):
    X, y, estimator = counted
    frozen = FrozenEstimator(estimator.fit(X, y))
    LGMOutlierDetector(frozen, score_kind=score_kind, false_alarm_rate=0.1).fit_predict(
        X, y
    )
    assert_each_row_passed_once(X)


@pytest.mark.parametrize(
    "judge",
    [
        lambda estimator, X, y: SelfConfidenceDetector(estimator).fit_predict(X, y),
        lambda estimator, X, y: PoisonFilter(LGMOutlierDetector(estimator)).fit(X, y),
        lambda estimator, X, y: FilteredClassifier(
            LogisticRegression(), LGMOutlierDetector(estimator)
        ).fit(X, y),
        lambda estimator, X, y: audit(X, y, estimator=estimator, n_repeats=1),
    ],
    ids=["self_confidence", "filter", "filtered_classifier", "audit"],
)
def test_filters_and_audits_ask_about_each_row_once(counted, judge):
    X, y, estimator = counted
    judge(estimator, X, y)
    assert_each_row_passed_once(X)


def test_each_fold_is_asked_about_each_trusted_row_once(counted):
    X, y, estimator = counted
    trusted = X + [1000.0, 0.0, 0.0, 0.0]
    LGMOutlierDetector(estimator, false_alarm_rate=0.1).fit(X, y, trusted=(trusted, y))
    passed = np.concatenate(CountingClassifier.passed)
    np.testing.assert_array_equal(np.sort(passed[passed < 500]), X[:, 0])
    np.testing.assert_array_equal(
        np.sort(passed[passed > 500]), np.repeat(trusted[:, 0], 5)
    )


def test_columns_are_judged_by_trimmed_diagonal_gaussians(blobs):
    X, y = blobs
    detector = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X, y)
    for model in detector.estimators_:
        assert isinstance(model, RobustGaussianClassifier)
        assert (model.covariance_type, model.trim) == ("diag", 0.25)


class CountingNetwork(LGMClassifier):
    """Counts the rows that pass through the network, by any method."""

    passed: ClassVar[list] = []

    def transform(self, X):
        CountingNetwork.passed.append(len(X))
        return super().transform(X)

    def predict_log_proba(self, X):
        raise AssertionError("a second pass through the network")

    predict_proba = predict_joint_log_proba = score_samples = predict_log_proba


@pytest.mark.parametrize("score_kind", KINDS)
def test_rows_pass_through_a_network_once(score_kind, blobs, monkeypatch):
    monkeypatch.setattr(CountingNetwork, "passed", [])
    network = CountingNetwork(max_epochs=1, feature_dim=2, random_state=0)
    detector = LGMOutlierDetector(
        network, score_kind=score_kind, contamination=0.1, cv=2, random_state=0
    ).fit(*blobs)
    assert sum(CountingNetwork.passed) == 60
    detector.score_samples(blobs[0], labels=blobs[1])
    assert sum(CountingNetwork.passed) == 60 + 2 * 60


def test_features_are_computed_where_they_are_asked_for(blobs):
    X, y = blobs
    model = LinearDiscriminantAnalysis().fit(X, y)
    assert read_evidence(model, X, 60).features is None
    asked = read_evidence(model, X, 60, wants_features=True)
    np.testing.assert_array_equal(asked.features, model.transform(X))
