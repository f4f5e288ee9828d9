"""Annotations of alerts: texts, value, objective, runbook and dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo.spec import Spec
from ai_workflow.telemetry import dashboard_urls


def alert_annotations(
    spec: Spec, name: str, summary: str, description: str, objective: str, unit: str, dashboard_url: str
) -> dict[str, str]:
    """Return the annotations of an alert; Prometheus fills in `{{ $value }}` and `{{ $labels.x }}`."""
    return {
        "summary": summary,
        "description": description,
        "runbook_url": f"{spec.places['runbooks']}/{name}.md",
        "dashboard_url": dashboard_url,
        "value": '{{ $value | printf "%.6g" }}',
        "objective": objective,
        "unit": unit,
    }


def dashboard(spec: Spec, name: str, variables: Mapping[str, str] | None = None) -> str:
    """Return the URL of a dashboard with these variables."""
    return dashboard_urls.url(spec.places["grafana"], name, variables)
