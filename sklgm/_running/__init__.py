"""How work is carried out: workers, checkpoints, environment, optional extras."""

from sklgm._running._checkpoints import Checkpoints
from sklgm._running._environment import (
    describe_environment,
    installed_version,
    user_cache,
)
from sklgm._running._extras import import_extra
from sklgm._running._interrupts import interrupts_are_raised, interrupts_raised
from sklgm._running._runner import Progress, Runner, stage_key, stages_folder

__all__ = [
    "Checkpoints",
    "Progress",
    "Runner",
    "describe_environment",
    "import_extra",
    "installed_version",
    "interrupts_are_raised",
    "interrupts_raised",
    "stage_key",
    "stages_folder",
    "user_cache",
]
