"""Experiments of the paper: one frozen config, one run, one result record."""

from sklgm._running import stages_folder
from sklgm.experiments._config import ExperimentConfig, preset_config
from sklgm.experiments._run import run

__all__ = ["ExperimentConfig", "preset_config", "run", "stages_folder"]
