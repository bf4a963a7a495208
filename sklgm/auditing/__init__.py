"""Audit a labelled data set: which labels are wrong; and correct them."""

from sklgm.auditing._apply import AppliedDecisions, apply_decisions
from sklgm.auditing._audit import audit
from sklgm.auditing._decision_list import read_decisions
from sklgm.auditing._result import AuditResult
from sklgm.auditing._review import Review

__all__ = [
    "AppliedDecisions",
    "AuditResult",
    "Review",
    "apply_decisions",
    "audit",
    "read_decisions",
]
