"""SelfConfidenceDetector: the probability of the claim."""

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB

from sklgm import SelfConfidenceDetector
from tests.outliers.rows import gaussian_rows

SEEDS = [0, 1, 2]
seeds = pytest.mark.parametrize("seed", SEEDS)


class OnlyProba(LogisticRegression):
    """A classifier that gives probabilities, and no logarithms of them."""

    predict_log_proba = property()


@pytest.mark.parametrize("make", [GaussianNB, OnlyProba])
def test_self_confidence_is_the_log_probability_of_the_claim(make):
    X, y = gaussian_rows(0, 120, separation=2.0)
    model = make().fit(X[:60], y[:60])
    detector = SelfConfidenceDetector(
        FrozenEstimator(model), calibration="marginal", contamination=0.1
    ).fit(X[60:], y[60:])
    proba = model.predict_proba(X)
    np.testing.assert_allclose(
        detector.score_samples(X, labels=y), np.log(proba[np.arange(120), y])
    )
    np.testing.assert_allclose(detector.score_samples(X), np.log(proba.max(axis=1)))


def test_a_pipeline_that_samples_rows_gives_probabilities():
    # Its steps before the last do not transform.
    X, y = gaussian_rows(0, 60)
    sampling = make_sampling_pipeline(RandomOverSampler(random_state=0), GaussianNB())
    detector = SelfConfidenceDetector(
        sampling, calibration="marginal", contamination=0.1, random_state=0
    ).fit(X, y)
    proba = np.median([m.predict_proba(X) for m in detector.estimators_], axis=0)
    np.testing.assert_allclose(
        np.exp(detector.score_samples(X, labels=y)), proba[np.arange(60), y]
    )


def test_a_frozen_classifier_judges_every_row_whatever_cv_is():
    X, y = gaussian_rows(0, 60)
    model = FrozenEstimator(GaussianNB().fit(X, y))
    detector = SelfConfidenceDetector(model, contamination=0.1).fit(X, y)
    again = SelfConfidenceDetector(model, contamination=0.1, cv=3).fit(X, y)
    assert detector.train_scores_.shape == (60,)
    np.testing.assert_array_equal(detector.train_scores_, again.train_scores_)


def test_densities_of_folds_are_brought_to_one_scale():
    X, _ = gaussian_rows(0, 90)
    X[30:60] *= 3.0
    detector = SelfConfidenceDetector(contamination=0.1, cv=KFold(3)).fit(X)
    of_folds = detector.train_scores_.reshape(3, 30)
    medians = np.median(of_folds, axis=1)
    spreads = np.median(np.abs(of_folds - medians[:, None]), axis=1)
    np.testing.assert_allclose(medians, medians[0])
    np.testing.assert_allclose(spreads, spreads[0])
