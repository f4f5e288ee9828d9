"""Prometheus metrics, declared in one table and used by name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

IN_CACHE_KEY = False


@dataclass(frozen=True, slots=True)
class Metric:
    """Name, kind, help text and labels of a metric, and the bucket bounds of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


STAGE_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)
# The thresholds that an SLO may use, and smaller ones for a model on the same machine.
INFERENCE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1, 2.5, 5)
DELIVERY_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Labels of a model version: the pipeline comes first.
_SERVED = ("pipeline", "model_version")
# Metrics of the service: `/metrics` of `ai-workflow serve`.
SERVICE = (
    Metric(
        "inference_requests_total",
        "counter",
        "Inference requests by final status: success, fallback (another version), default (default response), error,"
        " timeout, rejected, expired (the deadline of the caller has passed)",
        ("pipeline", "status"),
    ),
    Metric(
        "inference_request_latency_seconds",
        "histogram",
        "Time from the arrival of a request to its response",
        ("pipeline",),
        INFERENCE_SECONDS,
    ),
    Metric(
        "inference_total",
        "counter",
        "Requests sent to a model version by status: success, fallback (for another version), timeout, error, rejected",
        (*_SERVED, "status"),
    ),
    Metric(
        "inference_latency_seconds",
        "histogram",
        "Time until a model version responded, or until the request was withdrawn from it",
        _SERVED,
        INFERENCE_SECONDS,
    ),
    Metric("inference_rows_total", "counter", "Rows with a prediction", _SERVED),
    Metric(
        "inference_fallback_total",
        "counter",
        "Requests that another version or the default response answered instead of this version, by reason",
        (*_SERVED, "reason"),
    ),
    Metric(
        "inference_refused_total",
        "counter",
        "Requests that were not sent to a version, by reason",
        (*_SERVED, "reason"),
    ),
    Metric("inference_invalid_total", "counter", "Invalid requests by HTTP status", ("code",)),
    Metric(
        "inference_unseen_category_total",
        "counter",
        "Categories that are not in the training data, by column",
        ("pipeline", "model_version", "column"),
    ),
    Metric("inference_labels_rejected_total", "counter", "Rejected labels by reason", ("pipeline", "reason")),
    Metric(
        "inference_example_info",
        "gauge",
        "1 for the trace of a recent request, by kind of failure, version and column at fault",
        (*_SERVED, "kind", "column", "trace_id"),
    ),
    Metric("inference_in_flight_requests", "gauge", "Requests in flight"),
    Metric("inference_capacity_requests", "gauge", "Maximum number of requests in flight"),
    Metric("model_breaker_state", "gauge", "State of the circuit breaker: 0 closed, 1 open, 2 half-open", _SERVED),
    Metric("model_worker_restarts_total", "counter", "Restarts of model processes by reason", (*_SERVED, "reason")),
    Metric("model_info", "gauge", "1 for each loaded version", (*_SERVED, "alias")),
    Metric("model_loaded_timestamp_seconds", "gauge", "Time when a version was loaded", _SERVED),
    Metric("model_load_failures_total", "counter", "Failures to load a version", _SERVED),
    Metric("model_registry_failures_total", "counter", "Failures to read the aliases of the registry"),
    Metric("model_reloads_total", "counter", "Changes of the served versions"),
    Metric("event_loop_lag_seconds", "gauge", "Last measured lag of the event loop of the service"),
    Metric("prediction_log_records_total", "counter", "Predictions written to the prediction log"),
    Metric("prediction_log_dropped_total", "counter", "Predictions not logged because the log was full or failed"),
)
# Metrics of the process of a flow, for installations that run flows in a long-lived process.
FLOWS = (
    Metric("pipeline_stage_total", "counter", "Stages by status", ("pipeline", "stage", "status")),
    Metric("pipeline_stage_duration_seconds", "histogram", "Duration of a stage", ("pipeline", "stage"), STAGE_SECONDS),
    Metric("pipeline_stage_rows", "gauge", "Output rows of the last execution of a stage", ("pipeline", "stage")),
    Metric("observer_failures_total", "counter", "Observer failures, which do not affect the stage", ("observer",)),
)
_RUNS, _STAGES, _VERSIONS = ("pipeline", "flow"), ("pipeline", "stage"), _SERVED
# Metrics of the exporter, which reads them from the store: `ai-workflow exporter`.
EXPORTER = (
    Metric("pipeline_last_start_timestamp_seconds", "gauge", "Start of the last run", _RUNS),
    Metric(
        "pipeline_last_end_timestamp_seconds",
        "gauge",
        "End of the last run; for a killed run, its last event",
        _RUNS,
    ),
    Metric("pipeline_last_success_timestamp_seconds", "gauge", "End of the last successful run", _RUNS),
    Metric("pipeline_last_run_failed", "gauge", "1 if the last run failed or was killed", _RUNS),
    Metric("pipeline_last_run_duration_seconds", "gauge", "Duration of the last ended run", _RUNS),
    Metric(
        "pipeline_run_info",
        "gauge",
        "1 for the run that last_started and the run that last_ended; stage is the running or failed stage",
        (*_RUNS, "run", "stage", "trace_id"),
    ),
    Metric("pipeline_run_active", "gauge", "1 while a run is active", _RUNS),
    Metric(
        "pipeline_expected_interval_seconds",
        "gauge",
        "Expected interval between runs, from the configuration or the schedule",
        _RUNS,
    ),
    Metric(
        "pipeline_stage_last_success_timestamp_seconds",
        "gauge",
        "Last success or cache hit of a stage",
        _STAGES,
    ),
    Metric(
        "pipeline_stage_last_duration_seconds",
        "gauge",
        "Duration of the last execution of a stage, without cache hits",
        _STAGES,
    ),
    Metric("pipeline_stage_last_rows", "gauge", "Output rows of the last execution of a stage", _STAGES),
    Metric("pipeline_stage_last_failed", "gauge", "1 if the last execution of a stage failed or was killed", _STAGES),
    Metric("training_run_active", "gauge", "1 while a trainer is running", ("pipeline",)),
    Metric(
        "training_last_checkpoint_timestamp_seconds",
        "gauge",
        "Time of the newest checkpoint, or the start of the running trainer if it is later",
        ("pipeline",),
    ),
    Metric("training_last_run_failed", "gauge", "1 if the last training failed or was killed", ("pipeline",)),
    Metric("training_last_end_timestamp_seconds", "gauge", "End of the last training", ("pipeline",)),
    Metric(
        "model_registry_info",
        "gauge",
        "1 for each published version by alias; the alias is none if there is none",
        (*_VERSIONS, "alias"),
    ),
    Metric("model_published_timestamp_seconds", "gauge", "Time when a version was published", _VERSIONS),
    Metric("model_store_bytes", "gauge", "Size of all published versions in bytes"),
    Metric("model_store_available_bytes", "gauge", "Free bytes on the disk of the model store"),
    Metric("model_accuracy_current", "gauge", "Accuracy of the labeled predictions in the window", _VERSIONS),
    Metric("model_accuracy_lower", "gauge", "Lower bound of the accuracy: Wilson, 95 %", _VERSIONS),
    Metric("model_accuracy_upper", "gauge", "Upper bound of the accuracy: Wilson, 95 %", _VERSIONS),
    Metric("model_labeled_predictions_total", "counter", "Labeled predictions", _VERSIONS),
    Metric("model_correct_predictions_total", "counter", "Labeled predictions that were correct", _VERSIONS),
    Metric("model_labeled_predictions_window", "gauge", "Labeled predictions in the window", _VERSIONS),
    Metric("model_last_label_timestamp_seconds", "gauge", "Time of the last label", _VERSIONS),
    Metric("model_label_delay_seconds", "gauge", "Time from a prediction to its label", (*_VERSIONS, "quantile")),
    Metric(
        "feature_drift_psi",
        "gauge",
        "Population stability index of a feature against the training data; the 20 largest",
        (*_VERSIONS, "feature"),
    ),
    Metric("model_evaluation_info", "gauge", "1 for the trace of the last evaluation", (*_VERSIONS, "trace_id")),
    Metric(
        "prediction_drift_psi",
        "gauge",
        "Population stability index of the predictions against those on the training data",
        _VERSIONS,
    ),
    Metric("drift_threshold_psi", "gauge", "Threshold above which drift is statistically significant", _VERSIONS),
    Metric("exporter_last_collect_timestamp_seconds", "gauge", "Time of the last collection of the exporter"),
    Metric("exporter_collect_seconds", "gauge", "Duration of the last collection"),
    Metric("exporter_source_failures_total", "counter", "Read failures by source", ("source",)),
)
# Metrics of the alert relay: `ai-workflow relay`.
RELAY = (
    Metric("alert_delivery_total", "counter", "Chat messages by channel and result", ("channel", "result")),
    Metric("alert_delivery_seconds", "histogram", "Time to deliver a message", ("channel",), DELIVERY_SECONDS),
    Metric(
        "alert_webhook_total",
        "counter",
        "Webhooks by sender and result; no_channel: no configured channel accepts one of its alerts",
        ("source", "result"),
    ),
    Metric("slo_events_total", "counter", "SLO events sent to Prefect by result", ("result",)),
)
TABLE = SERVICE + FLOWS + EXPORTER + RELAY
_BY_NAME = {metric.name: metric for metric in TABLE}


def declared(name: str) -> Metric:
    """Return the declaration of a metric.

    Raises:
        KeyError: the table has no such metric.
    """
    return _BY_NAME[name]


@cache
def get(name: str) -> Any:
    """Return a metric, registered with the client on first use.

    Raises:
        KeyError: the table has no such metric.
    """
    import prometheus_client

    # A `_created` series for each counter would double their number, and no dashboard uses it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    metric = _BY_NAME[name]
    if metric.kind == "histogram":
        return prometheus_client.Histogram(name, metric.help, metric.labels, buckets=metric.buckets)
    kind = prometheus_client.Counter if metric.kind == "counter" else prometheus_client.Gauge
    return kind(name, metric.help, metric.labels)


def remove_labels(name: str, *labels: str) -> None:
    """Remove the time series of a metric with these label values, if it exists."""
    with contextlib.suppress(KeyError):
        get(name).remove(*labels)
