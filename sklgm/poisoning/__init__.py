"""Clean-label data poisoning: the attack, to test a defence with."""

from sklgm.poisoning._craft import CraftResult, craft
from sklgm.poisoning._crafter import PoisonCrafter
from sklgm.poisoning._flip_labels import flip_labels
from sklgm.poisoning._surrogate import Surrogate, make_surrogate

__all__ = [
    "CraftResult",
    "PoisonCrafter",
    "Surrogate",
    "craft",
    "flip_labels",
    "make_surrogate",
]
