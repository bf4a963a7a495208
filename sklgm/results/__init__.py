"""What an experiment found: records, single trials, arrays for figures."""

from sklgm._running import describe_environment
from sklgm.results._figure_data import (
    DetectionScores,
    FeatureScatter,
    FigureData,
    PoisonImages,
)
from sklgm.results._run_result import (
    MODELS,
    PROTOCOLS,
    SCHEMA_VERSION,
    Record,
    RunResult,
    Trial,
    results_schema,
)

__all__ = [
    "MODELS",
    "PROTOCOLS",
    "SCHEMA_VERSION",
    "DetectionScores",
    "FeatureScatter",
    "FigureData",
    "PoisonImages",
    "Record",
    "RunResult",
    "Trial",
    "describe_environment",
    "results_schema",
]
