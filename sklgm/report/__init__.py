"""Reports: one self-contained HTML page of a run, or of an audit."""

from sklgm.report._audit import render_audit_report, write_audit_report
from sklgm.report._figures import run_figures
from sklgm.report._run import (
    ReportFigure,
    render_run_report,
    run_tables,
    write_run_report,
)

__all__ = [
    "ReportFigure",
    "render_audit_report",
    "render_run_report",
    "run_figures",
    "run_tables",
    "write_audit_report",
    "write_run_report",
]
