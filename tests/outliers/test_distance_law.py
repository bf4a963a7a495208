"""sklgm.outliers: squared distances to Gaussians whose parameters were estimated."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklgm import (
    ClassMahalanobisDetector,
    LGMClassifier,
    LGMOutlierDetector,
    RobustGaussianClassifier,
)
from sklgm.outliers._distance_law import (
    DistanceLaw,
    _class_variances,
    _matched,
    _simulated_moments,
)

TYPES = ["diag", "tied_diag", "identity", "spherical"]
N_CLASSES = 3


def gaussian_rows(rng, n_rows, d):
    """Rows of three unit Gaussians, as many of each class."""
    y = np.repeat(np.arange(N_CLASSES), n_rows)
    means = 3.0 * np.eye(N_CLASSES, max(d, N_CLASSES))[:, :d]
    return means[y] + rng.normal(size=(len(y), d)), y


def flagged_shares(covariance_type, trim, n_rows, d, n_draws):
    """Share of new rows with p <= 0.01, in each draw of training rows."""
    shares = []
    law = None
    for draw in range(n_draws):
        rng = np.random.default_rng(draw)
        model = RobustGaussianClassifier(covariance_type=covariance_type, trim=trim)
        model.fit(*gaussian_rows(rng, n_rows, d))
        # The law depends on the draw through the shrinkage of variances alone.
        law = law if law is not None and draw % 20 else DistanceLaw.of_classifier(model)
        X, y = gaussian_rows(rng, 600, d)
        distances = model.mahalanobis(X)[np.arange(len(y)), y]
        shares.append(np.mean(law.p_values(law.scores(distances), y) <= 0.01))
    return np.array(shares)


def assert_near_the_level(shares):
    error = shares.std(ddof=1) / math.sqrt(len(shares))
    # The law is a match of two moments, which are simulated: a tenth of the level,
    # beside three standard errors.
    assert shares.mean() == pytest.approx(0.01, abs=3 * error + 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("trim", [0.0, 0.25])
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("d", [2, 16, 64])
@pytest.mark.parametrize("n_rows", [20, 50, 200])
def test_new_rows_have_low_p_values_at_the_level(n_rows, d, covariance_type, trim):
    assert_near_the_level(flagged_shares(covariance_type, trim, n_rows, d, 40))


@pytest.mark.parametrize("trim", [0.0, 0.25])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_new_rows_of_few_training_rows_have_low_p_values_at_the_level(
    covariance_type, trim, monkeypatch
):
    monkeypatch.setattr("sklgm.outliers._distance_law._SIMULATED_ROWS", 6_000)
    shares = flagged_shares(covariance_type, trim, 20, 4, 10)
    error = shares.std(ddof=1) / math.sqrt(len(shares))
    # Simulated from a tenth of the rows: a fifth of the level for that.
    assert shares.mean() == pytest.approx(0.01, abs=3 * error + 0.002)


@pytest.mark.parametrize("n_rows", [10, 20, 50])
def test_naive_bayes_of_few_rows_keeps_the_level(n_rows):
    shares = []
    for draw in range(60):
        rng = np.random.default_rng(draw)
        model = GaussianNB().fit(*gaussian_rows(rng, n_rows, 6))
        law = DistanceLaw.of_classifier(model)
        X, y = gaussian_rows(rng, 400, 6)
        distances = ((X - model.theta_[y]) ** 2 / model.var_[y]).sum(axis=1)
        shares.append(np.mean(law.p_values(law.scores(distances), y) <= 0.01))
    assert_near_the_level(np.array(shares))


@pytest.mark.parametrize(("n_rows", "d"), [(8, 6), (20, 16), (100, 4)])
def test_hotellings_law_of_a_shared_covariance_is_exact(n_rows, d):
    p_values = []
    for draw in range(60):
        rng = np.random.default_rng(draw)
        X, y = gaussian_rows(rng, n_rows, d)
        detector = ClassMahalanobisDetector(covariance="empirical", calibration="chi2")
        model = detector._fit_model(detector.estimator, X, y)
        X_new, y_new = gaussian_rows(rng, 1, d)  # one row of a class: independent
        scores = detector._claimed_scores(model, detector._read(model, X_new), y_new)
        p_values.append(detector._distance_law(model).p_values(scores, y_new)[0])
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_matched_law_has_the_mean_and_variance():
    mean, variance = np.array([9.0, 8.0]), np.array([70.0, 16.0])
    scales, denominators = _matched(8, mean, variance)
    law = stats.f(8, denominators[0])
    assert scales[0] * law.mean() == pytest.approx(9.0)
    assert scales[0] ** 2 * law.var() == pytest.approx(70.0)
    assert denominators[1] == np.inf  # the chi-square law
    assert scales[1] == 8.0


def test_many_rows_give_the_chi_square_law():
    rng = np.random.default_rng(0)
    model = GaussianNB().fit(*gaussian_rows(rng, 20_000, 4))
    law = DistanceLaw.of_classifier(model)
    distances = np.array([1.0, 5.0, 13.3, 30.0])
    p_values = law.p_values(law.scores(distances), np.zeros(4, dtype=np.int64))
    np.testing.assert_allclose(p_values, stats.chi2.sf(distances, 4), rtol=0.02)


@pytest.mark.parametrize("level", [1e-6, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("d", [1, 64])
def test_thresholds_have_the_p_value_of_the_level(level, d):
    law = DistanceLaw(
        d, np.array([1.0, 2.0, 70.0]), np.array([9.0, 40.0, np.inf]), np.zeros(3)
    )
    p_values = law.p_values(law.thresholds(level), np.arange(3))
    np.testing.assert_allclose(p_values, level, rtol=1e-6)


def test_scores_from_densities_are_those_of_distances():
    rng = np.random.default_rng(0)
    X, y = gaussian_rows(rng, 30, 4)
    model = RobustGaussianClassifier(covariance_type="diag").fit(X, y)
    law = DistanceLaw.of_classifier(model)
    distances = model.mahalanobis(X)[np.arange(90), y]
    np.testing.assert_allclose(
        law.density_scores(model.claimed_log_density(X, y), y), law.scores(distances)
    )


def test_simulated_moments_of_pooled_variances_are_those_of_the_f_law():
    n_classes, n_rows, d = 20, 5, 4
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(n_classes), n_rows)
    model = RobustGaussianClassifier(
        location="mean", covariance_type="tied_diag", trim=0.0
    ).fit(rng.normal(size=(len(y), d)), y)
    mean, variance = _simulated_moments(model, _class_variances(model))
    # (1 + 1/n) N Z^2 / chi2(nu) in each dimension, nu = N - K
    nu, c = len(y) - n_classes, (1 + 1 / n_rows) * len(y)
    expected = d * c**2 * (3 / ((nu - 2) * (nu - 4)) - 1 / (nu - 2) ** 2)
    assert mean.mean() == pytest.approx(d * c / (nu - 2), rel=0.01)
    assert variance.mean() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("covariance_type", ["diag", "tied_diag", "spherical"])
def test_simulated_law_does_not_depend_on_the_unit(covariance_type, monkeypatch):
    monkeypatch.setattr("sklgm.outliers._distance_law._SIMULATED_ROWS", 2_000)
    X, y = gaussian_rows(np.random.default_rng(0), 30, 4)
    laws = []
    for unit in (1.0, 7.0):
        model = RobustGaussianClassifier(covariance_type=covariance_type, trim=0.1)
        laws.append(DistanceLaw.of_classifier(model.fit(unit * X, y)))
    np.testing.assert_allclose(laws[1].scales, laws[0].scales, rtol=1e-6)
    np.testing.assert_allclose(laws[1].denominators, laws[0].denominators, rtol=1e-4)


def test_naive_bayes_counts_columns_that_vary_less_than_its_smoothing():
    rng = np.random.default_rng(0)
    X, y = gaussian_rows(rng, 30, 2)
    smoothing = GaussianNB().fit(X, y).epsilon_
    little = math.sqrt(0.5 * smoothing) * rng.normal(size=len(y))
    X = np.c_[X, little, np.zeros(len(y))]
    assert DistanceLaw.of_classifier(GaussianNB().fit(X, y)).n_dimensions == 3


# In the detectors


def chi2_detector(estimator=None, **settings):
    return LGMOutlierDetector(
        estimator,
        score_kind="likelihood",
        calibration="chi2",
        random_state=0,
        **settings,
    )


@pytest.mark.parametrize("estimator", [None, GaussianNB()], ids=["columns", "bayes"])
def test_columns_that_are_constant_do_not_count(estimator):
    rng = np.random.default_rng(0)
    X, y = gaussian_rows(rng, 400, 6)
    X = np.c_[X, np.full((len(X), 9), 0.1)]
    detector = chi2_detector(estimator, false_alarm_rate=0.05, cv=2)
    flags = detector.fit_predict(X, y)
    error = 3 * math.sqrt(0.05 * 0.95 / len(y))
    assert (flags == -1).mean() == pytest.approx(0.05, abs=error + 0.01)


def test_detectors_judge_each_row_by_the_law_of_its_fold():
    rng = np.random.default_rng(0)
    X, y = gaussian_rows(rng, 40, 5)
    detector = chi2_detector(GaussianNB(), cv=3).fit(X, y)
    assert detector.label_offset_.shape == (3,)
    for model, law in zip(detector.estimators_, detector._claims_[0].laws, strict=True):
        counts = model.class_count_
        np.testing.assert_allclose(
            law.scales * law.denominators / (law.denominators - 2),
            (counts + 1) / (counts - 1) * 5 * (counts - 1) / (counts - 3),
        )
    far = X + 50.0
    assert (detector.p_values(far, labels=y) < 1e-6).all()
    assert (detector.predict(far, labels=y) == -1).all()


@pytest.mark.parametrize("cv", [3, 4])
def test_new_rows_are_flagged_where_the_p_value_reaches_the_level(cv):
    rng = np.random.default_rng(0)
    X, y = gaussian_rows(rng, 60, 4)
    detector = chi2_detector(GaussianNB(), cv=cv, false_alarm_rate=0.1).fit(X, y)
    X_new, y_new = gaussian_rows(rng, 100, 4)
    is_flagged = detector.predict(X_new, labels=y_new) == -1
    assert is_flagged.any()
    np.testing.assert_array_equal(
        is_flagged, detector.p_values(X_new, labels=y_new) <= 0.1
    )


# Where it cannot be right


def test_it_needs_the_likelihood(blobs):
    detector = LGMOutlierDetector(calibration="chi2")
    with pytest.raises(ValueError, match="needs score_kind='likelihood', got score_ki"):
        detector.fit(*blobs)


def test_it_needs_class_gaussians(blobs):
    with pytest.raises(ValueError, match="LogisticRegression has no class Gaussians"):
        chi2_detector(LogisticRegression()).fit(*blobs)


def test_too_few_rows_for_a_variance_name_the_class():
    rng = np.random.default_rng(0)
    X, y = gaussian_rows(rng, 30, 3)
    with pytest.raises(
        ValueError, match="at least 7 rows .* class 2 has 4: take calib"
    ):
        DistanceLaw.of_classifier(GaussianNB().fit(X[:64], y[:64]))


def test_too_few_rows_for_a_covariance_are_named():
    X, y = gaussian_rows(np.random.default_rng(0), 5, 20)
    detector = ClassMahalanobisDetector(calibration="chi2", covariance="empirical")
    with pytest.raises(
        ValueError, match="needs more training rows than .* calibration"
    ):
        detector.fit(X, y)


def test_shrinkage_that_the_law_does_not_know_is_told():
    X, y = gaussian_rows(np.random.default_rng(0), 12, 10)
    detector = ClassMahalanobisDetector(calibration="chi2", false_alarm_rate=0.5)
    with pytest.warns(UserWarning, match="Take covariance='empirical', or calibration"):
        detector.fit(X, y)


def test_a_tenth_of_shrinkage_is_not_told():
    counts = np.array([20, 20])
    law = DistanceLaw.of_shared_covariance(2, counts, 0.1)  # a warning is an error
    with pytest.warns(UserWarning, match="replaced 11% of it"):
        shrunk = DistanceLaw.of_shared_covariance(2, counts, 0.11)
    np.testing.assert_array_equal(shrunk.scales, law.scales)


def test_gaussians_that_were_not_estimated_from_features_are_told(blobs):
    X, y = blobs
    fixed = RobustGaussianClassifier(variance=2.0)
    trained = LGMClassifier(max_epochs=1, random_state=0)
    for estimator, name in ((fixed, "RobustGauss"), (trained, "LGMClassifier")):
        with pytest.warns(UserWarning, match=f"takes the Gaussians of {name}"):
            chi2_detector(estimator, cv=2, false_alarm_rate=0.1).fit(X, y)


def test_law_of_a_shared_covariance_is_that_of_hotelling():
    counts = np.array([10, 14, 26])
    law = DistanceLaw.of_shared_covariance(4, counts, 0.0)
    # D / (1 + 1/n_z) is N d / (N - K - d + 1) times F(d, N - K - d + 1).
    assert law.denominators.tolist() == [44.0] * 3
    np.testing.assert_allclose(law.scales, (1 + 1 / counts) * 50 * 4 / 44)
    assert law.n_dimensions == 4


@pytest.mark.parametrize("n_constant", [0, 2])
def test_one_column_that_varies_is_one_dimension(n_constant, monkeypatch):
    monkeypatch.setattr("sklgm.outliers._distance_law._SIMULATED_ROWS", 6_000)
    X, y = gaussian_rows(np.random.default_rng(0), 40, 1)
    X = np.c_[X, np.full((len(X), n_constant), 3.0)]
    law = DistanceLaw.of_classifier(
        RobustGaussianClassifier(covariance_type="diag").fit(X, y)
    )
    assert law.n_dimensions == 1
    np.testing.assert_allclose(law.scores(np.array([1.0, 5.0])), [0.0, -4 / 2**0.5])
