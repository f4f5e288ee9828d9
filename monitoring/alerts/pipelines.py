"""Alerts about what runs on a schedule: freshness, failures, checkpoints."""

from __future__ import annotations

import math

from ai_workflow.slo.alert import (  # fmt: skip
    END,
    Alert,
    Counter,
    Gauge,
    Numbers,
    Series,
    Trial,
    changed,
    fixed,
    labels,
    overdue,
    stopped,
)

# The series of the run that an alert is about.
_BEGUN = 'pipeline_run_info{run="last_started",pipeline=$pipeline,flow=$flow}'
_ENDED = 'pipeline_run_info{run="last_ended",pipeline=$pipeline,flow=$flow}'
_TRAINED = _ENDED.replace("$flow", '"training"')
_TRAINING = _BEGUN.replace("$flow", '"training"')
_EVERY = 3600  # the interval that trials expect, in seconds


def _fresh(metric: str, more: str, bears: dict[str, str], n: Numbers) -> Trial:
    step = max(1, n.hold // 10)
    onset, told, every = overdue(3600, n["times"] * _EVERY, n, step)

    def series(case: str, last: Counter) -> Series:
        where = f'job="exporter",pipeline="{case}"'
        return {
            f"{metric}{{{where},{more}}}": last,
            f'pipeline_expected_interval_seconds{{{where},flow="scoring"}}': fixed(_EVERY),
        }

    return Trial(
        step,
        {"fires": series("fires", stopped(onset)), "fresh": series("fresh", stopped(END))},
        labels("pipeline", **bears),
        ((told - every, {}), (told + every, {"fires": (told + every - onset) / _EVERY})),
        every,
    )


def _stalled(n: Numbers) -> Trial:
    return _fresh("pipeline_last_success_timestamp_seconds", 'flow="scoring"', {"flow": "scoring"}, n)


def _stage_stalled(n: Numbers) -> Trial:
    return _fresh("pipeline_stage_last_success_timestamp_seconds", 'stage="trainer"', {"stage": "trainer"}, n)


def _never(n: Numbers) -> Trial:
    step = max(1, n.hold // 20)
    name = 'pipeline_last_{}_timestamp_seconds{{job="exporter",pipeline="{}",flow="scoring"}}'
    return Trial(
        step,
        {
            "fires": {name.format("start", "fires"): fixed(0)},
            "succeeds": {name.format("start", "succeeds"): fixed(0), name.format("success", "succeeds"): fixed(0)},
        },
        labels("pipeline", flow="scoring"),
        ((n.hold - step, {}), (n.hold + step, {"fires": n.hold // step * step + step})),
    )


def _failed(n: Numbers, prefix: str, flow: str = "") -> Trial:
    """A failed run is told for a while only: afterwards it is no news."""
    step = max(1, n.seconds("within") // 100)
    onset, gone = 10 * step, 10 * step + n.seconds("within")

    def series(case: str, failed: float, flow: str = flow) -> Series:
        where = f'{{job="exporter",pipeline="{case}"' + (f',flow="{flow}"}}' if flow else "}")
        return {
            f"{prefix}_last_run_failed{where}": changed(onset, 0, failed),
            f"{prefix}_last_end_timestamp_seconds{where}": changed(onset, 0, onset),
        }

    cases = {"fires": series("fires", 1), "succeeds": series("succeeds", 0)}
    if flow:
        cases["other"] = series("other", 1, "training")
    at = onset + math.ceil(n.hold / step) * step
    over = gone + math.ceil(n.keep / step) * step + 2 * step
    return Trial(
        step,
        cases,
        labels("pipeline", **({"flow": flow} if flow else {})),
        ((at - step, {}), (at, {"fires": 1}), (gone - step, {"fires": 1}), (over, {})),
    )


def _checkpoint(n: Numbers) -> Trial:
    step = max(1, n.hold // 10)
    onset, told, every = overdue(2 * n.seconds("age"), n.seconds("age"), n, step)

    def series(case: str, saved: Counter | None, started: Counter | Gauge, active: float = 1) -> Series:
        where = f'job="exporter",pipeline="{case}"'
        saves = {f"training_last_checkpoint_timestamp_seconds{{{where}}}": saved} if saved else {}
        return saves | {
            f"training_run_active{{{where}}}": fixed(active),
            f'pipeline_last_start_timestamp_seconds{{{where},flow="training"}}': started,
        }

    late = told + every - onset
    return Trial(
        step,
        {
            "fires": series("fires", stopped(onset), fixed(0)),
            "none_saved": series("none_saved", None, stopped(onset)),
            "saves": series("saves", stopped(END), fixed(0)),
            "idle": series("idle", stopped(onset), fixed(0), active=0),
            "begun": series("begun", stopped(onset), stopped(END)),
        },
        labels("pipeline"),
        ((told - every, {}), (told + every, {"fires": late, "none_saved": late})),
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
        description="It is due once in each interval, and <times> of them are allowed.",
        unit="intervals",
        objective="<times>",
        dashboard="pipelines",
        finds={"trace_id": _BEGUN, "stage": _BEGUN},
        trial=_stalled,
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
        description="Of the longest interval of the pipeline's flows, <times> are allowed.",
        unit="intervals",
        objective="<times>",
        dashboard="pipelines",
        finds={"trace_id": 'pipeline_run_info{run="last_ended",pipeline=$pipeline,stage=$stage}'},
        trial=_stage_stalled,
    ),
    Alert(
        name="PipelineNeverSucceeded",
        group="pipelines",
        kind="freshness",
        expr="""\
time() - max by (pipeline, flow) (pipeline_last_start_timestamp_seconds)
unless
max by (pipeline, flow) (pipeline_last_success_timestamp_seconds)""",
        summary="{{ $labels.flow }} of {{ $labels.pipeline }} has been started, and has never succeeded",
        description="The last start was {{ $value | humanizeDuration }} ago.",
        unit="seconds",
        objective="0",
        dashboard="pipelines",
        finds={"trace_id": _BEGUN, "stage": _BEGUN},
        trial=_never,
    ),
    Alert(
        name="PipelineRunFailed",
        group="pipelines",
        expr="""\
max by (pipeline, flow) (pipeline_last_run_failed{flow!="training"}) == 1
and
time() - max by (pipeline, flow) (pipeline_last_end_timestamp_seconds) < <within.seconds>""",
        summary="The last run of {{ $labels.flow }} of {{ $labels.pipeline }} has failed",
        description="It is told for <within> after its end, or until a run succeeds.",
        unit="failed",
        objective="0",
        dashboard="pipelines",
        finds={"trace_id": _ENDED, "stage": _ENDED},
        trial=lambda n: _failed(n, "pipeline", "scoring"),
    ),
    Alert(
        name="TrainingRunFailed",
        group="pipelines",
        expr="""\
max by (pipeline) (training_last_run_failed) == 1
and
time() - max by (pipeline) (training_last_end_timestamp_seconds) < <within.seconds>""",
        summary="The last training of {{ $labels.pipeline }} has failed",
        description="No new version comes of it. It is told for <within> after its end, or until a training succeeds.",
        unit="failed",
        objective="0",
        dashboard="pipelines",
        finds={"trace_id": _TRAINED, "stage": _TRAINED},
        trial=lambda n: _failed(n, "training"),
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
        summary="The training of {{ $labels.pipeline }} has saved nothing for {{ $value | humanizeDuration }}",
        description="It runs, but makes no progress; what was done since would be lost with it.",
        unit="seconds",
        objective="<age.seconds>",
        dashboard="pipelines",
        finds={"trace_id": _TRAINING, "stage": _TRAINING},
        trial=_checkpoint,
    ),
)
