"""How often an attack works, and how well a score finds what it planted.

Rates carry their counts and a Wilson interval. Detection metrics accept one kind
of score only, ``outlier_score``: higher is more outlying, and the positive class
is the outlier (the poison). It is minus what ``score_samples`` returns.
"""

from sklgm.metrics._certified import (
    certified_accuracy,
    make_certified_scorer,
    predict_certified,
)
from sklgm.metrics._detection import (
    auroc,
    auroc_interval,
    tpr_at_fpr,
    tpr_at_fpr_rate,
)
from sklgm.metrics._rates import (
    Rate,
    RateDifference,
    attack_success_rate,
    make_attack_scorer,
    mean_interval,
    paired_rate_difference,
    wilson_rate,
)

__all__ = [
    "Rate",
    "RateDifference",
    "attack_success_rate",
    "auroc",
    "auroc_interval",
    "certified_accuracy",
    "make_attack_scorer",
    "make_certified_scorer",
    "mean_interval",
    "paired_rate_difference",
    "predict_certified",
    "tpr_at_fpr",
    "tpr_at_fpr_rate",
    "wilson_rate",
]
