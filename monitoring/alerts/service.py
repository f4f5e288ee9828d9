"""Alerts about the inference service: what callers feel now, and what is close to being felt."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo import root_cause
from ai_workflow.slo.alert import (  # fmt: skip
    BEFORE,
    END,
    OVER,
    UNDER,
    Alert,
    Counter,
    Numbers,
    Series,
    Trial,
    changed,
    crossing,
    evaluated,
    fires_after,
    fixed,
    grown,
    labels,
    near,
)
from ai_workflow.slo.trials_format import Find, Recent
from monitoring.alerts.watchers import counted, down

_FAILED: Mapping[str, Find] = {
    "model_version": root_cause.failing("<window>", "<attribution>"),
    "trace_id": Recent(root_cause.FAILED_TRACE, "<window>", "<scrape>"),
}
_UNSEEN_TRACE = (
    'inference_example_info{job=$job,pipeline=$pipeline,model_version=$model_version,column=$column,kind="unseen"}'
)


def _acute(n: Numbers) -> Trial:
    window, step = n.seconds("window"), max(1, n.seconds("window") // 12)
    onset = 2 * window

    def series(case: str, ratio: float, requests: float) -> Series:
        rate = requests / window
        name = f'inference_requests_total{{job="inference",pipeline="{case}",status='
        return {
            f'{name}"timeout"}}': grown(onset, 0, rate * ratio),
            f'{name}"success"}}': grown(onset, BEFORE * rate, rate * (1 - ratio)),
        }

    limits = near({"ratio": n["ratio"], "requests": n["requests"]})
    return Trial(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        labels("pipeline", job="inference"),
        fires_after(onset + crossing(window), n, step, n["ratio"] * OVER, until=onset + window),
    )


def _unseen(n: Numbers) -> Trial:
    window = n.seconds("window")
    step = max(1, min(window, n.hold) // 12)
    onset = 2 * window

    def series(case: str, ratio: float, least: float) -> Series:
        rate = least / ratio / window
        where = f'job="inference",pipeline="credit",model_version="{case}"'
        name = f'inference_unseen_category_total{{{where},column="city"}}'
        return {
            name: grown(onset, 0, rate * ratio),
            f"inference_rows_total{{{where}}}": grown(onset, BEFORE * rate, rate),
        }

    limits = near({"ratio": n["ratio"], "least": n["least"]})
    return Trial(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        labels("model_version", job="inference", pipeline="credit", column="city"),
        fires_after(onset + crossing(window), n, step, n["ratio"] * OVER, until=onset + 2 * window),
    )


def _throughput(n: Numbers) -> Trial:
    """What is compared with is high for as long as the trial needs it: no other time, no longer window would do."""
    window, against = n.seconds("window"), n.seconds("against")
    step = max(1, min(window, n.hold) // 10)
    every, before, high = 2 * step, 0.8 * window, 4 * window + n.hold
    crossing = window * (0.8 - n["share"]) / (0.8 - n["share"] * UNDER)
    begins = evaluated(against + window + crossing, every)
    onset, told = begins - crossing - step / 2, begins + evaluated(n.hold, every)

    def series(case: str, share: float, least: float) -> Series:
        pieces = ((before, least / 2), (high - before, least), (onset - high, least * 0.8), (END, least * share))
        return {f'inference_requests_total{{job="inference",pipeline="{case}",status="success"}}': Counter(pieces)}

    limits = near({"share": n["share"], "least": n["least"]}, below=("share",))
    return Trial(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        labels("pipeline", job="inference"),
        (
            (told - every, {}),
            (told + every, {"fires": None}),
            (told + window, {"fires": n["share"] * UNDER}),
        ),
        every,
    )


def _saturated(n: Numbers) -> Trial:
    window, step = n.seconds("window"), max(1, n.seconds("window") // 10)
    onset = evaluated(2 * window, step)

    def series(case: str, share: float) -> Series:
        where = f'{{job="inference",instance="{case}"}}'
        return {
            f"inference_in_flight_requests{where}": changed(onset, 0, 100 * share),
            f"inference_capacity_requests{where}": fixed(100),
        }

    return Trial(
        step,
        {case: series(case, **at) for case, at in near({"share": n["share"]}).items()},
        labels("instance", job="inference"),
        fires_after(onset + window / OVER, n, step, n["share"] * OVER, until=onset + window),
    )


def _down(n: Numbers) -> Trial:
    return down(n, "inference")


SERVICE = (
    Alert(
        name="InferenceAcuteErrors",
        kind="events",
        expr="""\
