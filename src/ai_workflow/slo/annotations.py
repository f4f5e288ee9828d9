"""What every alert carries for those who read it: text, number, objective, runbook, dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo.spec import Spec
from ai_workflow.telemetry import dashboard_urls


def written(
    spec: Spec, name: str, summary: str, description: str, objective: str, unit: str, where: str
) -> dict[str, str]:
    """Return the annotations of an alert; `{{ $value }}` and `{{ $labels.x }}` are filled in by Prometheus."""
    return {
        "summary": summary,
        "description": description,
        "runbook_url": f"{spec.places['runbooks']}/{name}.md",
        "dashboard_url": where,
        "value": '{{ $value | printf "%.6g" }}',
        "objective": objective,
        "unit": unit,
    }


def dashboard(spec: Spec, name: str, variables: Mapping[str, str] | None = None) -> str:
    """Return the address of a dashboard with these variables set."""
    return dashboard_urls.url(spec.places["grafana"], name, variables)
