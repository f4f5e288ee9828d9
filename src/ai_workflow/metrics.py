"""Every Prometheus metric, declared once, as a table; asked for by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, kind, help text, labels, and buckets (upper bounds) if it is a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


STAGE_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)

TABLE = (
    Metric("pipeline_stage_total", "counter", "Stages by how they ended", ("pipeline", "stage", "status")),
    Metric("pipeline_stage_duration_seconds", "histogram", "Time a stage took", ("pipeline", "stage"), STAGE_SECONDS),
    Metric("pipeline_stage_rows", "gauge", "Rows that a stage handed on when it last ended", ("pipeline", "stage")),
    Metric("observer_failures_total", "counter", "Observers that failed; the work they watched went on", ("observer",)),
)
_BY_NAME = {metric.name: metric for metric in TABLE}


@cache
def get(name: str) -> Any:
    """Return the metric of the table, registered on first use.

    Raises:
        KeyError: the table has no such metric.
    """
    import prometheus_client

    metric = _BY_NAME[name]
    if metric.kind == "histogram":
        return prometheus_client.Histogram(name, metric.help, metric.labels, buckets=metric.buckets)
    made = prometheus_client.Counter if metric.kind == "counter" else prometheus_client.Gauge
    return made(name, metric.help, metric.labels)
