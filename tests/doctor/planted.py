"""Checks of the doctor, run one by one over parts that a test has broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_workflow.doctor import checks, context
from ai_workflow.doctor.context import Context, Options
from ai_workflow.doctor.finding import Finding


def examined(folder: Path, env: dict[str, str] | None = None, **options: Any) -> Context:
    """Return the context of the checks over a store `folder/store`, with no variables but the given."""
    return context.examine(Options(**{"store": str(folder / "store"), **options}), env or {})


def findings(name: str, of: Context, seconds: float = 60.0) -> list[Finding]:
    """Return the findings of one check."""
    (result,) = checks.run(of, {name: checks.ALL[name]}, seconds)
    return list(result.findings)


def fault(name: str, of: Context, severity: str = "error") -> Finding:
    """Return the only finding of one check, which must be complete."""
    (finding,) = findings(name, of)
    assert finding.severity == severity, finding
    assert finding.where, finding
    assert finding.remedy, finding
    return finding
