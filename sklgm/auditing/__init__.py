"""Audit a labelled data set: which labels are wrong."""

from sklgm.auditing._audit import audit
from sklgm.auditing._decisions import read_decisions
from sklgm.auditing._result import AuditResult
from sklgm.auditing._review import Review

__all__ = ["AuditResult", "Review", "audit", "read_decisions"]
