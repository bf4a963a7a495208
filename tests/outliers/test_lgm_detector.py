"""LGMOutlierDetector: scores, thresholds and p-values of claimed labels."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.special import logsumexp
from scipy.stats import logistic, norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import LGMClassifier, LGMOutlierDetector, SoftmaxClassifier
from sklgm.outliers._calibration import claimed_log_posterior
from sklgm.outliers._evidence import read_evidence
from sklgm.outliers._standardisation import combine, standardise
from sklgm.outliers._trained import column_gaussians

SEEDS = [0, 1, 2]
KINDS = ["likelihood", "posterior", "combined"]


def gaussian_rows(seed, n, *, n_classes=3, dim=4, separation=5.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, size=n)
    return separation * np.eye(n_classes, dim)[y] + rng.normal(size=(n, dim)), y


def small_classifier(**settings):
    settings = {"feature_dim": 4, "max_epochs": 15, "lr": 0.01, "trim": 0.2, **settings}
    return LGMClassifier(random_state=0, **settings)


@pytest.fixture(scope="module")
def fitted_classifier():
    """Shared by all tests of this file: do not fit it again."""
    return small_classifier().fit(*gaussian_rows(100, 150))


@pytest.fixture(scope="module")
def fitted_softmax():
    """Shared by all tests of this file: do not fit it again."""
    clf = SoftmaxClassifier(feature_dim=4, max_epochs=15, lr=0.01, random_state=0)
    return clf.fit(*gaussian_rows(100, 150))


@pytest.fixture(scope="module", params=KINDS)
def fitted_detector(request, fitted_classifier):
    """Shared by all tests of this file: do not fit it again."""
    detector = LGMOutlierDetector(
        FrozenEstimator(fitted_classifier),
        score_kind=request.param,
        false_alarm_rate=0.05,
    )
    return detector.fit(*gaussian_rows(101, 120))


@pytest.fixture(scope="module")
def fitted_likelihood(fitted_classifier):
    """Shared by all tests of this file: do not fit it again."""
    detector = LGMOutlierDetector(
        FrozenEstimator(fitted_classifier),
        score_kind="likelihood",
        false_alarm_rate=0.05,
    )
    return detector.fit(*gaussian_rows(101, 120))


def flipped(y, n_flipped, seed=0):
    rng = np.random.default_rng(seed)
    is_flipped = np.zeros(len(y), dtype=bool)
    is_flipped[rng.choice(len(y), n_flipped, replace=False)] = True
    n_classes = y.max() + 1
    return np.where(is_flipped, (y + 1) % n_classes, y), is_flipped


ESTIMATORS = {
    "columns": lambda lgm, softmax: None,
    "unfitted": lambda lgm, softmax: small_classifier(),
    "scaled": lambda lgm, softmax: make_pipeline(StandardScaler(), small_classifier()),
    "frozen": lambda lgm, softmax: FrozenEstimator(lgm),
    "gaussians_on_softmax": lambda lgm, softmax: make_pipeline(
        FrozenEstimator(softmax),
        LGMClassifier(backbone="identity", max_epochs=0, trim=0.25),
    ),
    "naive_bayes": lambda lgm, softmax: GaussianNB(),
}


# What it detects


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("score_kind", KINDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_flipped_labels_rank_last(
    estimator, score_kind, seed, fitted_classifier, fitted_softmax
):
    X, y = gaussian_rows(seed, 150)
    claimed, is_flipped = flipped(y, 15, seed)
    detector = LGMOutlierDetector(
        ESTIMATORS[estimator](fitted_classifier, fitted_softmax),
        score_kind=score_kind,
        contamination=0.1,
        random_state=seed,
    )
    flags = detector.fit_predict(X, claimed)
    scores = detector.train_scores_
    assert scores.dtype == np.float64
    assert roc_auc_score(is_flipped, -scores) > 0.95
    assert set(flags) == {-1, 1}
    assert (flags == -1).sum() == 15
    # Naive Bayes is the worst: its means are not trimmed.
    assert (flags[is_flipped] == -1).sum() >= (11 if estimator == "naive_bayes" else 13)


@pytest.mark.parametrize("seed", SEEDS)
def test_trimming_in_training_is_what_lets_likelihoods_catch_flipped_labels(seed):
    X, y = gaussian_rows(seed, 150)
    claimed, is_flipped = flipped(y, 15, seed)
    auroc = {}
    for trim in (0.0, 0.2):
        clf = make_pipeline(StandardScaler(), small_classifier(trim=trim))
        detector = LGMOutlierDetector(
            clf, score_kind="likelihood", contamination=0.1, random_state=seed
        )
        scores = detector.fit(X, claimed).train_scores_
        auroc[trim] = roc_auc_score(is_flipped, -scores)
    assert auroc[0.2] > 0.99 > auroc[0.0]


@pytest.mark.parametrize("score_kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_flipped_iris_labels_are_caught_by_claims_and_not_without(
    seed, score_kind, iris
):
    X, y = iris
    claimed, is_flipped = flipped(y, 12, seed)
    detector = LGMOutlierDetector(
        score_kind=score_kind, contamination=0.08, random_state=seed
    )
    by_claim = detector.fit_predict(X, claimed) == -1
    label_free = detector.predict(X) == -1
    assert (by_claim & is_flipped).sum() >= 9
    assert (label_free & is_flipped).sum() <= 4


@pytest.mark.parametrize("score_kind", KINDS)
def test_a_column_in_larger_units_changes_no_score(score_kind):
    X, y = gaussian_rows(0, 200)
    claimed, is_flipped = flipped(y, 10)
    detector = LGMOutlierDetector(
        score_kind=score_kind, contamination=0.05, random_state=0
    )
    scores = detector.fit(X, claimed).score_samples(X, labels=claimed)
    flags = detector.predict(X, labels=claimed)
    X = X * [1.0, 1.0, 1.0, 1e3]
    in_units = detector.fit(X, claimed).score_samples(X, labels=claimed)
    # The temperature of the posterior is found by a search, to some digits.
    np.testing.assert_allclose(in_units, scores, rtol=1e-3, atol=1e-9)
    np.testing.assert_array_equal(detector.predict(X, labels=claimed), flags)
    assert roc_auc_score(is_flipped, -in_units) > 0.95


def test_fit_predict_uses_the_claimed_labels(blobs):
    X, y = blobs
    detector = LGMOutlierDetector(contamination=0.1, random_state=0)
    claimed, _ = flipped(y, 6)
    flags = detector.fit_predict(X, claimed)
    assert (flags == detector.predict(X, labels=claimed)).mean() > 0.9
    assert (flags == detector.predict(X)).mean() < 0.9


def test_outliers_are_found_without_labels():
    X, _ = gaussian_rows(0, 100, n_classes=1)
    X[:5] += 10.0
    detector = LGMOutlierDetector(contamination=0.05, random_state=0)
    assert np.flatnonzero(detector.fit_predict(X) == -1).tolist() == list(range(5))


def test_string_labels_are_claims(blobs):
    X, y = blobs
    names = np.array(["deer", "frog", "ship"])[y]
    detector = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X, names)
    assert detector.classes_.tolist() == ["deer", "frog", "ship"]
    as_numbers = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X, y)
    np.testing.assert_allclose(
        detector.score_samples(X, labels=names), as_numbers.score_samples(X, labels=y)
    )


def test_images_and_flat_rows_score_alike(tiny_images):
    X, y = tiny_images
    clf = LGMClassifier(max_epochs=1, feature_dim=4, random_state=0)
    detector = LGMOutlierDetector(clf, contamination=0.1, random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        detector.score_samples(X, labels=y),
        detector.score_samples(X.reshape(36, 64), labels=y),
    )


# Scores


def test_likelihood_score_is_the_standardised_claimed_log_density(
    fitted_classifier, fitted_likelihood
):
    X_held_out, y_held_out = gaussian_rows(101, 120)  # a frozen model holds out all

    def claimed_density(X, y):
        joint = fitted_classifier.predict_joint_log_proba(X).astype(np.float64)
        return joint[np.arange(len(y)), y] - np.log(fitted_classifier.priors_[y])

    X, y = gaussian_rows(5, 40)
    joint = fitted_classifier.predict_joint_log_proba(X)
    density = claimed_density(X, y)
    held_out = claimed_density(X_held_out, y_held_out)
    expected, rounding = np.empty(40), np.empty(40)
    for i, z in enumerate(y):
        of_class = held_out[y_held_out == z]
        median = np.median(of_class)
        mad = np.median(np.abs(of_class - median))
        expected[i] = (density[i] - median) / (1.4826 * mad)
        # Joint densities are float32: that of the row and the median are rounded.
        spacing = np.spacing(np.float32(np.abs(joint[i]).max()))
        rounding[i] = 2.0 * spacing / (1.4826 * mad)
    difference = fitted_likelihood.score_samples(X, labels=y) - expected
    assert (np.abs(difference) <= 1e-5 * (1.0 + np.abs(expected)) + rounding).all()
    assert rounding.max() < 1e-3


def test_held_out_scores_are_standardised_without_the_row_itself(
    fitted_classifier, fitted_likelihood
):
    X, y = gaussian_rows(101, 120)
    features = fitted_classifier.transform(X)
    joint = fitted_classifier.head_.predict_joint_log_proba(features)  # float64
    density = joint[np.arange(120), y] - np.log(fitted_classifier.priors_[y])
    expected = np.empty(120)
    for i, z in enumerate(y):
        others = np.delete(density, i)[np.delete(y, i) == z]
        median = np.median(others)
        mad = np.median(np.abs(others - median))
        expected[i] = (density[i] - median) / (1.4826 * mad)
    np.testing.assert_allclose(
        fitted_likelihood.train_scores_,
        expected,
        rtol=1e-5,
        atol=1e-5,
    )


def test_posterior_score_is_the_log_probability_of_the_claim(fitted_classifier):
    X, y = gaussian_rows(101, 120)
    detector = LGMOutlierDetector(
        FrozenEstimator(fitted_classifier), calibration="marginal"
    ).fit(X, y)
    log_proba = fitted_classifier.predict_log_proba(X)
    np.testing.assert_allclose(
        detector.score_samples(X, labels=y), log_proba[np.arange(120), y], atol=1e-5
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        GaussianNB,
        lambda: small_classifier(max_epochs=40, variance_scale=4.0),
        lambda: LogisticRegression(C=1e4),
    ],
    ids=["columns", "bayes", "lgm", "logistic"],
)
def test_posterior_scores_of_sure_rows_keep_their_order(make):
    # 20 deviations between the means: log p(z | f) is 0 in float64 by subtraction.
    X, y = gaussian_rows(0, 300)
    X[:, 0] += 20.0 * y
    model = column_gaussians(X, y) if make() is None else make().fit(X, y)
    detector = LGMOutlierDetector(
        FrozenEstimator(model), calibration="marginal", contamination=0.1
    ).fit(X, y)
    scores = detector.score_samples(X, labels=y)
    head = getattr(model, "head_", model)
    features = X if head is model else model.transform(X)
    log_proba = (
        head.predict_joint_log_proba(features)
        if hasattr(head, "predict_joint_log_proba")
        else head.predict_log_proba(features)
    )
    is_own = np.arange(3) == y[:, None]
    others = logsumexp(np.where(is_own, -np.inf, log_proba), axis=1)
    odds_against = others - log_proba[is_own]
    assert odds_against.min() < np.log(np.finfo(np.float32).eps)  # p rounds to 1
    np.testing.assert_allclose(np.log(np.expm1(-scores)), odds_against, rtol=1e-6)
    assert (detector.predict(X, labels=y) == -1).sum() == 30


def test_combined_score_adds_the_logarithms_of_both(fitted_classifier):
    # Fisher's sum of logarithms, by scipy's logistic law with the normal quartiles.
    X_held_out, y_held_out = gaussian_rows(101, 120)
    scores = {}
    X, y = gaussian_rows(5, 40)
    labels = np.roll(y, 3)
    for kind in KINDS:
        detector = LGMOutlierDetector(
            FrozenEstimator(fitted_classifier),
            score_kind=kind,
            calibration="marginal",
            false_alarm_rate=0.05,
        ).fit(X_held_out, y_held_out)
        scores[kind] = detector.score_samples(X, labels=labels)
    law = logistic(scale=norm.ppf(0.75) / logistic.ppf(0.75))
    expected = law.logcdf(scores["likelihood"]) + scores["posterior"]
    np.testing.assert_allclose(scores["combined"], expected, rtol=1e-4, atol=1e-4)


def test_combined_score_of_impossible_rows_is_finite():
    lowest = np.finfo(np.float64).min
    scores = combine(np.array([-1e308, 0.0, 5.0]), np.array([-1e308, lowest, 0.0]))
    assert np.isfinite(scores).all()
    assert scores[:2].tolist() == [lowest, lowest]


def test_combined_scores_of_held_out_rows_leave_out_the_row_in_each_class(
    fitted_classifier,
):
    # The scale of the density decides ranks beside the posterior: a held-out row that
    # helped to choose it would rank better than a new one, also in its own class.
    X, y = gaussian_rows(101, 120)
    detector = LGMOutlierDetector(
        FrozenEstimator(fitted_classifier),
        score_kind="combined",
        calibration="per_class",
        false_alarm_rate=0.1,
    ).fit(X, y)
    evidence = read_evidence(fitted_classifier, X, 120)
    density = evidence.log_densities[np.arange(120), y]
    posterior = claimed_log_posterior(evidence.log_proba, y)
    expected = combine(standardise(density, y, 3).left_out, posterior)
    np.testing.assert_allclose(detector.train_scores_, expected)


@pytest.mark.parametrize("score_kind", KINDS)
@pytest.mark.parametrize("estimator", [None, GaussianNB()])
def test_a_row_infinitely_far_from_every_class_is_flagged(estimator, score_kind):
    X, y = gaussian_rows(0, 300)
    detector = LGMOutlierDetector(estimator, score_kind=score_kind, random_state=0)
    detector.fit(X, y)
    far = np.full((3, 4), 1e200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "overflow", RuntimeWarning)  # of squares
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="sklearn")
        scores = detector.score_samples(far, labels=[0, 1, 2])
        p_values = detector.p_values(far, labels=[0, 1, 2])
    assert not np.isnan(scores).any()
    assert (scores < detector.label_offset_).all()
    assert (p_values <= 0.01).all()


@pytest.mark.parametrize(
    ("ruined_row", "blind"),
    [
        ([-7.0, 0.0], "posterior"),  # far from the claimed class, further from others
        ([3.2, 0.0], "likelihood"),  # nearer to the other class, yet not far
    ],
)
def test_combined_score_finds_what_one_score_alone_misses(ruined_row, blind):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 300)
    X = rng.normal(size=(600, 2)) + 5.0 * np.column_stack([y, 0 * y])
    is_ruined = np.arange(600) < 6
    X[is_ruined] = ruined_row
    aurocs = {}
    for kind in KINDS:
        detector = LGMOutlierDetector(score_kind=kind, random_state=0).fit(X, y)
        aurocs[kind] = roc_auc_score(is_ruined, -detector.score_samples(X, labels=y))
    assert aurocs["combined"] > 0.99
    assert aurocs[blind] < aurocs["combined"]


@pytest.mark.parametrize("score_kind", KINDS)
def test_label_free_score_is_the_mixtures_log_density(score_kind, fitted_classifier):
    X, y = gaussian_rows(101, 120)
    detector = LGMOutlierDetector(
        FrozenEstimator(fitted_classifier), score_kind=score_kind
    ).fit(X, y)
    joint = fitted_classifier.predict_joint_log_proba(X).astype(np.float64)
    np.testing.assert_allclose(detector.score_samples(X), logsumexp(joint, axis=1))


def test_pipeline_scores_what_reaches_its_last_step(fitted_softmax):
    X, y = gaussian_rows(101, 120)
    pipeline = make_pipeline(
        FrozenEstimator(fitted_softmax),
        LGMClassifier("identity", max_epochs=0, trim=0.25, covariance_type="diag"),
    ).fit(X, y)
    detector = LGMOutlierDetector(FrozenEstimator(pipeline)).fit(X, y)
    features = fitted_softmax.transform(X)
    np.testing.assert_allclose(
        detector.score_samples(X), pipeline[-1].score_samples(features), rtol=1e-6
    )


def test_score_minus_offset_is_the_decision(fitted_detector):
    X, y = gaussian_rows(5, 40)
    np.testing.assert_array_equal(
        fitted_detector.decision_function(X),
        fitted_detector.score_samples(X) - fitted_detector.offset_,
    )
    np.testing.assert_array_equal(
        fitted_detector.decision_function(X, labels=y),
        fitted_detector.score_samples(X, labels=y) - fitted_detector.label_offset_,
    )


@pytest.mark.parametrize("with_labels", [False, True])
def test_negative_decisions_are_flagged(with_labels, fitted_detector):
    X, y = gaussian_rows(5, 40)
    labels = y if with_labels else None
    is_negative = fitted_detector.decision_function(X, labels=labels) < 0
    flags = fitted_detector.predict(X, labels=labels)
    assert flags.dtype == np.int64
    np.testing.assert_array_equal(flags == -1, is_negative)


@pytest.mark.parametrize("with_labels", [False, True])
def test_rows_are_flagged_where_the_p_value_reaches_the_level(
    with_labels, fitted_detector
):
    X, y = gaussian_rows(5, 200)
    labels = np.roll(y, 1) if with_labels else None
    p_values = fitted_detector.p_values(X, labels=labels)
    flags = fitted_detector.predict(X, labels=labels)
    assert (flags == -1).any()
    np.testing.assert_array_equal(flags == -1, p_values <= 0.05)


@pytest.mark.parametrize("score_kind", KINDS)
def test_classes_with_one_or_no_held_out_row_have_finite_scores(
    score_kind, fitted_classifier
):
    X, y = gaussian_rows(101, 120)
    rows = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:1]])
    detector = LGMOutlierDetector(
        FrozenEstimator(fitted_classifier), score_kind=score_kind, contamination=0.1
    ).fit(X[rows], y[rows])
    assert np.isfinite(detector.score_samples(X, labels=y)).all()
    assert np.isfinite(detector.train_scores_).all()


# Thresholds


@pytest.mark.parametrize("contamination", [0.05, 0.1, 0.25])
@pytest.mark.parametrize("with_labels", [False, True])
def test_contamination_is_the_share_of_rows_flagged(contamination, with_labels):
    X, y = gaussian_rows(0, 100)
    detector = LGMOutlierDetector(contamination=contamination, random_state=0)
    flags = detector.fit_predict(X, y if with_labels else None)
    assert (flags == -1).sum() == round(100 * contamination)


def test_a_frozen_model_judges_every_row(fitted_detector):
    assert len(fitted_detector.train_p_values_) == 120
    assert len(fitted_detector.estimators_) == 1


def test_level_that_cannot_be_reached_warns_once_and_flags_nothing():
    X, y = gaussian_rows(0, 60)
    detector = LGMOutlierDetector(
        score_kind="likelihood", false_alarm_rate=0.01, random_state=0
    )
    message = "false_alarm_rate=0.01 needs at least 100 rows, got 60: no row of fit is"
    with pytest.warns(UserWarning, match=message) as caught:
        detector.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (detector.predict(X + 100.0, labels=y) == 1).all()
    assert (detector.predict(X + 100.0) == 1).all()


def test_contamination_does_not_warn_of_too_few_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LGMOutlierDetector(contamination=0.1).fit(*gaussian_rows(0, 20))


@pytest.mark.parametrize(
    "n_calibration", [29, pytest.param(99, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("scoring", [*KINDS, "label_free"])
def test_p_values_of_clean_rows_are_super_uniform_on_average(scoring, n_calibration):
    # P(p <= a) <= a over draws of the calibration rows. The bound is exact for
    # scores that do not depend on them; standardised ones stay close.
    X_train, y_train = gaussian_rows(50, 300)
    clf = LGMClassifier("identity", max_epochs=0, random_state=0)
    model = FrozenEstimator(clf.fit(X_train, y_train))
    detector = LGMOutlierDetector(
        model,
        score_kind="posterior" if scoring == "label_free" else scoring,
        calibration="marginal",
        contamination=0.1,
    )
    levels = np.array([0.05, 0.1, 0.2, 0.5])
    n_draws = 200
    rates = np.empty((n_draws, len(levels)))
    for draw in range(n_draws):
        detector.fit(*gaussian_rows(1_000 + draw, n_calibration))
        X, y = gaussian_rows(5_000 + draw, 50)
        p_values = detector.p_values(X, labels=None if scoring == "label_free" else y)
        rates[draw] = (p_values[:, None] <= levels).mean(axis=0)
    # Draws are independent, so their spread gives the standard error; three of it.
    error = rates.std(axis=0, ddof=1) / math.sqrt(n_draws)
    assert np.all(rates.mean(axis=0) <= levels + 3 * error)
    # And not so small as to be useless: one rank below the level.
    least = levels - 1 / (n_calibration + 1)
    assert np.all(rates.mean(axis=0) >= least - 3 * error)


@pytest.mark.parametrize("calibration", ["auto", "marginal"])
@pytest.mark.parametrize("score_kind", ["likelihood", "combined"])
@pytest.mark.parametrize("seed", SEEDS)
def test_clean_rows_are_flagged_at_the_false_alarm_rate(seed, score_kind, calibration):
    # The share of one calibration draw is Beta distributed around the level:
    # standard deviation sqrt(0.05 * 0.95 / 1000) = 0.007, four of them; that of
    # 2,000 judged rows adds 0.005.
    detector = LGMOutlierDetector(
        score_kind=score_kind,
        calibration=calibration,
        false_alarm_rate=0.05,
        random_state=seed,
    )
    detector.fit(*gaussian_rows(seed, 1_000))
    X, y = gaussian_rows(seed + 100, 2_000)
    for labels in (None, y):
        rate = (detector.predict(X, labels=labels) == -1).mean()
        assert rate == pytest.approx(0.05, abs=4 * math.hypot(0.007, 0.005))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("score_kind", KINDS)
def test_wrong_claims_do_not_set_their_own_threshold(score_kind, share):
    # Trimmed Gaussians: the share of right rows flagged keeps the level, whatever
    # share is wrong, and most of the wrong ones are flagged.
    X, y = gaussian_rows(0, 1_200)
    claimed, is_flipped = flipped(y, round(1_200 * share))
    detector = LGMOutlierDetector(
        score_kind=score_kind, false_alarm_rate=0.02, random_state=0
    )
    is_flagged = detector.fit_predict(X, claimed) == -1
    error = 3 * math.sqrt(0.02 * 0.98 / (1_200 * (1 - share)))
    assert is_flagged[~is_flipped].mean() < 0.02 + error
    if share > 0:
        assert is_flagged[is_flipped].mean() > 0.9
        assert detector.noise_share_ == pytest.approx(share, abs=0.02)


# The estimator it is given


def test_given_estimator_is_cloned_and_stays_unfitted(blobs):
    clf = small_classifier(max_epochs=1)
    detector = LGMOutlierDetector(clf, contamination=0.1, random_state=0).fit(*blobs)
    assert not hasattr(clf, "net_")
    assert all(model is not clf for model in detector.estimators_)


def test_frozen_estimator_survives_clone(fitted_classifier, blobs):
    X, y = blobs
    detector = LGMOutlierDetector(FrozenEstimator(fitted_classifier), contamination=0.1)
    means = fitted_classifier.means_.copy()
    fitted = clone(detector).fit(X, y)
    assert fitted.estimators_[0].estimator is fitted_classifier
    np.testing.assert_array_equal(fitted_classifier.means_, means)


def test_any_classifier_with_probabilities_gives_posteriors(blobs):
    X, y = blobs
    claimed, is_flipped = flipped(y, 6)
    detector = LGMOutlierDetector(
        LogisticRegression(), contamination=0.1, random_state=0
    ).fit(X, claimed)
    scores = detector.score_samples(X, labels=claimed)
    assert roc_auc_score(is_flipped, -scores) > 0.97
    with pytest.raises(ValueError, match="LogisticRegression has no class Gaussians"):
        detector.score_samples(X)


@pytest.mark.parametrize("estimator", [None, GaussianNB()])
def test_a_posterior_of_one_class_is_refused(estimator):
    X, y = gaussian_rows(0, 60, n_classes=1)
    detector = LGMOutlierDetector(estimator, contamination=0.1, random_state=0)
    with pytest.raises(ValueError, match="compares classes, but there is one: give ro"):
        detector.fit(X, y)
    detector.set_params(score_kind="likelihood")
    assert (detector.fit_predict(X, y) == -1).sum() == 6


def test_likelihood_of_a_classifier_without_gaussians_is_refused(blobs):
    message = "estimator LogisticRegression has no class Gaussians: use an LGMClass"
    with pytest.raises(ValueError, match=message):
        LGMOutlierDetector(LogisticRegression(), score_kind="likelihood").fit(
            *gaussian_rows(0, 300)
        )


def test_likelihood_of_a_softmax_classifier_is_refused(fitted_softmax):
    with pytest.raises(ValueError, match="SoftmaxClassifier has no class Gaussians"):
        LGMOutlierDetector(
            FrozenEstimator(fitted_softmax), score_kind="likelihood"
        ).fit(*gaussian_rows(0, 99))


def test_named_columns_reach_the_model():
    X, y = gaussian_rows(0, 120)
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    clf = LGMClassifier("identity", max_epochs=0).fit(frame, y)
    on_frame = LGMOutlierDetector(FrozenEstimator(clf)).fit(frame, y)
    clf = LGMClassifier("identity", max_epochs=0).fit(X, y)
    on_array = LGMOutlierDetector(FrozenEstimator(clf)).fit(X, y)
    assert on_frame.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(
        on_frame.p_values(frame, labels=y), on_array.p_values(X, labels=y)
    )
    for estimator in (None, GaussianNB()):
        LGMOutlierDetector(estimator, contamination=0.1).fit(frame, y).predict(frame)


# Errors and state


def test_unknown_claims_are_listed(fitted_detector):
    X, y = gaussian_rows(5, 10)
    with pytest.raises(ValueError, match=r"labels holds \[8, 9\], which are not among"):
        fitted_detector.predict(X, labels=[*y[:8], 8, 9])


def test_claims_that_the_frozen_model_does_not_know_are_listed(fitted_classifier):
    X, y = gaussian_rows(5, 10)
    detector = LGMOutlierDetector(FrozenEstimator(fitted_classifier))
    with pytest.raises(ValueError, match=r"y holds \[7\], which are not among"):
        detector.set_params(contamination=0.1).fit(X, [*y[:9], 7])


def test_labels_of_another_length_are_refused(fitted_detector):
    X, y = gaussian_rows(5, 10)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted_detector.predict(X, labels=y[:9])


def test_labels_need_a_fit_with_labels(blobs):
    X, y = blobs
    detector = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="labels were given, but fit had no claimed"):
        detector.predict(X, labels=y)


def test_fit_without_labels_forgets_those_of_the_fit_before(blobs):
    X, y = blobs
    detector = LGMOutlierDetector(contamination=0.1, random_state=0)
    once = vars(clone(detector).fit(X))
    assert vars(detector.fit(X, y).fit(X)).keys() == once.keys()
    with pytest.raises(ValueError, match="labels were given, but fit had no claimed"):
        detector.score_samples(X, labels=y)


def test_a_fit_that_fails_leaves_no_fit_before_it(blobs):
    X, y = blobs
    detector = LGMOutlierDetector(GaussianNB(), contamination=0.1).fit(X, y)
    with pytest.raises(ValueError, match="y=None: claimed labels are needed"):
        detector.fit(X[:, :3])
    with pytest.raises(NotFittedError):
        detector.score_samples(X)


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_small_classes_are_judged_as_far_as_they_can_be(n_rows):
    X, _ = gaussian_rows(0, 100 + n_rows)
    y = np.r_[np.zeros(50), np.ones(50), np.full(n_rows, 2)]
    detector = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X, y)
    assert all(model.classes_.tolist() == [0, 1, 2] for model in detector.estimators_)
    assert np.isfinite(detector.train_scores_).all()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.array([0.0, 1.0, np.nan] * 20), ValueError, "Input y contains NaN"),
        (["a", "b", np.nan] * 20, ValueError, "y holds nan in 20 rows, row 2"),
        (["a", "b", None] * 20, ValueError, "y holds None in 20 rows, row 2"),
        (["a", "b", 3] * 20, TypeError, r"y holds labels of types \['int', 'str'\]"),
    ],
    ids=["nan", "nan_object", "none", "mixed"],
)
def test_labels_that_are_missing_or_mixed_name_y(labels, error, message, blobs):
    if isinstance(labels, list):
        labels = np.array(labels, dtype=object)
    with pytest.raises(error, match=message):
        LGMOutlierDetector().fit(blobs[0], labels)


def test_an_estimator_without_classes_is_named(blobs):
    detector = LGMOutlierDetector(LinearRegression())
    with pytest.raises(ValueError, match="estimator=LinearRegression has no classes_"):
        detector.fit(*blobs)


def test_estimator_that_must_be_fitted_needs_labels(blobs):
    with pytest.raises(ValueError, match="y=None: claimed labels are needed to fit"):
        LGMOutlierDetector(small_classifier()).fit(blobs[0])


def test_frozen_estimator_must_be_fitted(blobs):
    with pytest.raises(NotFittedError):
        LGMOutlierDetector(FrozenEstimator(small_classifier())).fit(*blobs)


@pytest.mark.parametrize("method", ["predict", "score_samples", "p_values"])
def test_methods_need_a_fit(method, blobs):
    with pytest.raises(NotFittedError):
        getattr(LGMOutlierDetector(), method)(blobs[0])


def test_the_same_seed_gives_the_same_scores(blobs):
    X, y = blobs
    detectors = [
        LGMOutlierDetector(
            small_classifier(max_epochs=2), contamination=0.1, random_state=3
        ).fit(X, y)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(
        *[detector.score_samples(X, labels=y) for detector in detectors]
    )


def test_pickled_detector_gives_the_same_p_values(fitted_detector):
    X, y = gaussian_rows(5, 40)
    loaded = pickle.loads(pickle.dumps(fitted_detector))
    np.testing.assert_array_equal(
        loaded.p_values(X, labels=y), fitted_detector.p_values(X, labels=y)
    )


def test_claimed_labels_are_routed_through_a_pipeline():
    X, y = gaussian_rows(0, 100)
    claimed, is_flipped = flipped(y, 10)
    with sklearn.config_context(enable_metadata_routing=True):
        detector = LGMOutlierDetector(contamination=0.1, random_state=0)
        detector.set_predict_request(labels=True)
        detector.set_decision_function_request(labels=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("detect", detector)])
        pipeline.fit(X, claimed)
        flags = pipeline.predict(X, labels=claimed)
        decision = pipeline.decision_function(X, labels=claimed)
    direct = LGMOutlierDetector(contamination=0.1, random_state=0)
    scaled = pipeline[:-1].transform(X)
    flags_directly = direct.fit(scaled, claimed).predict(scaled, labels=claimed)
    np.testing.assert_array_equal(flags, flags_directly)
    np.testing.assert_array_equal(flags == -1, decision < 0)
    assert (flags[is_flipped] == -1).sum() >= 9
