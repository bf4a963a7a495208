"""The feature space."""

import numpy as np
import pytest
from matplotlib.patches import Ellipse
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.gaussian import COVARIANCE_TYPES
from sklgm.plotting import FeatureSpaceDisplay

FEATURES = np.array([[0.0, 0.0], [1.0, 0.0], [8.0, 1.0], [0.2, 0.1]])
LABELS = np.array(["cat", "cat", "dog", "dog"])
MEANS = np.array([[0.0, 0.0], [8.0, 0.0]])


def ellipses(ax):
    return [patch for patch in ax.patches if isinstance(patch, Ellipse)]


def test_display_draws_classes_poisons_and_targets(ax):
    display = FeatureSpaceDisplay.from_predictions(
        FEATURES,
        LABELS,
        is_poison=[False, False, False, True],
        means=MEANS,
        target_features=[[0.1, 0.1]],
        class_names=["Cats", "Dogs"],
        ax=ax,
    )
    assert display.ax_ is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "Cats",
        "Dogs",
        "poisons (n = 1)",
        "targets (n = 1)",
    ]
    cats, dogs, poisons, targets = (c.get_offsets().tolist() for c in ax.collections)
    assert cats == FEATURES[:2].tolist()
    assert dogs == FEATURES[2:3].tolist()
    assert poisons == FEATURES[3:].tolist()
    assert targets == [[0.1, 0.1]]
    # A poison has the colour of the class that it claims.
    np.testing.assert_array_equal(
        ax.collections[2].get_facecolors()[0, :3],
        ax.collections[1].get_facecolors()[0, :3],
    )


def outline(ellipse):
    """Points of an ellipse in the units of the data: its path is the unit circle."""
    angles = np.linspace(0, 2 * np.pi, 361)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return ellipse.get_patch_transform().transform(circle)


