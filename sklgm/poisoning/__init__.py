"""Clean-label data poisoning: the attack, to test a defence with."""

from sklgm.poisoning._adaptive import (
    AdaptiveLikelihood,
    AdaptivePosterior,
    claimed_likelihood_penalty,
    claimed_posterior_penalty,
)
from sklgm.poisoning._attack import Attack, Problem
from sklgm.poisoning._craft import craft, resolve_attack
from sklgm.poisoning._craft_result import CraftResult
from sklgm.poisoning._crafter import PoisonCrafter
from sklgm.poisoning._feature_collision import FeatureCollision, collision_objective
from sklgm.poisoning._flip_labels import flip_labels
from sklgm.poisoning._gradient_matching import (
    GradientMatching,
    gradient_matching_objective,
)
from sklgm.poisoning._joint_adaptive import AdaptiveJoint, moved_mean_objective
from sklgm.poisoning._jpeg import JpegSurrogate, compress_jpeg
from sklgm.poisoning._location_attack import LocationAttack, attack_locations
from sklgm.poisoning._network_surrogate import make_surrogate
from sklgm.poisoning._polytope import (
    BullseyePolytope,
    ConvexPolytope,
    bullseye_polytope_objective,
    convex_polytope_objective,
)
from sklgm.poisoning._split_module import split_module
from sklgm.poisoning._surrogate import (
    GaussianSurrogate,
    Surrogate,
    TrainableSurrogate,
)

__all__ = [
    "AdaptiveJoint",
    "AdaptiveLikelihood",
    "AdaptivePosterior",
    "Attack",
    "BullseyePolytope",
    "ConvexPolytope",
    "FeatureCollision",
    "GaussianSurrogate",
    "GradientMatching",
    "JpegSurrogate",
    "LocationAttack",
    "Problem",
    "TrainableSurrogate",
    "attack_locations",
    "bullseye_polytope_objective",
    "claimed_likelihood_penalty",
    "claimed_posterior_penalty",
    "collision_objective",
    "compress_jpeg",
    "convex_polytope_objective",
    "gradient_matching_objective",
    "CraftResult",
    "PoisonCrafter",
    "Surrogate",
    "craft",
    "flip_labels",
    "make_surrogate",
    "moved_mean_objective",
    "resolve_attack",
    "split_module",
]
