"""Figures as specifications say."""

import base64

import numpy as np
import pytest

from sklgm.report import ReportFigure, run_figures
from sklgm.results import (
    DetectionScores,
    FeatureScatter,
    FigureSpec,
    PoisonImages,
    ProtocolDescription,
)
from tests.tidy_rows import rate, result_of, row

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
ATTACK = ("attack", "bound", "reach")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


def drawn(kind, rows=(), arrays=(), protocol="transfer", **changes):
    values = {"title": "{attack}", "caption": "c", "alt": "a", "split": ATTACK}
    spec = FigureSpec(kind=kind, **values | changes)
    description = ProtocolDescription(
        name=protocol, title="t", question="q", figures=(spec,)
    )
    return run_figures(result_of(rows), arrays, [description])


def scores(**changes):
    values = {"protocol": "transfer", "victim": "lgm", "score": "likelihood"}
    values |= {"attack": "feature_collision", "outlier_score": np.arange(20.0)}
    return DetectionScores(**values | {"is_poison": np.arange(20) > 14} | changes)


def test_success_rates_are_drawn_for_each_attack():
    rows = [rate("lgm", 2, bound=8 / 255), rate("lgm", 3), row("lgm", bound=0.5)]
    figures = drawn("success_rates", rows, where={"attack": ...})
    assert [figure.title for figure in figures] == [
        "feature collision, l-infinity 8/255",
        "feature collision",
    ]
    assert {figure.protocol for figure in figures} == {"transfer"}
    assert len(figures[0].figure.axes) == 1


def test_a_frontier_is_drawn_where_it_was_measured():
    rows = [rate("lgm", 2), row(metric="tpr_at_1pct_fpr", score="posterior")]
    options = {"split": ("dataset", "n_poisons"), "title": "{dataset}, {n_poisons}"}
    (figure,) = drawn("frontier", rows, **options)
    assert figure.title == "digits, 25 poisons"
    assert drawn("frontier", rows[:1], **options) == []
    assert drawn("frontier", rows, options={"score": "likelihood"}, **options) == []


def test_curves_of_one_attack_share_a_figure():
    arrays = [scores(), scores(variant="diag"), scores(bound=0.5), scores(protocol="x")]
    figures = drawn("roc_curves", arrays=arrays)
    legends = [
        [text.get_text() for text in figure.figure.axes[0].get_legend().get_texts()]
        for figure in figures
    ]
    assert [texts[0] for texts in legends] == 2 * ["L-GM, likelihood: AUROC 1.000"]
    assert legends[0][1] == "L-GM (diag), likelihood: AUROC 1.000"
    assert len(legends[1]) == 2


def test_a_histogram_shows_the_scores_that_meet_the_conditions():
    arrays = [scores(victim="softmax"), scores()]
    where, options = {"victim": "lgm"}, {"xlabel": "score"}
    (figure,) = drawn("score_histogram", arrays=arrays, where=where, options=options)
    assert figure.figure.axes[0].get_xlabel() == "score"


def test_images_and_features_are_drawn_from_arrays():
    images = np.zeros((2, 1, 4, 4), dtype=np.float32)
    poisons = PoisonImages(
        protocol="transfer",
        attack="watermark",
        X_base=images,
        X_target=images,
        X_poison=images,
        base_names=("a", "b"),
        target_names=("c", "d"),
    )
    (figure,) = drawn("poison_images", arrays=[poisons, scores()])
    assert figure.title == "watermark"
    labels = figure.figure.axes[0].get_xticklabels()
    assert [text.get_text() for text in labels] == ["a for c", "b for d"]
    (figure,) = drawn("poison_example", arrays=[poisons, scores()])
    assert figure.kind == "poison_example"
    labels = figure.figure.axes[0].get_xticklabels()
    assert [text.get_text() for text in labels] == [
        "base\nlabel: a", "poison\nlabel: a", "target\nlabel: c",
    ]  # fmt: skip
    scatter = FeatureScatter(
        protocol="transfer",
        features=np.eye(4, 2),
        claimed_labels=np.array([0, 1, 0, 1]),
        is_poison=np.array([False, False, True, False]),
        target_features=np.ones((1, 2)),
        means=np.eye(2),
        covariances=np.float64(1.0),
        covariance_type="identity",
        classes=np.array([0, 1]),
        class_names=("a", "b"),
    )
    (figure,) = drawn("feature_scatter", arrays=[scatter], split=(), title="t")
    assert len(figure.figure.axes) == 1


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alt": ""}, "alt='' must describe"),
        ({"figure": b"GIF89a"}, "figure starting with b'GIF89a' is neither PNG nor"),
        ({"figure": "text"}, "figure starting with b'text' is neither"),
    ],
)
def test_report_figure_rejects_bad_input(options, message):
    values = {"title": "t", "caption": "c", "figure": PNG, "alt": "a"} | options
    with pytest.raises(ValueError, match=message):
        ReportFigure(**values)
