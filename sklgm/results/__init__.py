"""What a run measured: one tidy table, single trials, arrays for figures.

Needs polars, which comes with the extra ``cli``.
"""

from sklgm.results._description import (
    ColumnSpec,
    FigureSpec,
    HeadlineSpec,
    ProtocolDescription,
    TableSpec,
)
from sklgm.results._figure_data import (
    DetectionScores,
    FeatureScatter,
    FigureArrays,
    PoisonImages,
)
from sklgm.results._rows import TABLE_SCHEMA, TRIALS_SCHEMA, Row, Trial
from sklgm.results._run_result import SCHEMA_VERSION, RunResult

__all__ = [
    "SCHEMA_VERSION",
    "TABLE_SCHEMA",
    "TRIALS_SCHEMA",
    "ColumnSpec",
    "DetectionScores",
    "FeatureScatter",
    "FigureArrays",
    "FigureSpec",
    "HeadlineSpec",
    "PoisonImages",
    "ProtocolDescription",
    "Row",
    "RunResult",
    "TableSpec",
    "Trial",
]
