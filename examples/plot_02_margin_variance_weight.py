# ruff: noqa: D205, D400
"""
See what margin, variance and likelihood weight do
==================================================

L-GM has three numbers to set. Each shapes the classes in its own way, and what shapes
the classes shapes the certificate: how many rows of a class someone could replace, by
anything, without changing a prediction. We change one number at a time, in a plane of
two features where the effect can be seen.
"""

# %%
# Train on trusted rows, certify on others
# ----------------------------------------
# Half of the training rows are trusted and train the network. The class means are
# medians of the other half, which an attacker may have changed.

import matplotlib.pyplot as plt
import numpy as np

from sklgm import LGMClassifier, RobustGaussianClassifier
from sklgm.datasets import load_digits_images
from sklgm.metrics import certified_accuracy, predict_certified
from sklgm.plotting import FeatureSpaceDisplay

digits = load_digits_images()
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test
is_trusted = np.arange(len(X)) % 2 == 0
n_poisons = 15  # of about 67 rows per class

middle = {"margin": 0.3, "variance_scale": 16.0, "likelihood_weight": 0.1}
values = {
    "margin": (0.0, 0.3, 2.0),
    "variance_scale": (1.0, 16.0, 100.0),
    "likelihood_weight": (0.0, 0.1, 2.0),
}


def train_and_certify(**settings):
    """Features of the test rows, and their predictions with certificates."""
    network = LGMClassifier(
        "mlp", feature_dim=2, max_epochs=60, lr=0.01, random_state=0, **settings
    ).fit(X[is_trusted], y[is_trusted])
    medians = RobustGaussianClassifier(
        location="median", variance=1.0, priors=np.ones(10)
    ).fit(network.transform(X[~is_trusted]), y[~is_trusted])
    features = network.transform(X_test)
    return features, medians.means_, *predict_certified(medians, features)


trained = {}
for name, choices in values.items():
    for value in choices:
        settings = {**middle, name: value}
        key = tuple(settings.values())
        if key not in trained:
            trained[key] = train_and_certify(**settings)

# %%
# The plane
# ---------
# Each row of panels changes one number; the middle column is the same network. Above
# each panel: accuracy, and the share of test images that are right and proved to stay
# right when 15 rows of a class are replaced. The scale of the axes differs, since only
# distances relative to each other count.


def rates(key):
    """Accuracy and certified accuracy of a trained network."""
    _, _, labels, counts = trained[key]
    return [certified_accuracy(y_test, labels, counts, n) for n in (0, n_poisons)]


fig, axes = plt.subplots(3, 3, figsize=(5.2, 5.8), layout="constrained")
for row, (name, choices) in zip(axes, values.items(), strict=True):
    for ax, value in zip(row, choices, strict=True):
        key = tuple({**middle, name: value}.values())
        features, means, _, _ = trained[key]
        display = FeatureSpaceDisplay(features, y_test, means=means).plot(ax=ax)
        ax.get_legend().remove()
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        accuracy, certified = rates(key)
        ax.set_title(f"{100 * accuracy.value:.0f} %, {100 * certified.value:.0f} %")
        ax.set_xlabel(f"{name} {value:g}", fontsize=9)
fig.suptitle("accuracy, certified accuracy (15 poisons)")

# %%
# The certificate
# ---------------
# The same networks, for every number of poisons. The variance decides most: small
# Gaussians make compact classes. Margin and likelihood weight change little here, and
# the printed 95 % intervals overlap. No curve survives 27 poisons: beyond, the class
# with fewest rows has lost the majority that its median needs.

fig, axes = plt.subplots(3, 1, figsize=(4.8, 8.4), sharex=True, layout="constrained")
colors = ("#56B4E9", "#0072B2", "#D55E00")
styles = (":", "-", "--")
counted = np.arange(34)
for ax, (name, choices) in zip(axes, values.items(), strict=True):
    for value, color, style in zip(choices, colors, styles, strict=True):
        _, _, labels, counts = trained[tuple({**middle, name: value}.values())]
        curve = [certified_accuracy(y_test, labels, counts, n).value for n in counted]
        ax.plot(
            counted, 100 * np.array(curve), style, color=color, lw=2, label=f"{value:g}"
        )
        at_15 = certified_accuracy(y_test, labels, counts, n_poisons)
        print(
            f"{name} {value:g}: accuracy {curve[0]:.3f}, certified for 15 poisons "
            f"{at_15.value:.3f} [{at_15.low:.3f}, {at_15.high:.3f}]"
        )
    ax.set(ylabel="certified accuracy [%]", ylim=(0, 100), xlim=(0, 33))
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(title=name, frameon=False, loc="lower left")
axes[-1].set_xlabel("replaced rows of one class (of about 67)")

plt.show()
