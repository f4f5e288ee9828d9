"""Grafana dashboards of the project, by their uid."""

from __future__ import annotations

from typing import Any

from ai_workflow.slo.spec import Spec
from ai_workflow.telemetry.dashboard_urls import UIDS
from monitoring.dashboards import overview, pipelines, quality, slo
from monitoring.dashboards.panels import Board, render


def build(spec: Spec) -> dict[str, dict[str, Any]]:
    """Return the Grafana JSON of each dashboard by its uid."""
    return {UIDS[name]: render(board, UIDS[name]) for name, board in boards(spec).items()}


def boards(spec: Spec) -> dict[str, Board]:
    """Return the dashboard definitions by the name that alerts use."""
    links = (
        *((title, f"/d/{UIDS[name]}") for name, title in _TITLES.items()),
        ("Runbooks", spec.places["runbooks"]),
    )
    return {name: module.board(spec, links) for name, module in _MODULES.items()}


_MODULES = {"overview": overview, "slo": slo, "quality": quality, "pipelines": pipelines}
_TITLES = {"overview": "Overview", "slo": "SLOs", "quality": "Models", "pipelines": "Pipelines"}
