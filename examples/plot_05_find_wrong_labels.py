# ruff: noqa: D205, D400
"""
Find mislabelled digits
=======================

One label in twenty of a training set is wrong, and nobody says which. An audit trains
on these very data, asks of each row how plausible the label is that it claims, and
lists the suspects.
"""

# %%
# Data with wrong labels
# ----------------------

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_predict

from sklgm import LGMClassifier, audit
from sklgm.datasets import load_digits_images
from sklgm.metrics import auroc
from sklgm.plotting import ClaimedLikelihoodDisplay
from sklgm.poisoning import flip_labels

digits = load_digits_images()
X, y = digits.X_train, digits.y_train
claimed = flip_labels(y, 0.05, random_state=0)
is_wrong = claimed != y
print(f"{is_wrong.sum()} of {len(claimed)} labels are wrong")

# %%
# The audit
# ---------
# The rows are split into five folds, and each is judged by a network that was trained
# without it. At a false discovery rate of 0.1, one suspect in ten may have a right
# label.

network = LGMClassifier("mlp", random_state=0)
result = audit(X, claimed, estimator=network, fdr=0.1, random_state=0)
print(
    f"{len(result.suspects)} suspects, {is_wrong[result.suspects].sum()} of them wrong;"
    f" expected to be right after all: {result.n_expected_right:.1f}"
)
print(f"{result.noise_share:.1%} of all labels are estimated to be wrong")

# %%
# The twelve most suspect rows
# ----------------------------
# Above each image the label that it claims, below the one that is likelier.

fig, axes = plt.subplots(3, 4, figsize=(4.8, 4.6), layout="constrained")
for ax, row in zip(axes.flat, result.suspects, strict=False):
    ax.imshow(X[row, 0], cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"“{claimed[row]}”", color="#B24E00")
    ax.set_xlabel(f"rather {result.likely_labels[row]}", color="#00634A")

# %%
# How well right and wrong are told apart
# ---------------------------------------
# The probability that a label is right, for rows with right and with wrong labels. A
# simple rule uses the same kind of network: the probability that it gives to the
# claimed label, called self-confidence. On random flips it ranks the rows as well. What
# the audit adds is the scale: a probability that can be read as one, and a list whose
# share of false alarms was asked for.

display = ClaimedLikelihoodDisplay.from_predictions(
    1 - result.p_wrong,
    is_wrong,
    xlabel="probability that the label is right",
    group_names=("right labels", "wrong labels"),
    n_bins=20,
    ax=plt.subplots(figsize=(4.8, 3.4), layout="constrained")[1],
)
probabilities = cross_val_predict(network, X, claimed, method="predict_proba")
self_confidence = probabilities[np.arange(len(claimed)), claimed]
print(f"AUROC of the audit: {auroc(result.p_wrong, is_wrong):.3f}")
print(f"AUROC of self-confidence: {auroc(-self_confidence, is_wrong):.3f}")

# %%
# Is the data set itself right?
# -----------------------------
# The same audit of the labels as scikit-learn ships them. These rows are worth a look;
# not all of them are wrong.

original = audit(X, y, estimator=network, random_state=0)
print(f"{len(original.suspects)} suspects among the original labels")
fig, axes = plt.subplots(1, 4, figsize=(4.8, 1.9), layout="constrained")
for ax, row in zip(axes, original.ranking, strict=False):
    ax.imshow(X[row, 0], cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"“{y[row]}”", color="#B24E00")
    ax.set_xlabel(
        f"{original.likely_labels[row]}? p = {original.p_wrong[row]:.2f}", fontsize=8
    )

plt.show()
