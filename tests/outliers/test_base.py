"""What detectors share: every row is judged by a model that was not trained on it."""

import inspect
import math
import re
import warnings

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import sklgm.outliers
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
def test_training_rows_are_ranked_by_models_that_did_not_see_them(calibration):
    X, y = gaussian_rows(0, 90)
    folds = StratifiedKFold(3)
    detector = naive_bayes_detector(
        cv=folds, calibration=calibration, contamination=0.1
    ).fit(X, y)
    scores = np.empty(90)
    for train, held_out in folds.split(X, y):
        log_proba = GaussianNB().fit(X[train], y[train]).predict_log_proba(X[held_out])
        scores[held_out] = log_proba[np.arange(30), y[held_out]]
    np.testing.assert_allclose(detector.train_scores_, scores, rtol=1e-6, atol=1e-15)
    for i in range(90):
        is_peer = y == y[i] if calibration == "per_class" else y >= 0
        others = np.flatnonzero(is_peer & (np.arange(90) != i))
        n_lower = sum(
            detector.train_scores_[j] <= detector.train_scores_[i] for j in others
        )
        expected = (1 + n_lower) / (1 + len(others))
        assert detector.train_p_values_[i] == pytest.approx(expected)


def test_rows_do_not_vouch_for_their_own_labels():
    X, y = gaussian_rows(0, 300)
    claimed, is_flipped = flipped(y, 30)
    detector = LGMOutlierDetector(
        DecisionTreeClassifier(random_state=0),  # learns every label by heart
        random_state=0,
    ).fit(X, claimed)
    out_of_fold = detector.train_scores_
    in_sample = detector.score_samples(X, labels=claimed)
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
@pytest.mark.parametrize("calibration", ["auto", "marginal", "per_class"])
def test_fit_predict_flags_the_p_values_up_to_the_level(calibration, seed):
    X, y = gaussian_rows(seed, 300)
    claimed, is_flipped = flipped(y, 15, seed)
    detector = naive_bayes_detector(random_state=seed, calibration=calibration)
    is_flagged = detector.fit_predict(X, claimed) == -1
    np.testing.assert_array_equal(is_flagged, detector.train_p_values_ <= 0.1)
    assert is_flagged[is_flipped].sum() >= 13
    if calibration == "marginal":  # ranks: that share of the rows, whatever is in it
        assert is_flagged.sum() == 30


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


def test_rows_without_labels_are_judged_by_the_other_folds():
    X, _ = gaussian_rows(0, 100, separation=0.0)
    X[:5] += 10.0
    detector = LGMOutlierDetector(cv=5, contamination=0.05, random_state=0)
    assert np.flatnonzero(detector.fit_predict(X) == -1).tolist() == list(range(5))


# Documentation

DETECTORS = [getattr(sklgm.outliers, name) for name in sklgm.outliers.__all__]
OWN = {"estimator"}


def documented(detector_class, section):
    """Type and text of each documented name; what is one detector's own left out."""
    entries = {}
    for entry in NumpyDocString(inspect.cleandoc(detector_class.__doc__))[section]:
        text = " ".join(entry.desc).replace(" and the clustering", "")
        if entry.name == "calibration":
            text = re.sub(r' ``"chi2"``: .*? few rows\.', "", text)
        types = entry.type.replace(', "chi2"', "")
        entries[entry.name] = (types, text)
    return {name: entry for name, entry in entries.items() if name not in OWN}


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_what_detectors_share_is_documented_alike(section):
    of_all = [documented(detector_class, section) for detector_class in DETECTORS]
    shared = set.intersection(*map(set, of_all))
    assert len(shared) >= 5
    names = set.union(*map(set, of_all))
    for name in names:
        texts = {entries[name] for entries in of_all if name in entries}
        assert len(texts) == 1, name


@pytest.mark.parametrize("detector_class", DETECTORS)
def test_fitted_attributes_are_those_documented(detector_class):
    X, y = gaussian_rows(0, 150)
    detector = detector_class(false_alarm_rate=0.1, random_state=0).fit(X, y)
    fitted = {name for name in vars(detector) if name[0] != "_" and name.endswith("_")}
    assert fitted | {"feature_names_in_"} == set(
        documented(detector_class, "Attributes")
    )


# New rows


