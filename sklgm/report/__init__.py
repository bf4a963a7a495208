"""Reports: one self-contained HTML page of a run."""

from sklgm.report._figures import run_figures
from sklgm.report._run import (
    ReportFigure,
    render_run_report,
    run_tables,
    write_run_report,
)

__all__ = [
    "ReportFigure",
    "render_run_report",
    "run_figures",
    "run_tables",
    "write_run_report",
]
