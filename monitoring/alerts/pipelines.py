"""Alerts about scheduled pipelines: freshness, failures, checkpoints."""

from __future__ import annotations

import math

from ai_workflow.slo.alert import (  # fmt: skip
    FOREVER,
    Alert,
    AlertParameters,
    Counter,
    Gauge,
    RuleTest,
    Series,
    case_labels,
    constant,
    overdue,
    step_change,
    stopped_clock,
)

# Series with the trace and the stage of the run that an alert is about.
_STARTED_RUN = 'pipeline_run_info{run="last_started",pipeline=$pipeline,flow=$flow}'
_ENDED_RUN = 'pipeline_run_info{run="last_ended",pipeline=$pipeline,flow=$flow}'
_ENDED_TRAINING = _ENDED_RUN.replace("$flow", '"training"')
_STARTED_TRAINING = _STARTED_RUN.replace("$flow", '"training"')
_INTERVAL = 3600  # expected interval in rule tests, in seconds


def _fresh(metric: str, more: str, more_labels: dict[str, str], params: AlertParameters) -> RuleTest:
    step = max(1, params.for_seconds // 10)
    onset, fires_at, every = overdue(3600, params["times"] * _INTERVAL, params, step)

    def series(case: str, last: Counter) -> Series:
        where = f'job="exporter",pipeline="{case}"'
        return {
            f"{metric}{{{where},{more}}}": last,
            f'pipeline_expected_interval_seconds{{{where},flow="scoring"}}': constant(_INTERVAL),
        }

    return RuleTest(
        step,
        {"fires": series("fires", stopped_clock(onset)), "fresh": series("fresh", stopped_clock(FOREVER))},
        case_labels("pipeline", **more_labels),
        ((fires_at - every, {}), (fires_at + every, {"fires": (fires_at + every - onset) / _INTERVAL})),
        every,
    )


def _stalled(params: AlertParameters) -> RuleTest:
    return _fresh("pipeline_last_success_timestamp_seconds", 'flow="scoring"', {"flow": "scoring"}, params)


def _stage_stalled(params: AlertParameters) -> RuleTest:
    return _fresh("pipeline_stage_last_success_timestamp_seconds", 'stage="trainer"', {"stage": "trainer"}, params)


def _never(params: AlertParameters) -> RuleTest:
    step = max(1, params.for_seconds // 20)
    name = 'pipeline_last_{}_timestamp_seconds{{job="exporter",pipeline="{}",flow="scoring"}}'
    return RuleTest(
        step,
        {
            "fires": {name.format("start", "fires"): constant(0)},
            "succeeds": {
                name.format("start", "succeeds"): constant(0),
                name.format("success", "succeeds"): constant(0),
            },
        },
        case_labels("pipeline", flow="scoring"),
        (
            (params.for_seconds - step, {}),
            (params.for_seconds + step, {"fires": params.for_seconds // step * step + step}),
        ),
    )


def _failed(params: AlertParameters, prefix: str, flow: str = "") -> RuleTest:
    """Return a test in which the alert fires for a limited time after a failed run."""
    step = max(1, params.seconds("within") // 100)
    onset, expires = 10 * step, 10 * step + params.seconds("within")

    def series(case: str, failed: float, flow: str = flow) -> Series:
        where = f'{{job="exporter",pipeline="{case}"' + (f',flow="{flow}"}}' if flow else "}")
        return {
            f"{prefix}_last_run_failed{where}": step_change(onset, 0, failed),
            f"{prefix}_last_end_timestamp_seconds{where}": step_change(onset, 0, onset),
        }

    cases = {"fires": series("fires", 1), "succeeds": series("succeeds", 0)}
    if flow:
        cases["other"] = series("other", 1, "training")
    at = onset + math.ceil(params.for_seconds / step) * step
    resolved = expires + math.ceil(params.keep_firing_seconds / step) * step + 2 * step
    return RuleTest(
        step,
        cases,
        case_labels("pipeline", **({"flow": flow} if flow else {})),
        ((at - step, {}), (at, {"fires": 1}), (expires - step, {"fires": 1}), (resolved, {})),
    )


def _checkpoint(params: AlertParameters) -> RuleTest:
    step = max(1, params.for_seconds // 10)
    onset, fires_at, every = overdue(2 * params.seconds("age"), params.seconds("age"), params, step)

    def series(case: str, saved: Counter | None, started: Counter | Gauge, active: float = 1) -> Series:
        where = f'job="exporter",pipeline="{case}"'
        saves = {f"training_last_checkpoint_timestamp_seconds{{{where}}}": saved} if saved else {}
        return saves | {
            f"training_run_active{{{where}}}": constant(active),
            f'pipeline_last_start_timestamp_seconds{{{where},flow="training"}}': started,
        }

    late = fires_at + every - onset
    return RuleTest(
        step,
        {
            "fires": series("fires", stopped_clock(onset), constant(0)),
            "none_saved": series("none_saved", None, stopped_clock(onset)),
            "saves": series("saves", stopped_clock(FOREVER), constant(0)),
            "idle": series("idle", stopped_clock(onset), constant(0), active=0),
            "new": series("new", stopped_clock(onset), stopped_clock(FOREVER)),
        },
        case_labels("pipeline"),
        ((fires_at - every, {}), (fires_at + every, {"fires": late, "none_saved": late})),
        every,
    )


PIPELINES = (
    Alert(
        name="PipelineStalled",
        group="pipelines",
        kind="freshness",
        expr="""\
(time() - max by (pipeline, flow) (pipeline_last_success_timestamp_seconds))
/
max by (pipeline, flow) (pipeline_expected_interval_seconds)
> <times>""",
        summary='{{ $labels.flow }} of {{ $labels.pipeline }} is overdue: {{ $value | printf "%.3g" }} intervals',
        description="The flow must succeed within <times> intervals.",
        unit="intervals",
        objective="<times>",
        dashboard="pipelines",
        lookups={"trace_id": _STARTED_RUN, "stage": _STARTED_RUN},
        rule_test=_stalled,
    ),
    Alert(
        name="PipelineStageStalled",
        group="pipelines",
        kind="freshness",
        expr="""\
(time() - max by (pipeline, stage) (pipeline_stage_last_success_timestamp_seconds))
/ on (pipeline) group_left ()
max by (pipeline) (pipeline_expected_interval_seconds)
> <times>""",
        summary='{{ $labels.stage }} of {{ $labels.pipeline }} is overdue: {{ $value | printf "%.3g" }} intervals',
        description="The stage must succeed within <times> times the longest interval of the flows of the pipeline.",
        unit="intervals",
        objective="<times>",
        dashboard="pipelines",
        lookups={"trace_id": 'pipeline_run_info{run="last_ended",pipeline=$pipeline,stage=$stage}'},
        rule_test=_stage_stalled,
    ),
    Alert(
        name="PipelineNeverSucceeded",
        group="pipelines",
        kind="freshness",
        expr="""\
time() - max by (pipeline, flow) (pipeline_last_start_timestamp_seconds)
unless
max by (pipeline, flow) (pipeline_last_success_timestamp_seconds)""",
        summary="{{ $labels.flow }} of {{ $labels.pipeline }} has never succeeded",
        description="The last run started {{ $value | humanizeDuration }} ago.",
        unit="seconds",
        objective="0",
        dashboard="pipelines",
        lookups={"trace_id": _STARTED_RUN, "stage": _STARTED_RUN},
        rule_test=_never,
    ),
    Alert(
        name="PipelineRunFailed",
        group="pipelines",
        expr="""\
max by (pipeline, flow) (pipeline_last_run_failed{flow!="training"}) == 1
and
time() - max by (pipeline, flow) (pipeline_last_end_timestamp_seconds) < <within.seconds>""",
        summary="The last run of {{ $labels.flow }} of {{ $labels.pipeline }} failed",
        description="The alert fires for <within> after the end of the run, or until a run succeeds.",
        unit="failed",
        objective="0",
        dashboard="pipelines",
        lookups={"trace_id": _ENDED_RUN, "stage": _ENDED_RUN},
        rule_test=lambda params: _failed(params, "pipeline", "scoring"),
    ),
    Alert(
        name="TrainingRunFailed",
        group="pipelines",
        expr="""\
max by (pipeline) (training_last_run_failed) == 1
and
time() - max by (pipeline) (training_last_end_timestamp_seconds) < <within.seconds>""",
        summary="The last training of {{ $labels.pipeline }} failed",
        description="No new version was published. It fires for <within> after the end of the training, or until "
        "a training succeeds.",
        unit="failed",
        objective="0",
        dashboard="pipelines",
        lookups={"trace_id": _ENDED_TRAINING, "stage": _ENDED_TRAINING},
        rule_test=lambda params: _failed(params, "training"),
    ),
    Alert(
        name="CheckpointStale",
        group="pipelines",
        expr="""\
time() - (
  max by (pipeline) (training_last_checkpoint_timestamp_seconds)
  or
  max by (pipeline) (pipeline_last_start_timestamp_seconds{flow="training"})
) > <age.seconds>
and
time() - max by (pipeline) (pipeline_last_start_timestamp_seconds{flow="training"}) > <age.seconds>
and
max by (pipeline) (training_run_active) == 1""",
        summary="The training of {{ $labels.pipeline }} has no new checkpoint for {{ $value | humanizeDuration }}",
        description="The training is running without new checkpoints. If it is killed, this progress is lost.",
        unit="seconds",
        objective="<age.seconds>",
        dashboard="pipelines",
        lookups={"trace_id": _STARTED_TRAINING, "stage": _STARTED_TRAINING},
        rule_test=_checkpoint,
    ),
)
