"""sklgm.filtering: rows are dropped, counted, and no class is lost."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch.utils.data import TensorDataset

from sklgm import (
    FilteredClassifier,
    LGMClassifier,
    LGMOutlierDetector,
    PoisonFilter,
)
from sklgm.poisoning import flip_labels

N_FLIPPED = 12


@pytest.fixture(scope="module")
def flipped():
    """Three classes of 100 rows; the first rows of class 0 claim to be of class 2."""
    X, y = make_blobs(300, centers=6.0 * np.eye(3), random_state=0)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    claimed = y.copy()
    claimed[:N_FLIPPED] = 2
    for array in (X, y, claimed):
        array.setflags(write=False)
    return X, y, claimed


def detector(**settings):
    return LGMOutlierDetector(**{"contamination": 0.04, "random_state": 0} | settings)


class Rejecting(LGMOutlierDetector):
    """A detector that rejects every row of one class."""

    def fit_predict(self, X, y=None):
        self.fit(X, y)
        return np.where(np.asarray(y) == 2, -1, 1)


FILTERS = {
    "PoisonFilter": lambda detector: PoisonFilter(detector),
    "FilteredClassifier": lambda detector: FilteredClassifier(
        LogisticRegression(max_iter=1000), detector
    ),
}
both = pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)


@both
def test_rows_with_implausible_labels_are_dropped_and_counted(make, flipped):
    X, _, claimed = flipped
    fitted = make(detector()).fit(X, claimed)
    assert fitted.n_dropped_ == {0: 0, 1: 0, 2: N_FLIPPED}
    np.testing.assert_array_equal(fitted.sample_indices_, np.arange(N_FLIPPED, 300))


@both
def test_the_given_detector_is_not_fitted(make, flipped):
    X, _, claimed = flipped
    given = detector()
    fitted = make(given).fit(X, claimed)
    assert not hasattr(given, "estimators_")
    assert hasattr(fitted.detector_, "estimators_")


@both
def test_a_frozen_detector_judges_without_being_fitted_again(make, flipped):
    X, y, claimed = flipped
    known = detector(contamination=None, false_alarm_rate=0.02).fit(X, y)
    fitted = make(FrozenEstimator(known)).fit(X, claimed)
    assert fitted.detector_ is known
    assert fitted.n_dropped_[2] >= N_FLIPPED
    expected = np.flatnonzero(known.predict(X, labels=claimed) == 1)
    np.testing.assert_array_equal(fitted.sample_indices_, expected)


@both
def test_detectors_of_features_alone_work_too(make, flipped):
    X, y, _ = flipped
    X = np.vstack([X, [[40.0, 40.0, 40.0]]])
    y = np.append(y, 1)
    for forest in (
        IsolationForest(contamination=0.01, random_state=0),
        FrozenEstimator(IsolationForest(contamination=0.01, random_state=0).fit(X)),
    ):
        fitted = make(forest).fit(X, y)
        assert 300 not in fitted.sample_indices_
        assert sum(fitted.n_dropped_.values()) == len(X) - len(fitted.sample_indices_)


@both
def test_a_pipeline_that_ends_in_a_detector_is_a_detector(make, flipped):
    X, _, claimed = flipped
    fitted = make(make_pipeline(StandardScaler(), detector())).fit(X, claimed)
    assert fitted.n_dropped_ == {0: 0, 1: 0, 2: N_FLIPPED}


@both
def test_a_frozen_pipeline_judges_by_the_claimed_labels(make, flipped):
    X, _, claimed = flipped
    pipe = make_pipeline(StandardScaler(), detector()).fit(X, claimed)
    fitted = make(FrozenEstimator(pipe)).fit(X, claimed)
    np.testing.assert_array_equal(fitted.sample_indices_, np.arange(N_FLIPPED, 300))


@both
@pytest.mark.parametrize("frozen", [False, True])
def test_a_classifier_is_no_detector(make, frozen, flipped):
    X, y, _ = flipped
    classifier = LogisticRegression().fit(X, y)
    given = FrozenEstimator(classifier) if frozen else classifier
    with pytest.raises(ValueError, match="detector"):
        make(given).fit(X, y)


@both
def test_a_torch_dataset_is_refused_by_name(make, flipped):
    X, y, _ = flipped
    dataset = TensorDataset(torch.tensor(X), torch.tensor(y))
    with pytest.raises(TypeError, match="does not take a TensorDataset as X"):
        make(detector()).fit(dataset, y)


@both
def test_no_class_is_lost_silently(make, flipped):
    X, y, _ = flipped
    with pytest.raises(ValueError, match="rejects every row of class 2 .100 rows."):
        make(Rejecting(contamination=0.04)).fit(X, y)


@both
def test_verbose_says_how_many_rows_of_which_class(make, flipped, capsys):
    X, _, claimed = flipped
    fitted = make(detector()).set_params(verbose=True).fit(X, claimed)
    assert capsys.readouterr().out == (
        f"{type(fitted).__name__}: dropped {N_FLIPPED} of 300 rows; by class: "
        f"{{0: 0, 1: 0, 2: {N_FLIPPED}}}\n"
    )


@both
def test_string_labels_are_kept_and_counted(make, flipped):
    X, _, claimed = flipped
    names = np.array(["cat", "dog", "owl"])[claimed]
    fitted = make(detector()).fit(X, names)
    assert fitted.n_dropped_ == {"cat": 0, "dog": 0, "owl": N_FLIPPED}


@both
def test_images_are_filtered(make, tiny_images):
    X, y = tiny_images
    images = make(detector(contamination=0.1))
    if isinstance(images, FilteredClassifier):
        images.set_params(estimator=LGMClassifier(max_epochs=1, random_state=0))
    images.fit(X, y)
    assert sum(images.n_dropped_.values()) == len(X) - len(images.sample_indices_) > 0


@both
def test_the_default_detector_is_seeded(make, flipped):
    X, _, claimed = flipped
    kept = [
        make(None).set_params(random_state=0).fit(X, claimed).sample_indices_
        for _ in range(2)
    ]
    np.testing.assert_array_equal(kept[0], kept[1])


@both
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X, y: (X[:0], y[:0]), "0 sample"),
        (lambda X, y: (np.where(X > 5, np.nan, X), y), "contains NaN"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X, np.linspace(0, 1, len(y))), "Unknown label type"),
    ],
    ids=["empty", "nan", "lengths", "continuous"],
)
def test_bad_input_is_an_error(make, change, match, flipped):
    X, y, _ = flipped
    with pytest.raises(ValueError, match=match):
        make(detector()).fit(*change(X, y))


@both
def test_sparse_input_is_an_error(make, flipped):
    X, y, _ = flipped
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        make(detector()).fit(sparse.csr_matrix(X), y)


# PoisonFilter


@pytest.mark.parametrize("kind", ["list", "pandas", "polars", "float32"])
def test_resampled_data_keep_their_type(kind, flipped):
    X, _, claimed = flipped
    names = ["a", "b", "c"]
    X_in, y_in = {
        "list": (X.tolist(), claimed.tolist()),
        "pandas": (pd.DataFrame(X, columns=names), pd.Series(claimed, name="label")),
        "polars": (pl.DataFrame(X, schema=names), pl.Series("label", claimed)),
        "float32": (X.astype(np.float32), claimed.astype(np.int8)),
    }[kind]
    X_out, y_out = PoisonFilter(detector()).fit_resample(X_in, y_in)
    assert type(X_out) is type(X_in)
    assert type(y_out) is type(y_in)
    assert len(X_out) == len(y_out) == 300 - N_FLIPPED
    np.testing.assert_allclose(np.asarray(X_out), X[N_FLIPPED:], rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(y_out), claimed[N_FLIPPED:])


def test_one_class_is_an_error_that_names_it(flipped):
    X, y, _ = flipped
    with pytest.raises(ValueError, match="at least 2 classes in y, got one class: 1"):
        PoisonFilter(detector()).fit_resample(X[y == 1], y[y == 1])


def test_filter_works_in_a_pipeline_of_imbalanced_learn(flipped):
    X, y, claimed = flipped
    pipe = make_sampling_pipeline(
        StandardScaler(), PoisonFilter(detector()), LogisticRegression()
    )
    pipe.fit(X, claimed)
    assert pipe[1].n_dropped_ == {0: 0, 1: 0, 2: N_FLIPPED}
    # Nothing is dropped where it is predicted.
    np.testing.assert_array_equal(pipe.predict(X), y)
    search = GridSearchCV(
        pipe, {"poisonfilter__detector__contamination": [0.01, 0.04]}, cv=3
    )
    search.fit(X, claimed)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# FilteredClassifier


def test_the_classifier_is_that_of_the_kept_rows(flipped):
    X, _, claimed = flipped
    filtered = FilteredClassifier(LogisticRegression(), detector()).fit(X, claimed)
    expected = LogisticRegression().fit(X[N_FLIPPED:], claimed[N_FLIPPED:])
    for method in (
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
    ):
        np.testing.assert_array_equal(
            getattr(filtered, method)(X), getattr(expected, method)(X)
        )
    np.testing.assert_array_equal(filtered.classes_, [0, 1, 2])


def test_the_classifier_itself_judges_unless_there_is_a_detector():
    X, y = load_digits(return_X_y=True)
    claimed = flip_labels(y, 0.05, random_state=0)
    is_wrong = claimed != y
    clf = LogisticRegression(max_iter=500)
    filtered = FilteredClassifier(clf, random_state=0).fit(X / 16, claimed)
    assert isinstance(filtered.detector_.estimator, LogisticRegression)
    is_dropped = np.ones(len(y), dtype=bool)
    is_dropped[filtered.sample_indices_] = False
    assert is_dropped[is_wrong].mean() > 0.95
    assert is_dropped[~is_wrong].mean() < 0.03
    without = FilteredClassifier(RidgeClassifier(), random_state=0).fit(X / 16, claimed)
    assert without.detector_.estimator is None


def test_what_the_classifier_lacks_is_not_offered():
    ridge = FilteredClassifier(RidgeClassifier())
    assert not hasattr(ridge, "predict_proba")
    assert hasattr(ridge, "decision_function")


def test_sample_weights_are_those_of_the_kept_rows(flipped):
    X, _, claimed = flipped
    weight = np.random.RandomState(0).uniform(0.1, 2.0, size=300)
    filtered = FilteredClassifier(LogisticRegression(), detector())
    filtered.fit(X, claimed, sample_weight=weight)
    expected = LogisticRegression().fit(
        X[N_FLIPPED:], claimed[N_FLIPPED:], sample_weight=weight[N_FLIPPED:]
    )
    np.testing.assert_array_equal(filtered.predict_proba(X), expected.predict_proba(X))


def test_filtering_wins_back_the_accuracy_that_flipped_labels_cost():
    X, y = make_blobs(600, centers=3.0 * np.eye(2), random_state=0)
    rng = np.random.RandomState(0)
    train, test = np.arange(300), np.arange(300, 600)
    claimed = y.copy()
    flipped = rng.choice(np.flatnonzero(y[train] == 0), 40, replace=False)
    claimed[flipped] = 1
    plain = SVC(gamma=20.0, C=1e3)
    filtered = FilteredClassifier(clone(plain), detector(contamination=0.15))
    before = plain.fit(X[train], claimed[train]).score(X[test], y[test])
    after = filtered.fit(X[train], claimed[train]).score(X[test], y[test])
    assert after > before + 0.02


def test_a_second_fit_forgets_the_names_of_the_first(flipped):
    X, y, _ = flipped
    filtered = FilteredClassifier(LogisticRegression(), detector())
    filtered.fit(pd.DataFrame(X, columns=["a", "b", "c"]), y)
    assert filtered.feature_names_in_.tolist() == ["a", "b", "c"]
    assert not hasattr(filtered.fit(X, y), "feature_names_in_")


def test_it_is_cross_validated_as_a_whole(flipped):
    X, _, claimed = flipped
    scores = cross_val_score(
        FilteredClassifier(LogisticRegression(), detector()), X, claimed, cv=3
    )
    # Wrong are the flipped rows alone, which a test fold does not drop.
    assert scores.mean() == pytest.approx(1 - N_FLIPPED / 300)
