"""Calibration of claimed-label detectors: marginal, per class, weighted, q-values."""

import math
from dataclasses import FrozenInstanceError
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB

from sklgm import LGMOutlierDetector
from sklgm.outliers._base import ClaimedLabelDetector
from sklgm.outliers._calibration import Calibration, RowScores, ScoreKind
from sklgm.outliers._evidence import Evidence

SEEDS = [0, 1, 2]
LEVELS = np.array([0.01, 0.05, 0.1, 0.2, 0.5, 0.9])
ignore_ties = pytest.mark.filterwarnings("ignore:contamination=0.1 cannot be met")


class _Classes:
    def __init__(self, y):
        self.classes_ = np.unique(np.zeros(1) if y is None else y)


class ColumnScoreDetector(ClaimedLabelDetector):
    """Any scores: those of class k are column k of X, whatever the training rows."""

    _parameter_constraints: ClassVar = {
        **ClaimedLabelDetector._parameter_constraints,
        "score_kind": "no_validation",
    }

    def __init__(
        self,
        estimator=None,
        *,
        contamination=None,
        false_alarm_rate=0.05,
        calibration="marginal",
        score_kind=None,
        cv=3,
        random_state=0,
    ):
        super().__init__(
            estimator,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            calibration=calibration,
            cv=cv,
            n_jobs=None,
            random_state=random_state,
        )
        self.score_kind = score_kind

    def _fit_model(self, estimator, X, y):
        return _Classes(y)

    def _read(self, model, X):
        return Evidence(features=np.asarray(X))

    def _claimed_scores(self, model, evidence, claimed):
        return evidence.features[np.arange(len(claimed)), claimed]

    def _label_free_scores(self, model, evidence):
        return evidence.features.max(axis=1)

    def _score_kind(self):
        return self.score_kind or ScoreKind()


class EveryRowCalibrates(ColumnScoreDetector):
    """A model that is not trained: all rows of fit are ranked together."""

    def __init__(
        self,
        estimator=None,
        *,
        contamination=None,
        false_alarm_rate=0.05,
        calibration="marginal",
        score_kind=None,
    ):
        super().__init__(
            estimator,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            calibration=calibration,
            score_kind=score_kind,
        )

    def _encoded(self, y):
        return np.unique(y), np.asarray(y)

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


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False], ids=["alike", "unlike"])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 7, 8, 10, (1, 3, 20)], ids=str)
def test_standardised_scores_of_few_rows_a_class_keep_the_level(n_rows, alike):
    # Log densities of Gaussian rows; "unlike" ones have a level and scale a class.
    n_classes, n_draws, levels = 60, 120, np.array([0.01, 0.05, 0.1])
    held_out = np.repeat(np.arange(n_classes), np.resize(n_rows, n_classes))
    detector = EveryRowCalibrates(
        contamination=0.1, score_kind=ScoreKind(is_standardised=True)
    )
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


@pytest.mark.parametrize("cv", [2, 3])
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
        r"false_alarm_rate=0.05 needs at least 20 rows of each class: nothing is "
        r"flagged among those that claim 1 \(10\)\."
    )
    with pytest.warns(UserWarning, match=message) as caught:
        detector.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    flags = detector.predict(X - 1e6, labels=y)
    assert (flags[y == 0] == -1).all()
    assert (flags[y == 1] == 1).all()


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


# q-values


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


@pytest.mark.parametrize("n_classes", [5, 6])
def test_five_classes_with_too_few_rows_are_named(n_classes):
    y = np.repeat(np.arange(n_classes), 10)
    X = np.repeat(np.arange(len(y), dtype=float)[:, None], n_classes, axis=1)
    detector = EveryRowCalibrates(calibration="per_class", false_alarm_rate=0.05)
    end = r"4 \(10\)\. Give" if n_classes == 5 else r"4 \(10\), \.\.\.\. Give"
    with pytest.warns(UserWarning, match=f"claim 0 .*{end}"):
        detector.fit(X, y)


def test_a_row_at_the_threshold_is_not_flagged():
    # Of eleven rows the tenth percentile is the second lowest score.
    X = np.repeat(np.arange(11.0)[:, None], 2, axis=1)
    detector = EveryRowCalibrates(contamination=0.1)
    flags = detector.fit_predict(X, np.arange(11) % 2)
    assert np.flatnonzero(flags == -1).tolist() == [0]
    assert detector.label_offset_ == 1.0


def test_label_free_p_values_are_taken_against_trusted_rows():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    X_trusted, y_trusted = rng.normal(size=(24, 2)), np.arange(24) % 2
    detector = ColumnScoreDetector(false_alarm_rate=0.1)
    detector.fit(X, y, trusted=(X_trusted, y_trusted))
    X_new = rng.normal(size=(40, 2))
    lower = X_trusted.max(axis=1) <= X_new.max(axis=1)[:, None]
    np.testing.assert_allclose(detector.p_values(X_new), (1 + lower.sum(axis=1)) / 25)


def test_what_was_calibrated_is_not_changed():
    nothing = np.zeros(0)
    made = Calibration(ScoreKind(), nothing, nothing, (), 1, nothing, nothing)
    for record in (made, RowScores(claims=nothing)):
        with pytest.raises(FrozenInstanceError):
            record.claims = nothing


def test_a_posterior_tells_two_classes_apart_and_not_one():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 2)) + 6.0 * y[:, None]
    claimed = y.copy()
    claimed[:3] = 1 - y[:3]
    detector = LGMOutlierDetector(GaussianNB(), contamination=0.05, random_state=0)
    flags = detector.fit_predict(X, claimed)
    assert np.flatnonzero(flags == -1).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="class"):
        detector.fit(X, np.zeros(60, dtype=int))