sum by (job, pipeline) (rate(inference_requests_total{status=~"error|timeout|rejected"}[<window>]))
/
sum by (job, pipeline) (rate(inference_requests_total[<window>]))
> <ratio>
and
sum by (job, pipeline) (increase(inference_requests_total[<window>])) > <requests>""",
        summary="{{ $value | humanizePercentage }} of the requests to {{ $labels.pipeline }} fail"
        + root_cause.clause(_FAILED),
        description="Errors, timeouts and rejected requests over <window>, of more than <requests> requests.",
        unit="ratio",
        objective="<ratio>",
        dashboard="overview",
        finds=_FAILED,
        trial=_acute,
    ),
    Alert(
        name="InferenceThroughputFloor",
        kind="throughput",
        group="throughput",
        expr="""\
sum by (job, pipeline) (rate(inference_requests_total[<window>]))
/
(sum by (job, pipeline) (rate(inference_requests_total[<window>] offset <against>)) > <least>)
< <share>""",
        summary="{{ $labels.pipeline }} gets {{ $value | humanizePercentage }} of the requests of the same time before",
        description="Requests per second over <window>, against <against> ago, where they were more than <least>.",
        unit="ratio",
        objective="<share>",
        dashboard="overview",
        trial=_throughput,
    ),
    Alert(
        name="InferenceSaturated",
        kind="throughput",
        group="throughput",
        expr="""\
avg_over_time(inference_in_flight_requests[<window>]) / inference_capacity_requests > <share>""",
        summary="{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its capacity",
        description="Requests in flight, on average over <window>, of those that are let in; one more gets 503.",
        unit="ratio",
        objective="<share>",
        dashboard="overview",
        trial=_saturated,
    ),
    Alert(
        name="InferenceTargetDown",
        expr='up{job="inference"} == 0',
        summary="{{ $labels.instance }} of the inference service does not answer",
        description="Prometheus cannot read its metrics; callers most likely get no answer either.",
        unit="up",
        objective="1",
        dashboard="overview",
        trial=_down,
    ),
    Alert(
        name="ModelRegistryUnreadable",
        expr="sum by (job, instance) (increase(model_registry_failures_total[<window>])) > 0",
        summary="{{ $labels.instance }} of the inference service cannot read the model registry",
        description="It answers with the versions that it has loaded. It does not follow a new version or a rollback.",
        unit="failures",
        objective="0",
        dashboard="overview",
        trial=lambda n: counted(
            n, 'model_registry_failures_total{{job="inference",instance="{}"}}', "instance", {"job": "inference"}
        ),
    ),
    Alert(
        name="InferenceUnseenCategories",
        expr="""\
sum by (job, pipeline, model_version, column) (rate(inference_unseen_category_total[<window>]))
/ on (job, pipeline, model_version) group_left
sum by (job, pipeline, model_version) (rate(inference_rows_total[<window>]))
> <ratio>
and
sum by (job, pipeline, model_version, column) (increase(inference_unseen_category_total[<window>])) > <least>""",
        summary="{{ $value | humanizePercentage }} of the values of {{ $labels.column }} are unknown to "
        "{{ $labels.model_version }} of {{ $labels.pipeline }}",
        description="Training saw none of these categories; over <window>, more than <least> of them.",
        unit="ratio",
        objective="<ratio>",
        dashboard="quality",
        finds={"trace_id": Recent(_UNSEEN_TRACE, "<window>", "<scrape>")},
        trial=_unseen,
    ),
)
