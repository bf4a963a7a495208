"""Figures drawn from tidy tables, arrays or fitted estimators; nothing is trained.

matplotlib is imported when something is drawn. It comes with the extra ``cli``.
"""

from sklgm.plotting._attacks import attack_name
from sklgm.plotting._certified import (
    CertifiedAccuracyDisplay,
    plot_certified_accuracy,
)
from sklgm.plotting._curves import plot_roc_curves, plot_success_rates
from sklgm.plotting._feature_space import FeatureSpaceDisplay
from sklgm.plotting._frontier import plot_frontier
from sklgm.plotting._likelihoods import ClaimedLikelihoodDisplay
from sklgm.plotting._poisons import PoisonDisplay, plot_poison_example
from sklgm.plotting._pooling import pool_seeds, rate_of
from sklgm.plotting._victim_names import victim_color, victim_name, victim_rank

__all__ = [
    "CertifiedAccuracyDisplay",
    "ClaimedLikelihoodDisplay",
    "FeatureSpaceDisplay",
    "PoisonDisplay",
    "attack_name",
    "plot_certified_accuracy",
    "plot_frontier",
    "plot_poison_example",
    "plot_roc_curves",
    "plot_success_rates",
    "pool_seeds",
    "rate_of",
    "victim_color",
    "victim_name",
    "victim_rank",
]