@pytest.mark.slow
@pytest.mark.parametrize("cv", [2, 4, 5])
@pytest.mark.parametrize("scoring", [*KINDS, "label_free"])
def test_p_values_of_new_rows_keep_twice_the_level(scoring, cv):
    levels = np.array([0.05, 0.1, 0.2, 0.4])
    n_draws = 100
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
    detector = naive_bayes_detector(cv=folds, calibration="marginal").fit(X, y)
    of_folds = []
    for train, _ in folds.split(X, y):
        log_proba = GaussianNB().fit(X[train], y[train]).predict_log_proba(X_new)
        scores = log_proba[np.arange(50), y_new]
        n_lower = (detector.train_scores_ <= scores[:, None]).sum(axis=1)
        of_folds.append((1 + n_lower) / 121)
    expected = np.sort(of_folds, axis=0)[cv // 2]
    np.testing.assert_allclose(detector.p_values(X_new, labels=y_new), expected)


@pytest.mark.parametrize("kind", [*KINDS, "label_free"])
@pytest.mark.parametrize("calibration", ["auto", "marginal", "per_class"])
def test_new_rows_against_trusted_ones_are_flagged_by_their_p_values(kind, calibration):
    X, y = gaussian_rows(0, 150)
    detector = naive_bayes_detector(
        score_kind="posterior" if kind == "label_free" else kind,
        calibration=calibration,
    ).fit(X, y, trusted=gaussian_rows(1, 120))
    X_new, y_new = gaussian_rows(2, 400, separation=2.0)
    labels = None if kind == "label_free" else y_new
    is_flagged = detector.predict(X_new, labels=labels) == -1
    assert 10 < is_flagged.sum() < 390
    p_values = detector.p_values(X_new, labels=labels)
    np.testing.assert_array_equal(is_flagged, p_values <= 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["auto", "marginal"])
@pytest.mark.parametrize("cv", [2, 5, 10])
def test_new_rows_are_flagged_less_often_than_the_level_allows(cv, calibration):
    # The bound for a committee is twice the level; rates stay below the level itself.
    shares = []
    for draw in range(100):
        detector = naive_bayes_detector(
            cv=cv, calibration=calibration, contamination=0.1, random_state=draw
        ).fit(*gaussian_rows(draw, 300))
        X, y = gaussian_rows(9_000 + draw, 100)
        shares.append(np.mean(detector.p_values(X, labels=y) <= 0.1))
    error = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert np.mean(shares) <= 0.1 + 3 * error
    assert np.mean(shares) >= 0.03


# The folds


def test_each_fold_has_a_model_of_its_own():
    given = LGMClassifier("identity", max_epochs=0)
    detector = LGMOutlierDetector(given, cv=3, contamination=0.1, random_state=0)
    detector.fit(*gaussian_rows(0, 90))
    assert not hasattr(given, "net_")
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


def test_a_filter_drops_the_rows_that_other_folds_reject():
    X, y = gaussian_rows(0, 300)
    claimed, _ = flipped(y, 15)
    detector = naive_bayes_detector(contamination=0.05)
    poison_filter = PoisonFilter(detector).fit(X, claimed)
    kept = np.flatnonzero(detector.fit_predict(X, claimed) == 1)
    np.testing.assert_array_equal(poison_filter.sample_indices_, kept)
    assert len(kept) == 285


# Settings and checks


@pytest.mark.parametrize("detector_class", DETECTORS)
def test_detectors_share_their_defaults(detector_class):
    shared = {
        "estimator": None,
        "contamination": None,
        "false_alarm_rate": 0.01,
        "calibration": "auto",
        "cv": 5,
        "n_jobs": None,
        "random_state": None,
    }
    assert shared.items() <= detector_class().get_params().items()


def test_another_fit_takes_other_columns():
    detector = naive_bayes_detector()
    for dim in (4, 3):
        X, y = gaussian_rows(0, 90, dim=dim)
        assert detector.fit(X, y).n_features_in_ == dim
    with pytest.raises(ValueError, match="X has 4 features, but LGMOutlierDetector"):
        detector.predict(gaussian_rows(0, 9)[0])


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({}, True),
        ({"contamination": 0.1}, False),  # no p-value decides
        ({"score_kind": "likelihood"}, False),
    ],
    ids=["level", "contamination", "likelihood"],
)
def test_only_p_values_of_posteriors_are_doubted(settings, warns):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 1)), np.arange(1000) % 2  # nothing to be learnt
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        naive_bayes_detector(**settings).fit(X, y)
    doubts = [w for w in caught if "certain of hardly any row" in str(w.message)]
    assert len(doubts) == warns


def test_trusted_rows_pass_the_fixed_part_of_a_pipeline():
    X, y = gaussian_rows(0, 90)
    X_trusted, y_trusted = gaussian_rows(1, 60)
    scaler = StandardScaler().fit(10.0 * X)
    whole = make_pipeline(FrozenEstimator(scaler), GaussianNB())
    detector = LGMOutlierDetector(whole, false_alarm_rate=0.1, random_state=0)
    detector.fit(X, y, trusted=(X_trusted, y_trusted))
    alone = naive_bayes_detector().fit(
        scaler.transform(X), y, trusted=(scaler.transform(X_trusted), y_trusted)
    )
    np.testing.assert_allclose(detector.train_p_values_, alone.train_p_values_)
