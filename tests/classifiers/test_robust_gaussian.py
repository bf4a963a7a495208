"""Class Gaussians on fixed features."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklgm import RobustGaussianClassifier, SoftmaxClassifier
from sklgm.classifiers import _robust_gaussian
from sklgm.gaussian import COVARIANCE_TYPES, LOCATIONS, estimate_gaussians

SEEDS = [0, 1, 2]


def full_covariances(clf):
    """Covariance matrix of each class."""
    n_classes, d = clf.means_.shape
    variances = np.asarray(clf.covariances_)
    if clf.covariance_type == "spherical":
        variances = variances[:, None]
    return [np.diag(row) for row in np.broadcast_to(variances, (n_classes, d))]


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("covariance_type", ["identity", "spherical"])
def test_gaussians_are_those_of_the_estimate(covariance_type, location, blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(
        location=location, trim=0.2, covariance_type=covariance_type
    ).fit(X, y)
    estimate = estimate_gaussians(
        torch.tensor(X),
        torch.tensor(y),
        3,
        location=location,
        trim=0.2,
        covariance_type=covariance_type,
        variance="within",
    )
    np.testing.assert_allclose(clf.means_, estimate.means.numpy())
    np.testing.assert_allclose(clf.covariances_, estimate.log_variances.exp().numpy())
    np.testing.assert_array_equal(clf.is_kept_, estimate.is_kept.numpy())


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_densities_and_probabilities_are_those_of_the_gaussians(covariance_type, blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(covariance_type=covariance_type).fit(X[:50], y[:50])
    expected = np.transpose(
        [
            np.log(prior) + multivariate_normal.logpdf(X, mean, covariance)
            for prior, mean, covariance in zip(
                clf.priors_, clf.means_, full_covariances(clf), strict=True
            )
        ]
    )
    np.testing.assert_allclose(clf.predict_joint_log_proba(X), expected)
    np.testing.assert_allclose(clf.score_samples(X), logsumexp(expected, axis=1))
    posterior = expected - logsumexp(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_log_proba(X), posterior, atol=1e-12)
    np.testing.assert_array_equal(clf.predict(X), expected.argmax(axis=1))
    np.testing.assert_allclose(
        clf.claimed_log_density(X, y),
        (expected - np.log(clf.priors_))[np.arange(60), y],
    )


@pytest.mark.parametrize("covariance_type", ["diag", "tied_diag"])
def test_units_of_columns_do_not_matter(covariance_type, blobs):
    X, y = blobs
    units = np.array([1e-6, 1.0, 1e4, 1e9])
    plain, scaled = (
        RobustGaussianClassifier(covariance_type=covariance_type).fit(rows, y)
        for rows in (X, X * units)
    )
    np.testing.assert_array_equal(plain.is_kept_, scaled.is_kept_)
    np.testing.assert_allclose(
        plain.predict_proba(X), scaled.predict_proba(X * units), rtol=1e-6, atol=1e-12
    )


def test_a_constant_column_decides_nothing_until_it_varies(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(covariance_type="diag")
    plain = clf.fit(X, y).predict_proba(X)
    constant = np.column_stack([X, np.full(60, 7.0)])
    np.testing.assert_allclose(clf.fit(constant, y).predict_proba(constant), plain)
    assert clf.n_dimensions_ == 4
    constant[0, 4] = 9.0
    assert clf.score_samples(constant[:1]) < clf.score_samples(constant[1:2]) - 10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("location", ["kept_mean", "median", "trimmed_mean"])
def test_bad_rows_do_not_move_the_classes(location, seed):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], 100)
    X = 6.0 * np.eye(2, 5)[y] + rng.normal(size=(200, 5))
    poisoned = X.copy()
    poisoned[:20] = 6.0 * np.eye(2, 5)[1] + rng.normal(size=(20, 5))
    clf = RobustGaussianClassifier(location=location, trim=0.25).fit(poisoned, y)
    assert clf.score(X, y) > 0.98
    plain = RobustGaussianClassifier(location="mean").fit(poisoned, y)
    clean = X[:100].mean(axis=0)
    assert np.linalg.norm(clf.means_[0] - clean) < 0.75 * np.linalg.norm(
        plain.means_[0] - clean
    )


@pytest.mark.parametrize("location", ["mean", "median", "trimmed_mean"])
def test_weights_count_rows(location, blobs):
    X, y = blobs
    counts = np.arange(60) % 3
    weighted, repeated = (
        RobustGaussianClassifier(location=location, covariance_type="tied_diag")
        for _ in range(2)
    )
    weighted.fit(X, y, sample_weight=counts)
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.means_, repeated.means_)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_)
    np.testing.assert_allclose(weighted.priors_, repeated.priors_)
    assert weighted.is_kept_.tolist() == (counts > 0).tolist()


def test_priors_can_be_given(blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(priors=[2, 1, 1]).fit(X[:45], y[:45])
    np.testing.assert_allclose(clf.priors_, [0.5, 0.25, 0.25])
    assert clf.class_count_.tolist() == [20, 20, 5]
    with pytest.raises(ValueError, match="priors must be 3 positive numbers, got"):
        RobustGaussianClassifier(priors=[1, 1, 0]).fit(X, y)


def test_known_gaussians_make_a_fitted_classifier(blobs):
    X, y = blobs
    fitted = RobustGaussianClassifier(covariance_type="diag").fit(X, y)
    made = RobustGaussianClassifier.from_gaussians(
        fitted.means_,
        fitted.covariances_,
        covariance_type="diag",
        priors=fitted.priors_,
        classes=np.array(["a", "b", "c"]),
    )
    np.testing.assert_allclose(made.predict_proba(X), fitted.predict_proba(X))
    assert set(made.predict(X)) == {"a", "b", "c"}
    with pytest.raises(ValueError, match=r"covariances must be positive, of shape"):
        RobustGaussianClassifier.from_gaussians(
            fitted.means_,
            1.0,
            covariance_type="diag",
            priors=fitted.priors_,
            classes=[0, 1, 2],
        )


def test_it_is_the_head_of_a_frozen_network(blobs):
    X, y = blobs
    network = SoftmaxClassifier(max_epochs=5, random_state=0).fit(X, y)
    pipe = make_pipeline(FrozenEstimator(network), RobustGaussianClassifier())
    assert pipe.fit(X, y).score(X, y) > 0.9


def test_images_and_their_flat_rows_are_the_same(tiny_images):
    X, y = tiny_images
    clf = RobustGaussianClassifier().fit(X, y)
    flat = X.reshape(len(X), -1)
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(flat))


def test_rows_far_from_all_classes_are_told_apart():
    # Regression (issue 1 of 6): of float32 rows 3e4 from all means, distances cast to
    # float32 gave an accuracy of 0.51, exact ones 0.92.
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 2
    means = np.eye(2, 8)
    X = (3e4 + means[y] + 0.3 * rng.normal(size=(2000, 8))).astype(np.float32)
    clf = RobustGaussianClassifier.from_gaussians(
        means, 1.0, covariance_type="identity", priors=[0.5, 0.5], classes=[0, 1]
    )
    difference = means[1] - means[0]
    expected = (X.astype(float) @ difference > 0).astype(int)
    np.testing.assert_array_equal(clf.predict(X), expected)


def test_trim_auto_needs_whole_rows(blobs):
    with pytest.raises(ValueError, match="trim='auto' chooses whole rows"):
        RobustGaussianClassifier(location="trimmed_mean", trim="auto").fit(*blobs)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_scores_of_claims_are_those_of_all_classes(covariance_type, monkeypatch):
    monkeypatch.setattr(_robust_gaussian, "_MOST_ROWS", 7)  # the last is not full
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=40)
    X = rng.normal(size=(40, 4)) + 2.0 * np.eye(3, 4)[y]
    names = np.array(["a", "b", "c"])[y]
    clf = RobustGaussianClassifier(location="mean", covariance_type=covariance_type)
    clf.fit(X, names)
    variances = {
        "identity": lambda k: np.full(4, clf.covariances_),
        "spherical": lambda k: np.full(4, clf.covariances_[k]),
        "diag": lambda k: clf.covariances_[k],
        "tied_diag": lambda k: clf.covariances_,
    }[covariance_type]
    densities = np.transpose(
        [
            multivariate_normal(clf.means_[k], np.diag(variances(k))).logpdf(X)
            for k in range(3)
        ]
    )
    joint = densities + np.log(clf.priors_)
    mixture = logsumexp(joint, axis=1)
    rows = np.arange(40)
    for found, expected in (
        (clf.claimed_log_density(X, names), densities[rows, y]),
        (clf.claimed_log_proba(X, names), joint[rows, y] - mixture),
        (clf.score_samples(X), mixture),
        (clf.predict_joint_log_proba(X), joint),
        (clf.predict_log_proba(X), joint - mixture[:, None]),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert clf.predict(X).tolist() == clf.classes_[joint.argmax(axis=1)].tolist()


@pytest.mark.parametrize("method", ["claimed_log_density", "claimed_log_proba"])
def test_claims_are_known_labels_one_for_each_row(method):
    clf = RobustGaussianClassifier().fit([[0.0], [1.0], [5.0], [6.0]], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="y"):
        getattr(clf, method)([[0.0]], [2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        getattr(clf, method)([[0.0]], [0, 1])


@pytest.mark.parametrize("location", ["kept_mean", "median"])
def test_a_class_without_weight_is_named_by_its_label(location):
    clf = RobustGaussianClassifier(location=location)
    with pytest.raises(ValueError, match="class 'b' has no row of positive sample_"):
        clf.fit([[0.0], [1.0], [5.0]], ["a", "a", "b"], sample_weight=[1.0, 2.0, 0.0])


@pytest.mark.parametrize("covariance_type", ["identity", "diag"])
@pytest.mark.parametrize(
    ("method", "claims"),
    [
        ("predict", ()),
        ("predict_proba", ()),
        ("predict_log_proba", ()),
        ("predict_joint_log_proba", ()),
        ("score_samples", ()),
        ("mahalanobis", ()),
        ("claimed_log_density", ([0],)),
        ("claimed_log_proba", ([0],)),
        ("certified_poisons", ()),
    ],
)
def test_methods_say_that_fit_comes_first(method, claims, covariance_type):
    clf = RobustGaussianClassifier(location="median", covariance_type=covariance_type)
    with pytest.raises(NotFittedError, match="Call 'fit' with appropriate"):
        getattr(clf, method)([[0.0]], *claims)


@pytest.mark.parametrize("covariance_type", ["identity", "diag"])
def test_rows_of_another_width_are_refused_and_not_learnt(covariance_type):
    clf = RobustGaussianClassifier(covariance_type=covariance_type)
    clf.fit([[0.0, 1.0], [1.0, 0.0], [5.0, 4.0], [6.0, 5.0]], [0, 0, 1, 1])
    for method in ("predict", "predict_proba", "mahalanobis"):
        with pytest.raises(ValueError, match="X has 3 features, but RobustGaussian"):
            getattr(clf, method)([[0.0, 1.0, 2.0]])
    assert clf.n_features_in_ == 2


def test_a_boundary_is_shifted_by_the_log_of_the_priors():
    # Half way from 0 to 2, and by log(9) / 2 to the mean of the rarer class.
    clf = RobustGaussianClassifier.from_gaussians(
        np.array([[0.0], [2.0]]),
        1.0,
        covariance_type="identity",
        priors=[0.9, 0.1],
        classes=[0, 1],
    )
    edge = 1.0 + np.log(9.0) / 2.0
    assert clf.predict([[edge - 1e-6], [edge + 1e-6]]).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_rows_of_every_type_of_numbers_are_taken(dtype):
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    X = (rng.integers(0, 9, size=(30, 3)) + 20 * y[:, None]).astype(dtype)
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    expected = RobustGaussianClassifier(location="median").fit(X.astype(float), y)
    np.testing.assert_allclose(clf.means_, expected.means_)
    np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_scores_of_float32_are_those_of_float64_within_what_is_promised(
    covariance_type,
):
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = (rng.normal(size=(300, 40)) + 2.0 * rng.normal(size=(3, 40))[y]).astype("f4")
    X[::50] *= 1e4  # beyond what float32 could tell
    clf = RobustGaussianClassifier(covariance_type=covariance_type).fit(X, y)
    wide = X.astype(np.float64)
    claims = (y + 1) % 3
    pairs = [
        (clf.score_samples(X), clf.score_samples(wide), 0.005),
        (
            clf.claimed_log_density(X, claims),
            clf.claimed_log_density(wide, claims),
            0.005,
        ),
        (clf.claimed_log_proba(X, claims), clf.claimed_log_proba(wide, claims), 0.01),
    ]
    for found, exact, tolerance in pairs:
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=tolerance)
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(wide))


@pytest.mark.parametrize("covariance_type", ["identity", "diag"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_may_lie_in_memory_as_they_please(covariance_type, dtype):
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    X = (rng.normal(size=(30, 3)) + 3 * y[:, None]).astype(dtype)
    clf = RobustGaussianClassifier(covariance_type=covariance_type).fit(X, y)
    records = np.zeros(30, dtype=[("x", dtype, (3,)), ("label", "i1")])
    records["x"] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    for rows in (X[::-1][::-1], records["x"], np.asfortranarray(X), read_only):
        np.testing.assert_array_equal(clf.predict(rows), clf.predict(X))
        for score in (clf.score_samples, clf.mahalanobis):
            np.testing.assert_allclose(score(rows), score(X), rtol=1e-6)
        np.testing.assert_allclose(
            clf.claimed_log_density(rows, y), clf.claimed_log_density(X, y), rtol=1e-6
        )
    np.testing.assert_allclose(
        clf.score_samples(X[::-1]), clf.score_samples(X)[::-1], rtol=1e-6
    )


def test_scores_of_numbers_beyond_float32_are_finite():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = 1e39 * (rng.normal(size=(60, 4)) + 5.0 * y[:, None])
    clf = RobustGaussianClassifier(covariance_type="diag").fit(X, y)
    joint = clf.predict_joint_log_proba(X)
    expected = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(clf.score_samples(X), expected, rtol=1e-9)
