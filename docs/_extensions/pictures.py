"""Pictures of the documentation, drawn from code and committed results."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import audit_pictures
import guide_pictures
import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from sklgm.plotting import victim_color

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
CERTIFIED_RUN = "mnist-certified-quick-0"
#: Read on white and on dark pages alike.
INK = "#7a7f87"
SEVEN = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6bb1"]
STYLE: Mapping[str, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.framealpha": 0.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 11,
    # Letters stay letters, in the fonts of the page.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "svg.hashsalt": "sklgm",
}


def draw_train() -> Figure:
    """Two features of four digits, as softmax and as L-GM arrange them."""
    from sklgm import LGMClassifier, SoftmaxClassifier
    from sklgm.datasets import load_digits_images

    digits = load_digits_images()
    chosen, shown = digits.y_train < 5, digits.y_test < 5
    figure, axes = _figure(ncols=2)
    for ax, cls in zip(axes, (SoftmaxClassifier, LGMClassifier), strict=True):
        clf = cls("mlp", feature_dim=2, max_epochs=30, random_state=0)
        clf.fit(digits.X_train[chosen], digits.y_train[chosen])
        features = clf.transform(digits.X_test[shown])
        for label in range(5):
            ax.scatter(
                *features[digits.y_test[shown] == label].T, s=7, color=SEVEN[label]
            )
        ax.set(xticks=[], yticks=[])
        ax.set_title("softmax" if cls is SoftmaxClassifier else "L-GM", fontsize=13)
        ax.margins(0.08)
    return figure


def draw_certify() -> Figure:
    """The certified curve of the committed run, small."""
    figure, (ax,) = _figure()
    _draw_certified(ax, label_size=10)
    return figure


def draw_audit() -> Figure:
    """The most suspect digits of an audit, with claimed and likelier label."""
    from sklearn.linear_model import LogisticRegression

    from sklgm import audit
    from sklgm.datasets import load_digits_images
    from sklgm.poisoning import flip_labels

    digits = load_digits_images()
    claimed = flip_labels(digits.y_train, 0.05, random_state=0)
    rows = digits.X_train.reshape(len(claimed), -1)
    model = LogisticRegression(max_iter=500)
    result = audit(rows, claimed, estimator=model, random_state=0)
    figure, axes = _figure(ncols=4)
    for ax, row in zip(axes, result.suspects, strict=False):
        _show(ax, digits.X_train[row, 0])
        likely = result.likely_labels[row]
        ax.set_title(f"“{claimed[row]}”", fontsize=15, color=SEVEN[1])
        ax.set_xlabel(f"{likely}?", fontsize=15, color=SEVEN[2])
    return figure


def draw_red_team() -> Figure:
    """Base, poison and target of a feature collision on the digits."""
    from sklgm import SoftmaxClassifier
    from sklgm.datasets import load_digits_images
    from sklgm.poisoning import craft

    digits = load_digits_images()
    clf = SoftmaxClassifier(random_state=0).fit(digits.X_train, digits.y_train)
    target = digits.X_test[digits.y_test == 4][:1]
    base = digits.X_train[digits.y_train == 9][:1]
    made = craft(clf, base, target, pixel_range=(0, 1))
    figure, axes = _figure(ncols=3)
    images = base[0, 0], made.X_poison[0, 0], target[0, 0]
    titles = "base", "poison", "target"
    labels = "label 9", "label 9", "read as 9?"
    for ax, image, title, label in zip(axes, images, titles, labels, strict=True):
        _show(ax, image)
        ax.set_title(title, fontsize=14)
        ax.set_xlabel(label, fontsize=13, color=INK if title == "base" else SEVEN[1])
    return figure


def draw_reproduce() -> Figure:
    """Share of targets misled by feature collision, of the committed MNIST run."""
    table = pl.read_parquet(RESULTS / "mnist-full-0" / "table.parquet")
    rates = table.filter(
        pl.col("variant").is_null(),
        protocol="transfer",
        metric="attack_success_rate",
        attack="feature_collision",
    )
    rates = rates.filter(n_poisons=rates["n_poisons"].max())
    victims = ("softmax", "softmax_trimmed_gaussians", "lgm", "lgm_trim")
    figure, (ax,) = _figure()
    for place, victim in enumerate(reversed(victims)):
        row = rates.row(by_predicate=pl.col("victim") == victim, named=True)
        value = 100 * row["value"]
        ax.barh(place, value, color=victim_color(victim), height=0.62)
        ax.text(value + 2, place, f"{value:.0f} %", va="center")
    names = ["softmax", "cheap rival", "L-GM", "L-GM + trim"]
    ax.set_yticks(range(4), list(reversed(names)), fontsize=12)
    ax.set(xlim=(0, 80), xticks=[], title="targets misled, MNIST")
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.tick_params(length=0)
    return figure


def draw_certified() -> Figure:
    """The certified curve of the committed run, with attacks and a legend."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    _draw_certified(figure.add_subplot(), label_size=11, is_full=True)
    return figure


