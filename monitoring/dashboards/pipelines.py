"""What runs on a schedule: freshness, failures, stages, checkpoints, disk; and those who watch it."""

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
        Panel("Since the last success", "In intervals in which the flow has to succeed once.",
              "graph", "none", 12,
              (Query(f"(time() - pipeline_last_success_timestamp_seconds{_WHICH}) / on (pipeline, flow) "
                     f"pipeline_expected_interval_seconds{_WHICH}", _FLOW),),
              limits(spec, "PipelineStalled", "times")),
        Panel("Runs", "1 while a run is at work.", "states", "none", 12,
              (Query(f"pipeline_run_active{_WHICH}", _FLOW),)),
        Panel("Failed", "1 where the last run that ended has failed.", "states", "none", 12,
              (Query(f"pipeline_last_run_failed{_WHICH}", _FLOW),), (1,)),
        Panel("Duration", "Time the last run took.", "graph", "s", 12,
              (Query(f"pipeline_last_run_duration_seconds{_WHICH}", _FLOW),)),
    )  # fmt: skip


def _stages(_: Spec) -> Row:
    return "Stages", (
        Panel("Stage duration", "Time each stage took when it last ended.", "graph", "s", 8,
              (Query(f"pipeline_stage_last_duration_seconds{_WHICH}", _STAGE),)),
        Panel("Stage rows", "Rows each stage handed on when it last ended.", "graph", "short", 8,
              (Query(f"pipeline_stage_last_rows{_WHICH}", _STAGE),)),
        Panel("Stage failed", "1 where a stage has failed when it last ended.", "states", "none", 8,
              (Query(f"pipeline_stage_last_failed{_WHICH}", _STAGE),), (1,)),
    )  # fmt: skip


def _training_and_store(spec: Spec) -> Row:
    return "Training and store", (
        Panel("Since the last checkpoint", "Of trainings; those that are not at work have stopped saving.",
              "graph", "s", 8,
              (Query(f"time() - training_last_checkpoint_timestamp_seconds{_WHICH}", "{{pipeline}}"),),
              limits(spec, "CheckpointStale", "age")),
        Panel("Room for the model store", "Bytes free on its disk.", "graph", "bytes", 8,
              (Query("model_store_available_bytes", "{{instance}}"),),
              limits(spec, "ModelStoreDiskLow", "bytes"), True),
        Panel("Model store", "Bytes it takes.", "graph", "bytes", 8,
              (Query("model_store_bytes", "{{instance}}"),)),
    )  # fmt: skip


def _watchers(_: Spec) -> Row:
    return "Watchers", (
        Panel("Exporter", "Since it last looked at the store.", "graph", "s", 8,
              (Query("time() - exporter_last_collect_timestamp_seconds", "{{instance}}"),)),
        Panel("Exporter's work", "Time it takes to look at the store.", "graph", "s", 8,
              (Query("exporter_collect_seconds", "{{instance}}"),)),
        Panel("Deliveries", "Messages to each channel, within each interval.", "graph", "short", 8,
              (Query("sum by (channel, result) (increase(alert_delivery_total[$__rate_interval]))",
                     "{{channel}} {{result}}"),)),
    )  # fmt: skip
