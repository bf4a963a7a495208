"""What the detectors of other papers share."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
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
from tests.outliers.rows import gaussian_rows, mislabelled

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
        # The direction of a signature is that of noise here: the folds differ in it.
        n_least = 25 if detector_class is SpectralSignatureDetector else 30
        assert is_flagged[:40].sum() > n_least
        is_discovered = detector.q_values(X_new, labels=labels) <= 0.25
        assert is_discovered[:40].sum() > n_least


@each
def test_claimed_labels_are_routed_through_a_pipeline(detector_class):
    X, claimed, _ = mislabelled(0, 300)
    detector = detector_class(contamination=0.04, random_state=0)
    direct = clone(detector).fit(X, claimed).predict(X, labels=claimed)
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
    for model in detector.estimators_:
        assert model.estimator is not given
        assert model.estimator.transform(X).shape[0] == 150
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
        if frozen:  # these are new rows to it, scored by the models of all folds
            is_rejected = detector.predict(X, labels=claimed) == -1
            np.testing.assert_array_equal(dropped, np.flatnonzero(is_rejected))
        else:
            assert len(dropped) <= 12


def test_posteriors_are_those_of_a_classifier_that_has_them(blobs):
    X, y = blobs
    clf = LGMClassifier("identity", location="mean", random_state=0).fit(X, y)
    detector = ClassMahalanobisDetector(
        FrozenEstimator(clf), false_alarm_rate=0.1, random_state=0
    ).fit(X, y)
    found = detector._read(detector.estimators_[0], X).log_proba
    np.testing.assert_allclose(np.exp(found), clf.predict_proba(X), atol=1e-6)


@of_features
def test_wrong_claims_are_counted_unless_ranks_alone_decide(detector_class):
    X, y = gaussian_rows(0, 300)
    claimed = np.where(np.arange(300) < 30, (y + 1) % 3, y)
    settings = {"contamination": 0.1, "cv": 3, "random_state": 0}
    detector = detector_class(**settings).fit(X, claimed)
    assert detector.noise_share_ == pytest.approx(0.1, abs=0.03)
    ranks = detector_class(calibration="marginal", **settings).fit(X, claimed)
    assert not hasattr(ranks, "noise_share_")
