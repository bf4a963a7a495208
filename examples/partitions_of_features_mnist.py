# ruff: noqa: D205, D400
"""
Certified votes on the features of a trusted network
=====================================================

As ``partitions_mnist.py``, but for a network that is trusted: it was trained on other
rows, and the votes are of class Gaussians on its features. It needs MNIST and is not
run with the gallery: ``python examples/partitions_of_features_mnist.py``.
"""

import time

import numpy as np

from sklgm import PartitionedClassifier, RobustGaussianClassifier, SoftmaxClassifier
from sklgm.datasets import fetch_mnist

mnist = fetch_mnist()
network = SoftmaxClassifier(max_epochs=4, random_state=0)
network.fit(mnist.X_train[40_000:46_000], mnist.y_train[40_000:46_000])
X, y = network.transform(mnist.X_train[:20_000]), mnist.y_train[:20_000]
X_test, y_test = network.transform(mnist.X_test[:2000]), mnist.y_test[:2000]
for n_partitions in (200, 1000):
    start = time.perf_counter()
    clf = PartitionedClassifier(
        RobustGaussianClassifier(location="mean"), n_partitions=n_partitions, n_jobs=1
    ).fit(X, y)
    is_right = clf.predict(X_test) == y_test
    certified = clf.certified_poisons(X_test)
    print(
        f"{n_partitions} partitions: accuracy {is_right.mean():.4f}, median number of "
        f"certified poisons {np.median(np.where(is_right, certified, -1)):.0f}, "
        + ", ".join(
            f"{np.mean(is_right & (certified >= r)):.3f} at {r}"
            for r in (20, 50, 100, 200)
        )
        + f"; {(time.perf_counter() - start) / 60:.1f} min",
        flush=True,
    )
