"""Calibration of claimed-label detectors: marginal, per class, chi-square, q-values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklgm import LGMClassifier, LGMOutlierDetector
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._conformal import ChiSquareLaw, HeldOutScores
from sklgm.outliers._members import contamination_threshold

SEEDS = [0, 1, 2]
LEVELS = np.array([0.01, 0.05, 0.1, 0.2, 0.5, 0.9])
ignore_ties = pytest.mark.filterwarnings("ignore:contamination=0.1 cannot be met")


class _Classes:
    def __init__(self, y):
        self.classes_ = np.unique(np.zeros(1) if y is None else y)


class ColumnScoreDetector(ClaimedLabelDetector):
    """Any scores: those of class k are column k of X, whatever the training rows."""

    def __init__(
        self,
        estimator=None,
        *,
        contamination=None,
        false_alarm_rate=0.05,
        calibration="marginal",
        calibration_fraction=0.5,
        cv=None,
        random_state=0,
    ):
        super().__init__(
            estimator,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            calibration=calibration,
            calibration_fraction=calibration_fraction,
            cv=cv,
            random_state=random_state,
        )

    def _fit_model(self, X, y):
        return _Classes(y)

    def _claimed_scores(self, model, X, claimed):
        return X[np.arange(len(X)), claimed]

    def _needs_training(self):
        return self.estimator is None


class EveryRowCalibrates(ColumnScoreDetector):
    def _fit_model(self, X, y):
        return _Classes(np.arange(2))

    def _needs_training(self):
        return False


DRAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "cauchy": lambda rng, shape: rng.standard_cauchy(size=shape),
    "ten_values": lambda rng, shape: rng.integers(0, 10, size=shape).astype(float),
    "mostly_tied": lambda rng, shape: (rng.random(shape) < 0.02).astype(float),
    "constant": lambda rng, shape: np.ones(shape),
}


def rows_of_two_classes(rng, n, draw):
    """Scores of the two classes on different scales, and claims of unequal share."""
    y = (rng.random(n) < 0.25).astype(int)
    y[:2] = [0, 1]
    return draw(rng, (n, 2)) * [1.0, 5.0] + [0.0, -3.0], y


# Groups


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), max_size=30),
    st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 2)), min_size=1, max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_p_values_count_the_rows_of_the_own_group(held_out, new):
    scores = np.array([float(s) for s, _ in held_out])
    groups = np.array([g for _, g in held_out], dtype=np.int64)
    law = HeldOutScores.from_rows(scores, groups, 3)
    p_values = law.p_values(
        np.array([float(s) for s, _ in new]), np.array([g for _, g in new])
    )
    for p, (s, g) in zip(p_values, new, strict=True):
        own = [c for c, of in held_out if of == g]
        assert p == (1 + sum(c <= s for c in own)) / (len(own) + 1)


# False alarms, for any scores


@ignore_ties
@pytest.mark.parametrize("n_calibration", [29, 120])
@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_false_alarms_stay_below_every_level_on_average(
    draw, calibration, n_calibration
):
    n_draws = 300
    rates = np.empty((n_draws, 3, len(LEVELS)))
    detector = EveryRowCalibrates(calibration=calibration, contamination=0.1)
    for i in range(n_draws):
        rng = np.random.default_rng(i)
        detector.fit(*rows_of_two_classes(rng, n_calibration, draw))
        X, y = rows_of_two_classes(rng, 200, draw)
        is_flagged = detector.p_values(X, labels=y)[:, None] <= LEVELS
        for j, rows in enumerate((y >= 0, y == 0, y == 1)):
            rates[i, j] = is_flagged[rows].mean(axis=0)
    error = rates.std(axis=0, ddof=1) / math.sqrt(n_draws)
    excess = rates.mean(axis=0) - LEVELS - 3 * error
    assert np.all(excess[0] <= 0)
    if calibration == "per_class":
        assert np.all(excess <= 0)


@pytest.mark.slow
@ignore_ties
@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_false_alarms_over_folds_stay_below_twice_the_level(draw, calibration):
    n_draws = 200
    rates = np.empty((n_draws, len(LEVELS)))
    for i in range(n_draws):
        rng = np.random.default_rng(i)
        detector = ColumnScoreDetector(
            calibration=calibration, contamination=0.1, cv=3, random_state=i
        ).fit(*rows_of_two_classes(rng, 90, draw))
        X, y = rows_of_two_classes(rng, 100, draw)
        p_values = detector.p_values(X, labels=y)
        rates[i] = (p_values[:, None] <= LEVELS).mean(axis=0)
    error = rates.std(axis=0, ddof=1) / math.sqrt(n_draws)
    assert np.all(rates.mean(axis=0) <= 2 * LEVELS + 3 * error)


class EveryRowCalibratesStandardised(EveryRowCalibrates):
    def _fit_model(self, X, y):
        return _Classes(np.arange(X.shape[1]))

    def _is_standardised(self):
        return True


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False], ids=["alike", "unlike"])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 7, 8, 10, (1, 3, 20)], ids=str)
def test_standardised_scores_of_few_rows_a_class_keep_the_level(n_rows, alike):
    # Log densities of Gaussian rows; "unlike" ones have a level and scale a class.
    n_classes, n_draws, levels = 60, 120, np.array([0.01, 0.05, 0.1])
    held_out = np.repeat(np.arange(n_classes), np.resize(n_rows, n_classes))
    detector = EveryRowCalibratesStandardised(contamination=0.1)
    rates = np.empty((n_draws, 3))
    for i in range(n_draws):
        rng = np.random.default_rng(i)
        centres = 0.0 if alike else 5.0 * rng.normal(size=n_classes)
        scales = 1.0 if alike else np.exp(rng.normal(size=n_classes))
        y = np.r_[held_out, rng.choice(held_out, 300)]
        X = centres - scales * rng.chisquare(8, size=(len(y), n_classes)) / 2
        detector.fit(X[:-300], y[:-300])
        p_values = detector.p_values(X[-300:], labels=y[-300:])
        rates[i] = (p_values[:, None] <= levels).mean(axis=0)
    error = rates.std(axis=0, ddof=1) / math.sqrt(n_draws)
    assert np.all(rates.mean(axis=0) <= levels + 3 * error)
    assert np.all(rates.mean(axis=0)[1:] >= 0.35 * levels[1:])  # nor far below


def test_marginal_rates_do_not_hold_in_each_class_and_per_class_ones_do():
    # Class 1 scores far lower: marginal thresholds flag it alone.
    rng = np.random.default_rng(0)
    X, y = rows_of_two_classes(rng, 4_000, DRAWS["normal"])
    X_new, y_new = rows_of_two_classes(rng, 4_000, DRAWS["normal"])
    rate = {}
    for calibration in ("marginal", "per_class"):
        detector = EveryRowCalibrates(calibration=calibration).fit(X, y)
        flags = detector.predict(X_new, labels=y_new)
        rate[calibration] = [(flags[y_new == k] == -1).mean() for k in (0, 1)]
    assert rate["marginal"][0] < 0.01
    assert rate["marginal"][1] > 0.15
    # About 1,000 held-out and 1,000 judged rows of class 1: four standard errors.
    assert rate["per_class"] == pytest.approx([0.05, 0.05], abs=0.04)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_false_alarms_of_one_draw_follow_the_beta_binomial_law(draw, seed):
    # Given n held-out rows, the false-alarm probability at level a is Beta(l, n + 1 -
    # l) distributed with l = floor(a (n + 1)), and ties only lower it.
    n, n_new, level = 199, 2_000, 0.1
    rng = np.random.default_rng(seed)
    detector = EveryRowCalibrates(false_alarm_rate=level)
    detector.fit(*rows_of_two_classes(rng, n, draw))
    X, y = rows_of_two_classes(rng, n_new, draw)
    n_flagged = (detector.predict(X, labels=y) == -1).sum()
    rank = math.floor(level * (n + 1))
    law = stats.betabinom(n_new, rank, n + 1 - rank)
    assert n_flagged <= law.ppf(1 - 1e-4)
    if draw in (DRAWS["normal"], DRAWS["cauchy"]):
        assert n_flagged >= law.ppf(1e-4)


@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_flagged_where_the_p_value_reaches_the_level(calibration, seed):
    rng = np.random.default_rng(seed)
    detector = EveryRowCalibrates(calibration=calibration, false_alarm_rate=0.1)
    detector.fit(*rows_of_two_classes(rng, 200, DRAWS["ten_values"]))
    X, y = rows_of_two_classes(rng, 200, DRAWS["ten_values"])
    X[:20] -= 100.0
    is_flagged = detector.predict(X, labels=y) == -1
    assert 20 <= is_flagged.sum() < 200
    np.testing.assert_array_equal(is_flagged, detector.p_values(X, labels=y) <= 0.1)


# Per class


def test_thresholds_are_those_of_the_claimed_class():
    rng = np.random.default_rng(0)
    X, y = rows_of_two_classes(rng, 300, DRAWS["normal"])
    detector = EveryRowCalibrates(calibration="per_class").fit(X, y)
    assert detector.label_offset_.shape == (2,)
    for k in (0, 1):
        own = EveryRowCalibrates().fit(X[y == k], y[y == k])
        assert detector.label_offset_[k] == own.label_offset_
    np.testing.assert_array_equal(
        detector.decision_function(X, labels=y),
        detector.score_samples(X, labels=y) - detector.label_offset_[y],
    )


def test_contamination_per_class_flags_that_share_of_each_class():
    rng = np.random.default_rng(0)
    X, y = DRAWS["normal"](rng, (400, 2)) * [1.0, 5.0], np.repeat([0, 1], [300, 100])
    detector = EveryRowCalibrates(calibration="per_class", contamination=0.1)
    flags = detector.fit_predict(X, y)
    assert [(flags[y == k] == -1).sum() for k in (0, 1)] == [30, 10]


@pytest.mark.parametrize(
    ("n_tied", "n_above", "contamination", "n_flagged"),
    [
        (0, 100, 0.1, 10),
        (5, 95, 0.1, 10),  # ties below the threshold do not matter
        (20, 80, 0.1, 20),  # none would be flagged
        (40, 60, 0.05, 40),
        (51, 49, 0.1, 0),  # not more than half
        (100, 0, 0.1, 0),
        (0, 0, 0.1, 0),
    ],
)
def test_lowest_scores_that_tie_are_flagged_together(
    n_tied, n_above, contamination, n_flagged
):
    for lowest in (0.0, 3.7, np.finfo(np.float64).min):
        scores = np.r_[np.full(n_tied, lowest), 4.0 + np.arange(n_above)]
        threshold = contamination_threshold(scores, contamination)
        assert (scores < threshold).sum() == n_flagged
        assert (scores - threshold < 0).sum() == n_flagged


@pytest.mark.parametrize(("n_lowest", "n_flagged"), [(5, 5), (4, 24)])
def test_ties_at_the_threshold_are_flagged_where_half_would_be_missed(
    n_lowest, n_flagged
):
    scores = np.r_[-2.0 - np.arange(n_lowest), np.zeros(20), 1.0 + np.arange(80)]
    scores = scores[:100]
    threshold = contamination_threshold(scores, 0.1)
    assert (scores < threshold).sum() == n_flagged


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize(
    ("n_tied", "message"),
    [
        (90, "contamination=0.1 cannot be met, as scores tie: 90 of 300 rows are fla"),
        (200, "contamination=0.1 cannot be met, as scores tie: 0 of 300 rows are flag"),
    ],
)
def test_ties_that_miss_the_contamination_warn(n_tied, message, cv):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.tile([0, 1], 150)
    X[rng.permutation(300)[:n_tied]] = -9.0
    detector = ColumnScoreDetector(contamination=0.1, cv=cv)
    with pytest.warns(UserWarning, match=message) as caught:
        detector.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_ties_that_miss_the_contamination_of_a_class_name_it():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.tile([0, 1], 150)
    X[:100, 1] = -9.0
    detector = EveryRowCalibrates(calibration="per_class", contamination=0.1)
    with pytest.warns(UserWarning, match="tie: 50 of 150 rows of class 1 are flagged"):
        detector.fit(X, y)
    flags = detector.predict(X, labels=y)
    assert [(flags[y == k] == -1).sum() for k in (0, 1)] == [15, 50]


def test_ties_close_to_the_contamination_do_not_warn():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.tile([0, 1], 150)
    X[:40] = -9.0
    flags = EveryRowCalibrates(contamination=0.1).fit_predict(X, y)
    assert np.flatnonzero(flags == -1).tolist() == list(range(40))


def test_classes_with_too_few_held_out_rows_are_named_and_never_flagged():
    X, y = np.zeros((60, 2)), np.repeat([0, 1], [50, 10])
    X[:, 0], X[:, 1] = np.arange(60), np.arange(60)
    detector = EveryRowCalibrates(calibration="per_class", false_alarm_rate=0.05)
    message = (
        r"false_alarm_rate=0.05 needs at least 19 held-out rows of each class: nothing "
        r"is flagged among those that claim 1 \(10\)\."
    )
    with pytest.warns(UserWarning, match=message) as caught:
        detector.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    flags = detector.predict(X - 1e6, labels=y)
    assert (flags[y == 0] == -1).all()
    assert (flags[y == 1] == 1).all()


def test_rows_held_out_suffice_for_the_level_in_each_class():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 2)), np.tile([0, 1], 200)
    detector = ColumnScoreDetector(
        calibration="per_class", false_alarm_rate=0.02, calibration_fraction=0.1
    ).fit(X, y)
    assert [len(scores) for scores in detector.label_calibration_scores_] == [49, 49]


def test_likelihoods_per_class_are_ranked_as_log_densities_exactly():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = 4.0 * np.eye(3)[y] + rng.normal(size=(120, 3))
    model = GaussianNB().fit(X[60:], y[60:])
    detector = LGMOutlierDetector(
        FrozenEstimator(model),
        score_kind="likelihood",
        calibration="per_class",
        contamination=0.1,
    ).fit(X[:60], y[:60])
    joint = model.predict_joint_log_proba(X)
    for i in range(60, 120):
        own = [joint[j, y[j]] for j in range(60) if y[j] == y[i]]
        expected = (1 + sum(c <= joint[i, y[i]] for c in own)) / (len(own) + 1)
        assert detector.p_values(X[i : i + 1], labels=y[i : i + 1]) == expected


# The chi-square law

GAUSSIANS = {
    "identity": lambda: LGMClassifier("identity", max_epochs=0, variance=2.0),
    "spherical": lambda: LGMClassifier(
        "identity", max_epochs=0, covariance_type="spherical"
    ),
    "diag": lambda: LGMClassifier("identity", max_epochs=0, covariance_type="diag"),
    "tied_diag": lambda: LGMClassifier(
        "identity", max_epochs=0, covariance_type="tied_diag"
    ),
    "naive_bayes": GaussianNB,
}


def fitted_gaussians(make):
    """A model, its means and its variances (n_classes, n_features), K equal to d."""
    rng = np.random.default_rng(7)
    y = np.arange(300) % 3
    X = 3.0 * rng.normal(size=(3, 3))[y] + rng.normal(size=(300, 3)) * [0.5, 1.0, 2.0]
    model = make().fit(X, y)
    if isinstance(model, GaussianNB):
        return model, model.theta_, model.var_
    variances = np.asarray(model.covariances_, dtype=float)
    if model.covariance_type == "spherical":
        variances = variances.reshape(3, 1)
    return model, model.means_, np.broadcast_to(variances, (3, 3))


def chi2_detector(model, X, y, **settings):
    settings = {"false_alarm_rate": 0.05, **settings}
    return LGMOutlierDetector(
        FrozenEstimator(model), score_kind="likelihood", calibration="chi2", **settings
    ).fit(X, y)


@pytest.mark.parametrize("make", GAUSSIANS.values(), ids=GAUSSIANS)
def test_chi2_p_values_match_the_literal_formula(make):
    model, means, variances = fitted_gaussians(make)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)) * 3.0, np.arange(40) % 3
    detector = chi2_detector(model, X, y)
    for x, z, p in zip(X, y, detector.p_values(X, labels=y), strict=True):
        distance = sum((x[j] - means[z, j]) ** 2 / variances[z, j] for j in range(3))
        assert p == pytest.approx(1 - stats.chi2.cdf(distance, 3), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make", GAUSSIANS.values(), ids=GAUSSIANS)
def test_chi2_p_values_of_rows_drawn_from_the_gaussians_are_uniform(make, seed):
    model, means, variances = fitted_gaussians(make)
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, size=3_000)
    X = means[y] + np.sqrt(variances[y]) * rng.normal(size=(3_000, 3))
    detector = chi2_detector(model, X[:60], y[:60])
    p_values = detector.p_values(X, labels=y)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4
    rate = (detector.predict(X, labels=y) == -1).mean()
    assert rate == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 3_000))


@pytest.mark.parametrize("estimator", [None, GaussianNB()], ids=["columns", "bayes"])
def test_chi2_does_not_count_columns_that_are_constant(estimator):
    rng = np.random.default_rng(0)
    y = np.arange(6_000) % 3
    X = np.c_[
        3.0 * np.eye(3, 6)[y] + rng.normal(size=(6_000, 6)), np.full((6_000, 9), 0.1)
    ]
    detector = LGMOutlierDetector(
        estimator, score_kind="likelihood", calibration="chi2", random_state=0
    )
    detector.fit(X[:4_000], y[:4_000])
    p_values = detector.p_values(X[4_000:], labels=y[4_000:])
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_chi2_p_values_have_no_smallest_value_and_need_no_held_out_rows():
    model, means, variances = fitted_gaussians(GaussianNB)
    message = "needs at least 99 held-out rows, got 6: nothing is flagged without label"
    with pytest.warns(UserWarning, match=message):
        detector = chi2_detector(
            model, means[[0, 1, 2] * 2], [0, 1, 2] * 2, false_alarm_rate=0.01
        )
    far = means + 10.0 * np.sqrt(variances)
    assert (detector.p_values(far, labels=[0, 1, 2]) < 1e-30).all()
    assert (detector.predict(far, labels=[0, 1, 2]) == -1).all()


@pytest.mark.parametrize("level", [1e-6, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("n_dimensions", [1, 64])
def test_chi2_thresholds_have_the_p_value_of_the_level(level, n_dimensions):
    law = ChiSquareLaw(n_dimensions)
    p_values = law.p_values(law.thresholds(level), np.zeros(1, dtype=np.int64))
    assert p_values == pytest.approx(level, rel=1e-9)


def test_chi2_needs_the_likelihood(blobs):
    detector = LGMOutlierDetector(calibration="chi2")
    with pytest.raises(ValueError, match="needs score_kind='likelihood', got score_ki"):
        detector.fit(*blobs)


def test_chi2_needs_class_gaussians(blobs):
    detector = LGMOutlierDetector(
        LogisticRegression(), score_kind="likelihood", calibration="chi2"
    )
    with pytest.raises(ValueError, match="LogisticRegression has no class Gaussians"):
        detector.fit(*blobs)


# q-values


@pytest.mark.parametrize("with_labels", [False, True])
def test_q_values_match_the_literal_procedure(with_labels, blobs):
    X, y = blobs
    detector = LGMOutlierDetector(contamination=0.1, random_state=0).fit(X, y)
    labels = np.where(np.arange(len(y)) < 5, (y + 1) % 3, y) if with_labels else None
    p_values = detector.p_values(X, labels=labels)
    order = np.argsort(p_values)
    expected = np.empty(len(p_values))
    for i, row in enumerate(order):
        expected[row] = min(
            p_values[order[j]] * len(order) / (j + 1) for j in range(i, len(order))
        )
    q_values = detector.q_values(X, labels=labels)
    np.testing.assert_allclose(q_values, np.minimum(expected, 1.0))


@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
def test_false_discoveries_stay_below_the_level_on_average(calibration):
    n_draws, level = 300, 0.2
    shares = np.empty(n_draws)
    n_found = 0
    detector = EveryRowCalibrates(calibration=calibration, contamination=0.1)
    for i in range(n_draws):
        rng = np.random.default_rng(i)
        detector.fit(*rows_of_two_classes(rng, 400, DRAWS["normal"]))
        X, y = rows_of_two_classes(rng, 100, DRAWS["normal"])
        X[:15] -= 20.0  # outliers in either class
        is_flagged = detector.q_values(X, labels=y) <= level
        shares[i] = is_flagged[15:].sum() / max(is_flagged.sum(), 1)
        n_found += is_flagged[:15].sum()
    error = shares.std(ddof=1) / math.sqrt(n_draws)
    # Benjamini and Hochberg's bound is the level times the share of clean rows.
    assert shares.mean() <= level * 0.85 + 3 * error
    assert n_found > 0.7 * 15 * n_draws
