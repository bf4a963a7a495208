"""Pictures of guide pages, computed as these pages compute, or of what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import PercentFormatter

INK, BLUE, ORANGE, GREEN = "#7a7f87", "#0072B2", "#D55E00", "#009E73"


def draw_start() -> Figure:
    """Share of the digits whose prediction withstands so many rows, as on the page."""
    from sklgm import RobustGaussianClassifier
    from sklgm.datasets import load_digits_images
    from sklgm.poisoning import flip_labels

    digits = load_digits_images()
    claimed = flip_labels(digits.y_train, 0.05, random_state=0)
    head = RobustGaussianClassifier(location="median", variance=1.0, priors=[0.1] * 10)
    head.fit(digits.X_train.reshape(len(claimed), -1), claimed)
    tests = digits.X_test.reshape(len(digits.X_test), -1)
    withstood = head.certified_poisons(tests)
    figure = Figure(figsize=(4.6, 2.4), layout="constrained")
    ax = figure.subplots()
    numbers = np.arange(31)
    shares = [(withstood >= number).mean() for number in numbers]
    ax.step(numbers, shares, color=GREEN, lw=2, where="mid")
    ax.plot(5, shares[5], "o", color=ORANGE, ms=8)
    ax.annotate(f"{shares[5]:.0%} withstand any 5", (6.5, shares[5]), color=ORANGE)
    ax.set(xlabel="bad rows in one class", ylabel="predictions", ylim=(0, 1.05))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def draw_detect() -> Figure:
    """How plausible right and wrong claims are to the detector of the page."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    from sklgm import LGMOutlierDetector
    from sklgm.poisoning import flip_labels

    X, y = load_digits(return_X_y=True)
    X, _, y, _ = train_test_split(X.astype(np.float32) / 16, y, random_state=0)
    claimed = flip_labels(y, 0.05, random_state=0)
    model = LogisticRegression(max_iter=1000)
    detector = LGMOutlierDetector(model, random_state=0).fit(X, claimed)
    p_values = np.maximum(detector.train_p_values_, 1e-4)
    bins = np.logspace(-4, 0, 25)
    figure = Figure(figsize=(4.8, 2.5), layout="constrained")
    ax = figure.subplots()
    chosen = claimed != y
    ax.hist(p_values[~chosen], bins, color=INK, alpha=0.55, label="right labels")
    ax.hist(p_values[chosen], bins, color=ORANGE, alpha=0.85, label="wrong labels")
    ax.axvline(0.01, color=BLUE, lw=2)
    ax.text(0.012, ax.get_ylim()[1] * 0.93, "level", color=BLUE, va="top")
    ax.set(xscale="log", xlabel="p-value of the claimed label", ylabel="rows")
    ax.legend(loc="upper left", fontsize=10)
    return figure


def draw_poisoning() -> Figure:
    """A base, and what it becomes under bounds of growing size."""
    from sklgm import SoftmaxClassifier
    from sklgm.datasets import load_digits_images
    from sklgm.poisoning import craft

    digits = load_digits_images()
    clf = SoftmaxClassifier(random_state=0).fit(digits.X_train, digits.y_train)
    target = digits.X_test[digits.y_test == 4][:1]
    base = digits.X_train[digits.y_train == 9][:1]
    before = np.linalg.norm(clf.transform(base) - clf.transform(target))
    shown = [("base", base, 1.0)]
    for bound in (0.1, 0.3, None):
        made = craft(
            clf,
            base,
            target,
            pixel_range=(0, 1),
            max_perturbation=bound,
            max_iter=200,
        )
        after = np.linalg.norm(clf.transform(made.X_poison) - clf.transform(target))
        title = "no bound" if bound is None else f"at most {bound}"
        shown.append((title, made.X_poison, after / before))
    figure = Figure(figsize=(5.4, 1.9), layout="constrained")
    axes = figure.subplots(1, 5)
    shown.append(("target", target, 0.0))
    for ax, (title, image, ratio) in zip(axes, shown, strict=True):
        ax.imshow(image[0, 0], cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=11)
        ax.set_xlabel(f"{ratio:.2f}", color=ORANGE if 0 < ratio < 1 else INK)
    return figure


