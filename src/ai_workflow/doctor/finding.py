"""Findings: a fault, or a check that could not be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ai_workflow.doctor.context import Context

# An error breaks something now, a warning may do so later; skipped: the part is not used here.
Severity = Literal["error", "unknown", "warning", "skipped"]
# The most serious first.
SEVERITIES: tuple[Severity, ...] = ("error", "unknown", "warning", "skipped")
Check = Callable[[Context], Iterator["Finding"]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault.

    Args:
        severity: how serious it is; `unknown` if it could not be checked.
        what: the fault and its reason.
        where: the file, URL, run or setting.
        remedy: a command, or a section of the documentation.
        since: the time of its start, None if it is not known.
    """

    severity: Severity
    what: str
    where: str
    remedy: str
    since: datetime | None = None
