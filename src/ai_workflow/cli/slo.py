"""`ai-workflow slo`: build and validate rules, dashboards and routes; write the metrics page."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from ai_workflow.slo import build as building
from ai_workflow.slo import reader
from ai_workflow.slo.outputs import metrics_page

app = App(name="slo", help="Compile SLOs to Prometheus rules, dashboards and routes.")


@app.command
def build(*, file: Path | None = None, out: Path | None = None) -> None:
    """Write monitoring/generated/: rules, dashboards, routes and their tests.

    Args:
        file: SLO file; monitoring/slo.yaml if not given.
        out: Output folder; monitoring/generated/ if not given.
    """
    folder = out or building.generated()
    texts = building.files(reader.load(file))
    building.write(texts, folder)
    print(f"wrote {len(texts)} files to {folder}")


@app.command
def validate(file: Path | None = None, /) -> None:
    """Validate an SLO file, in this format or that of Sloth.

    Args:
        file: SLO file; monitoring/slo.yaml if not given.
    """
    spec = reader.load(file)
    building.files(spec)
    print(f"{file or reader.own()}: {len(spec.slos)} SLOs and {len(spec.entries)} alerts are valid")


@app.command
def metrics() -> None:
    """Write docs/metrics.md from the table in ai_workflow/telemetry/metrics.py."""
    metrics_page.write()