def draw_median() -> Figure:
    """How far replaced rows can move a median, and the boxes that follow from it."""
    from sklgm.gaussian import LocationBounds

    rng = np.random.default_rng(0)
    n_rows, n_poisons = 21, 4
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.05, 1])
    values = np.sort(rng.normal(size=n_rows))
    (low,), (high,) = LocationBounds(values[:, None], None).interval(
        n_poisons, "replace"
    )
    left.axvspan(low, high, color=SEVEN[2], alpha=0.25, lw=0)
    left.plot(values, np.zeros(n_rows), "o", color=INK, ms=6)
    left.plot(values[n_rows // 2], 0, "o", color=SEVEN[0], ms=10)
    left.annotate(
        "median", (values[n_rows // 2], 0), (0, 22), textcoords="offset points",
        ha="center", color=SEVEN[0], arrowprops={"arrowstyle": "-", "color": SEVEN[0]},
    )  # fmt: skip
    left.text((low + high) / 2, -0.62, f"{n_poisons} replaced rows cannot\n"
              "move it out of here", ha="center", va="top", color=SEVEN[2])  # fmt: skip
    left.set(ylim=(-1.5, 1), yticks=[], xticks=[])
    left.set_title(f"one column of one class, {n_rows} rows", fontsize=11)
    left.spines["left"].set_visible(False)

    centers = np.array([[0.0, 0.0], [4.2, 1.4]])
    clouds = [center + rng.normal(size=(n_rows, 2)) for center in centers]
    point = np.array([0.9, 0.9])
    for cloud, color, name in zip(clouds, SEVEN, ("9", "4"), strict=False):
        ordered = np.sort(cloud, axis=0)
        low, high = LocationBounds(ordered, None).interval(n_poisons, "replace")
        right.scatter(*cloud.T, s=12, color=color, alpha=0.55)
        right.add_patch(Rectangle(low, *(high - low), color=color, alpha=0.25, lw=0))
        median = np.median(cloud, axis=0)
        right.plot(*median, "o", color=color, ms=9)
        right.text(*(median + (0, -2.3)), f"class {name}", color=color, ha="center")
        corner = np.where(np.abs(point - low) > np.abs(point - high), low, high)
        end = corner if name == "9" else np.clip(point, low, high)
        right.plot(*zip(point, end, strict=True), "--", color=color, lw=1.6)
    right.plot(*point, "*", color=INK, ms=15)
    right.set(aspect="equal")
    right.axis("off")
    right.set_title("two columns: a prediction is certified", fontsize=11)
    return figure


def draw_layers() -> Figure:
    """The layers of the package, from the contract that the build checks."""
    layers = read_layers()
    figure = Figure(figsize=(7.4, 0.52 * len(layers) + 0.3))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0, 10), ylim=(-0.2, len(layers)))
    ax.axis("off")
    for height, names in enumerate(reversed(layers)):
        color = "#00639b" if height >= 9 else "#00735a" if height >= 5 else "#5d6470"
        width = 9.2 / len(names)
        for place, name in enumerate(names):
            ax.add_patch(
                FancyBboxPatch(
                    (0.7 + place * width + 0.06, height + 0.12),
                    width - 0.12,
                    0.66,
                    boxstyle="round,pad=0,rounding_size=0.12",
                    facecolor=color,
                    edgecolor="none",
                )
            )
            ax.text(
                0.7 + (place + 0.5) * width, height + 0.45, name, color="white",
                ha="center", va="center", fontsize=12, family="monospace",
            )  # fmt: skip
    ax.annotate(
        "", (0.35, 0.2), (0.35, len(layers) - 0.2),
        arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.5},
    )  # fmt: skip
    ax.text(0.2, len(layers) / 2, "may import", rotation=90, va="center", ha="center")
    return figure


def read_layers() -> list[list[str]]:
    """Layers of the contract in ``pyproject.toml``, the highest first."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


PICTURES: Mapping[str, Callable[[], Figure]] = {
    "train": draw_train,
    "certify": draw_certify,
    "audit": draw_audit,
    "red-team": draw_red_team,
    "reproduce": draw_reproduce,
    "certified-mnist": draw_certified,
    "median": draw_median,
    "layers": draw_layers,
    **audit_pictures.AUDIT_PICTURES,
    **guide_pictures.GUIDE_PICTURES,
}


def certified_points() -> pl.DataFrame:
    """Certified and attacked accuracy of the medians in the committed run."""
    table = pl.read_parquet(RESULTS / CERTIFIED_RUN / "table.parquet")
    metrics = ["certified_accuracy", "attacked_accuracy"]
    table = table.filter(pl.col("variant").is_null())  # of classes that it knows
    medians = pl.col("victim").str.ends_with("_median")
    return table.filter(medians, pl.col("metric").is_in(metrics)).sort("n_poisons")


def _draw_certified(ax: Any, *, label_size: int, is_full: bool = False) -> None:
    points = certified_points()
    names = {"lgm": "L-GM", "smoothed_softmax": "softmax, smoothed labels"}
    for victim in ("lgm_median", "smoothed_softmax_median", "softmax_median"):
        own, color = points.filter(victim=victim), victim_color(victim)
        proved = own.filter(metric="certified_accuracy")
        shares = 100 * proved["share"].fill_null(0.0)
        ax.plot(shares, 100 * proved["value"], "o-", color=color, ms=4, lw=2)
        label = names.get(victim.removesuffix("_median"), "softmax")
        height = 100 * proved["value"][-1]
        ax.text(20.5, height, label, color=color, va="center", fontsize=label_size)
        if is_full:
            attacked = own.filter(metric="attacked_accuracy")
            ax.plot(
                100 * attacked["share"],
                100 * attacked["value"],
                "v",
                color=color,
                ms=6,
                mfc="none",
            )
    ax.set(xticks=[0, 5, 10, 20], xlim=(-0.5, 34 if is_full else 38))
    ax.set_xlabel("poisoned share of one class (%)", fontsize=label_size)
    ax.spines["bottom"].set_bounds(0, 20)
    ax.tick_params(labelsize=label_size)
    if is_full:
        ax.set_ylabel("test rows right, whatever\nthe poisons are (%)")
        ax.set_title(
            "MNIST: accuracy proved (lines) and left by the best attack (▽)",
            fontsize=11,
            loc="left",
        )
    else:
        ax.set_ylabel("proved right (%)", fontsize=label_size)


def _figure(ncols: int = 1) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(4.4, 2.3), layout="constrained")
    return figure, list(figure.subplots(1, ncols, squeeze=False)[0])


def _show(ax: Any, image: np.ndarray) -> None:
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(True)


def write_svg(name: str, path: Path) -> None:
    """Draw a picture into a file; nothing in it depends on the day."""
    with matplotlib.rc_context(STYLE):
        figure = PICTURES[name]()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def write_pictures(folder: Path) -> None:
    """Draw all pictures, unless this file has drawn them already."""
    modules = __file__, audit_pictures.__file__, guide_pictures.__file__
    sources = [*map(Path, modules), ROOT / "pyproject.toml"]
    runs = CERTIFIED_RUN, audit_pictures.GIVEN_RUN
    sources += [RESULTS / run / "table.parquet" for run in runs]
    digest = hashlib.sha256(b"".join(s.read_bytes() for s in sources)).hexdigest()
    stamp = folder / ".drawn"
    if stamp.exists() and stamp.read_text() == digest:
        return
    for name in PICTURES:
        write_svg(name, folder / f"{name}.svg")
    stamp.write_text(digest)


def setup(app: Any) -> dict[str, bool]:
    """Draw before Sphinx looks for files."""
    app.connect(
        "builder-inited",
        lambda app: write_pictures(Path(app.srcdir) / "_static" / "pictures"),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
