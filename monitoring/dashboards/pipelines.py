"""The dashboard of pipelines: freshness, failures, stages, checkpoints, disk and the monitoring stack."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.slo.spec import Spec
from monitoring.dashboards.panels import Board, Panel, Query, Row, Variable, limits

_WHICH = '{pipeline=~"$pipeline"}'
_FLOW, _STAGE = "{{pipeline}} {{flow}}", "{{pipeline}} {{stage}}"


def board(spec: Spec, links: Sequence[tuple[str, str]]) -> Board:
    """Return the dashboard of pipelines and trainings."""
    return Board(
        title="AI workflow: pipelines",
        description="Freshness, failures, stages, checkpoints and disk.",
        variables=(Variable("pipeline", "Pipeline", "pipeline_last_start_timestamp_seconds"),),
        events=(Query("model_published_timestamp_seconds * 1000", "Version published"),),
        links=links,
        rows=(_freshness(spec), _stages(spec), _training_and_store(spec), _watchers(spec)),
    )


def _freshness(spec: Spec) -> Row:
    return "Freshness", (
        Panel("Since the last success", "Age of the last success in expected intervals.",
              "graph", "none", 12,
              (Query(f"(time() - pipeline_last_success_timestamp_seconds{_WHICH}) / on (pipeline, flow) "
                     f"pipeline_expected_interval_seconds{_WHICH}", _FLOW),),
              limits(spec, "PipelineStalled", "times")),
        Panel("Runs", "1 while a run is active.", "states", "none", 12,
              (Query(f"pipeline_run_active{_WHICH}", _FLOW),)),
        Panel("Failed", "1 if the last ended run failed.", "states", "none", 12,
              (Query(f"pipeline_last_run_failed{_WHICH}", _FLOW),), (1,)),
        Panel("Duration", "Duration of the last run.", "graph", "s", 12,
              (Query(f"pipeline_last_run_duration_seconds{_WHICH}", _FLOW),)),
    )  # fmt: skip


def _stages(_: Spec) -> Row:
    return "Stages", (
        Panel("Stage duration", "Duration of the last execution of each stage.", "graph", "s", 8,
              (Query(f"pipeline_stage_last_duration_seconds{_WHICH}", _STAGE),)),
        Panel("Stage rows", "Output rows of the last execution of each stage.", "graph", "short", 8,
              (Query(f"pipeline_stage_last_rows{_WHICH}", _STAGE),)),
        Panel("Stage failed", "1 if the last execution of a stage failed.", "states", "none", 8,
              (Query(f"pipeline_stage_last_failed{_WHICH}", _STAGE),), (1,)),
    )  # fmt: skip


def _training_and_store(spec: Spec) -> Row:
    return "Training and store", (
        Panel("Since the last checkpoint", "Age of the newest checkpoint. It also grows when no training is running.",
              "graph", "s", 8,
              (Query(f"time() - training_last_checkpoint_timestamp_seconds{_WHICH}", "{{pipeline}}"),),
              limits(spec, "CheckpointStale", "age")),
        Panel("Free disk space", "Free bytes on the disk of the model store.", "graph", "bytes", 8,
              (Query("model_store_available_bytes", "{{instance}}"),),
              limits(spec, "ModelStoreDiskLow", "bytes"), True),
        Panel("Model store", "Size of all published versions.", "graph", "bytes", 8,
              (Query("model_store_bytes", "{{instance}}"),)),
    )  # fmt: skip


def _watchers(_: Spec) -> Row:
    return "Monitoring stack", (
        Panel("Exporter", "Time since the last collection.", "graph", "s", 8,
              (Query("time() - exporter_last_collect_timestamp_seconds", "{{instance}}"),)),
        Panel("Collection duration", "Duration of a collection of the exporter.", "graph", "s", 8,
              (Query("exporter_collect_seconds", "{{instance}}"),)),
        Panel("Deliveries", "Messages to each channel within each interval.", "graph", "short", 8,
              (Query("sum by (channel, result) (increase(alert_delivery_total[$__rate_interval]))",
                     "{{channel}} {{result}}"),)),
    )  # fmt: skip
