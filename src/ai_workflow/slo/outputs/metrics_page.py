"""The page of docs/ that lists every metric, made from the table that declares them."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.config import project
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.metrics import Metric

_HEAD = """# Metrics

Made by `ai-workflow slo metrics` from `src/ai_workflow/telemetry/metrics.py`: change that, not this page.
Times are seconds; a moment is in seconds since 1970, UTC.
No label grows without bound: none holds a run, a request or a user.
"""
_SERVICE = """\
`GET /metrics` of `ai-workflow serve`. Who asks for OpenMetrics, as Prometheus does, gets exemplars with the
`trace_id` of slow requests; with `--enable-feature=exemplar-storage` Prometheus keeps them.
"""
_EXPORTER = "`ai-workflow exporter`, port 9109; one process for a store. [Operating](operating.md) says more.\n"
_RELAY = "`ai-workflow relay`, port 9110.\n"
_FLOWS = """\
In the process of a flow, for whoever runs flows inside of something that lives on. Pipelines are short-lived:
what Prometheus knows of them, it has from the exporter.
"""
_SECTIONS = (
    ("Service", _SERVICE, metrics.SERVICE),
    ("Exporter", _EXPORTER, metrics.EXPORTER),
    ("Relay", _RELAY, metrics.RELAY),
    ("Flows", _FLOWS, metrics.FLOWS),
)


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(*section) for section in _SECTIONS)])


def write() -> None:
    """Write the page to where it belongs."""
    project.path("docs", "metrics.md").write_text(page(), encoding="utf-8")


def _section(title: str, about: str, table: Sequence[Metric]) -> str:
    rows = [f"| `{each.name}` | {each.kind} | {_labels(each)} | {each.help}{_buckets(each)} |" for each in table]
    return "\n".join([f"## {title}\n", about, "| name | kind | labels | what |", "|---|---|---|---|", *rows, ""])


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{name}`" for name in metric.labels)


def _buckets(metric: Metric) -> str:
    return f"; up to {', '.join(f'{bound:g}' for bound in metric.buckets)} s" if metric.buckets else ""
