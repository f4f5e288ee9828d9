"""URLs of the generated Grafana dashboards."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

# Dashboard -> its UID; Grafana allows 40 characters.
UIDS = {
    "overview": "ai-workflow-overview",
    "slo": "ai-workflow-slo",
    "quality": "ai-workflow-quality",
    "pipelines": "ai-workflow-pipelines",
}


def url(grafana: str, name: str, variables: Mapping[str, str] | None = None) -> str:
    """Return the URL of a dashboard with these variables set."""
    query = urlencode({f"var-{key}": value for key, value in (variables or {}).items()})
    return f"{grafana.rstrip('/')}/d/{UIDS[name]}" + (f"?{query}" if query else "")
