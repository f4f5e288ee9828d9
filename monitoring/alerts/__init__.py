"""Table of all alerts except burn-rate alerts; `slo.yaml` sets their parameters."""

from __future__ import annotations

from ai_workflow.slo.alert import Alert
from monitoring.alerts.model import MODEL
from monitoring.alerts.pipelines import PIPELINES
from monitoring.alerts.quality import QUALITY
from monitoring.alerts.service import SERVICE
from monitoring.alerts.store import STORE
from monitoring.alerts.watchers import WATCHERS

__all__ = ["TABLE", "Alert", "find"]

TABLE = (*SERVICE, *MODEL, *QUALITY, *PIPELINES, *STORE, *WATCHERS)


def find(name: str) -> Alert | None:
    """Return the alert of this name, or None."""
    return next((alert for alert in TABLE if alert.name == name), None)
