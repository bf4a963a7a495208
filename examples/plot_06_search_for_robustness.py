# ruff: noqa: D205, D400
"""
Search margin and variance for robustness
=========================================

A search for accuracy alone does not see an attack. ``GridSearchCV`` takes two scores at
once: accuracy on clean rows, and the share of targets that poisons do not mislead. The
second one needs poisons, so the attack is a step of the pipeline.
"""

# %%
# A training set, targets, and their poisons
# ------------------------------------------
# The backbone is trained once, with softmax, and frozen: attacker and defender both
# have it, which is the strongest case for the attacker. Half of the training rows
# train it; the other half, some of them poisons, train the heads that are compared.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from sklgm import LGMClassifier, PoisonCrafter, SoftmaxClassifier
from sklgm.datasets import load_digits_images
from sklgm.metrics import make_attack_scorer

digits = load_digits_images()
half = len(digits.X_train) // 2
X, y = digits.X_train[half:], digits.y_train[half:]
softmax = SoftmaxClassifier("mlp", feature_dim=32, random_state=0)
softmax.fit(digits.X_train[:half], digits.y_train[:half])

rng = np.random.default_rng(0)
is_right = softmax.predict(digits.X_test) == digits.y_test
targets = rng.choice(np.flatnonzero(is_right), size=20, replace=False)
X_target, target_label = digits.X_test[targets], digits.y_test[targets]
base_label = (target_label + rng.integers(1, 10, size=20)) % 10
crafter = PoisonCrafter(
    FrozenEstimator(softmax),
    X_target=X_target,
    target_label=target_label,
    base_label=base_label,
    budget=5,
    similarity_weight=1e-4,
    random_state=0,
)

# %%
# The search
# ----------
# The pipeline poisons its training rows, turns them into features, and trains an L-GM
# head. ``memory`` keeps the poisons: they are made once per fold, not once per setting.
# Test folds are clean. The variance is a multiple of that of the features within their
# classes.

pipe = make_pipeline(
    crafter,
    FrozenEstimator(softmax),
    LGMClassifier("identity", max_epochs=20, lr=0.01, random_state=0),
    memory=tempfile.mkdtemp(),
)
margins, scales = [0.0, 0.3, 1.0], [0.3, 1.0, 3.0, 10.0, 30.0]
search = GridSearchCV(
    pipe,
    {"lgmclassifier__margin": margins, "lgmclassifier__variance_scale": scales},
    scoring={
        "accuracy": "accuracy",
        "robustness": make_attack_scorer(X_target, base_label),
    },
    refit=False,
    cv=StratifiedKFold(2, shuffle=True, random_state=0),
).fit(X, y)

# %%
# Two scores, two winners
# -----------------------
# Both scores for each setting, and the best one framed. Accuracies are low, since each
# head sees 337 rows, 100 of them poisons, for few steps. Twenty targets, two folds: one
# target more or less is 2.5 points, so do not read more into a small step.

shape = len(margins), len(scales)
scores = {
    name: 100 * search.cv_results_[f"mean_test_{name}"].reshape(shape)
    for name in ("accuracy", "robustness")
}
fig, axes = plt.subplots(2, 1, figsize=(4.8, 5.4), sharex=True, layout="constrained")
titles = "accuracy on clean rows [%]", "targets not misled [%]"
for ax, (name, values), title in zip(axes, scores.items(), titles, strict=True):
    ax.imshow(values, cmap="cividis", aspect="auto")
    for row, column in np.ndindex(shape):
        is_dark = values[row, column] < (values.min() + values.max()) / 2
        ax.text(
            column,
            row,
            f"{values[row, column]:.0f}",
            ha="center",
            va="center",
            color="white" if is_dark else "black",
        )
    row, column = np.unravel_index(values.argmax(), shape)
    ax.add_patch(
        plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec="#D55E00", lw=3)
    )
    ax.set_title(title)
    ax.set_yticks(range(len(margins)), margins)
    ax.set_ylabel("margin")
    print(
        f"best by {name}: margin {margins[row]}, variance {scales[column]} x within: "
        f"accuracy {scores['accuracy'][row, column]:.1f} %, "
        f"not misled {scores['robustness'][row, column]:.1f} %"
    )
axes[1].set_xticks(range(len(scales)), scales)
axes[1].set_xlabel("variance, in units of the variance within classes")

# %%
# A trade-off is a choice
# -----------------------
# Which of these heads to take depends on what an error costs and what an attack costs.
# The settings that no other beats in both scores are the ones to choose from.

points = np.stack([scores["accuracy"].ravel(), scores["robustness"].ravel()], axis=1)
is_beaten = np.array([np.any(np.all(points > point, axis=1)) for point in points])
for index in np.flatnonzero(~is_beaten):
    row, column = np.unravel_index(index, shape)
    print(
        f"margin {margins[row]}, variance {scales[column]} x within: accuracy "
        f"{points[index, 0]:.1f} %, not misled {points[index, 1]:.1f} %"
    )

plt.show()
