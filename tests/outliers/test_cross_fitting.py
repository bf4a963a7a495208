"""cv: every row is judged by a model that did not train on it."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from sklgm import LGMClassifier, LGMOutlierDetector, PoisonFilter

SEEDS = [0, 1, 2]
KINDS = ["likelihood", "posterior", "combined"]


def gaussian_rows(seed, n, *, dim=4, separation=4.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    return separation * np.eye(3, dim)[y] + rng.normal(size=(n, dim)), y


def flipped(y, n_flipped, seed=0):
    rng = np.random.default_rng(seed)
    is_flipped = np.zeros(len(y), dtype=bool)
    is_flipped[rng.choice(len(y), n_flipped, replace=False)] = True
    return np.where(is_flipped, (y + 1) % 3, y), is_flipped


def naive_bayes_detector(**settings):
    settings = {"cv": 5, "false_alarm_rate": 0.1, "random_state": 0, **settings}
    return LGMOutlierDetector(GaussianNB(), **settings)


# Training rows


@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
def test_training_rows_are_ranked_in_their_fold(calibration):
    X, y = gaussian_rows(0, 90)
    folds = StratifiedKFold(3)
    detector = naive_bayes_detector(
        score_kind="posterior", cv=folds, calibration=calibration, contamination=0.1
    ).fit(X, y)
    for train, held_out in folds.split(X, y):
        log_proba = GaussianNB().fit(X[train], y[train]).predict_log_proba(X[held_out])
        scores = log_proba[np.arange(30), y[held_out]]
        np.testing.assert_allclose(
            detector.train_scores_[held_out], scores, rtol=1e-6, atol=1e-15
        )
        for i, row in enumerate(held_out):
            peers = np.arange(30)
            if calibration == "per_class":
                peers = np.flatnonzero(y[held_out] == y[row])
            others = peers[peers != i]
            n_lower = sum(scores[j] <= scores[i] for j in others)
            expected = (1 + n_lower) / (1 + len(others))
            assert detector.train_p_values_[row] == expected


def test_rows_do_not_vouch_for_their_own_labels():
    X, y = gaussian_rows(0, 300)
    claimed, is_flipped = flipped(y, 30)
    detector = LGMOutlierDetector(
        DecisionTreeClassifier(random_state=0),  # learns every label by heart
        score_kind="posterior",
        false_alarm_rate=0.1,
        random_state=0,
    )
    in_sample = detector.fit(X, claimed).score_samples(X, labels=claimed)
    out_of_fold = detector.set_params(cv=5).fit(X, claimed).train_scores_
    assert roc_auc_score(is_flipped, -in_sample) < 0.7
    assert roc_auc_score(is_flipped, -out_of_fold) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
@pytest.mark.parametrize("score_kind", KINDS)
def test_p_value_of_a_training_row_keeps_its_level(score_kind, calibration):
    # Not the share of rows in a draw, which ranks bound by themselves: one and the
    # same row, over draws of all of them.
    levels = np.array([0.1, 0.2, 0.5])
    n_draws = 300
    is_low = np.empty((n_draws, len(levels)))
    for draw in range(n_draws):
        detector = naive_bayes_detector(
            score_kind=score_kind,
            calibration=calibration,
            contamination=0.1,
            random_state=draw,
        ).fit(*gaussian_rows(draw, 90))
        is_low[draw] = detector.train_p_values_[0] <= levels
    error = np.sqrt(levels * (1 - levels) / n_draws)
    assert np.all(is_low.mean(axis=0) <= levels + 3 * error)
    assert np.all(is_low.mean(axis=0) >= levels - 1 / 6 - 3 * error)


@pytest.mark.parametrize("seed", SEEDS)
def test_fit_predict_flags_the_p_values_up_to_the_level(seed):
    X, y = gaussian_rows(seed, 300)
    claimed, is_flipped = flipped(y, 15, seed)
    detector = naive_bayes_detector(random_state=seed)
    is_flagged = detector.fit_predict(X, claimed) == -1
    np.testing.assert_array_equal(is_flagged, detector.train_p_values_ <= 0.1)
    assert is_flagged.sum() == 30  # a share of each fold, whatever is in it
    assert is_flagged[is_flipped].sum() >= 13


@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
@pytest.mark.parametrize("with_labels", [True, False])
def test_contamination_is_the_share_of_rows_flagged(with_labels, calibration):
    X, y = gaussian_rows(0, 300)
    detector = naive_bayes_detector(contamination=0.1, calibration=calibration)
    detector.set_params(estimator=None)
    flags = detector.fit_predict(X, y if with_labels else None)
    assert (flags == -1).sum() == 30
    if with_labels and calibration == "per_class":
        assert [(flags[y == k] == -1).sum() for k in range(3)] == [10, 10, 10]


def test_chi2_p_values_of_training_rows_are_those_of_the_other_folds():
    X, y = gaussian_rows(0, 90)
    folds = StratifiedKFold(3)
    detector = naive_bayes_detector(
        score_kind="likelihood", calibration="chi2", cv=folds
    ).fit(X, y)
    for train, held_out in folds.split(X, y):
        model = GaussianNB().fit(X[train], y[train])
        z = y[held_out]
        distance = ((X[held_out] - model.theta_[z]) ** 2 / model.var_[z]).sum(axis=1)
        np.testing.assert_allclose(
            detector.train_p_values_[held_out], stats.chi2.sf(distance, 4), rtol=1e-8
        )


def test_rows_without_labels_are_judged_by_the_other_folds():
    X, _ = gaussian_rows(0, 100, separation=0.0)
    X[:5] += 10.0
    detector = LGMOutlierDetector(cv=5, contamination=0.05, random_state=0)
    assert np.flatnonzero(detector.fit_predict(X) == -1).tolist() == list(range(5))


# New rows


@pytest.mark.slow
@pytest.mark.parametrize("cv", [2, 4, 5])
@pytest.mark.parametrize("scoring", [*KINDS, "label_free"])
def test_p_values_of_new_rows_keep_twice_the_level(scoring, cv):
    levels = np.array([0.05, 0.1, 0.2, 0.4])
    n_draws = 200
    rates = np.empty((n_draws, len(levels)))
    for draw in range(n_draws):
        detector = naive_bayes_detector(
            score_kind="posterior" if scoring == "posterior" else "likelihood",
            cv=cv,
            contamination=0.1,
            random_state=draw,
        ).fit(*gaussian_rows(draw, 120))
        X, y = gaussian_rows(10_000 + draw, 60)
        p_values = detector.p_values(X, labels=None if scoring == "label_free" else y)
        rates[draw] = (p_values[:, None] <= levels).mean(axis=0)
    error = rates.std(axis=0, ddof=1) / math.sqrt(n_draws)
    assert np.all(rates.mean(axis=0) <= 2 * levels + 3 * error)
    # And not so small as to be useless.
    assert np.all(rates.mean(axis=0)[1:] >= levels[1:] / 3)


@pytest.mark.parametrize("cv", [3, 4])
@pytest.mark.parametrize("calibration", ["marginal", "per_class"])
@pytest.mark.parametrize("with_labels", [True, False])
def test_new_rows_are_flagged_where_the_p_value_reaches_the_level(
    with_labels, calibration, cv
):
    detector = naive_bayes_detector(cv=cv, calibration=calibration)
    detector.fit(*gaussian_rows(0, 300))
    X, y = gaussian_rows(1, 600, separation=2.0)  # harder: many are flagged
    labels = y if with_labels else None
    is_flagged = detector.predict(X, labels=labels) == -1
    assert 10 < is_flagged.sum() < 590
    np.testing.assert_array_equal(
        is_flagged, detector.p_values(X, labels=labels) <= 0.1
    )
    decision = detector.decision_function(X, labels=labels)
    np.testing.assert_array_equal(is_flagged, decision < 0)


@pytest.mark.parametrize("cv", [3, 4])
def test_p_values_of_new_rows_are_medians_over_the_folds(cv):
    X, y = gaussian_rows(0, 120)
    X_new, y_new = gaussian_rows(1, 50)
    folds = StratifiedKFold(cv)
    detector = naive_bayes_detector(score_kind="posterior", cv=folds).fit(X, y)
    of_folds = []
    for train, held_out in folds.split(X, y):
        model = FrozenEstimator(GaussianNB().fit(X[train], y[train]))
        single = LGMOutlierDetector(model, score_kind="posterior", contamination=0.1)
        single.fit(X[held_out], y[held_out])
        of_folds.append(single.p_values(X_new, labels=y_new))
    expected = np.sort(of_folds, axis=0)[cv // 2]
    np.testing.assert_array_equal(detector.p_values(X_new, labels=y_new), expected)


def test_level_that_a_fold_cannot_reach_warns_and_flags_nothing():
    X, y = gaussian_rows(0, 300)
    detector = naive_bayes_detector(false_alarm_rate=0.01)
    message = (
        "needs at least 100 held-out rows in each fold, got 60: nothing is flagged"
    )
    with pytest.warns(UserWarning, match=message):
        detector.fit(X, y)
    assert (detector.predict(X + 100.0, labels=y) == 1).all()
    assert (detector.predict(X + 100.0) == 1).all()
    assert np.isfinite(detector.score_samples(X, labels=y)).all()


def test_folds_that_can_judge_new_rows_alone_say_so():
    # 99 rows a fold suffice for new rows; a row of the fold has 98 others.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(297, 3)), np.arange(297) % 3
    detector = LGMOutlierDetector(
        score_kind="likelihood", cv=3, false_alarm_rate=0.01, random_state=0
    )
    message = "in each fold, got 99: no row of fit in a smaller fold is flagged; new ro"
    with pytest.warns(UserWarning, match=message):
        detector.fit(X, y)
    assert (detector.train_p_values_ > 0.01).all()
    assert (detector.predict(X + 100.0, labels=y) == -1).all()


@pytest.mark.parametrize("n_short", [1, 2, 3, 5])
@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.filterwarnings("ignore:false_alarm_rate=0.1 needs at least 10 held-out")
def test_folds_that_cannot_reach_the_level_vote_to_keep(with_labels, n_short):
    rng = np.random.default_rng(0)
    sizes = [8] * n_short + [40] * (5 - n_short)
    X, y = rng.normal(size=(sum(sizes), 3)), np.arange(sum(sizes)) % 2
    folds = np.split(np.arange(len(X)), np.cumsum(sizes)[:-1])
    splits = [(np.setdiff1d(np.arange(len(X)), fold), fold) for fold in folds]
    detector = LGMOutlierDetector(cv=splits, false_alarm_rate=0.1).fit(X, y)
    X_new = 2.0 * rng.normal(size=(300, 3))
    labels = np.arange(300) % 2 if with_labels else None
    is_flagged = detector.predict(X_new, labels=labels) == -1
    p_values = detector.p_values(X_new, labels=labels)
    np.testing.assert_array_equal(is_flagged, p_values <= 0.1)
    assert is_flagged.any() == (n_short < 3)
    scores = detector.score_samples(X_new, labels=labels)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 150


def test_a_fold_without_warning_can_flag_its_own_rows():
    # A row among n is judged by n - 1 others: p >= 1 / n.
    X, y = gaussian_rows(0, 30)
    X[0] += 100.0
    settings = {"false_alarm_rate": 0.1, "cv": 3, "random_state": 0}
    detector = LGMOutlierDetector(**settings)
    assert detector.fit_predict(X, y)[0] == -1
    with pytest.warns(UserWarning, match="at least 10 held-out rows in each fold, got"):
        detector.fit(X[:-1], y[:-1])


@pytest.mark.slow
def test_measured_rates_of_the_user_guide():
    # One standard error is about 0.003; the guide gives two digits.
    for cv, rate in ((2, 0.07), (5, 0.09), (10, 0.08)):
        shares = []
        for draw in range(100):
            detector = naive_bayes_detector(
                cv=cv, contamination=0.1, random_state=draw
            ).fit(*gaussian_rows(draw, 300))
            X, y = gaussian_rows(9_000 + draw, 100)
            shares.append(np.mean(detector.p_values(X, labels=y) <= 0.1))
        assert np.mean(shares) == pytest.approx(rate, abs=0.015)


# The folds


def test_each_fold_has_a_model_of_its_own():
    given = LGMClassifier("identity", max_epochs=0)
    detector = LGMOutlierDetector(given, cv=3, contamination=0.1, random_state=0)
    detector.fit(*gaussian_rows(0, 90))
    assert not hasattr(given, "net_")
    assert not hasattr(detector, "estimator_")
    assert len({id(model) for model in detector.estimators_}) == 3


def test_the_seed_draws_the_folds():
    X, y = gaussian_rows(0, 90)
    p_values = [
        naive_bayes_detector(random_state=seed, contamination=0.1).fit(X, y)
        for seed in (0, 0, 1)
    ]
    first, again, other = (detector.train_p_values_ for detector in p_values)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_sorted_by_class_are_shuffled_into_the_folds():
    X, y = gaussian_rows(0, 90)
    order = np.argsort(y, kind="stable")
    detector = naive_bayes_detector(contamination=0.1).fit(X[order], y[order])
    assert detector.classes_.tolist() == [0, 1, 2]


def test_a_fit_without_folds_forgets_them():
    X, y = gaussian_rows(0, 90)
    detector = naive_bayes_detector(contamination=0.1).fit(X, y)
    detector.set_params(cv=None).fit(X, y)
    assert not hasattr(detector, "estimators_")
    assert not hasattr(detector, "train_p_values_")


def test_a_frozen_estimator_is_not_cross_fitted():
    X, y = gaussian_rows(0, 90)
    detector = LGMOutlierDetector(FrozenEstimator(GaussianNB().fit(X, y)), cv=5)
    with pytest.raises(ValueError, match="cv=5 trains a model for each fold, but esti"):
        detector.fit(X, y)


def test_folds_that_leave_rows_out_are_refused():
    detector = naive_bayes_detector(cv=ShuffleSplit(3, random_state=0))
    with pytest.raises(ValueError, match="must hold out every row exactly once"):
        detector.fit(*gaussian_rows(0, 90))


def test_rows_that_train_the_model_they_are_held_out_of_are_refused():
    X, y = gaussian_rows(0, 90)
    rows = np.arange(90)
    detector = naive_bayes_detector(cv=[(rows, rows[:45]), (rows, rows[45:])])
    with pytest.raises(ValueError, match="cv trains a model on 45 of the rows that it"):
        detector.fit(X, y)


@pytest.mark.parametrize("cv", [50, GroupKFold(3)], ids=str)
@pytest.mark.parametrize("with_labels", [True, False])
def test_folds_that_cannot_be_made_name_cv(with_labels, cv):
    X, y = gaussian_rows(0, 45)
    detector = LGMOutlierDetector(cv=cv, contamination=0.1)
    with pytest.raises(ValueError, match=r"cv=.* cannot split n_samples=45: "):
        detector.fit(X, y if with_labels else None)


def test_folds_that_miss_a_class_are_refused():
    X, y = gaussian_rows(0, 90)
    order = np.argsort(y, kind="stable")
    with pytest.raises(ValueError, match="without any row of class 0: give more rows"):
        naive_bayes_detector(cv=KFold(3)).fit(X[order], y[order])


def test_a_filter_drops_the_rows_that_other_folds_reject():
    X, y = gaussian_rows(0, 300)
    claimed, _ = flipped(y, 15)
    detector = naive_bayes_detector(contamination=0.05)
    poison_filter = PoisonFilter(detector).fit(X, claimed)
    kept = np.flatnonzero(detector.fit_predict(X, claimed) == 1)
    np.testing.assert_array_equal(poison_filter.sample_indices_, kept)
    assert len(kept) == 285
