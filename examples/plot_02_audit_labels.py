# ruff: noqa: D205, D400
"""
Find wrong labels
=================

One label in twenty of a training set is wrong. The detector learns from these very
data, ranks the rows by how plausible the label is that they claim, and flags the worst.
"""

# %%
# Data with wrong labels
# ----------------------

import matplotlib.pyplot as plt
import numpy as np

from sklgm import LGMClassifier, LGMOutlierDetector
from sklgm.datasets import load_digits_images
from sklgm.metrics import auroc, tpr_at_fpr
from sklgm.plotting import ClaimedLikelihoodDisplay
from sklgm.poisoning import flip_labels

digits = load_digits_images()
X = digits.X_train
claimed = flip_labels(digits.y_train, 0.05, random_state=0)
is_wrong = claimed != digits.y_train
print(f"{is_wrong.sum()} of {len(claimed)} labels are wrong")

# %%
# Rank and flag
# -------------
# The rows are split into folds, and each is judged by a network that was trained
# without it. A model of right claims says how improbable a right label may be by
# chance, so that wrong ones among the rows do not set the threshold: right labels are
# flagged at about ``false_alarm_rate``.

detector = LGMOutlierDetector(
    LGMClassifier(max_epochs=10, lr=0.003, random_state=0),
    false_alarm_rate=0.01,
    random_state=0,
)
is_flagged = detector.fit_predict(X, claimed) == -1
print(f"{is_flagged.sum()} rows flagged, {(is_flagged & is_wrong).sum()} of them wrong")
print(f"{detector.noise_share_:.1%} of the labels are estimated to be wrong")

# %%
# How well the two groups are told apart
# --------------------------------------

scores = detector.train_scores_
print(f"AUROC {auroc(-scores, is_wrong):.3f}")
print(f"{tpr_at_fpr(-scores, is_wrong):.0%} found at 1 % false alarms")
display = ClaimedLikelihoodDisplay.from_predictions(
    scores,
    is_wrong,
    threshold=detector.label_offset_,
    xlabel="log probability of the claimed class (nats)",
    group_names=("right labels", "wrong labels"),
)

# %%
# The rows to look at first
# -------------------------

suspects = np.argsort(scores)[:12]
fig, axes = plt.subplots(2, 6, figsize=(7, 2.9), layout="constrained")
for ax, row in zip(axes.flat, suspects, strict=True):
    ax.imshow(X[row, 0], cmap="gray_r")
    ax.set_title(f"claims {claimed[row]}, is {digits.y_train[row]}", fontsize=8)
    ax.axis("off")

plt.show()
