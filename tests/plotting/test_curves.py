"""ROC curves and success rates."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sklgm.metrics import auroc, tpr_at_fpr, wilson_rate
from sklgm.plotting import (
    plot_roc_curves,
    plot_success_rates,
    victim_color,
    victim_name,
)
from tests.tidy_rows import CLEAN, common, rate, row, table_of


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# plot_roc_curves


def test_roc_marks_the_rate_at_the_allowed_false_alarms(ax):
    rng = np.random.default_rng(0)
    mask = np.arange(300) < 30
    score = rng.normal(size=300) + 2 * mask
    assert plot_roc_curves({"L-GM": (score, mask)}, max_fpr=0.05, ax=ax) is ax
    curve, marker = ax.lines[:2]
    assert marker.get_xydata().tolist() == [
        [0.05, tpr_at_fpr(score, mask, max_fpr=0.05)]
    ]
    assert legend_texts(ax)[0] == f"L-GM: AUROC {auroc(score, mask):.3f}"
    assert ax.get_xscale() == "log"
    assert curve.get_xdata().min() > 0


def test_roc_curve_steps_match_every_threshold(ax):
    score = np.array([3.0, 2.0, 2.0, 1.0, 0.0])
    mask = np.array([True, True, False, False, True])
    plot_roc_curves({"own scores": (score, mask)}, ax=ax)
    fpr, tpr = ax.lines[0].get_data()
    np.testing.assert_allclose(tpr, [0, 1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(fpr[2:], [0.5, 1, 1])


@pytest.mark.parametrize(
    ("curves", "max_fpr", "message"),
    [
        ({}, 0.01, "must hold at least one curve"),
        ({"a": ([0, 1], [0, 1])}, 0.0, r"max_fpr=0\.0 must be in"),
        ({"a": ([0, np.nan], [0, 1])}, 0.01, r"outlier_score\[1\]=nan"),
    ],
)
def test_roc_rejects_bad_input(curves, max_fpr, message):
    with pytest.raises(ValueError, match=message):
        plot_roc_curves(curves, max_fpr=max_fpr)


# plot_success_rates


def test_success_rates_have_a_line_per_victim_with_wilson_bars(ax):
    rows = [
        rate(victim, n_success, 20, n_poisons=n_poisons)
        for victim in ("lgm", "softmax")
        for n_poisons, n_success in [(25, 9), (1, 2)]
    ]
    assert plot_success_rates(table_of(rows), ax=ax) is ax
    assert legend_texts(ax) == ["softmax", "L-GM"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "25"]
    line, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.1, 0.45])
    assert to_hex(line.get_color()) == victim_color("softmax").lower()
    expected = wilson_rate(2, 20)
    np.testing.assert_allclose(
        bars.get_segments()[0][:, 1], [expected.low, expected.high]
    )


def test_success_rates_pool_seeds(ax):
    rows = [rate("lgm", 2, 20), rate("lgm", 5, 20, seed=1)]
    plot_success_rates(table_of(rows), ax=ax)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(orig=False), [7 / 40])


def test_variants_are_dashed_and_other_rows_left_out(ax):
    victim = "softmax_trimmed_gaussians"
    rows = [rate(victim, 1), rate(victim, 2, variant="diag"), rate("lgm", 0, 0)]
    rows += [rate(victim, 1, **CLEAN), common(victim, 3), row(victim)]
    plot_success_rates(table_of(rows), ax=ax)
    name = victim_name(victim)
    assert legend_texts(ax) == [name, f"{name} (diag)"]
    assert [line.get_linestyle() for line, *_ in ax.containers] == ["-", "--"]


def test_victims_that_are_not_listed_are_drawn(ax):
    plot_success_rates(table_of([rate("jpeg_input", 1), rate("lgm", 2)]), ax=ax)
    assert legend_texts(ax) == ["L-GM", "jpeg input"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no attack_success_rate of an attack"),
        ([rate("lgm", 1, **CLEAN)], "holds no attack_success_rate of an attack"),
        ([rate("lgm", 1), rate("lgm", 1, dataset="MNIST")], "'dataset': MNIST, digits"),
        ([rate("lgm", 1), rate("lgm", 1, bound=0.5)], "'bound': None, 0.5. Filter it"),
    ],
    ids=["nothing", "control", "datasets", "bounds"],
)
def test_success_rates_need_one_comparison(rows, message):
    with pytest.raises(ValueError, match=message):
        plot_success_rates(table_of(rows))


def test_a_figure_is_made_where_no_axes_are_given():
    import matplotlib.pyplot as plt

    ax = plot_success_rates(table_of([rate("lgm", 1)]))
    assert plt.get_fignums() == [ax.figure.number]
