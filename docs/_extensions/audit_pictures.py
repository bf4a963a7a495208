"""Pictures of the pages on audits, computed as these pages compute."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

RESULTS = Path(__file__).parents[1] / "results"
GIVEN_RUN = "given-probabilities-label-noise-0"
INK, BLUE, ORANGE, GREEN = "#7a7f87", "#0072B2", "#D55E00", "#009E73"
#: Probabilities of the committed run, as the pages call them.
_SETS = {
    "CIFAR-10N aggregate, ResNet-18": "CIFAR-10N, ResNet-18",
    "CIFAR-10N aggregate, ResNet-50d": "CIFAR-10N, ResNet-50d",
    "CIFAR-10N aggregate, small CNN": "CIFAR-10N, small CNN",
    "CIFAR-10, 20 % sparse flips, EfficientNet-B1": "20 % sparse flips",
}


@cache
def _digits() -> tuple[Any, Any, Any]:
    """Digits, their labels, and claims of which one in twenty is wrong."""
    from sklearn.datasets import load_digits

    from sklgm.poisoning import flip_labels

    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32) / 16, y, flip_labels(y, 0.05, random_state=0)


def _audited(X: Any, claimed: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    from sklgm import audit

    model = LogisticRegression(max_iter=500)
    return audit(X, claimed, estimator=model, random_state=0)


def draw_loop() -> Figure:
    """Wrong labels before the first round and after each."""
    X, y, claimed = _digits()
    claimed = claimed.copy()
    counts = [(claimed != y).sum()]
    for _ in range(2):
        suspects = _audited(X, claimed).suspects
        claimed[suspects] = y[suspects]
        counts.append((claimed != y).sum())
    figure = Figure(figsize=(4.4, 2.1), layout="constrained")
    ax = figure.subplots()
    names = ["before", "after one round", "after two"]
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        ax.barh(-place, count, color=ORANGE, height=0.6)
        ax.text(count + 1.5, -place, f"{count}", va="center")
        ax.text(-2, -place, name, va="center", ha="right")
    ax.set(xlim=(0, 100), xticks=[], yticks=[])
    ax.set_title("wrong labels of 1,797", fontsize=12)
    ax.spines[["bottom", "left"]].set_visible(False)
    return figure


def draw_table() -> Figure:
    """Probability of a wrong label against the fare, for the table of passengers."""
    from sklgm import audit

    rng = np.random.default_rng(0)
    is_saved = np.arange(300) % 2
    is_female = np.where(rng.random(300) < 0.9, is_saved, 1 - is_saved)
    passengers = pl.DataFrame(
        {
            "sex": np.where(is_female, "female", "male"),
            "age": np.where(rng.random(300) < 0.2, np.nan, 30 + 20 * is_saved),
            "fare": 10 + 20 * is_saved + rng.normal(0, 3, 300),
            "saved": np.where(np.arange(300) < 5, 1 - is_saved, is_saved),
        }
    )
    result = audit(passengers, "saved", cv=3, max_epochs=20, random_state=0)
    fare = passengers["fare"].to_numpy()
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    ax = figure.subplots()
    is_wrong = np.arange(300) < 5
    for chosen, color, size in ((~is_wrong, INK, 8), (is_wrong, ORANGE, 30)):
        ax.scatter(fare[chosen], result.p_wrong[chosen], s=size, color=color)
    ax.set(xlabel="fare", ylabel="p_wrong", ylim=(-0.03, 1.05))
    return figure


def draw_odd_rows() -> Figure:
    """Foreign rows that are named, and the oddest digits, which are not."""
    X, y, _ = _digits()
    strange = np.concatenate([X, np.random.default_rng(0).random((5, 64))])
    names = np.array([*y, 0, 1, 2, 3, 4])
    result = _audited(strange, names)
    p_values = result.outlier_p_values
    others = np.setdiff1d(np.argsort(p_values), result.outliers, assume_unique=True)
    figure = Figure(figsize=(5.4, 1.5), layout="constrained")
    axes = figure.subplots(1, 6)
    for ax, row in zip(axes, [*result.outliers[:3], *others[:3]], strict=True):
        ax.imshow(strange[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        is_named = row in result.outliers
        ax.set_xlabel(f"p = {p_values[row]:.1g}", color=ORANGE if is_named else INK)
    return figure


def draw_intervals() -> Figure:
    """Estimate, interval and truth of the share of wrong labels."""
    table = _given_table()
    figure = Figure(figsize=(5.2, 2.2), layout="constrained")
    ax = figure.subplots()
    for place, (dataset, name) in enumerate(_SETS.items()):
        row = table.row(
            by_predicate=(pl.col("dataset") == dataset)
            & (pl.col("metric") == "estimated_noise_share"),
            named=True,
        )
        truth = row["n_poisons"] / row["n"]
        ax.plot([row["low"], row["high"]], [-place] * 2, color=BLUE, lw=7, alpha=0.45)
        ax.plot(row["value"], -place, "o", color=BLUE, ms=8)
        ax.plot([truth] * 2, [-place - 0.33, -place + 0.33], color=ORANGE, lw=2.5)
        ax.text(-0.01, -place, name, va="center", ha="right")
    ax.set(xlim=(0, 0.42), yticks=[], xlabel="share of wrong labels")
    ax.xaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.spines["left"].set_visible(False)
    return figure


def draw_checked() -> Figure:
    """Interval of the share of wrong labels against the number of rows checked."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    from sklgm import audit

    X, y, claimed = _digits()
    is_wrong = claimed != y
    P = cross_val_predict(
        LogisticRegression(max_iter=500), X, claimed, cv=3, method="predict_proba"
    )
    order = np.random.default_rng(0).permutation(len(y))
    numbers = [0, 25, 50, 100, 200, 400]
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    ax = figure.subplots()
    ax.axhline(is_wrong.mean(), color=ORANGE, lw=2)
    for place, number in enumerate(numbers):
        checked = {int(i): "drop" if is_wrong[i] else "keep" for i in order[:number]}
        with warnings.catch_warnings():  # of few decisions
            warnings.simplefilter("ignore")
            result = audit(None, claimed, pred_probs=P, decisions=checked or None)
        ax.plot([place] * 2, result.noise_share_interval, color=BLUE, lw=7, alpha=0.45)
        ax.plot(place, result.noise_share, "o", color=BLUE, ms=7)
    ax.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    ax.set(xlabel="rows checked at random", ylabel="wrong labels")
    ax.set(ylim=(0, None), yticks=[0, 0.05, 0.1])
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def draw_quality() -> Figure:
    """Wrong labels found and right ones flagged, by the audit and by cleanlab."""
    table = _given_table()
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.subplots(2, 1)
    titles = "wrong labels found", "right labels among the flagged"
    metrics = "flipped_flagged", "false_discoveries"
    for ax, metric, title in zip(axes, metrics, titles, strict=True):
        for place, dataset in enumerate(_SETS):
            for shift, detector, name, color in (
                (0.19, "audit, fdr 0.1", "audit", BLUE),
                (-0.19, "cleanlab", "cleanlab", INK),
            ):
                rows = table.filter(dataset=dataset, metric=metric, detector=detector)
                value = rows["value"].item() if len(rows) else None
                height = shift - place
                ax.barh(height, value or 0, height=0.34, color=color)
                text = "none flagged" if value is None else f"{100 * value:.0f} %"
                text += f"  {name}" if place == 0 else ""
                ax.text((value or 0) + 0.02, height, text, va="center", fontsize=10)
        ax.set(xlim=(0, 1.25), xticks=[])
        ax.set_title(title, fontsize=11, loc="left")
        ax.spines["bottom"].set_visible(False)
        ax.set_yticks([-place for place in range(len(_SETS))], list(_SETS.values()))
        ax.tick_params(length=0)
    return figure


