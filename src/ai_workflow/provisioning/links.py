"""Links below the description of a deployment in the Prefect UI: its artifacts, and the dashboard."""

from __future__ import annotations

from dataclasses import dataclass

from ai_workflow.telemetry import dashboard_urls

# Flows that show the trace of each run; a training shows the model card as well.
_TRACED = ("training", "scoring", "evaluation")


@dataclass(frozen=True, slots=True)
class Links:
    """Where browsers reach Prefect and Grafana.

    Args:
        ui: address of the Prefect UI, without a path where browsers reach it under the server's own address.
        grafana: address of Grafana, if there is one.
    """

    ui: str = ""
    grafana: str | None = None

    def below(self, description: str, flow: str, pipeline: str) -> str:
        """Return a description with the links of a flow, as Markdown."""
        key = pipeline.replace("_", "-")
        found = []
        if flow in _TRACED:
            found.append(f"[traces of runs]({self._artifact(f'{key}-{flow}-trace')})")
        if flow == "training":
            found.append(f"[model cards]({self._artifact(f'{key}-model-card')})")
        if self.grafana:
            found.append(f"[dashboard]({dashboard_urls.url(self.grafana, 'pipelines', {'pipeline': pipeline})})")
        return description + ("\n\n" + " · ".join(found) if found else "")

    def _artifact(self, key: str) -> str:
        return f"{self.ui}/artifacts/key/{key}"
