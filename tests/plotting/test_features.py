"""The feature space."""

import numpy as np
import pytest
from matplotlib.patches import Ellipse

from sklgm.plotting import FeatureSpaceDisplay

FEATURES = np.array([[0.0, 0.0], [1.0, 0.0], [8.0, 1.0], [0.2, 0.1]])
LABELS = np.array(["cat", "cat", "dog", "dog"])
MEANS = np.array([[0.0, 0.0], [8.0, 0.0]])


def ellipses(ax):
    return [patch for patch in ax.patches if isinstance(patch, Ellipse)]


def test_display_draws_classes_poisons_and_targets(ax):
    display = FeatureSpaceDisplay.from_features(
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
    FeatureSpaceDisplay.from_features(
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
    FeatureSpaceDisplay.from_features(
        FEATURES, LABELS, means=MEANS, covariances=[covariance, covariance], ax=ax
    )
    points = outline(ellipses(ax)[0])
    distances = np.einsum("ni,ij,nj->n", points, np.linalg.inv(covariance), points)
    np.testing.assert_allclose(distances, 1)


def test_more_classes_than_palette_colors_can_be_drawn(ax):
    features = np.arange(24.0).reshape(12, 2)
    display = FeatureSpaceDisplay.from_features(features, np.arange(12), ax=ax)
    colors = {tuple(c.get_facecolors()[0]) for c in display.ax_.collections}
    assert len(colors) == 12


def test_classes_without_rows_keep_their_means(ax):
    display = FeatureSpaceDisplay.from_features(
        FEATURES[:2], LABELS[:2], means=MEANS, classes=["cat", "dog"], ax=ax
    )
    assert [text.get_text() for text in display.ax_.texts] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": np.ones((4, 3))}, r"features of shape \(4, 3\) must have the sh"),
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