def draw_compose() -> Figure:
    """Accuracy over margin and likelihood weight, as a search on iris finds it."""
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from sklgm import LGMClassifier

    lgm = LGMClassifier(feature_dim=8, max_epochs=15, lr=0.02, random_state=0)
    margins, weights = [0.0, 0.3, 1.0], [0.0, 0.1, 1.0]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), lgm),
        {"lgmclassifier__margin": margins, "lgmclassifier__likelihood_weight": weights},
        cv=3,
    ).fit(*load_iris(return_X_y=True))
    table = search.cv_results_
    scores = {
        (margin, weight): score
        for margin, weight, score in zip(
            table["param_lgmclassifier__margin"],
            table["param_lgmclassifier__likelihood_weight"],
            table["mean_test_score"],
            strict=True,
        )
    }
    values = np.array([[scores[m, w] for w in weights] for m in margins])
    figure = Figure(figsize=(3.8, 2.5), layout="constrained")
    ax = figure.subplots()
    ax.imshow(values, cmap="Blues", aspect="auto", vmin=2 * values.min() - values.max())
    middle = (values.min() + values.max()) / 2
    for (i, j), value in np.ndenumerate(values):
        color = "white" if value > middle else "#20242a"
        ax.text(j, i, f"{value:.3f}", ha="center", va="center", color=color)
    ax.set_xticks(range(3), [f"{weight:g}" for weight in weights])
    ax.set_yticks(range(3), [f"{margin:g}" for margin in margins])
    ax.set(xlabel="likelihood_weight", ylabel="margin")
    return figure


def draw_data() -> Figure:
    """Two photos of scikit-learn as they are, and as the loader gives them."""
    import tempfile
    from pathlib import Path

    from PIL import Image
    from sklearn.datasets import load_sample_image

    from sklgm.datasets import load_rows

    originals = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    originals[1] = np.rot90(originals[1])  # as a phone held upright takes it
    with tempfile.TemporaryDirectory() as folder:
        for place, image in enumerate(originals):
            path = Path(folder) / ("building", "flower")[place] / "1.png"
            path.parent.mkdir()
            Image.fromarray(np.ascontiguousarray(image)).save(path)
        loaded = load_rows(folder, image_size=32).X
    figure = Figure(figsize=(5.2, 1.7), layout="constrained")
    axes = figure.subplots(1, 4)
    for ax, image in zip(axes[:2], originals, strict=True):
        ax.imshow(image[::8, ::8], interpolation="none")  # a small copy is enough
        ax.set_xlabel(f"{image.shape[1]} x {image.shape[0]}")
    for ax, image in zip(axes[2:], loaded, strict=True):
        ax.imshow(image.transpose(1, 2, 0), interpolation="none")
        ax.set_xlabel(f"X: {' x '.join(map(str, image.shape))}", color=BLUE)
    for ax in axes:
        ax.set(xticks=[], yticks=[], anchor="S")
    return figure


def draw_pretrained() -> Figure:
    """From images to suspects through a network that was trained elsewhere."""
    steps = [
        "photos",
        "pretrained\nnetwork",
        "features",
        "audit, detector,\nclassifier",
    ]
    notes = ["one folder\nper class", "without its\nlast layer", "kept on disk", ""]
    return _chain(steps, notes)


def draw_save() -> Figure:
    """What of a model is written, and what is never run."""
    steps = ["model", "save: one file", "load"]
    notes = [
        "fitted estimator\nor Pipeline",
        "JSON: parameters\ntensors: weights",
        "nothing in the\nfile is executed",
    ]
    return _chain(steps, notes)


def draw_scale() -> Figure:
    """What runs side by side, and what stays the same."""
    steps = ["rows", "folds, targets,\npartitions", "workers", "result"]
    notes = [
        "written once,\nmemory-mapped",
        "many fits",
        "cores, or a\nDask cluster",
        "the same bits, given\nas many threads",
    ]
    return _chain(steps, notes)


def _chain(steps: Sequence[str], notes: Sequence[str]) -> Figure:
    """Boxes with an arrow from each to the next, and a remark beside each."""
    figure = Figure(figsize=(4.6, 0.68 * len(steps)))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0, 10), ylim=(-len(steps) + 0.4, 0.6))
    ax.axis("off")
    for place, (step, note) in enumerate(zip(steps, notes, strict=True)):
        _box(ax, -place, GREEN if place == len(steps) - 1 else BLUE)
        ax.text(2.5, -place, step, color="white", ha="center", va="center")
        ax.text(5.1, -place, note, va="center", size=10)
        if place:
            ax.annotate(
                "", (2.5, 0.3 - place), (2.5, 0.7 - place),
                arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.5},
            )  # fmt: skip
    return figure


def _box(ax: Any, middle: float, color: str) -> None:
    style = "round,pad=0,rounding_size=0.12"
    place = (0.3, middle - 0.33)
    box = FancyBboxPatch(place, 4.4, 0.66, boxstyle=style, fc=color, ec="none")
    ax.add_patch(box)


GUIDE_PICTURES = {
    "start": draw_start,
    "detect": draw_detect,
    "poisoning": draw_poisoning,
    "compose": draw_compose,
    "data": draw_data,
    "pretrained": draw_pretrained,
    "save": draw_save,
    "scale": draw_scale,
}
