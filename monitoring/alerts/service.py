"""Alerts about the inference service: errors, throughput, saturation, availability."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo import root_cause
from ai_workflow.slo.alert import (  # fmt: skip
    BASELINE_FACTOR,
    FOREVER,
    OVER,
    UNDER,
    Alert,
    AlertParameters,
    Counter,
    RuleTest,
    Series,
    boundary_cases,
    case_labels,
    constant,
    fires_after,
    next_evaluation,
    rate_change,
    seconds_until_exceeded,
    step_change,
)
from ai_workflow.slo.label_lookup import LatestSeries, Lookup
from monitoring.alerts.watchers import counted, down

_FAILED: Mapping[str, Lookup] = {
    "model_version": root_cause.failing("<window>", "<attribution>"),
    "trace_id": LatestSeries(root_cause.FAILED_TRACE, "<window>", "<scrape>"),
}
_UNSEEN_TRACE = (
    'inference_example_info{job=$job,pipeline=$pipeline,model_version=$model_version,column=$column,kind="unseen"}'
)


def _acute(params: AlertParameters) -> RuleTest:
    window, step = params.seconds("window"), max(1, params.seconds("window") // 12)
    onset = 2 * window

    def series(case: str, ratio: float, requests: float) -> Series:
        rate = requests / window
        name = f'inference_requests_total{{job="inference",pipeline="{case}",status='
        return {
            f'{name}"timeout"}}': rate_change(onset, 0, rate * ratio),
            f'{name}"success"}}': rate_change(onset, BASELINE_FACTOR * rate, rate * (1 - ratio)),
        }

    limits = boundary_cases({"ratio": params["ratio"], "requests": params["requests"]})
    return RuleTest(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        case_labels("pipeline", job="inference"),
        fires_after(onset + seconds_until_exceeded(window), params, step, params["ratio"] * OVER, until=onset + window),
    )


def _unseen(params: AlertParameters) -> RuleTest:
    window = params.seconds("window")
    step = max(1, min(window, params.for_seconds) // 12)
    onset = 2 * window

    def series(case: str, ratio: float, least: float) -> Series:
        rate = least / ratio / window
        where = f'job="inference",pipeline="credit",model_version="{case}"'
        name = f'inference_unseen_category_total{{{where},column="city"}}'
        return {
            name: rate_change(onset, 0, rate * ratio),
            f"inference_rows_total{{{where}}}": rate_change(onset, BASELINE_FACTOR * rate, rate),
        }

    limits = boundary_cases({"ratio": params["ratio"], "least": params["least"]})
    return RuleTest(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        case_labels("model_version", job="inference", pipeline="credit", column="city"),
        fires_after(
            onset + seconds_until_exceeded(window), params, step, params["ratio"] * OVER, until=onset + 2 * window
        ),
    )


def _throughput(params: AlertParameters) -> RuleTest:
    """Return a test whose baseline is high only at the compared time, to detect a wrong window."""
    window, against = params.seconds("window"), params.seconds("against")
    step = max(1, min(window, params.for_seconds) // 10)
    every, before, high = 2 * step, 0.8 * window, 4 * window + params.for_seconds
    delay = window * (0.8 - params["share"]) / (0.8 - params["share"] * UNDER)
    begins = next_evaluation(against + window + delay, every)
    onset, fires_at = begins - delay - step / 2, begins + next_evaluation(params.for_seconds, every)

    def series(case: str, share: float, least: float) -> Series:
        segments = ((before, least / 2), (high - before, least), (onset - high, least * 0.8), (FOREVER, least * share))
        return {f'inference_requests_total{{job="inference",pipeline="{case}",status="success"}}': Counter(segments)}

    limits = boundary_cases({"share": params["share"], "least": params["least"]}, below=("share",))
    return RuleTest(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        case_labels("pipeline", job="inference"),
        (
            (fires_at - every, {}),
            (fires_at + every, {"fires": None}),
            (fires_at + window, {"fires": params["share"] * UNDER}),
        ),
        every,
    )


def _saturated(params: AlertParameters) -> RuleTest:
    window, step = params.seconds("window"), max(1, params.seconds("window") // 10)
    onset = next_evaluation(2 * window, step)

    def series(case: str, share: float) -> Series:
        where = f'{{job="inference",instance="{case}"}}'
        return {
            f"inference_in_flight_requests{where}": step_change(onset, 0, 100 * share),
            f"inference_capacity_requests{where}": constant(100),
        }

    return RuleTest(
        step,
        {case: series(case, **at) for case, at in boundary_cases({"share": params["share"]}).items()},
        case_labels("instance", job="inference"),
        fires_after(onset + window / OVER, params, step, params["share"] * OVER, until=onset + window),
    )


def _down(params: AlertParameters) -> RuleTest:
    return down(params, "inference")


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
        description="Errors, timeouts and rejected requests over <window>, out of more than <requests> requests.",
        unit="ratio",
        objective="<ratio>",
        dashboard="overview",
        lookups=_FAILED,
        rule_test=_acute,
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
        summary="{{ $labels.pipeline }} receives {{ $value | humanizePercentage }} of its usual requests",
        description="Requests per second over <window>, compared with <against> ago, when they were above <least>.",
        unit="ratio",
        objective="<share>",
        dashboard="overview",
        rule_test=_throughput,
    ),
    Alert(
        name="InferenceSaturated",
        kind="throughput",
        group="throughput",
        expr="""\
avg_over_time(inference_in_flight_requests[<window>]) / inference_capacity_requests > <share>""",
        summary="{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its capacity",
        description="Average requests in flight over <window>, relative to the limit. More requests get status 503.",
        unit="ratio",
        objective="<share>",
        dashboard="overview",
        rule_test=_saturated,
    ),
    Alert(
        name="InferenceTargetDown",
        expr='up{job="inference"} == 0',
        summary="{{ $labels.instance }} of the inference service does not respond",
        description="Prometheus cannot scrape its metrics. Callers most likely get no response either.",
        unit="up",
        objective="1",
        dashboard="overview",
        rule_test=_down,
    ),
    Alert(
        name="ModelRegistryUnreadable",
        expr="sum by (job, instance) (increase(model_registry_failures_total[<window>])) > 0",
        summary="{{ $labels.instance }} of the inference service cannot read the model registry",
        description="The instance serves the loaded versions. It does not see a new version or a rollback.",
        unit="failures",
        objective="0",
        dashboard="overview",
        rule_test=lambda params: counted(
            params, 'model_registry_failures_total{{job="inference",instance="{}"}}', "instance", {"job": "inference"}
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
        description="More than <least> values over <window> are categories that are not in the training data.",
        unit="ratio",
        objective="<ratio>",
        dashboard="quality",
        lookups={"trace_id": LatestSeries(_UNSEEN_TRACE, "<window>", "<scrape>")},
        rule_test=_unseen,
    ),
)
