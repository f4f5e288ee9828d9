"""Every Prometheus metric, declared once, as a table; asked for by name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

IN_CACHE_KEY = False


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
DELIVERY_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Every metric of the service that carries a version carries its pipeline, first.
_SERVED = ("pipeline", "model_version")
# Of the service: `/metrics` of `ai-workflow serve`.
SERVICE = (
    Metric(
        "inference_requests_total",
        "counter",
        "Requests by final outcome: success, fallback (another version), default (response), error, timeout, rejected,"
        " expired (the deadline that the caller set had passed)",
        ("pipeline", "status"),
    ),
    Metric(
        "inference_request_latency_seconds",
        "histogram",
        "Time from a request's arrival to its answer",
        ("pipeline",),
        INFERENCE_SECONDS,
    ),
    Metric(
        "inference_total",
        "counter",
        "Requests put to a version, by what it did: success, fallback (answered for another), timeout, error, rejected",
        (*_SERVED, "status"),
    ),
    Metric(
        "inference_latency_seconds",
        "histogram",
        "Time that a version took to answer, or until the request was taken from it",
        _SERVED,
        INFERENCE_SECONDS,
    ),
    Metric("inference_rows_total", "counter", "Rows answered", _SERVED),
    Metric(
        "inference_fallback_total",
        "counter",
        "Requests that a version did not answer and another one, or the default response, did",
        (*_SERVED, "reason"),
    ),
    Metric("inference_refused_total", "counter", "Requests that were not put to a version", (*_SERVED, "reason")),
    Metric("inference_invalid_total", "counter", "Requests refused for what they ask, by HTTP status", ("code",)),
    Metric(
        "inference_unseen_category_total",
        "counter",
        "Categories that training never saw, by column",
        ("pipeline", "model_version", "column"),
    ),
    Metric("inference_labels_rejected_total", "counter", "Labels refused, by reason", ("pipeline", "reason")),
    Metric(
        "inference_example_info",
        "gauge",
        "1 for a recent request by its trace, for each kind of failure, and the version and column at fault",
        (*_SERVED, "kind", "column", "trace_id"),
    ),
    Metric("inference_in_flight_requests", "gauge", "Requests being answered"),
    Metric("inference_capacity_requests", "gauge", "How many may be answered at the same time"),
    Metric("model_breaker_state", "gauge", "0 closed, 1 open, 2 half-open", _SERVED),
    Metric("model_worker_restarts_total", "counter", "Model processes that ended", (*_SERVED, "reason")),
    Metric("model_info", "gauge", "1 for each version that is loaded", (*_SERVED, "alias")),
    Metric("model_loaded_timestamp_seconds", "gauge", "When a version was loaded", _SERVED),
    Metric("model_load_failures_total", "counter", "Versions that could not be loaded", _SERVED),
    Metric("model_registry_failures_total", "counter", "Looks at the registry's aliases that failed"),
    Metric("model_reloads_total", "counter", "Changes of the versions that serve"),
    Metric("event_loop_lag_seconds", "gauge", "How late the service's event loop last was"),
    Metric("prediction_log_records_total", "counter", "Predictions written to the log"),
    Metric("prediction_log_dropped_total", "counter", "Predictions not logged, as the log was full or failed"),
)
# Of a flow's own process, which ends before anybody asks: for who runs flows inside of something that lives on.
FLOWS = (
    Metric("pipeline_stage_total", "counter", "Stages by how they ended", ("pipeline", "stage", "status")),
    Metric("pipeline_stage_duration_seconds", "histogram", "Time a stage took", ("pipeline", "stage"), STAGE_SECONDS),
    Metric("pipeline_stage_rows", "gauge", "Rows that a stage handed on when it last ended", ("pipeline", "stage")),
    Metric("observer_failures_total", "counter", "Observers that failed; the work they watched went on", ("observer",)),
)
_RUNS, _STAGES, _VERSIONS = ("pipeline", "flow"), ("pipeline", "stage"), _SERVED
# Of the exporter, which reads them off the store: `ai-workflow exporter`.
EXPORTER = (
    Metric("pipeline_last_start_timestamp_seconds", "gauge", "When the last run began", _RUNS),
    Metric(
        "pipeline_last_end_timestamp_seconds",
        "gauge",
        "When a run last ended, well or not; killed: its last sign of life",
        _RUNS,
    ),
    Metric("pipeline_last_success_timestamp_seconds", "gauge", "When a run last ended well", _RUNS),
    Metric("pipeline_last_run_failed", "gauge", "1 where the last run failed or was killed", _RUNS),
    Metric("pipeline_last_run_duration_seconds", "gauge", "Time the last run took that is over", _RUNS),
    Metric(
        "pipeline_run_info",
        "gauge",
        "1 for the run that last_started and the one that last_ended; stage: where it is, or failed",
        (*_RUNS, "run", "stage", "trace_id"),
    ),
    Metric("pipeline_run_active", "gauge", "1 while a process is at work on a run", _RUNS),
    Metric(
        "pipeline_expected_interval_seconds",
        "gauge",
        "How often a run is expected, by configuration or schedule",
        _RUNS,
    ),
    Metric(
        "pipeline_stage_last_success_timestamp_seconds",
        "gauge",
        "When a stage last ended well, or had nothing to do as all was cached",
        _STAGES,
    ),
    Metric("pipeline_stage_last_duration_seconds", "gauge", "Time a stage last took to do its work", _STAGES),
    Metric("pipeline_stage_last_rows", "gauge", "Rows that a stage last handed on", _STAGES),
    Metric("pipeline_stage_last_failed", "gauge", "1 where a stage last failed, or was killed", _STAGES),
    Metric("training_run_active", "gauge", "1 while a trainer is at work", ("pipeline",)),
    Metric(
        "training_last_checkpoint_timestamp_seconds",
        "gauge",
        "Up to when training is saved: the newest checkpoint, or when the trainer at work began",
        ("pipeline",),
    ),
    Metric("training_last_run_failed", "gauge", "1 where the last training failed or was killed", ("pipeline",)),
    Metric("training_last_end_timestamp_seconds", "gauge", "When a training last ended, well or not", ("pipeline",)),
    Metric(
        "model_registry_info",
        "gauge",
        "1 for each published version, by alias; none for one without",
        (*_VERSIONS, "alias"),
    ),
    Metric("model_published_timestamp_seconds", "gauge", "When a version was published", _VERSIONS),
    Metric("model_store_bytes", "gauge", "Size of all published versions"),
    Metric("model_store_available_bytes", "gauge", "What is free on the disk of the store"),
    Metric(
        "model_accuracy_current", "gauge", "Share of right predictions among those labeled in the window", _VERSIONS
    ),
    Metric("model_accuracy_lower", "gauge", "Lower bound of that share: 95 %, Wilson", _VERSIONS),
    Metric("model_accuracy_upper", "gauge", "Upper bound of that share: 95 %, Wilson", _VERSIONS),
    Metric("model_labeled_predictions_total", "counter", "Predictions whose label has come", _VERSIONS),
    Metric("model_correct_predictions_total", "counter", "Predictions that their label proved right", _VERSIONS),
    Metric("model_labeled_predictions_window", "gauge", "Labeled predictions in the window", _VERSIONS),
    Metric("model_last_label_timestamp_seconds", "gauge", "When the last label came", _VERSIONS),
    Metric("model_label_delay_seconds", "gauge", "Time from a prediction to its label", (*_VERSIONS, "quantile")),
    Metric(
        "feature_drift_psi",
        "gauge",
        "How far a feature is from the training data; the 20 farthest",
        (*_VERSIONS, "feature"),
    ),
    Metric("model_evaluation_info", "gauge", "1 for the last evaluation, by its trace", (*_VERSIONS, "trace_id")),
    Metric("prediction_drift_psi", "gauge", "How far predictions are from those on the training data", _VERSIONS),
    Metric("drift_threshold_psi", "gauge", "Above it, drift is more than chance", _VERSIONS),
    Metric("exporter_last_collect_timestamp_seconds", "gauge", "When the exporter last looked at everything"),
    Metric("exporter_collect_seconds", "gauge", "Time that last look took"),
    Metric("exporter_source_failures_total", "counter", "What could not be read, by source", ("source",)),
)
# Of the relay of alerts: `ai-workflow relay`.
RELAY = (
    Metric("alert_delivery_total", "counter", "Messages by channel, and what came of them", ("channel", "result")),
    Metric("alert_delivery_seconds", "histogram", "Time to deliver a message", ("channel",), DELIVERY_SECONDS),
    Metric(
        "alert_webhook_total",
        "counter",
        "Webhooks by sender and result; no_channel: no configured channel takes an alert of it",
        ("source", "result"),
    ),
    Metric("slo_events_total", "counter", "Breaches made events for Prefect, by what came of it", ("result",)),
)
TABLE = SERVICE + FLOWS + EXPORTER + RELAY
_BY_NAME = {metric.name: metric for metric in TABLE}


def declared(name: str) -> Metric:
    """Return what the table says of a metric.

    Raises:
        KeyError: the table has no such metric.
    """
    return _BY_NAME[name]


@cache
def get(name: str) -> Any:
    """Return the metric of the table, registered on first use.

    Raises:
        KeyError: the table has no such metric.
    """
    import prometheus_client

    # A `_created` series for each counter would double them, and nobody asks for it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    metric = _BY_NAME[name]
    if metric.kind == "histogram":
        return prometheus_client.Histogram(name, metric.help, metric.labels, buckets=metric.buckets)
    made = prometheus_client.Counter if metric.kind == "counter" else prometheus_client.Gauge
    return made(name, metric.help, metric.labels)


def remove_labels(name: str, *labels: str) -> None:
    """Remove what a metric shows of these labels, if it shows anything."""
    with contextlib.suppress(KeyError):
        get(name).remove(*labels)
