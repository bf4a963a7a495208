"""sklgm.outliers: rows whose labels are known to be right."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from sklgm import ClassMahalanobisDetector, LGMClassifier, LGMOutlierDetector, audit
from sklgm.outliers._trusted import check_rows, count_shared_rows

ESTIMATORS = {
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "neighbours": lambda: KNeighborsClassifier(5),
    "naive_bayes": GaussianNB,
    "lgm": lambda: LGMClassifier(
        "identity", location="kept_mean", trim=0.1, random_state=0
    ),
}


def rates_of_right_rows(make, n_draws, judge):
    """Share of right rows flagged at 0.01, for each draw of trusted rows."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    rates = []
    for draw in range(n_draws):
        X_own, X_trusted, y_own, y_trusted = train_test_split(
            X, y, test_size=600, stratify=y, random_state=draw
        )
        flagged = judge(make(), X_own, y_own, (X_trusted, y_trusted), draw)
        rates.append(np.mean(flagged))
    return np.array(rates)


def by_audit(estimator, X, y, trusted, draw):
    return audit(
        X,
        y,
        estimator=estimator,
        trusted=trusted,
        false_alarm_rate=0.01,
        random_state=draw,
    ).is_suspect


def by_detector(estimator, X, y, trusted, draw):
    detector = LGMOutlierDetector(estimator, random_state=draw)
    return detector.fit_predict(X, y, trusted=trusted) == -1


@pytest.mark.slow
@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
def test_right_rows_are_flagged_at_the_level_against_trusted_ones(make):
    rates = rates_of_right_rows(make, 50, by_audit)
    assert rates.mean() <= 0.01 + 3 * rates.std(ddof=1) / math.sqrt(len(rates))


@pytest.mark.parametrize(
    "make", list(ESTIMATORS.values())[:3], ids=list(ESTIMATORS)[:3]
)
def test_right_rows_are_rarely_flagged_in_a_draw(make):
    # One draw of 600 trusted rows: their share below the threshold is Beta(6, 595)
    # distributed, of mean 0.01 and deviation 0.004.
    rates = rates_of_right_rows(make, 1, by_detector)
    assert rates[0] <= 0.01 + 4 * 0.0041 + 3 * math.sqrt(0.01 * 0.99 / 1197)


def test_detector_and_audit_agree_on_trusted_rows():
    X, y = load_digits(return_X_y=True)
    settings = X[:900] / 16, y[:900], (X[900:] / 16, y[900:]), 0
    for make in (ESTIMATORS["tree"], ESTIMATORS["naive_bayes"]):
        np.testing.assert_array_equal(
            by_audit(make(), *settings), by_detector(make(), *settings)
        )


@pytest.mark.parametrize("score_kind", ["likelihood", "combined", "posterior"])
def test_trusted_rows_set_the_level_of_every_score(score_kind):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=900)
    X = 4.0 * np.eye(3, 4)[y] + rng.normal(size=(900, 4))
    claimed = np.where(np.arange(900) < 60, (y + 1) % 3, y)
    detector = LGMOutlierDetector(
        score_kind=score_kind, false_alarm_rate=0.02, random_state=0
    )
    trusted = X[500:], y[500:]
    is_flagged = detector.fit_predict(X[:500], claimed[:500], trusted=trusted) == -1
    error = 3 * math.sqrt(0.02 * 0.98 * (1 / 440 + 1 / 400))
    assert is_flagged[60:].mean() <= 0.02 + error
    assert is_flagged[:60].mean() > 0.8
    assert not hasattr(detector, "noise_share_")


def test_p_values_are_ranks_among_the_trusted_rows():
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    X = 2.0 * y[:, None] + rng.normal(size=(240, 2))
    detector = ClassMahalanobisDetector(cv=3, false_alarm_rate=0.1, random_state=0)
    detector.fit(X[:120], y[:120], trusted=(X[120:], y[120:]))
    for model, law in zip(detector.estimators_, detector._claims_[0].laws, strict=True):
        statistics = model.statistics
        centred = X[120:] - statistics.means[y[120:]]
        squared = np.einsum("ij,jk,ik->i", centred, statistics.precision, centred)
        known = (2 - squared) / 2.0
        scores = np.array([-3.0, -1.0, 0.0, 0.5])
        expected = [(1 + np.sum(known <= s)) / 121 for s in scores]
        np.testing.assert_allclose(
            law.p_values(scores, np.zeros(4, dtype=np.int64)), expected
        )


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (np.float32, np.float64),
        (np.float64, np.float32),
        (np.float32, np.float32),
        (np.uint8, np.float32),
        (np.int64, np.int32),
    ],
)
def test_copies_of_another_type_are_known_again(own, other):
    rng = np.random.default_rng(0)
    X = (
        rng.integers(0, 255, size=(40, 5))
        if own in (np.uint8, np.int64)
        else (rng.normal(size=(40, 5)))
    )
    X = X.astype(own)
    trusted = np.r_[X[:7], X[:3] + 1].astype(other)
    assert count_shared_rows(X, trusted) == 7
    assert count_shared_rows(pd.DataFrame(X), pd.DataFrame(trusted)) == 7


def test_minus_zero_is_zero():
    assert count_shared_rows(np.array([[0.0, 1.0]]), np.array([[-0.0, 1.0]])) == 1


def test_trusted_rows_that_are_judged_too_are_told():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 3)).astype(np.float32), np.arange(150) % 2
    detector = LGMOutlierDetector(false_alarm_rate=0.1, random_state=0)
    trusted = X[:60].astype(np.float64), y[:60]
    with pytest.warns(UserWarning, match="60 trusted rows are rows of X too") as caught:
        detector.fit(X, y, trusted=trusted)
    assert caught[0].filename == __file__


def test_too_few_trusted_rows_are_told_and_flag_nothing():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 3)), np.arange(150) % 2
    detector = LGMOutlierDetector(random_state=0)
    trusted = X[:50] + 1e-3, y[:50]
    with pytest.warns(
        UserWarning, match="needs at least 99 trusted rows, got 50: no r"
    ):
        flags = detector.fit_predict(X, y, trusted=trusted)
    assert (flags == 1).all()


@pytest.mark.parametrize(
    ("settings", "y", "trusted", "error", "message"),
    [
        (
            {},
            True,
            "rows",
            TypeError,
            r"trusted must be a tuple \(X_trusted, y_trusted",
        ),
        ({}, True, "narrow", ValueError, "trusted rows must have the shape of those"),
        ({}, True, "unknown", ValueError, r"y_trusted holds \[77\]"),
        ({}, False, "good", ValueError, "give the claimed labels y too"),
        (
            {"score_kind": "likelihood", "calibration": "chi2"},
            True,
            "good",
            ValueError,
            "calibration='chi2' takes p-values from a law and not from trusted rows",
        ),
    ],
    ids=["no_pair", "shape", "label", "no_y", "chi2"],
)
def test_bad_trusted_rows_are_named(settings, y, trusted, error, message):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(120, 3)), np.arange(120) % 2
    given = {
        "rows": X,
        "narrow": (X[:, :2], labels),
        "unknown": (X + 1.0, np.where(labels == 0, 77, labels)),
        "good": (X + 1.0, labels),
    }[trusted]
    detector = LGMOutlierDetector(random_state=0, **settings)
    with pytest.raises(error, match=message):
        detector.fit(X, labels if y else None, trusted=given)


def test_images_are_rows():
    images, labels = check_rows(np.ones((4, 3, 2)), [0, 1, 0, 1], "X", "y")
    assert images.shape == (4, 3, 2)
    assert labels.tolist() == [0, 1, 0, 1]
