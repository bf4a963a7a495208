# ruff: noqa: D205, D400
"""
Attack three pipelines over MNIST
=================================

PCA with logistic regression, a random forest, and a torch module. It needs MNIST and is
not run with the gallery: ``python examples/red_team_mnist.py`` takes about two minutes
on two quiet cores.
"""

import time

import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklgm import red_team
from sklgm.datasets import fetch_mnist


def my_network() -> nn.Module:
    """Make a network as a user may have one, without named parts."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def main() -> None:
    """Print success rate, control arm and time of each."""
    mnist = fetch_mnist()
    X, y = mnist.X_train[:3000].reshape(3000, -1), mnist.y_train[:3000]
    X_target = mnist.X_test[:1000].reshape(1000, -1)
    y_target = mnist.y_test[:1000]
    attacked = {
        "scaler, PCA, logistic regression": make_pipeline(
            StandardScaler(), PCA(50), LogisticRegression(max_iter=1000)
        ),
        "random forest": RandomForestClassifier(100),
        "torch module": my_network(),
    }
    for name, estimator in attacked.items():
        start = time.perf_counter()
        result = red_team(
            estimator,
            X,
            y,
            X_target=X_target,
            y_target=y_target,
            n_targets=10,
            budget=0.1,
            pixel_range=(0, 1),
            n_jobs=1,
            random_state=0,
        )
        print(f"{name}: {result}")
        print(
            f"    accuracy without poisons {result.control_accuracy.value:.3f}, with "
            f"{result.accuracies.mean():.3f}; lost their label "
            f"{result.changed_rate.n_success}; imitated for {result.agreement}; "
            f"{time.perf_counter() - start:.0f} s"
        )


if __name__ == "__main__":
    main()
