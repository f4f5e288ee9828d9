"""The report of the checks, as text or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ai_workflow import json_text
from ai_workflow.doctor.checks import Result
from ai_workflow.doctor.finding import SEVERITIES, Finding
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape

_INDENT = 10


def as_text(results: Sequence[Result]) -> str:
    """Return the findings, the most serious first, and the checks that found nothing."""
    found = [(finding, result.check) for result in results for finding in result.findings]
    found.sort(key=lambda each: SEVERITIES.index(each[0].severity))
    lines = [line for finding, check in found if finding.severity != "skipped" for line in _lines(finding, check)]
    skipped = [(finding, check) for finding, check in found if finding.severity == "skipped"]
    lines += [f"{'skipped':<{_INDENT}}{check}: {_clean(f'{each.what} ({each.where})')}" for each, check in skipped]
    if healthy := [result.check for result in results if result.state == "ok"]:
        lines.append(f"{'ok':<{_INDENT}}{', '.join(healthy)}")
    counts = [f"{sum(finding.severity == name for finding, _ in found)} {name}" for name in SEVERITIES[:3]]
    return "\n".join([*lines, ", ".join(counts)])


def as_json(results: Sequence[Result], now: datetime) -> str:
    """Return the results as JSON."""
    checks = [
        {"check": result.check, "state": result.state, "findings": [_fields(each) for each in result.findings]}
        for result in results
    ]
    is_healthy = all(result.is_healthy for result in results)
    return json_text.indented(
        {"time": now.isoformat(timespec="seconds"), "healthy": is_healthy, "checks": checks}, indent=2
    )


def _lines(finding: Finding, check: str) -> list[str]:
    since = [("since", _since(finding.since))] if finding.since else []
    fields = [("where", finding.where), *since, ("remedy", finding.remedy)]
    head = f"{finding.severity.upper():<{_INDENT}}{check}: {_clean(finding.what)}"
    return [head, *(f"{'':<{_INDENT}}{name:<8}{_clean(value)}" for name, value in fields), ""]


def _fields(finding: Finding) -> dict[str, str | None]:
    return {
        "severity": finding.severity,
        "what": scrub(finding.what),
        "where": scrub(finding.where),
        "since": finding.since.isoformat(timespec="seconds") if finding.since else None,
        "remedy": scrub(finding.remedy),
    }


def _clean(text: str) -> str:
    return scrub(escape(" ".join(text.split())))


def _since(since: datetime) -> str:
    hours = (datetime.now(UTC) - since).total_seconds() / 3600
    age = f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
    return f"{since.astimezone().isoformat(timespec='seconds')} ({age} ago)"
