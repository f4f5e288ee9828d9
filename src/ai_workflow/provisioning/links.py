"""Links below the description of a deployment in the Prefect UI: artifacts and dashboard."""

from __future__ import annotations

from dataclasses import dataclass

from ai_workflow.telemetry import dashboard_urls

# Flows with a trace artifact for each run; a training has a model card as well.
_TRACED = ("training", "scoring", "evaluation")


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of Prefect and Grafana for browsers.

    Args:
        ui: prefix of links in the Prefect UI; empty for paths on the server itself.
        grafana: URL of Grafana, or None.
    """

    ui: str = ""
    grafana: str | None = None

    def below(self, description: str, flow: str, pipeline: str) -> str:
        """Return a description with the links of a flow, as Markdown."""
        key = pipeline.replace("_", "-")
        links = []
        if flow in _TRACED:
            links.append(f"[traces of runs]({self._artifact(f'{key}-{flow}-trace')})")
        if flow == "training":
            links.append(f"[model cards]({self._artifact(f'{key}-model-card')})")
        if self.grafana:
            links.append(f"[dashboard]({dashboard_urls.url(self.grafana, 'pipelines', {'pipeline': pipeline})})")
        return description + ("\n\n" + " · ".join(links) if links else "")

    def _artifact(self, key: str) -> str:
        return f"{self.ui}/artifacts/key/{key}"
