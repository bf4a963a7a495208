# ruff: noqa: D205, D400
"""
Certified votes of L-GM classifiers over MNIST
==============================================

Nothing is trusted, networks included: rows are divided by a hash, an L-GM network is
trained from scratch on each part, and the votes decide. It needs MNIST and is not run
with the gallery: ``python examples/partitions_mnist.py`` takes about two minutes on two
quiet cores.
"""

import time

import numpy as np

from sklgm import LGMClassifier, PartitionedClassifier
from sklgm.datasets import fetch_mnist

mnist = fetch_mnist()
X, y = mnist.X_train[:20_000], mnist.y_train[:20_000]
X_test, y_test = mnist.X_test[:2000], mnist.y_test[:2000]
for n_partitions, settings in (
    (50, {"batch_size": 64, "max_epochs": 20}),
    (200, {"batch_size": 32, "max_epochs": 30}),
):
    start = time.perf_counter()
    clf = PartitionedClassifier(
        LGMClassifier("mlp", lr=0.005, **settings),
        n_partitions=n_partitions,
        n_jobs=1,
        random_state=0,
    ).fit(X, y)
    is_right = clf.predict(X_test) == y_test
    certified = clf.certified_poisons(X_test)
    alone = np.mean([c.score(X_test, y_test) for c in clf.estimators_[:10]])
    print(
        f"{n_partitions} partitions: accuracy {is_right.mean():.4f} (one clone "
        f"{alone:.3f}), median number of certified poisons "
        f"{np.median(np.where(is_right, certified, -1)):.0f}, "
        + ", ".join(
            f"{np.mean(is_right & (certified >= r)):.3f} at {r}"
            for r in (5, 10, 20, 50)
        )
        + f"; {(time.perf_counter() - start) / 60:.1f} min",
        flush=True,
    )
