"""Success against detection."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sklgm.metrics import wilson_rate
from sklgm.plotting import plot_frontier, victim_color
from tests.tidy_rows import rate, row, table_of

STRENGTHS = [(None, 9, 0.8), (32 / 255, 6, 0.5), (8 / 255, 2, 0.1)]


def point(bound, n_success, tpr, *, victim="lgm", score="posterior", **changes):
    """Success rate and detection rate of one strength."""
    ends = {"low": None, "high": None}
    if tpr is not None:
        ends = {"low": tpr - 0.05, "high": tpr + 0.1}
    place = {"protocol": "frontier", "bound": bound} | changes
    name = "tpr_at_1pct_fpr"
    return [
        rate(victim, n_success, 20, **place),
        row(victim, name, tpr, score=score, n=20, **ends | place),
    ]


def frontier(**changes):
    return [r for strength in STRENGTHS for r in point(*strength, **changes)]


def lines_of(ax):
    """The lines that join strengths; markers with error bars have no line."""
    return [line for line in ax.lines if line.get_linestyle() == "-"]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_line_per_victim_joins_strengths_from_the_tightest_bound(ax):
    table = table_of(frontier() + frontier(victim="softmax"))
    assert plot_frontier(table, ax=ax) is ax
    assert [to_hex(line.get_color()) for line in lines_of(ax)] == [
        victim_color("softmax").lower(),
        victim_color("lgm").lower(),
    ]
    np.testing.assert_allclose(
        lines_of(ax)[1].get_xydata(), [(0.1, 0.1), (0.5, 0.3), (0.8, 0.45)]
    )
    assert legend_texts(ax) == [
        "softmax",
        "L-GM",
        "feature collision, l-infinity 8/255",
        "feature collision, l-infinity 32/255",
        "feature collision",
    ]


def test_markers_stand_for_strengths_and_bars_for_intervals(ax):
    plot_frontier(table_of(frontier() + frontier(victim="softmax")), ax=ax)
    markers = [container[0].get_marker() for container in ax.containers]
    assert markers[:3] == markers[3:]
    assert len(set(markers)) == 3
    _, _, (horizontal, vertical) = ax.containers[0]
    np.testing.assert_allclose(horizontal.get_segments()[0][:, 0], [0.05, 0.2])
    expected = wilson_rate(2, 20)
    np.testing.assert_allclose(
        vertical.get_segments()[0][:, 1], [expected.low, expected.high]
    )


def test_another_attack_is_a_line_of_its_own_in_the_same_colour(ax):
    other = [
        made
        for reach, n_success in [(1.5, 7), (0.5, 5)]
        for made in point(None, n_success, 0.0, attack="adaptive", reach=reach)
    ]
    plot_frontier(table_of(frontier() + other), ax=ax)
    joined, adaptive = lines_of(ax)
    assert joined.get_color() == adaptive.get_color()
    np.testing.assert_allclose(adaptive.get_xydata(), [(0.0, 0.25), (0.0, 0.35)])
    assert legend_texts(ax)[-2:] == ["adaptive, reach 0.5", "adaptive, reach 1.5"]


def test_the_score_chooses_the_detection_rate(ax):
    table = table_of(frontier(score="likelihood") + frontier(victim="softmax"))
    plot_frontier(table, score="likelihood", ax=ax)
    assert legend_texts(ax)[0] == "L-GM"
    assert "likelihood score" in ax.get_xlabel()


def test_seeds_are_pooled_and_averaged(ax):
    plot_frontier(table_of(point(None, 2, 0.2) + point(None, 6, 0.4, seed=1)), ax=ax)
    np.testing.assert_allclose(lines_of(ax)[0].get_xydata(), [(0.3, 8 / 40)])
    horizontal, vertical = ax.containers[0][2]
    assert np.ptp(horizontal.get_segments()[0][:, 0]) == 0
    expected = wilson_rate(8, 40)
    np.testing.assert_allclose(
        vertical.get_segments()[0][:, 1], [expected.low, expected.high]
    )


def test_strengths_without_both_measures_and_variants_are_left_out(ax):
    rows = frontier() + point(0.5, 5, None) + frontier(victim="softmax", variant="diag")
    rows.append(rate("lgm", 1, protocol="frontier", bound=0.1))
    place = {"protocol": "frontier", "bound": 0.2}
    rows.append(row("lgm", "tpr_at_1pct_fpr", score="posterior", **place))
    plot_frontier(table_of(rows), ax=ax)
    assert len(ax.containers) == 3
    assert legend_texts(ax)[0] == "L-GM"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no victim with a success rate and a detection rate"),
        (frontier(score="likelihood"), "with score='posterior'"),
        (frontier() + frontier(dataset="MNIST"), "'dataset': MNIST, digits"),
        (frontier() + frontier(n_poisons=5), "'n_poisons': 5, 25"),
    ],
    ids=["nothing", "score", "datasets", "counts"],
)
def test_frontier_needs_one_comparison(rows, message):
    with pytest.raises(ValueError, match=message):
        plot_frontier(table_of(rows))
