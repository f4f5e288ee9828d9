"""Grafana provisioning files for the data source and the dashboards."""

from __future__ import annotations

from ai_workflow.slo.outputs.scrape_config import INNER_USER
from ai_workflow.slo.spec import Spec

SOURCE = "prometheus"  # uid of the data source
# Grafana expands environment variables.
_LOGIN: dict[str, object] = {
    "basicAuth": True,
    "basicAuthUser": INNER_USER,
    "secureJsonData": {"basicAuthPassword": "$MONITORING_PASSWORD"},
}


def files(spec: Spec) -> dict[str, dict[str, object]]:
    """Return each provisioning file by its path; dashboards are read from their mount path."""
    source = {
        "name": "Prometheus",
        "uid": SOURCE,
        "type": "prometheus",
        "access": "proxy",
        "url": spec.places["prometheus"],
        "isDefault": True,
        "editable": False,
        **(_LOGIN if spec.places["monitoring_password_file"] else {}),
        "jsonData": {"httpMethod": "POST", "timeInterval": spec.scrape},
    }
    provider = {
        "name": "ai-workflow",
        "folder": "AI workflow",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": "/var/lib/grafana/dashboards"},
    }
    return {
        "datasources/prometheus.yaml": {"apiVersion": 1, "datasources": [source]},
        "dashboards/ai-workflow.yaml": {"apiVersion": 1, "providers": [provider]},
    }
