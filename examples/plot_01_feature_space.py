# ruff: noqa: D205, D400
"""
See the feature space of softmax and L-GM
=========================================

Two networks have the same layers and see the same digits. Only the loss differs. Each
has just two features, so that we can look at them: softmax spreads its classes out like
the petals of a flower, L-GM puts each into a round cluster. A cluster has an outside,
and that is what a density is for.
"""

# %%
# Two networks with two features
# ------------------------------
# Two features are few for ten classes. They are for looking only: the default is 64.

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.datasets import load_digits_images
from sklgm.metrics import auroc
from sklgm.plotting import FeatureSpaceDisplay

digits = load_digits_images()
shared = {"feature_dim": 2, "max_epochs": 60, "lr": 0.01, "random_state": 0}
networks = {
    "softmax": SoftmaxClassifier("mlp", **shared),
    "L-GM": LGMClassifier(
        "mlp", margin=1.0, variance_scale=1.0, likelihood_weight=1.0, **shared
    ),
}
for name, network in networks.items():
    network.fit(digits.X_train, digits.y_train)
    accuracy = network.score(digits.X_test, digits.y_test)
    print(f"{name}: accuracy {accuracy:.3f} on {len(digits.y_test)} test images")

# %%
# The same test images in both planes
# -----------------------------------
# The number of each class stands at its mean. The circles are the Gaussians that L-GM
# assumes, one and two standard deviations around the mean.


def draw_features(ax, name):
    """Scatter of the test images, with the name of each class at its mean."""
    network = networks[name]
    features = network.transform(digits.X_test)
    is_lgm = name == "L-GM"
    means = [features[digits.y_test == k].mean(axis=0) for k in range(10)]
    display = FeatureSpaceDisplay(
        features,
        digits.y_test,
        means=network.means_ if is_lgm else np.stack(means),
        covariances=network.covariances_ if is_lgm else None,
    ).plot(ax=ax)
    ax.get_legend().remove()
    ax.set_title(name)
    ax.set_aspect("equal", adjustable="datalim")
    return display


fig, axes = plt.subplots(2, 1, figsize=(4.8, 8.4), layout="constrained")
for ax, name in zip(axes, networks, strict=True):
    draw_features(ax, name)

# %%
# Images that are not digits
# --------------------------
# We shuffle the pixels of each test image. What is left has the right amount of ink
# and shows nothing. Shading is what each network has to say about a place: softmax its
# largest probability, L-GM the density of its features. Black crosses are the shuffled
# images.

rng = np.random.default_rng(0)
flat = digits.X_test.reshape(len(digits.X_test), -1)
shuffled = rng.permuted(flat, axis=1).reshape(digits.X_test.shape).astype(np.float32)


def softmax_confidence(points):
    """Largest probability at each point of the plane."""
    return networks["softmax"].head_.predict_proba(points).max(axis=1)


def lgm_log_density(points):
    """Log density of the mixture at each point of the plane."""
    return logsumexp(networks["L-GM"].head_.predict_joint_log_proba(points), axis=1)


fig, axes = plt.subplots(2, 1, figsize=(4.8, 8.0), layout="constrained")
shading = {
    "softmax": (softmax_confidence, "largest probability", np.linspace(0.2, 1, 9)),
    "L-GM": (lgm_log_density, "log density", np.linspace(-16, -8, 9)),
}
for ax, (name, (value_at, label, levels)) in zip(axes, shading.items(), strict=True):
    known = networks[name].transform(digits.X_test)
    strange = networks[name].transform(shuffled)
    both = np.concatenate([known, strange])
    low, high = both.min(axis=0) - 2, both.max(axis=0) + 2
    columns, rows = (np.linspace(low[i], high[i], 150) for i in (0, 1))
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    value = value_at(grid.astype(np.float32)).reshape(150, 150)
    filled = ax.contourf(
        columns, rows, value, levels, cmap="Blues", extend="both", alpha=0.7
    )
    fig.colorbar(filled, ax=ax, label=label)
    ax.scatter(*known.T, s=6, color="#D55E00", label="digits")
    ax.scatter(*strange.T, s=14, color="black", marker="x", lw=0.8, label="shuffled")
    ax.set(title=name, xlabel="feature 1", ylabel="feature 2")
    ax.legend(loc="upper right", fontsize="small")

# %%
# How well do the two tell digits from shuffled pixels? The AUROC is the probability
# that a shuffled image looks stranger than a digit: 0.5 is guessing, 1 is perfect. The
# loss alone does not decide it. A third network has a larger variance and a smaller
# likelihood weight: its classes do not fill their circles, the circles overlap, and the
# density says little.

loose = LGMClassifier(
    "mlp", margin=1.0, variance_scale=16.0, likelihood_weight=0.1, **shared
).fit(digits.X_train, digits.y_train)
scores = {
    "softmax, largest probability": lambda X: (
        networks["softmax"].predict_proba(X).max(axis=1)
    ),
    "softmax, energy": networks["softmax"].score_samples,
    "L-GM, log density": networks["L-GM"].score_samples,
    "L-GM with wide Gaussians, log density": loose.score_samples,
}
for name, score in scores.items():
    values = np.concatenate([score(digits.X_test), score(shuffled)])
    is_strange = np.repeat([False, True], len(shuffled))
    print(f"{name}: AUROC {auroc(-values, is_strange):.3f}")

plt.show()
