"""Histograms of claimed-label scores."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklgm import DeepKNNDetector, LGMOutlierDetector
from sklgm.plotting import ClaimedLikelihoodDisplay

SEEDS = [0, 1]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def bar_heights(display):
    """Heights of the bars, a row for each group."""
    heights = np.array([bar.get_height() for bar in display.ax_.patches])
    return heights.reshape(2, len(display.bin_edges_) - 1)


def threshold_lines(ax):
    return [line for line in ax.lines if line.get_label() == "threshold"]


@pytest.fixture(scope="module")
def claims(blobs):
    """Rows and labels, of which the first two are wrong."""
    X, y = blobs
    labels = y.copy()
    labels[:2] = 2
    return X, labels


@pytest.fixture(scope="module", params=["likelihood", "posterior"])
def detector(request, claims):
    """Shared by the module: do not fit it again."""
    estimator = None if request.param == "likelihood" else LogisticRegression()
    return LGMOutlierDetector(
        estimator, score_kind=request.param, contamination=0.05, random_state=0
    ).fit(*claims)


# Given scores


@pytest.mark.parametrize("seed", SEEDS)
def test_bars_of_each_group_sum_to_one(ax, seed):
    rng = np.random.default_rng(seed)
    clean, poison = rng.standard_t(2, size=500), rng.normal(-9, 1, size=7)
    display = ClaimedLikelihoodDisplay.from_predictions(
        np.append(clean, poison), np.arange(507) >= 500, threshold=-3, ax=ax
    )
    # Rows beyond the edges are counted too, in the outer bins.
    np.testing.assert_allclose(bar_heights(display).sum(axis=1), 1)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert legend_texts(ax) == [
        "clean rows (n = 500)",
        "suspect rows (n = 7)",
        "threshold",
    ]


def test_mask_tells_the_groups_apart(ax):
    display = ClaimedLikelihoodDisplay.from_predictions(
        [0.0, -5.0, 1.0], [0, 1, 0], group_names=("right", "wrong"), ax=ax
    )
    assert display.scores_clean.tolist() == [0.0, 1.0]
    assert display.scores_suspect.tolist() == [-5.0]
    assert legend_texts(ax) == ["right (n = 2)", "wrong (n = 1)"]
    # A mark for each suspect row.
    assert ax.lines[0].get_xdata().tolist() == [-5.0]


def test_bins_reach_the_threshold(ax):
    display = ClaimedLikelihoodDisplay.from_predictions(
        [0, 1, 2, 3], [False, False, True, True], threshold=-40, n_bins=7, ax=ax
    )
    assert display.bin_edges_[0] <= -40
    assert len(display.bin_edges_) == 8


def test_equal_scores_can_be_drawn(ax):
    display = ClaimedLikelihoodDisplay.from_predictions(
        [1.0, 1.0, 1.0], [False, False, True], ax=ax
    )
    assert np.all(np.diff(display.bin_edges_) > 0)


@pytest.mark.parametrize(
    ("is_suspect", "sums", "texts"),
    [
        ([False] * 3, [1, 0], ["clean rows (n = 3)", "suspect rows (n = 0)"]),
        ([True] * 3, [0, 1], ["clean rows (n = 0)", "suspect rows (n = 3)"]),
    ],
    ids=["no suspect", "no clean"],
)
def test_one_group_may_be_empty(ax, is_suspect, sums, texts):
    display = ClaimedLikelihoodDisplay.from_predictions([0, 1, 2], is_suspect, ax=ax)
    np.testing.assert_allclose(bar_heights(display).sum(axis=1), sums)
    assert legend_texts(ax) == texts
    assert len(ax.lines) == (1 if any(is_suspect) else 0)


@pytest.mark.parametrize(
    ("n_far", "note"),
    [(0, ""), (1, "\nouter bins hold 1 row from"), (2, "\nouter bins hold 2 rows fr")],
)
def test_rows_beyond_the_edges_are_counted_on_the_axis(ax, n_far, note):
    scores = np.append(np.zeros(400), np.full(n_far, 1e4))
    ClaimedLikelihoodDisplay.from_predictions(
        scores, np.zeros(len(scores), dtype=bool), xlabel="score", ax=ax
    )
    expected = f"score{note}"
    assert ax.get_xlabel()[: len(expected)] == expected
    assert ("beyond" in ax.get_xlabel()) == (n_far > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": []}, r"scores of shape \(0,\) must hold at least one row"),
        (
            {"scores": [[1.0], [2.0]]},
            r"scores of shape \(2, 1\) must be one-dimensional",
        ),
        ({"scores": [1.0, np.nan]}, r"scores\[1\]=nan must be finite"),
        ({"is_suspect": [True]}, r"is_suspect of shape \(1,\) must have the shape \(2"),
        ({"is_suspect": [-1, 1]}, r"is_suspect must hold true and false .*\[-1, 1\]"),
        ({"is_suspect": ["a", "b"]}, "is_suspect must hold true and false"),
        ({"group_names": ("a",)}, r"group_names=\('a',\) must be two names"),
    ],
)
def test_bad_predictions_are_refused(options, message):
    arguments = {"scores": [0.0, 1.0], "is_suspect": [False, True]} | options
    with pytest.raises(ValueError, match=message):
        ClaimedLikelihoodDisplay.from_predictions(**arguments)


@pytest.mark.parametrize(
    ("clean", "suspect", "message"),
    [
        ([], [], "scores_clean and scores_suspect are both empty"),
        ([1.0], [[1.0]], r"scores_suspect of shape \(1, 1\)"),
        ([1.0, np.inf], [1.0], r"scores_clean\[1\]=inf must be finite"),
    ],
)
def test_bad_groups_are_refused(clean, suspect, message):
    with pytest.raises(ValueError, match=message):
        ClaimedLikelihoodDisplay(clean, suspect)


# A fitted detector


def test_detector_gives_scores_threshold_and_flagged_rows(ax, detector, claims):
    X, labels = claims
    scores = detector.score_samples(X, labels=labels)
    is_flagged = detector.predict(X, labels=labels) == -1
    display = ClaimedLikelihoodDisplay.from_estimator(detector, X, labels, ax=ax)
    assert display.ax_ is ax
    np.testing.assert_array_equal(display.scores_clean, scores[~is_flagged])
    np.testing.assert_array_equal(display.scores_suspect, scores[is_flagged])
    (line,) = threshold_lines(ax)
    assert line.get_xdata() == [detector.label_offset_] * 2
    assert legend_texts(ax)[1] == f"suspect rows (n = {is_flagged.sum()})"
    name = {
        "likelihood": "standardised log density of the claimed class "
        "(higher is more normal)",
        "posterior": "log posterior of the claimed class, natural log "
        "(higher is more normal)",
    }[detector.score_kind]
    assert ax.get_xlabel().splitlines()[0] == name


def test_known_poisons_replace_flagged_rows(ax, detector, claims):
    X, labels = claims
    is_poison = np.arange(len(X)) < 2
    display = ClaimedLikelihoodDisplay.from_estimator(
        detector,
        X,
        labels,
        is_suspect=is_poison,
        group_names=("clean rows", "poisons"),
        n_bins=9,
        ax=ax,
    )
    scores = detector.score_samples(X, labels=labels)
    np.testing.assert_array_equal(display.scores_suspect, scores[:2])
    assert legend_texts(ax)[1] == "poisons (n = 2)"
    assert len(display.bin_edges_) == 10


def test_thresholds_of_the_classes_flag_and_are_not_drawn(ax, claims):
    X, labels = claims
    detector = LGMOutlierDetector(
        calibration="per_class", contamination=0.1, random_state=0
    ).fit(X, labels)
    display = ClaimedLikelihoodDisplay.from_estimator(detector, X, labels, ax=ax)
    is_flagged = detector.predict(X, labels=labels) == -1
    scores = detector.score_samples(X, labels=labels)
    np.testing.assert_array_equal(display.scores_suspect, scores[is_flagged])
    assert len(display.scores_suspect) > 0
    assert threshold_lines(ax) == []


def test_other_detectors_of_claims_are_drawn(ax, claims):
    X, labels = claims
    detector = DeepKNNDetector(false_alarm_rate=0.1, random_state=0).fit(X, labels)
    display = ClaimedLikelihoodDisplay.from_estimator(detector, X, labels, ax=ax)
    is_flagged = detector.predict(X, labels=labels) == -1
    assert len(display.scores_suspect) == is_flagged.sum() > 0
    (line,) = threshold_lines(ax)
    assert line.get_xdata() == [detector.label_offset_] * 2


def test_infinite_threshold_is_not_drawn(ax, claims):
    # The ranks of 60 rows are too few for 1 % false alarms.
    detector = LGMOutlierDetector(calibration="marginal", random_state=0)
    with pytest.warns(UserWarning, match="no row of fit is flagged"):
        detector.fit(*claims)
    assert detector.label_offset_ == -np.inf
    ClaimedLikelihoodDisplay.from_estimator(detector, *claims, ax=ax)
    assert threshold_lines(ax) == []
    assert legend_texts(ax) == ["clean rows (n = 60)", "suspect rows (n = 0)"]


def test_probabilities_that_underflow_are_drawn(ax, claims):
    X, labels = claims
    detector = LGMOutlierDetector(
        GaussianNB(), calibration="marginal", false_alarm_rate=0.05, random_state=0
    ).fit(X, labels)
    detector.label_offset_ = -1e4
    wrong = (labels + 1) % 3
    far = X * 1e3  # each row sure to be of another class than the wrong one
    assert (detector.score_samples(far, labels=wrong) < -1e4).any()
    display = ClaimedLikelihoodDisplay.from_estimator(
        detector, far, wrong, is_suspect=np.ones(len(X)), ax=ax
    )
    np.testing.assert_allclose(display.scores_suspect.min(), -708.396, atol=1e-3)
    np.testing.assert_allclose(display.threshold, -708.396, atol=1e-3)
    assert np.isfinite(display.bin_edges_).all()


def test_pipeline_and_frozen_detector_are_drawn_like_their_parts(ax, claims):
    X, labels = claims
    pipeline = make_pipeline(
        StandardScaler(), LGMOutlierDetector(contamination=0.05, random_state=0)
    ).fit(X, labels)
    scores = pipeline[-1].score_samples(pipeline[:-1].transform(X), labels=labels)
    for detector in (pipeline, FrozenEstimator(pipeline)):
        display = ClaimedLikelihoodDisplay.from_estimator(
            detector, X, labels, is_suspect=np.zeros(len(X)), ax=ax
        )
        np.testing.assert_array_equal(display.scores_clean, scores)


@pytest.mark.parametrize(
    ("detector", "error", "message"),
    [
        (StandardScaler(), TypeError, "detector=StandardScaler must have score_sampl"),
        (make_pipeline(LogisticRegression()), TypeError, "detector=LogisticRegression"),
        (LGMOutlierDetector(), NotFittedError, "LGMOutlierDetector instance is not"),
        (make_pipeline(LGMOutlierDetector()), NotFittedError, "LGMOutlierDetector ins"),
    ],
    ids=["transformer", "classifier", "unfitted", "unfitted pipeline"],
)
def test_what_cannot_score_claims_is_refused(claims, detector, error, message):
    with pytest.raises(error, match=message):
        ClaimedLikelihoodDisplay.from_estimator(detector, *claims)


def test_detector_without_labels_is_refused(claims):
    X, labels = claims
    detector = LGMOutlierDetector(contamination=0.05, random_state=0).fit(X)
    with pytest.raises(ValueError, match="fit had no claimed labels"):
        ClaimedLikelihoodDisplay.from_estimator(detector, X, labels)


def test_labels_must_be_given_and_known(detector, claims):
    X, labels = claims
    with pytest.raises(ValueError, match="labels=None"):
        ClaimedLikelihoodDisplay.from_estimator(detector, X, None)
    with pytest.raises(ValueError, match=r"labels holds \[7, 8, 9\]"):
        ClaimedLikelihoodDisplay.from_estimator(detector, X, labels + 7)
