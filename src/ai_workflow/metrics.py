"""Every Prometheus metric, declared once, as a table; asked for by name."""

from __future__ import annotations

import contextlib
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
# With the thresholds that an SLO may name, and below them what a model on the same machine takes.
INFERENCE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1, 2.5, 5)

TABLE = (
    Metric("inference_total", "counter", "Requests by who answered in the end, and how", ("model_version", "status")),
    Metric(
        "inference_latency_seconds",
        "histogram",
        "Time from a request's arrival to its answer",
        ("model_version",),
        INFERENCE_SECONDS,
    ),
    Metric("inference_rows_total", "counter", "Rows answered", ("model_version",)),
    Metric("inference_fallback_total", "counter", "Requests not answered by latest", ("model_version", "reason")),
    Metric("inference_attempts_total", "counter", "Versions asked, and what came of it", ("model_version", "outcome")),
    Metric("inference_refused_total", "counter", "Versions passed over, and why", ("model_version", "reason")),
    Metric("inference_invalid_total", "counter", "Requests refused for what they ask, by HTTP status", ("code",)),
    Metric("inference_in_flight_requests", "gauge", "Requests being answered"),
    Metric("inference_capacity_requests", "gauge", "How many may be answered at the same time"),
    Metric("model_breaker_state", "gauge", "0 closed, 1 open, 2 half-open", ("model_version",)),
    Metric("model_worker_restarts_total", "counter", "Model processes that ended", ("model_version", "reason")),
    Metric("model_info", "gauge", "1 for each version that is loaded", ("model_version", "alias")),
    Metric("model_loaded_timestamp_seconds", "gauge", "When a version was loaded", ("model_version",)),
    Metric("model_load_failures_total", "counter", "Versions that could not be loaded", ("model_version",)),
    Metric("model_registry_failures_total", "counter", "Looks at the registry's aliases that failed"),
    Metric("model_reloads_total", "counter", "Changes of the versions that serve"),
    Metric("event_loop_lag_seconds", "gauge", "How late the service's event loop last was"),
    Metric("prediction_log_records_total", "counter", "Predictions written to the log"),
    Metric("prediction_log_dropped_total", "counter", "Predictions not logged, as the log was full or failed"),
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


def forget(name: str, *labels: str) -> None:
    """Remove what a metric shows of these labels, if it shows anything."""
    with contextlib.suppress(KeyError):
        get(name).remove(*labels)
