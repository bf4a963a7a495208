# ruff: noqa: D205, D400
"""
Check the calibration of p_wrong
================================

An audit says that a label is wrong with probability 0.8. Are eight in ten of such
labels wrong? And does a list at a false discovery rate of 0.1 hold one right label in
ten? We flip labels, so that we know, and count.
"""

# %%
# Three classifiers, two shares of wrong labels
# ---------------------------------------------
# An audit needs probabilities from models that were trained on other rows. Logistic
# regression and twenty neighbours are ordinary choices. Naive Bayes is known for
# probabilities that are far too sure of themselves: it shows what that does. Labels
# are flipped at random, 5 % and 20 % of them, five times each.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklgm import audit
from sklgm.metrics import wilson_rate
from sklgm.poisoning import flip_labels

X, y = load_digits(return_X_y=True)
X = X / 16
models = {
    "logistic regression": LogisticRegression(C=0.1, max_iter=200),
    "20 neighbours": KNeighborsClassifier(20),
    "naive Bayes": GaussianNB(var_smoothing=1e-2),
}
p_wrong = {name: [] for name in models}
q_values = {name: [] for name in models}
is_wrong = []
for share in (0.05, 0.2):
    for seed in range(5):
        claimed = flip_labels(y, share, random_state=seed)
        is_wrong.append(claimed != y)
        for name, model in models.items():
            pred_probs = cross_val_predict(
                model,
                X,
                claimed,
                cv=StratifiedKFold(3, shuffle=True, random_state=seed),
                method="predict_proba",
            )
            result = audit(None, claimed, pred_probs=pred_probs)
            p_wrong[name].append(result.p_wrong)
            q_values[name].append(result.q_values)
is_wrong = np.concatenate(is_wrong)
p_wrong = {name: np.concatenate(values) for name, values in p_wrong.items()}

# %%
# Said and true
# -------------
# Rows are put into bins by the probability that the audit gives to their label being
# wrong; the height is the share that is wrong. On the diagonal the audit is right;
# above it, it is cautious: more labels are wrong than it says. Bars are 95 % intervals.

looks = {
    "logistic regression": ("#0072B2", "o-"),
    "20 neighbours": ("#009E73", "s--"),
    "naive Bayes": ("#D55E00", "D:"),
}
edges = np.array([0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0])


def draw_reliability(ax, values, name):
    """Share of wrong labels against the mean probability, one point per bin."""
    color, style = looks[name]
    number = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
    points = []
    for k in range(len(edges) - 1):
        rows = number == k
        if rows.sum() >= 20:
            rate = wilson_rate(int(is_wrong[rows].sum()), int(rows.sum()))
            points.append((values[rows].mean(), rate.value, rate.low, rate.high))
    said, true, low, high = np.transpose(points)
    ax.errorbar(
        said, true, [true - low, high - true], fmt=style, color=color, label=name
    )


fig, ax = plt.subplots(figsize=(4.8, 4.8), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.6", lw=1)
for name, values in p_wrong.items():
    draw_reliability(ax, values, name)
ax.set(
    xlabel="probability of being wrong, as the audit says",
    ylabel="share of labels that are wrong",
    aspect="equal",
)
ax.legend(loc="lower right", frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# Asked and got
# -------------
# The same audits, asked for lists at several false discovery rates: the share of right
# labels among the rows listed, the mean of ten lists. Below the line the promise is
# kept, as logistic regression does. The neighbours miss it narrowly. Naive Bayes breaks
# it: its own mistakes look like wrong labels, since it is just as sure of them.
# ``CalibratedClassifierCV`` around such a model, or a few checked rows, are the remedy.

asked = np.array([0.02, 0.05, 0.1, 0.2, 0.3])
wrong_by_audit = is_wrong.reshape(10, -1)
fig, ax = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
ax.plot([0, 0.3], [0, 0.3], color="0.6", lw=1)
for name, audits in q_values.items():
    got, found = np.zeros((2, len(asked), len(audits)))
    for j, (q, wrong) in enumerate(zip(audits, wrong_by_audit, strict=True)):
        for i, level in enumerate(asked):
            listed = q <= level
            got[i, j] = (~wrong[listed]).mean() if listed.any() else 0.0
            found[i, j] = listed[wrong].mean()
    color, style = looks[name]
    ax.plot(asked, got.mean(axis=1), style, color=color, label=name)
    print(
        f"{name}: at an FDR of 0.1, {got[2].mean():.1%} of the listed labels are right "
        f"and {found[2].mean():.0%} of the wrong labels are listed"
    )
ax.set(
    xlabel="false discovery rate asked for",
    ylabel="share of right labels in the list",
    ylim=(0, None),
)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)

plt.show()
