"""How work is carried out: workers, checkpoints, environment, optional extras."""

from sklgm._running._environment import (
    describe_environment,
    installed_version,
    user_cache,
)
from sklgm._running._extras import import_extra
from sklgm._running._runner import Progress, Runner, stage_key, stages_folder

__all__ = [
    "Progress",
    "Runner",
    "describe_environment",
    "import_extra",
    "installed_version",
    "stage_key",
    "stages_folder",
    "user_cache",
]
