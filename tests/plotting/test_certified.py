"""Certified accuracy against poisons, and the attacks beside it."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import RobustGaussianClassifier
from sklgm.metrics import wilson_rate
from sklgm.plotting import (
    CertifiedAccuracyDisplay,
    plot_certified_accuracy,
    victim_color,
)
from sklgm.poisoning import attack_locations
from tests.tidy_rows import rate, table_of

CERTIFIED = {"protocol": "certified", "attack": None, "metric": "certified_accuracy"}
ATTACKED = {
    "protocol": "certified",
    "attack": "location",
    "metric": "attacked_accuracy",
}


def test_the_curve_is_the_share_that_is_right_and_certified(ax):
    display = CertifiedAccuracyDisplay.from_predictions(
        [0, 0, 1, 1], [0, 1, 1, 1], [3, 9, 1, 2], ax=ax, name="model", color="red"
    )
    x, y = display.line_.get_data()
    assert x.tolist() == list(range(11))
    assert y[:5] == pytest.approx([0.75, 0.75, 0.5, 0.25, 0.0])
    assert display.line_.get_color() == "red"
    assert display.certified[2] == wilson_rate(2, 4)
    assert ax.get_legend().get_texts()[0].get_text() == "model"


def test_attacks_stand_above_the_curve(ax, blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    attacks = [attack_locations(clf, X, y, X, n, random_state=0) for n in (4, 7, 7)]
    display = CertifiedAccuracyDisplay.from_estimator(
        clf, X, y, attacks=attacks, n_poisons=[0, 4, 7], rows_per_class=20, ax=ax
    )
    assert list(display.attacked) == [4, 7]
    for n, left in display.attacked.items():
        assert left.value >= display.certified[n].value
    holds = (clf.predict(X) == y) & ~attacks[1].is_changed & ~attacks[2].is_changed
    assert display.attacked[7].n_success == holds.sum()
    points = ax.lines[1]
    np.testing.assert_allclose(points.get_xdata(), [4 / 20, 7 / 20])
    assert ax.get_xlabel() == "poisoned share of a class"


def test_several_models_share_axes_and_pipelines_are_certified(blobs):
    X, y = blobs
    pipe = make_pipeline(
        FrozenEstimator(StandardScaler().fit(X)),
        RobustGaussianClassifier(location="median"),
    ).fit(X, y)
    first = CertifiedAccuracyDisplay.from_estimator(pipe, X, y)
    clf = RobustGaussianClassifier(location="trimmed_mean").fit(X, y)
    second = CertifiedAccuracyDisplay.from_estimator(
        clf, X, y, ax=first.ax_, parameters={"threat": "any"}
    )
    assert second.figure_ is first.figure_
    names = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert names == ["Pipeline", "RobustGaussianClassifier"]
    counts = clf.certified_poisons(X, threat="any")
    expected = np.mean((clf.predict(X) == y) & (counts >= 3))
    assert second.certified[3].value == pytest.approx(expected)


def test_a_curve_of_many_poisons_has_at_most_200_points(ax):
    display = CertifiedAccuracyDisplay.from_predictions([0], [0], [5000], ax=ax)
    assert len(display.certified) <= 200
    assert (min(display.certified), max(display.certified)) == (0, 5001)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows_per_class": 0}, "rows_per_class=0 must be at least 1"),
        ({"n_poisons": []}, "must hold at least one point"),
        ({"n_poisons": [0.5, 1.5]}, "n_poisons must hold ints"),
        ({"y_true": [], "y_pred": [], "certified_poisons": []}, "at least 1 row"),
        ({"y_pred": [0]}, "inconsistent numbers of samples"),
    ],
)
def test_wrong_arguments_say_what_was_expected(changes, message, ax):
    given = {"y_true": [0, 1], "y_pred": [0, 1], "certified_poisons": [1, 1]}
    with pytest.raises(ValueError, match=message):
        CertifiedAccuracyDisplay.from_predictions(**given | changes, ax=ax)


def test_attacks_of_another_kind_than_the_certificates_are_refused(ax, blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median", priors=[1, 1, 1]).fit(X, y)
    draw = CertifiedAccuracyDisplay.from_estimator
    whole = attack_locations(clf, X, y, X, 3, threat="any")
    inserted = attack_locations(clf, X, y, X, 3, change="insert")
    with pytest.raises(ValueError, match="threat='any', but certificates are for thr"):
        draw(clf, X, y, attacks=whole, ax=ax)
    with pytest.raises(ValueError, match="change='insert', but certificates are for"):
        draw(clf, X, y, attacks=[inserted], ax=ax)
    shown = draw(
        clf, X, y, attacks=whole, n_poisons=3, parameters={"threat": "any"}, ax=ax
    )
    assert shown.attacked[3].value >= shown.certified[3].value
    labels, counts = clf.predict(X), clf.certified_poisons(X)
    with pytest.raises(ValueError, match="attacks must have one threat and change"):
        CertifiedAccuracyDisplay.from_predictions(
            y, labels, counts, attacks=[whole, inserted], ax=ax
        )


def test_attacks_on_other_rows_are_refused(ax, blobs):
    X, y = blobs
    clf = RobustGaussianClassifier(location="median").fit(X, y)
    attack = attack_locations(clf, X, y, X[:5], 1)
    with pytest.raises(ValueError, match="attacks holds one on 5 rows"):
        CertifiedAccuracyDisplay.from_estimator(clf, X, y, attacks=[attack], ax=ax)


# From a table


def test_a_table_gives_a_line_per_victim_and_attacks_as_triangles(ax):
    rows = [
        rate(victim, n_right, 100, **CERTIFIED, share=share, n_poisons=n)
        for victim, right in (("softmax_median", (95, 80)), ("lgm_median", (96, 90)))
        for (share, n), n_right in zip(((None, 0), (0.1, 25)), right, strict=True)
    ]
    rows.append(rate("lgm_median", 94, 100, **ATTACKED, share=0.1, n_poisons=25))
    plot_certified_accuracy(table_of(rows), ax=ax)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["softmax, median", "L-GM, median"]
    lines = [line for line in ax.lines if len(line.get_xdata())]
    np.testing.assert_allclose(lines[0].get_xydata(), [[0.0, 0.95], [0.1, 0.8]])
    assert to_hex(lines[1].get_color()) == victim_color("lgm_median").lower()
    np.testing.assert_allclose(lines[2].get_xydata(), [[0.1, 0.94]])


def test_a_table_pools_seeds(ax):
    rows = [
        rate("lgm_median", n, 100, **CERTIFIED, share=0.1, n_poisons=25, seed=seed)
        for seed, n in enumerate((90, 80))
    ]
    plot_certified_accuracy(table_of(rows), ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.85])


def test_a_table_without_certificates_is_an_error(ax):
    with pytest.raises(ValueError, match="holds no certified_accuracy"):
        plot_certified_accuracy(table_of([rate("lgm", 1)]), ax=ax)
