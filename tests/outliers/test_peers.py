"""The detectors of other papers: their scores, and what all of them share."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from scipy import stats
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import (
    ActivationClusteringDetector,
    ClassMahalanobisDetector,
    DeepKNNDetector,
    FilteredClassifier,
    LGMClassifier,
    PoisonFilter,
    SelfConfidenceDetector,
    SpectralSignatureDetector,
)

SEEDS = [0, 1, 2]


def clustering(estimator=None, **settings):
    """Not whitened: of four columns three are noise, and would count as much."""
    return ActivationClusteringDetector(estimator, whiten=False, **settings)


OF_FEATURES = {
    "deep_knn": DeepKNNDetector,
    "spectral": SpectralSignatureDetector,
    "clustering": clustering,
    "mahalanobis": ClassMahalanobisDetector,
}
PEERS = OF_FEATURES | {"self_confidence": SelfConfidenceDetector}
of_features = pytest.mark.parametrize(
    "detector_class", OF_FEATURES.values(), ids=OF_FEATURES
)
each = pytest.mark.parametrize("detector_class", PEERS.values(), ids=PEERS)
seeds = pytest.mark.parametrize("seed", SEEDS)


def gaussian_rows(seed, n, *, dim=4, separation=5.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    return separation * np.eye(3, dim)[y] + rng.normal(size=(n, dim)), y


def mislabelled(seed, n, n_wrong=10):
    """Rows of class 0 of which some claim to be of class 2."""
    X, y = gaussian_rows(seed, n)
    claimed = y.copy()
    claimed[np.flatnonzero(y == 0)[:n_wrong]] = 2
    return X, claimed, claimed != y


def split_of(detector, X, y):
    """The rows that a fitted detector trained on, found by their held-out scores."""
    scores = detector.score_samples(X, labels=y)
    is_held_out = np.isin(scores, detector.label_calibration_scores_)
    assert is_held_out.sum() == len(detector.label_calibration_scores_)
    return np.flatnonzero(~is_held_out)


# What they share


@seeds
@each
def test_wrong_labels_that_form_a_group_are_found(detector_class, seed):
    X, claimed, is_wrong = mislabelled(seed, 300)
    detector = detector_class(contamination=0.04, cv=5, random_state=seed)
    flags = detector.fit_predict(X, claimed)
    assert roc_auc_score(is_wrong, -detector.train_scores_) > 0.95
    assert (flags[is_wrong] == -1).sum() >= 8


@each
def test_rows_are_flagged_where_the_p_value_reaches_the_level(detector_class):
    X, y = gaussian_rows(0, 300)
    detector = detector_class(false_alarm_rate=0.05, random_state=0).fit(X, y)
    X_new, y_new = gaussian_rows(1, 200)
    labels = np.where(np.arange(200) < 40, (y_new + 1) % 3, y_new)
    is_flagged = detector.predict(X_new, labels=labels) == -1
    p_values = detector.p_values(X_new, labels=labels)
    np.testing.assert_array_equal(is_flagged, p_values <= 0.05)
    assert is_flagged[40:].mean() < 0.15
    if detector_class is not clustering:
        # That one knows groups of the training rows, not rows far from all of them.
        assert is_flagged[:40].sum() > 30
        assert (detector.q_values(X_new, labels=labels) <= 0.25)[:40].sum() > 30


@each
def test_claimed_labels_are_routed_through_a_pipeline(detector_class):
    X, claimed, _ = mislabelled(0, 300)
    detector = detector_class(contamination=0.04, random_state=0)
    direct = clone(detector).fit_predict(X, claimed)
    with sklearn.config_context(enable_metadata_routing=True):
        detector.set_predict_request(labels=True)
        pipeline = make_pipeline("passthrough", detector).fit(X, claimed)
        np.testing.assert_array_equal(pipeline.predict(X, labels=claimed), direct)
    assert (direct == -1).any()


@of_features
def test_features_are_those_of_the_classifier(detector_class):
    X, y = gaussian_rows(0, 200, dim=6)
    model = LinearDiscriminantAnalysis().fit(X[:100], y[:100])
    settings = {"false_alarm_rate": 0.1, "random_state": 0}
    frozen = detector_class(FrozenEstimator(model), **settings).fit(X, y)
    on_columns = detector_class(**settings).fit(model.transform(X), y)
    np.testing.assert_allclose(
        frozen.score_samples(X, labels=y),
        on_columns.score_samples(model.transform(X), labels=y),
    )
    np.testing.assert_allclose(
        frozen.score_samples(X), on_columns.score_samples(model.transform(X))
    )


@of_features
@pytest.mark.parametrize(
    "make",
    [
        LinearDiscriminantAnalysis,
        lambda: make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
        lambda: LGMClassifier(feature_dim=4, max_epochs=3, random_state=0),
    ],
    ids=["lda", "pipeline", "lgm"],
)
def test_a_classifier_is_cloned_and_fitted_on_rows_not_held_out(detector_class, make):
    X, y = gaussian_rows(0, 150)
    given = make()
    before = set(vars(given))
    detector = detector_class(given, false_alarm_rate=0.1, random_state=0).fit(X, y)
    assert set(vars(given)) == before
    fitted = detector.estimator_.estimator
    assert fitted is not given
    assert fitted.transform(X).shape[0] == 150
    assert np.isfinite(detector.score_samples(X, labels=y)).all()


@each
def test_named_columns_and_strings_are_taken(detector_class):
    X, y = gaussian_rows(0, 120)
    names = np.array(["deer", "frog", "ship"])[y]
    frame = pd.DataFrame(X, columns=list("abcd"))
    settings = {"false_alarm_rate": 0.1, "random_state": 0}
    on_frame = detector_class(**settings).fit(frame, names)
    on_array = detector_class(**settings).fit(X, y)
    assert on_frame.classes_.tolist() == ["deer", "frog", "ship"]
    np.testing.assert_array_equal(
        on_frame.p_values(frame, labels=names), on_array.p_values(X, labels=y)
    )


@each
def test_images_and_flat_rows_score_alike(detector_class, tiny_images):
    X, y = tiny_images
    detector = detector_class(contamination=0.1, random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        detector.score_samples(X, labels=y),
        detector.score_samples(X.reshape(len(X), -1), labels=y),
    )


@each
def test_the_same_seed_gives_the_same_scores(detector_class):
    X, y = gaussian_rows(0, 120)
    detector = detector_class(false_alarm_rate=0.1, random_state=3)
    once = detector.fit(X, y).score_samples(X, labels=y)
    again = clone(detector).fit(X, y).score_samples(X, labels=y)
    np.testing.assert_array_equal(once, again)


@each
def test_a_classifier_that_must_be_fitted_needs_labels(detector_class):
    X, _ = gaussian_rows(0, 60)
    detector = detector_class(LinearDiscriminantAnalysis(), contamination=0.1)
    with pytest.raises(ValueError, match="y=None: claimed labels are needed to fit"):
        detector.fit(X)


@each
def test_a_frozen_classifier_must_be_fitted(detector_class):
    detector = detector_class(FrozenEstimator(LinearDiscriminantAnalysis()))
    with pytest.raises(NotFittedError):
        detector.fit(*gaussian_rows(0, 60))


@of_features
def test_a_classifier_without_features_is_refused(detector_class):
    with pytest.raises(ValueError, match="'estimator' parameter of .* must be"):
        detector_class(LogisticRegression()).fit(*gaussian_rows(0, 60))


@pytest.mark.parametrize(
    ("detector_class", "name", "value"),
    [
        (DeepKNNDetector, "n_neighbors", 0),
        (DeepKNNDetector, "calibration", "chi2"),
        (ActivationClusteringDetector, "n_components", 0),
        (ActivationClusteringDetector, "whiten", "yes"),
        (ClassMahalanobisDetector, "covariance", "tied"),
        (SelfConfidenceDetector, "estimator", StandardScaler()),
        (SpectralSignatureDetector, "contamination", 0.6),
    ],
)
def test_parameters_out_of_range_are_named(detector_class, name, value, blobs):
    message = f"The '{name}' parameter of {detector_class.__name__} must be"
    with pytest.raises(ValueError, match=message):
        detector_class(**{name: value}).fit(*blobs)


@each
@pytest.mark.parametrize("frozen", [False, True])
def test_filters_drop_what_they_reject(detector_class, frozen):
    X, claimed, is_wrong = mislabelled(0, 300)
    detector = detector_class(contamination=0.04, random_state=0)
    if frozen:
        detector = FrozenEstimator(detector.fit(X, claimed))
    filters = [PoisonFilter(detector), FilteredClassifier(GaussianNB(), detector)]
    for fitted in (each_filter.fit(X, claimed) for each_filter in filters):
        dropped = np.setdiff1d(np.arange(300), fitted.sample_indices_)
        assert is_wrong[dropped].sum() >= 8
        assert len(dropped) <= 12


# Deep k-NN


@seeds
def test_neighbours_vote_by_the_literal_formula(seed):
    X, y = gaussian_rows(seed, 60, separation=1.0)
    detector = DeepKNNDetector(
        n_neighbors=5, false_alarm_rate=0.1, random_state=seed
    ).fit(X, y)
    train = detector.estimator_.statistics.index._fit_X
    y_train = detector.estimator_.statistics.y_encoded
    assert {tuple(row) for row in train} < {tuple(row) for row in X}
    X_new, y_new = gaussian_rows(seed + 50, 20, separation=1.0)
    shares, distances = [], []
    for x, z in zip(X_new, y_new, strict=True):
        distance = np.sqrt(((train - x) ** 2).sum(axis=1))
        nearest = np.argsort(distance)[:5]
        shares.append(sum(y_train[i] == z for i in nearest) / 5)
        distances.append(np.sort(distance)[4])
    np.testing.assert_allclose(detector.score_samples(X_new, labels=y_new), shares)
    np.testing.assert_allclose(detector.score_samples(X_new), -np.array(distances))


def test_more_neighbours_than_rows_are_all_rows():
    X, y = gaussian_rows(0, 60)
    detector = DeepKNNDetector(n_neighbors=1000, false_alarm_rate=0.1, random_state=0)
    scores = detector.fit(X, y).score_samples(X, labels=y)
    np.testing.assert_allclose(scores, 1.0)


def test_a_small_clean_class_is_kept():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [300, 300, 8])
    X = 30.0 * np.eye(3, 4)[y] + rng.normal(size=(608, 4))
    claimed = y.copy()
    claimed[:6], claimed[300:306] = 1, 0
    detector = DeepKNNDetector(contamination=0.02, cv=5, random_state=0)
    flags = detector.fit_predict(X, claimed)
    np.testing.assert_array_equal(flags == -1, claimed != y)
    assert (detector.train_scores_[y == 2] == 1.0).all()


@pytest.mark.parametrize("n_wrong", [15, 30, 60])
def test_contamination_flags_neighbours_that_all_disagree(n_wrong):
    X, y = gaussian_rows(0, 600, separation=12.0)
    claimed = y.copy()
    claimed[:n_wrong] = (claimed[:n_wrong] + 1) % 3
    detector = DeepKNNDetector(contamination=0.05, cv=3, random_state=0)
    is_flagged = detector.set_params(n_neighbors=3).fit_predict(X, claimed) == -1
    assert 15 <= is_flagged.sum() <= 45  # 30 were asked for
    assert is_flagged[:n_wrong].mean() > 0.45


# Spectral signatures


@seeds
def test_signatures_match_the_literal_formula(seed):
    X, y = gaussian_rows(seed, 90)
    detector = SpectralSignatureDetector(contamination=0.1, random_state=seed)
    detector.fit(X, y)
    train = split_of(detector, X, y)
    X_new, y_new = gaussian_rows(seed + 50, 20)
    for x, z, score in zip(
        X_new, y_new, detector.score_samples(X_new, labels=y_new), strict=True
    ):
        of_class = X[train][y[train] == z]
        mean = of_class.mean(axis=0)
        # The top right singular vector is the first axis of the covariance.
        _, axes = np.linalg.eigh(np.cov(of_class.T))
        assert score == pytest.approx(-(np.dot(x - mean, axes[:, -1]) ** 2))


# Class means and one covariance


@seeds
def test_distances_match_the_literal_formula(seed):
    X, y = gaussian_rows(seed, 90)
    detector = ClassMahalanobisDetector(
        covariance="empirical", contamination=0.1, random_state=seed
    ).fit(X, y)
    train = split_of(detector, X, y)
    means = [X[train][y[train] == k].mean(axis=0) for k in range(3)]
    residuals = [X[i] - means[y[i]] for i in train]
    inverse = np.linalg.inv(sum(np.outer(r, r) for r in residuals) / len(train))
    X_new, y_new = gaussian_rows(seed + 50, 20)
    distances = [
        [(x - means[k]) @ inverse @ (x - means[k]) for k in range(3)] for x in X_new
    ]
    scores = (4 - np.array(distances)) / np.sqrt(8)
    np.testing.assert_allclose(
        detector.score_samples(X_new, labels=y_new), scores[np.arange(20), y_new]
    )
    np.testing.assert_allclose(detector.score_samples(X_new), scores.max(axis=1))


def test_chi2_p_values_of_rows_from_one_covariance_are_close_to_uniform():
    mix = np.random.default_rng(7).normal(size=(4, 4))
    X, y = gaussian_rows(0, 6_000)
    X_new, y_new = gaussian_rows(1, 2_000)
    detector = ClassMahalanobisDetector(calibration="chi2", random_state=0)
    detector.fit(X @ mix, y)
    p_values = detector.p_values(X_new @ mix, labels=y_new)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_more_features_than_rows_have_finite_scores(covariance):
    X, y = gaussian_rows(0, 30, dim=80)
    detector = ClassMahalanobisDetector(
        covariance=covariance, contamination=0.1, random_state=0
    ).fit(X, y)
    assert np.isfinite(detector.score_samples(X, labels=y)).all()


# Activation clustering


@pytest.mark.parametrize("whiten", [False, True])
@seeds
def test_clusters_score_by_the_literal_formula(whiten, seed):
    X, claimed, _ = mislabelled(seed, 300, n_wrong=25)
    detector = ActivationClusteringDetector(
        n_components=2, whiten=whiten, contamination=0.1, random_state=seed
    ).fit(X, claimed)
    clusters = detector.estimator_.statistics
    scores = detector.score_samples(X, labels=claimed)
    for x, z, score in zip(X, claimed, scores, strict=True):
        of_class = clusters[z]
        reduced = of_class.reduction.transform(x[None])[0]
        a = np.linalg.norm(reduced - of_class.small_centre)
        b = np.linalg.norm(reduced - of_class.large_centre)
        c = np.linalg.norm(of_class.small_centre - of_class.large_centre)
        expected = (1 - 2 * of_class.small_share) * (a - b) / c
        assert score == pytest.approx(expected, abs=1e-12)
    assert np.all(np.abs(scores) <= 1)


def test_the_smaller_cluster_is_the_group_of_wrong_labels():
    X, claimed, is_wrong = mislabelled(0, 300, n_wrong=25)
    detector = ActivationClusteringDetector(contamination=0.1, random_state=0)
    scores = detector.fit(X, claimed).score_samples(X, labels=claimed)
    share = detector.estimator_.statistics[2].small_share
    assert share == pytest.approx(25 / 125, abs=0.05)
    assert scores[is_wrong].max() < scores[(claimed == 2) & ~is_wrong].min()


def test_whitened_clusters_are_those_of_independent_components():
    X, claimed, _ = mislabelled(0, 300, n_wrong=25)
    of_class = X[claimed == 2]
    clusters = ActivationClusteringDetector(n_components=3)._clusters(
        of_class, 0, 1e-16
    )
    whitened = clusters.reduction.transform(of_class)
    is_small = np.linalg.norm(whitened - clusters.small_centre, axis=1) < (
        np.linalg.norm(whitened - clusters.large_centre, axis=1)
    )
    components = FastICA(3, random_state=0, tol=1e-2).fit_transform(of_class)
    labels = KMeans(2, n_init=10, random_state=0).fit(components).labels_
    assert np.array_equal(is_small, labels) or np.array_equal(is_small, 1 - labels)


@pytest.mark.parametrize("constant", [0.1, 0.3, 0.7, 3.0, 1e9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "detector_class", [ActivationClusteringDetector, SpectralSignatureDetector]
)
def test_a_class_whose_rows_are_all_alike_scores_zero(detector_class, dtype, constant):
    X, y = gaussian_rows(0, 90)
    X[y == 1] = constant
    X = X.astype(dtype)
    detector = detector_class(false_alarm_rate=0.1, random_state=0)
    scores = detector.fit(X, y).score_samples(X, labels=y)
    assert (scores[y == 1] == 0.0).all()
    assert (scores[y == 0] != 0.0).any()
    claims = detector.score_samples(X, labels=np.ones(90, dtype=int))
    assert (claims == 0.0).all()


def low_rank_rows(dtype, rank=4, n=400):
    """A group of 40 rows of class 0 far from the rest, in 32 columns of low rank."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], n // 2)
    hidden = rng.normal(size=(n, rank))
    hidden[y == 1, 0] += 6.0
    hidden[:40] += 8.0 / np.sqrt(rank)
    weights = rng.normal(size=(rank, 32))
    return hidden.astype(dtype) @ weights.astype(dtype), y, np.arange(n) < 40


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_errors_are_no_components(dtype):
    X, y, is_group = low_rank_rows(dtype)
    detector = ActivationClusteringDetector(contamination=0.1, cv=3, random_state=0)
    detector.fit(X, y)
    for model in detector.estimators_:
        assert model.statistics[0].reduction.n_components_ == 4
    assert roc_auc_score(is_group, -detector.train_scores_) > 0.97


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
@pytest.mark.parametrize(
    "make",
    [
        lambda X: np.hstack([X, X]),
        lambda X: np.hstack([X, np.full_like(X, 0.1)]),
        lambda X: (
            X.astype(np.float32)
            @ np.random.default_rng(7).normal(size=(4, 64)).astype(np.float32)
        ),
    ],
    ids=["twice", "constant", "mixed_float32"],
)
def test_chi2_p_values_count_the_rank(make, covariance):
    X, y = gaussian_rows(0, 4_000)
    X_new, y_new = gaussian_rows(1, 2_000)
    detector = ClassMahalanobisDetector(
        covariance=covariance, calibration="chi2", random_state=0
    ).fit(make(X), y)
    assert detector.estimator_.statistics.rank == 4
    p_values = detector.p_values(make(X_new), labels=y_new)
    # Four standard errors of 2,000 rows.
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_distances_of_features_that_never_vary_are_zero(covariance):
    X, y = np.full((60, 3), 0.1), np.arange(60) % 2
    detector = ClassMahalanobisDetector(
        covariance=covariance, calibration="chi2", false_alarm_rate=0.1, random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(detector.p_values(X, labels=y), 1.0)


# Self-confidence


class OnlyProba(LogisticRegression):
    """A classifier that gives probabilities, and no logarithms of them."""

    predict_log_proba = property()


@pytest.mark.parametrize("make", [GaussianNB, OnlyProba])
def test_self_confidence_is_the_log_probability_of_the_claim(make):
    X, y = gaussian_rows(0, 120, separation=2.0)
    model = make().fit(X[:60], y[:60])
    detector = SelfConfidenceDetector(FrozenEstimator(model), contamination=0.1)
    detector.fit(X[60:], y[60:])
    proba = model.predict_proba(X)
    np.testing.assert_allclose(
        detector.score_samples(X, labels=y), np.log(proba[np.arange(120), y])
    )
    np.testing.assert_allclose(detector.score_samples(X), np.log(proba.max(axis=1)))


def test_a_pipeline_that_samples_rows_gives_probabilities():
    # Its steps before the last do not transform.
    X, y = gaussian_rows(0, 60)
    sampling = make_sampling_pipeline(RandomOverSampler(random_state=0), GaussianNB())
    detector = SelfConfidenceDetector(sampling, contamination=0.1, random_state=0)
    detector.fit(X, y)
    proba = detector.estimator_.predict_proba(X)
    np.testing.assert_allclose(
        np.exp(detector.score_samples(X, labels=y)), proba[np.arange(60), y]
    )


def test_a_frozen_classifier_calibrates_on_every_row():
    X, y = gaussian_rows(0, 60)
    model = FrozenEstimator(GaussianNB().fit(X, y))
    detector = SelfConfidenceDetector(model, contamination=0.1).fit(X, y)
    assert len(detector.label_calibration_scores_) == 60
    with pytest.raises(ValueError, match="cv=3 trains a model for each fold"):
        detector.set_params(cv=3).fit(X, y)