def draw_compare() -> Figure:
    """Where cleanlab's list ends and where the audit's does, from the same numbers."""
    table = _given_table()
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    ax = figure.subplots()
    for dataset, name in _SETS.items():
        ends = []
        for detector in ("cleanlab", "audit, fdr 0.1"):
            of_list = table.filter(dataset=dataset, detector=detector)
            share, found = (
                of_list.filter(metric=metric)["value"].to_list()
                for metric in ("false_discoveries", "flipped_flagged")
            )
            # Of an empty list no row has a right label.
            ends.append((share[0] if share else 0.0, found[0]))
        cleanlab, audit = ends
        ax.annotate("", audit, cleanlab, arrowprops={"arrowstyle": "->", "color": INK})
        ax.plot(*cleanlab, "o", color=INK, ms=8)
        ax.plot(*audit, "o", color=BLUE, ms=8)
        # Beside the point that lies further right, and clear of the other networks.
        shift = {"ResNet-50d": 5, "ResNet-18": -9}.get(name.split()[-1], -3)
        is_last = cleanlab[0] > 0.5
        ax.annotate(
            name,
            max(cleanlab, audit),
            (0 if is_last else 9, 10 if is_last else shift),
            textcoords="offset points",
            color=INK,
            fontsize=10,
            ha="center" if is_last else "left",
        )
    ax.axvline(0.1, color=ORANGE, lw=1)
    ax.text(0.11, 0.02, "asked for: fdr = 0.1", color=ORANGE, fontsize=10)
    for height, name, color in ((0.3, "cleanlab", INK), (0.2, "audit", BLUE)):
        ax.plot(0.72, height, "o", color=color, ms=8)
        ax.text(0.75, height, name, color=color, va="center", fontsize=10)
    ax.set(xlim=(-0.03, 1), ylim=(-0.05, 1.08))
    ax.set(xlabel="right labels among the flagged", ylabel="wrong labels found")
    ax.xaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def _given_table() -> pl.DataFrame:
    return pl.read_parquet(RESULTS / GIVEN_RUN / "table.parquet")


AUDIT_PICTURES = {
    "audit-loop": draw_loop,
    "audit-table": draw_table,
    "audit-odd-rows": draw_odd_rows,
    "audit-intervals": draw_intervals,
    "audit-checked": draw_checked,
    "audit-quality": draw_quality,
    "compare": draw_compare,
}
