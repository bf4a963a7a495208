# ruff: noqa: D205, D400
"""
Watch a poison flip softmax and fail against L-GM
=================================================

An attacker slips twelve images into the data on which the last layer of a network is
trained again. Their labels are right, yet the network then misreads one image of the
attacker's choice. We attack a softmax network and an L-GM network of the same size,
each with poisons made for itself, and count how often that works.
"""

# %%
# Two networks, trained on clean rows
# -----------------------------------
# The networks are trained on rows that nobody has touched, and frozen. Their heads (the
# last layers) are fitted on other rows, which the attacker can touch. Targets come from
# the test set.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.datasets import load_digits_images
from sklgm.metrics import attack_success_rate
from sklgm.plotting import FeatureSpaceDisplay, PoisonDisplay, victim_color, victim_name
from sklgm.poisoning import craft

digits = load_digits_images()
X_network, X_head, y_network, y_head = train_test_split(
    digits.X_train,
    digits.y_train,
    test_size=500,
    stratify=digits.y_train,
    random_state=0,
)
networks = {
    "softmax": SoftmaxClassifier("mlp", max_epochs=20, random_state=0),
    "lgm": LGMClassifier("mlp", max_epochs=20, random_state=0),
}
for name, network in networks.items():
    network.fit(X_network, y_network)
    accuracy = network.score(digits.X_test, digits.y_test)
    print(f"{name}: accuracy {accuracy:.3f} on {len(digits.y_test)} test images")

# %%
# Four heads
# ----------
# The heads that the gradient fits are trained until they converge: a head that is
# trained too little misses poisons by itself and would look robust. With ``trim`` a
# quarter of each class is left out when its Gaussian is estimated. Such Gaussians can
# also be put on the softmax network's features afterwards, which costs almost nothing:
# a defence has to be compared with that, too.

converged = {
    "optimizer": torch.optim.LBFGS,
    "optimizer__line_search_fn": "strong_wolfe",
    "lr": 1.0,
    "batch_size": "all",
    "max_epochs": 5,
    "random_state": 0,
}
trimmed = LGMClassifier("identity", max_epochs=0, trim=0.25)
heads = {
    "softmax": ("softmax", SoftmaxClassifier("identity", **converged)),
    "softmax_trimmed_gaussians": ("softmax", trimmed),
    "lgm": ("lgm", LGMClassifier("identity", margin_warmup=0.0, **converged)),
    "lgm_trim": ("lgm", trimmed),
}

# %%
# The attack
# ----------
# For each of twenty targets, twelve rows of another class become poisons: in the
# network's features they move onto the target, while a penalty on pixels holds them
# near what they were. ``y_head`` does not change.

n_targets, n_poisons = 20, 12
rng = np.random.default_rng(0)
targets = rng.choice(len(digits.X_test), size=n_targets, replace=False)
X_target, target_labels = digits.X_test[targets], digits.y_test[targets]
base_labels = (target_labels + rng.integers(1, 10, size=n_targets)) % 10
base_rows = np.stack(
    [rng.choice(np.flatnonzero(y_head == k), n_poisons, False) for k in base_labels]
)

poisons = {
    name: craft(
        network, X_head[base_rows.ravel()], np.repeat(X_target, n_poisons, axis=0)
    ).X_poison.reshape(n_targets, n_poisons, *X_head.shape[1:])
    for name, network in networks.items()
}


def poisoned_features(name, i):
    """Features of the head's rows when twelve of them are poisons for target i."""
    X = X_head.copy()
    X[base_rows[i]] = poisons[name][i]
    return networks[name].transform(X)


# %%
# How often it works
# ------------------
# Each head is fitted once per target, on the poisoned rows. Only targets count that the
# same head gets right without poisons. The intervals are Wilson's, at 95 %.

rates, predictions = {}, {}
for victim, (name, head) in heads.items():
    network, target_features = networks[name], networks[name].transform(X_target)
    control = clone(head).fit(network.transform(X_head), y_head)
    predictions[victim] = np.array(
        [
            clone(head)
            .fit(poisoned_features(name, i), y_head)
            .predict(target_features[i : i + 1])[0]
            for i in range(n_targets)
        ]
    )
    rates[victim] = rate = attack_success_rate(
        predictions[victim],
        base_labels,
        control_labels=control.predict(target_features),
        target_labels=target_labels,
    )
    print(f"{victim_name(victim)}: {rate.n_success} of {rate.n_targets} targets misled")

fig, ax = plt.subplots(figsize=(4.8, 3.0), layout="constrained")
for place, (victim, rate) in enumerate(rates.items()):
    ax.barh(place, 100 * rate.value, height=0.6, color=victim_color(victim))
    ax.plot([100 * rate.low, 100 * rate.high], [place] * 2, color="black")
    ax.text(
        100 * rate.high + 2, place, f"{rate.n_success} of {rate.n_targets}", va="center"
    )
names = [victim_name(victim).replace(" + ", " +\n") for victim in rates]
ax.set_yticks(range(len(rates)), names)
ax.invert_yaxis()
ax.set_xlim(0, 125)
ax.set_xticks(range(0, 101, 25))
ax.set_xlabel("targets misled [%], with 95 % interval")
ax.spines[["top", "right"]].set_visible(False)

# %%
# Gaussians estimated without the least likely rows withstand the attack, on either
# network. A head that the gradient fits follows the poisons, with the L-GM loss too:
# what protects is ``trim``. Twenty targets on one split of a small data set say little
# about the difference between the two trimmed rows; ``sklgm reproduce`` compares them
# on more.

# %%
# What a poison looks like
# ------------------------
# One poison for each of the first four targets, made for the softmax network. With 64
# pixels there is little room to hide: a person would notice many of these. A larger
# ``similarity_weight`` hides them better, and makes the attack weaker.

PoisonDisplay.from_predictions(
    X_head[base_rows[:4, 0]],
    X_target[:4],
    poisons["softmax"][:4, 0],
    titles=[
        f"{base} for {target}"
        for base, target in zip(base_labels[:4], target_labels[:4], strict=True)
    ],
)

# %%
# Where the network sees it
# -------------------------
# The first attack that misled the softmax head, in two principal components of the
# softmax network's features. Twelve rows move from the class whose label they carry
# onto the target, which belongs to the other class. A head that separates the labels
# gives this place to the wrong class. A Gaussian of the bulk of a class hardly notices.

i = int(np.flatnonzero(predictions["softmax"] == base_labels)[0])
features = networks["softmax"].transform(X_head)
poison_features = poisoned_features("softmax", i)[base_rows[i]]
is_shown = np.isin(y_head, [base_labels[i], target_labels[i]])
fig, ax = plt.subplots(figsize=(4.8, 4.6), layout="constrained")
display = FeatureSpaceDisplay(
    np.concatenate([features[is_shown], poison_features]),
    np.concatenate([y_head[is_shown], y_head[base_rows[i]]]),
    is_poison=np.arange(is_shown.sum() + n_poisons) >= is_shown.sum(),
).plot(ax=ax)
to_plane = display.components_.T
starts = (features[base_rows[i]] - display.center_) @ to_plane
ends = (poison_features - display.center_) @ to_plane
target = (
    networks["softmax"].transform(X_target[i : i + 1]) - display.center_
) @ to_plane
for start, end in zip(starts, ends, strict=True):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-", "color": "0.6"})
ax.plot(*target.T, "*", ms=26, mfc="none", mec="black", label="target")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
ax.margins(0.1)

plt.show()
