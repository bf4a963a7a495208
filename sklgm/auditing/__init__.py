"""Audit a labelled data set: which labels are wrong."""

from sklgm.auditing._audit import audit
from sklgm.auditing._result import AuditResult

__all__ = ["AuditResult", "audit"]