@pytest.mark.parametrize(
    ("covariances", "covariance_type", "variances"),
    [
        (4.0, None, [[4, 4], [4, 4]]),
        ([4.0, 9.0], "spherical", [[4, 4], [9, 9]]),
        ([4.0, 9.0], "tied_diag", [[4, 9], [4, 9]]),
        ([[1.0, 4.0], [9.0, 16.0]], None, [[1, 4], [9, 16]]),
        (np.array([np.diag([1.0, 4.0]), np.diag([9.0, 16.0])]), None, None),
    ],
    ids=["identity", "spherical", "tied_diag", "diag", "full"],
)
def test_ellipses_are_one_and_two_standard_deviations(
    ax, covariances, covariance_type, variances
):
    variances = [[1, 4], [9, 16]] if variances is None else variances
    FeatureSpaceDisplay.from_predictions(
        FEATURES,
        LABELS,
        means=MEANS,
        covariances=covariances,
        covariance_type=covariance_type,
        ax=ax,
    )
    drawn = ellipses(ax)
    assert len(drawn) == 4
    for index, ellipse in enumerate(drawn):
        corners = outline(ellipse) - MEANS[index // 2]
        half_axes = np.abs(corners).max(axis=0)
        n_sigma = 1 + index % 2
        expected = n_sigma * np.sqrt(variances[index // 2])
        np.testing.assert_allclose(half_axes, expected)


def test_a_correlated_gaussian_is_drawn_along_its_long_axis(ax):
    covariance = np.array([[2.0, 1.5], [1.5, 2.0]])
    FeatureSpaceDisplay.from_predictions(
        FEATURES, LABELS, means=MEANS, covariances=[covariance, covariance], ax=ax
    )
    points = outline(ellipses(ax)[0])
    distances = np.einsum("ni,ij,nj->n", points, np.linalg.inv(covariance), points)
    np.testing.assert_allclose(distances, 1)


def test_more_classes_than_palette_colors_can_be_drawn(ax):
    features = np.arange(24.0).reshape(12, 2)
    display = FeatureSpaceDisplay.from_predictions(features, np.arange(12), ax=ax)
    colors = {tuple(c.get_facecolors()[0]) for c in display.ax_.collections}
    assert len(colors) == 12


def test_classes_without_rows_keep_their_means(ax):
    display = FeatureSpaceDisplay.from_predictions(
        FEATURES[:2], LABELS[:2], means=MEANS, classes=["cat", "dog"], ax=ax
    )
    assert [text.get_text() for text in display.ax_.texts] == ["cat", "dog"]


WIDE = np.random.default_rng(0).normal(size=(30, 5)) * [5, 1, 4, 1, 1]
WIDE_LABELS = np.repeat(["a", "b", "c"], 10)


@pytest.mark.parametrize("projection", ["pca", "lda"])
def test_wide_features_are_projected_with_their_gaussians(ax, projection):
    means = np.array([WIDE[WIDE_LABELS == k].mean(axis=0) for k in "abc"])
    variances = np.random.default_rng(1).uniform(0.5, 4, size=(3, 5))
    display = FeatureSpaceDisplay.from_predictions(
        WIDE,
        WIDE_LABELS,
        is_poison=np.arange(30) == 4,
        means=means,
        covariances=variances,
        target_features=WIDE[:2] + 1,
        projection=projection,
        ax=ax,
    )
    A, c = display.components_, display.center_
    points = np.array([A @ (row - c) for row in WIDE])
    np.testing.assert_allclose(display.points_, points)
    drawn = [collection.get_offsets() for collection in ax.collections]
    np.testing.assert_allclose(drawn[1], points[10:20])
    np.testing.assert_allclose(drawn[3], points[4:5])
    np.testing.assert_allclose(drawn[4], points[:2] + A.sum(axis=1))
    for k, (ellipse, mark) in enumerate(zip(ellipses(ax)[::2], ax.lines, strict=True)):
        mean = A @ (means[k] - c)
        np.testing.assert_allclose(mark.get_xydata(), [mean])
        covariance = A @ np.diag(variances[k]) @ A.T
        edge = outline(ellipse) - mean
        distances = np.einsum("ni,ij,nj->n", edge, np.linalg.inv(covariance), edge)
        np.testing.assert_allclose(distances, 1)


def test_axes_say_what_is_shown(ax):
    share = PCA(n_components=2).fit(WIDE).explained_variance_ratio_[0]
    FeatureSpaceDisplay.from_predictions(WIDE, WIDE_LABELS, ax=ax)
    expected = f"principal component 1 ({100 * share:.0f} % of variance)"
    assert ax.get_xlabel() == expected
    FeatureSpaceDisplay.from_predictions(WIDE, WIDE_LABELS, projection="lda", ax=ax)
    assert ax.get_ylabel().startswith("discriminant 2 (")
    FeatureSpaceDisplay.from_predictions(WIDE[:, :2], WIDE_LABELS, ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 1", "feature 2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": np.ones((4, 1))}, r"features of shape \(4, 1\) must have the sh"),
        ({"features": np.ones((0, 2))}, r"features of shape \(0, 2\) must have the sh"),
        ({"features": [[0, 0], [0, np.inf]]}, r"features\[1, 1\]=inf must be finite"),
        ({"features": np.ones((4, 3)), "means": MEANS}, "means of .* must have 3 col"),
        ({"target_features": np.ones((1, 3))}, "target_features of .* must have 2 col"),
        ({"projection": "tsne"}, "projection='tsne' must be 'pca' or 'lda'"),
        (
            {"features": np.eye(4), "projection": "lda"},
            "projection='lda' needs rows of",
        ),
        ({"claimed_labels": ["cat"]}, r"claimed_labels of shape \(1,\)"),
        ({"is_poison": [True]}, r"is_poison of shape \(1,\)"),
        ({"means": np.ones((3, 2))}, "means has 3 rows for 2 classes"),
        ({"classes": ["cat"]}, "claimed_labels holds .*dog.*, which is not in classes"),
        ({"class_names": ["a"]}, "class_names has 1 entries for 2 classes"),
        ({"covariances": 1.0}, "covariances was given but means=None"),
        ({"covariances": [1.0, 1.0], "means": MEANS}, "covariance_type=None is ambig"),
        ({"covariances": np.ones(3), "means": MEANS}, r"covariances of shape \(3,\)"),
    ],
)
def test_display_rejects_what_does_not_fit(options, message):
    arguments = {"features": FEATURES, "claimed_labels": LABELS} | options
    with pytest.raises(ValueError, match=message):
        FeatureSpaceDisplay(**arguments)


# A fitted classifier


def small(classifier, **settings):
    settings = {"feature_dim": 4, "max_epochs": 2, "random_state": 0} | settings
    return classifier(**settings)


@pytest.fixture(scope="module")
def names(blobs):
    """The labels of the blobs as strings."""
    return np.array(["ant", "bee", "cow"])[blobs[1]]


@pytest.fixture(scope="module", params=COVARIANCE_TYPES)
def fitted_lgm(request, blobs, names):
    """Shared by the module: do not fit it again."""
    clf = small(LGMClassifier, covariance_type=request.param, lr=0.05)
    return clf.fit(blobs[0], names)


def test_classifier_gives_features_and_gaussians(ax, fitted_lgm, blobs, names):
    X, _ = blobs
    display = FeatureSpaceDisplay.from_estimator(
        fitted_lgm, X, names, is_poison=np.arange(60) < 2, X_target=X[40:43], ax=ax
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    A, c = display.components_, display.center_
    points = (fitted_lgm.transform(X) - c) @ A.T
    np.testing.assert_allclose(display.points_, points, atol=1e-5)
    np.testing.assert_allclose(
        ax.collections[-1].get_offsets(), points[40:43], atol=1e-5
    )
    assert [text.get_text() for text in ax.texts] == ["ant", "bee", "cow"]
    variances = np.broadcast_to(
        fitted_lgm.covariances_[:, None]
        if fitted_lgm.covariance_type == "spherical"
        else fitted_lgm.covariances_,
        (3, 4),
    )
    for k, ellipse in enumerate(ellipses(ax)[::2]):
        edge = outline(ellipse) - A @ (fitted_lgm.means_[k] - c)
        covariance = A @ np.diag(variances[k]) @ A.T
        distances = np.einsum("ni,ij,nj->n", edge, np.linalg.inv(covariance), edge)
        np.testing.assert_allclose(distances, 1, rtol=1e-5)


def test_classes_without_rows_are_drawn_too(ax, blobs, names):
    X, _ = blobs
    clf = small(LGMClassifier, feature_dim=2).fit(X, names)
    FeatureSpaceDisplay.from_estimator(
        clf, X[:20], names[:20], class_names=["A", "B", "C"], ax=ax
    )
    assert [text.get_text() for text in ax.texts] == ["A", "B", "C"]
    assert ax.get_xlabel() == "feature 1"


def test_softmax_has_no_gaussians(ax, blobs):
    X, y = blobs
    clf = small(SoftmaxClassifier).fit(X, y)
    display = FeatureSpaceDisplay.from_estimator(clf, X, y, projection="lda", ax=ax)
    assert ellipses(ax) == []
    assert len(ax.lines) == len(ax.texts) == 0
    features = clf.transform(X).astype(np.float64)
    lda = LinearDiscriminantAnalysis(n_components=2).fit(features, y)
    np.testing.assert_allclose(display.points_, lda.transform(features))


def test_means_of_another_space_are_not_drawn(ax, blobs):
    # scikit-learn's discriminant analysis has means_ of X, not of its transform.
    X, y = blobs
    lda = LinearDiscriminantAnalysis().fit(X[:, :2], y)
    assert lda.means_.shape == (3, lda.transform(X[:, :2]).shape[1])
    FeatureSpaceDisplay.from_estimator(lda, X[:, :2], y, ax=ax)
    assert len(ax.lines) == 0


def test_pipeline_and_frozen_classifier_are_drawn_like_their_parts(ax, blobs):
    X, y = blobs
    pipeline = make_pipeline(StandardScaler(), small(LGMClassifier)).fit(X, y)
    scaled = pipeline[:-1].transform(X)
    expected = FeatureSpaceDisplay.from_estimator(
        pipeline[-1], scaled, y, X_target=scaled[:2]
    )
    for estimator in (
        pipeline,
        FrozenEstimator(pipeline),
        make_pipeline(pipeline[0], FrozenEstimator(pipeline[-1])),
    ):
        ax.clear()
        display = FeatureSpaceDisplay.from_estimator(
            estimator, X, y, X_target=X[:2], ax=ax
        )
        np.testing.assert_array_equal(display.points_, expected.points_)
        np.testing.assert_array_equal(
            ax.collections[-1].get_offsets(),
            expected.ax_.collections[-1].get_offsets(),
        )
        assert len(ellipses(ax)) == 6


def test_any_transformer_can_be_drawn(ax, blobs):
    X, y = blobs
    pca = PCA(n_components=2).fit(X)
    display = FeatureSpaceDisplay.from_estimator(pca, X, y, ax=ax)
    np.testing.assert_array_equal(display.points_, pca.transform(X))
    assert display.classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (LogisticRegression(), TypeError, "estimator=LogisticRegression must have the"),
        (
            make_pipeline(StandardScaler(), LogisticRegression()),
            TypeError,
            "estimator=LogisticRegression must have the method transform",
        ),
        (LGMClassifier(), NotFittedError, "LGMClassifier instance is not fitted"),
        (
            FrozenEstimator(make_pipeline(StandardScaler(), SoftmaxClassifier())),
            NotFittedError,
            "SoftmaxClassifier instance is not fitted",
        ),
    ],
    ids=["no transform", "pipeline without", "unfitted", "unfitted pipeline"],
)
def test_what_gives_no_features_is_refused(blobs, estimator, error, message):
    with pytest.raises(error, match=message):
        FeatureSpaceDisplay.from_estimator(estimator, *blobs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.repeat(["ant", "dog", "elk"], 20)}, r"y holds \['dog', 'elk'\]"),
        ({"y": ["ant"]}, r"inconsistent numbers of samples: \[60, 1\]"),
        ({"is_poison": [True]}, r"is_poison of shape \(1,\) must have the shape \(60,"),
        ({"class_names": ["a"]}, "class_names has 1 entries for 3 classes"),
        ({"X_target": np.ones((1, 3))}, "X has 3 features"),
        ({"projection": "x"}, "projection='x' must be 'pca' or 'lda'"),
    ],
)
def test_rows_that_do_not_fit_the_classifier_are_refused(
    fitted_lgm, blobs, names, change, message
):
    arguments = {"X": blobs[0], "y": names} | change
    with pytest.raises(ValueError, match=message):
        FeatureSpaceDisplay.from_estimator(fitted_lgm, **arguments)


def test_flags_of_a_detector_are_no_mask():
    with pytest.raises(
        ValueError, match=r"is_poison must hold true and false .* \[-1, 1\]"
    ):
        FeatureSpaceDisplay([[0.0, 0.0], [1.0, 1.0]], [0, 1], is_poison=[-1, 1])
