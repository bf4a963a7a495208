# ruff: noqa: D205, D400
"""
Choose settings by certified accuracy
=====================================

A search over ``margin`` and ``likelihood_weight``, once by accuracy and once by the
share of rows that are right and proved to withstand 25 poisons. It needs MNIST and is
not run with the gallery: ``python examples/search_by_certified_accuracy.py`` takes
about two minutes on two quiet cores.
"""

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sklgm import LGMClassifier, SoftmaxClassifier
from sklgm.datasets import fetch_mnist
from sklgm.metrics import (
    certified_accuracy,
    make_certified_scorer,
    paired_rate_difference,
    predict_certified,
)

TRUSTED = {"assume_trusted_features": True}
N_POISONS = 25


def main() -> None:
    """Print what both scores choose, and how that does on test rows."""
    mnist = fetch_mnist()
    network = SoftmaxClassifier(max_epochs=4, random_state=0)
    network.fit(mnist.X_train[:6000], mnist.y_train[:6000])
    X = network.transform(mnist.X_train[6000:9750])
    y = mnist.y_train[6000:9750]
    X_test, y_test = network.transform(mnist.X_test), mnist.y_test

    clf = LGMClassifier("mlp", location="median", max_epochs=10, random_state=0)
    search = GridSearchCV(
        clf,
        {"margin": [0.0, 0.3, 1.0], "likelihood_weight": [0.0, 0.01, 0.1, 1.0]},
        scoring={
            "accuracy": "accuracy",
            "certified": make_certified_scorer(N_POISONS, **TRUSTED),
        },
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        refit=False,
    ).fit(X, y)
    found = search.cv_results_
    for params, accuracy, certified in zip(
        found["params"],
        found["mean_test_accuracy"],
        found["mean_test_certified"],
        strict=True,
    ):
        print(f"{params}: accuracy {accuracy:.4f}, certified {certified:.4f}")

    holds = {}
    for score in ("accuracy", "certified"):
        params = found["params"][int(np.argmax(found[f"mean_test_{score}"]))]
        chosen = clone(clf).set_params(**params).fit(X, y)
        labels, counts = predict_certified(chosen, X_test, **TRUSTED)
        holds[score] = (labels == y_test) & (counts >= N_POISONS)
        rates = [certified_accuracy(y_test, labels, counts, n) for n in (0, 25, 50)]
        print(f"chosen by {score}: {params}; test rows:")
        for n, rate in zip((0, 25, 50), rates, strict=True):
            print(
                f"    {n} poisons: {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}]"
            )
    gain = paired_rate_difference(holds["certified"], holds["accuracy"])
    print(f"gain at {N_POISONS}: {gain.value:.4f} [{gain.low:.4f}, {gain.high:.4f}]")


if __name__ == "__main__":
    main()
