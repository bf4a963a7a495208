"""Reports: one self-contained HTML page of a run, or of an audit."""

from sklgm.report._audit_page import render_audit_report, write_audit_report
from sklgm.report._figures import ReportFigure, run_figures, table_figures
from sklgm.report._limits import RULES, Rule, Verdict
from sklgm.report._paired import paired_tables
from sklgm.report._plain_text import detail_lines
from sklgm.report._protocol_tables import protocol_tables, run_tables
from sklgm.report._run_page import render_run_report, write_run_report
from sklgm.report._verdict import RunVerdict, run_verdicts

__all__ = [
    "RULES",
    "ReportFigure",
    "Rule",
    "RunVerdict",
    "Verdict",
    "detail_lines",
    "paired_tables",
    "protocol_tables",
    "render_audit_report",
    "render_run_report",
    "run_figures",
    "run_tables",
    "run_verdicts",
    "table_figures",
    "write_audit_report",
    "write_run_report",
]
