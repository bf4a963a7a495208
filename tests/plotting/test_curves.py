"""ROC curves and success rates."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sklgm.metrics import auroc, tpr_at_fpr, wilson_rate
from sklgm.plotting import (
    MODEL_COLORS,
    MODEL_NAMES,
    plot_roc_curves,
    plot_success_rates,
    pooled_rate,
)
from sklgm.results import MODELS, Record


def success(model="softmax", n_poisons=1, n_success=1, **changes):
    rate = wilson_rate(n_success, 20)
    values = {
        "protocol": "transfer",
        "dataset": "digits",
        "model": model,
        "attack": "feature_collision",
        "n_poisons": n_poisons,
        "arm": "attack",
        "metric": "attack_success_rate",
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "n": 20,
        "seed": 0,
    }
    return Record(**values | changes)


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_every_model_has_a_name_and_a_color_of_its_own():
    assert tuple(MODEL_NAMES) == tuple(MODEL_COLORS) == MODELS
    assert len(set(MODEL_NAMES.values())) == len(set(MODEL_COLORS.values())) == 4


# plot_roc_curves


def test_roc_marks_the_rate_at_the_allowed_false_alarms(ax):
    rng = np.random.default_rng(0)
    mask = np.arange(300) < 30
    score = rng.normal(size=300) + 2 * mask
    assert plot_roc_curves({"lgm": (score, mask)}, max_fpr=0.05, ax=ax) is ax
    curve, marker = ax.lines[:2]
    assert marker.get_xydata().tolist() == [
        [0.05, tpr_at_fpr(score, mask, max_fpr=0.05)]
    ]
    assert curve.get_color() == MODEL_COLORS["lgm"]
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


def test_success_rates_have_a_line_a_model_with_wilson_bars(ax):
    records = [
        success(model, n_poisons, n_success)
        for model in ("lgm", "softmax")
        for n_poisons, n_success in [(25, 9), (1, 2)]
    ]
    assert plot_success_rates(records, ax=ax) is ax
    assert legend_texts(ax) == ["softmax", "L-GM"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "25"]
    line, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.1, 0.45])
    assert to_hex(line.get_color()) == MODEL_COLORS["softmax"].lower()
    rate = wilson_rate(2, 20)
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [rate.low, rate.high])


def test_success_rates_pool_seeds(ax):
    records = [success(n_success=2), success(n_success=5, seed=1)]
    plot_success_rates(records, ax=ax)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(orig=False), [7 / 40])
    assert pooled_rate(records) == wilson_rate(7, 40)


def test_pooled_rate_leaves_out_unknown_values():
    records = [success(n_success=2), success(value=np.nan, n=0)]
    assert pooled_rate(records) == wilson_rate(2, 20)
    assert pooled_rate([]).n_targets == 0


def test_variants_are_dashed_and_control_arms_left_out(ax):
    model = "softmax_trimmed_gaussians"
    records = [success(model, arm=a) for a in ("attack", "diag", "control", "common")]
    plot_success_rates(records, ax=ax)
    name = MODEL_NAMES[model]
    assert legend_texts(ax) == [name, f"{name} (diag)"]
    assert [line.get_linestyle() for line, *_ in ax.containers] == ["-", "--"]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"protocol": "frontier"}, {}, "No attack success rate with protocol='trans"),
        ({"dataset": "MNIST"}, {"attack": "x"}, "attack='x' among the records"),
        ({"dataset": "MNIST"}, {}, "dataset=None is ambiguous: MNIST, digits"),
        ({"attack": "other"}, {}, "attack=None is ambiguous: feature_collision, other"),
    ],
)
def test_success_rates_need_one_comparison(changes, options, message):
    records = [success(**changes)]
    records += [] if "protocol" in changes else [success()]
    with pytest.raises(ValueError, match=message):
        plot_success_rates(records, **options)


def test_a_figure_is_made_where_no_axes_are_given():
    import matplotlib.pyplot as plt

    ax = plot_success_rates([success()])
    assert plt.get_fignums() == [ax.figure.number]
