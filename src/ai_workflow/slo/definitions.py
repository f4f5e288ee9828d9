"""Alert and dashboard definitions of the project: `monitoring/alerts` and `monitoring/dashboards`."""

from __future__ import annotations

from typing import Any

from ai_workflow.config import project
from ai_workflow.slo.alert import Alert
from ai_workflow.slo.spec import Spec


def find_alert(name: str) -> Alert | None:
    """Return the alert of this name, or None."""
    alert: Alert | None = project.module("monitoring.alerts").find(name)
    return alert


def dashboards(spec: Spec) -> dict[str, dict[str, Any]]:
    """Return the Grafana JSON of each dashboard by its uid."""
    built: dict[str, dict[str, Any]] = project.module("monitoring.dashboards").build(spec)
    return built
