"""How work is carried out: workers, checkpoints, environment, optional extras."""

from sklgm._running._checkpoints import Checkpoints
from sklgm._running._environment import (
    describe_environment,
    installed_version,
    user_cache,
)
from sklgm._running._epochs import EpochsOfTasks, epochs_told, tell_epoch
from sklgm._running._extras import import_extra, installed_extras
from sklgm._running._interrupts import interrupts_are_raised, interrupts_raised
from sklgm._running._progress import Progress, progress_bar, show_nothing
from sklgm._running._runner import Runner, stage_key, stages_folder
from sklgm._running._scratch import is_large_file, row_chunks, scratch_array
from sklgm._running._workers import count_workers, divided_threads, limited_threads

__all__ = [
    "Checkpoints",
    "EpochsOfTasks",
    "Progress",
    "Runner",
    "count_workers",
    "describe_environment",
    "divided_threads",
    "epochs_told",
    "import_extra",
    "installed_extras",
    "installed_version",
    "is_large_file",
    "limited_threads",
    "progress_bar",
    "row_chunks",
    "interrupts_are_raised",
    "interrupts_raised",
    "scratch_array",
    "show_nothing",
    "stage_key",
    "stages_folder",
    "tell_epoch",
    "user_cache",
]
