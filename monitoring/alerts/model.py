"""Alerts about a model version that fails, including failures hidden by the fallback."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo import root_cause
from ai_workflow.slo.alert import (  # fmt: skip
    BASELINE_FACTOR,
    FOREVER,
    OVER,
    Alert,
    AlertParameters,
    Counter,
    RuleTest,
    Series,
    boundary_cases,
    case_labels,
    constant,
    fires_after,
    rate_change,
    seconds_until_exceeded,
    step_change,
)
from ai_workflow.slo.label_lookup import LatestSeries

_VERSION_TRACE = {
    "trace_id": LatestSeries(
        "inference_example_info{job=$job,pipeline=$pipeline,model_version=$model_version}", "<window>", "<scrape>"
    )
}
_FELL_BACK_TRACE = (
    'inference_example_info{job=$job,pipeline=$pipeline,model_version=$model_version,kind=~"fallback|default"}'
)
_AT_FAULT, _BUSY = "at_fault", "busy_"
_LABELS = {"job": "inference", "pipeline": "credit"}


def _fallback(params: AlertParameters) -> RuleTest:
    """Return a test with a version at fault and with an overload, in separate pipelines."""
    window, step = params.seconds("window"), max(1, params.seconds("window") // 12)
    onset = 2 * window

    def series(case: str, reason: str, ratio: float, least: float) -> Series:
        rate = least / ratio / window
        where = f'job="inference",pipeline="{case}"'
        name = f"inference_requests_total{{{where},status="
        return {
            f'inference_fallback_total{{{where},model_version="{_AT_FAULT}",reason="{reason}"}}': rate_change(
                onset, 0, rate * ratio
            ),
            f'{name}"fallback"}}': rate_change(onset, 0, rate * ratio / 2),
            f'{name}"default"}}': rate_change(onset, 0, rate * ratio / 2),
            f'{name}"success"}}': rate_change(onset, BASELINE_FACTOR * rate, rate * (1 - ratio)),
        }

    limits = boundary_cases({"ratio": params["ratio"], "least": params["least"]})
    at_fault_cases = {case: series(case, "timeout", **at) for case, at in limits.items()}
    overloads = {f"{_BUSY}{case}": series(f"{_BUSY}{case}", "busy", **at) for case, at in limits.items()}
    checks = fires_after(
        onset + seconds_until_exceeded(window), params, step, params["ratio"] * OVER, until=onset + window
    )
    return RuleTest(
        step,
        {**at_fault_cases, **overloads},
        _fallback_labels,
        tuple(
            (at, {f"{kind}{case}": value for kind in ("", _BUSY) for case, value in on.items()}) for at, on in checks
        ),
    )


def _fallback_labels(case: str) -> Mapping[str, str]:
    """Return the labels of a case, without a version for an overload."""
    service = {"job": "inference", "pipeline": case}
    return service if case.startswith(_BUSY) else {**service, "model_version": _AT_FAULT}


def _failing(params: AlertParameters) -> RuleTest:
    window, step = params.seconds("window"), max(1, params.seconds("window") // 12)
    onset = 2 * window

    def series(case: str, ratio: float, least: float) -> Series:
        rate = least / ratio / window
        name = f'inference_total{{job="inference",pipeline="credit",model_version="{case}",status='
        return {
            f'{name}"timeout"}}': rate_change(onset, 0, rate * ratio / 2),
            f'{name}"error"}}': rate_change(onset, 0, rate * ratio / 2),
            f'{name}"success"}}': rate_change(onset, BASELINE_FACTOR * rate, rate * (1 - ratio)),
        }

    limits = boundary_cases({"ratio": params["ratio"], "least": params["least"]})
    return RuleTest(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        case_labels("model_version", **_LABELS),
        fires_after(onset + seconds_until_exceeded(window), params, step, params["ratio"] * OVER, until=onset + window),
    )


def _restarting(params: AlertParameters) -> RuleTest:
    """Return a test with crashes and hangs at a constant rate, which are added."""
    window, step = params.seconds("window"), max(1, params.seconds("window") // 30)
    onset = 2 * window

    def series(case: str, least: float) -> Series:
        where = f'job="inference",pipeline="credit",model_version="{case}"'
        rate = least / 2 / window
        return {
            f'model_worker_restarts_total{{{where},reason="{reason}"}}': Counter(((onset, 0), (FOREVER, rate)))
            for reason in ("crashed", "hung")
        }

    cases = boundary_cases({"least": params["least"]})
    return RuleTest(
        step,
        {case: series(case, **at) for case, at in cases.items()},
        case_labels("model_version", **_LABELS),
        fires_after(onset + window / OVER, params, step, params["least"] * OVER, until=onset + window),
    )


def _breaker(params: AlertParameters) -> RuleTest:
    window, step = params.seconds("window"), max(1, params.seconds("window") // 20)
    onset = 2 * window
    name = 'model_breaker_state{{job="inference",instance="a",pipeline="credit",model_version="{}"}}'
    return RuleTest(
        step,
        {
            "fires": {name.format("fires"): step_change(onset, 0, 1)},
            "closed": {name.format("closed"): constant(0)},
        },
        case_labels("model_version", **_LABELS),
        fires_after(onset + window, params, step, 1),
    )


MODEL = (
    Alert(
        name="ModelBreakerOpen",
        kind="model",
        expr="max by (job, pipeline, model_version) (min_over_time(model_breaker_state[<window>])) > 0",
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} receives no requests: its breaker is open",
        description="The version failed several requests in a row, and no probe has succeeded for <window>.",
        unit="state",
        objective="0",
        dashboard="overview",
        lookups=_VERSION_TRACE,
        rule_test=_breaker,
    ),
    Alert(
        name="ModelProcessRestarting",
        kind="model",
        expr="sum by (job, pipeline, model_version) (increase(model_worker_restarts_total[<window>])) >= <least>",
        summary="The process of {{ $labels.model_version }} of {{ $labels.pipeline }} restarted "
        '{{ $value | printf "%.0f" }} times within <window>',
        description="The process crashes or hangs after each restart, at least <least> times within <window>.",
        unit="restarts",
        objective="<least>",
        dashboard="overview",
        lookups=_VERSION_TRACE,
        rule_test=_restarting,
    ),
    Alert(
        name="ModelFailureRatioHigh",
        kind="model",
        expr="""\
sum by (job, pipeline, model_version) (rate(inference_total{status=~"error|timeout"}[<window>]))
/
sum by (job, pipeline, model_version) (rate(inference_total[<window>]))
> <ratio>
and
sum by (job, pipeline, model_version) (increase(inference_total{status=~"error|timeout"}[<window>])) > <least>""",
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} fails "
        "{{ $value | humanizePercentage }} of its requests",
        description="More than <least> timeouts, crashes and invalid outputs over <window>. Requests rejected by a "
        "full queue do not count.",
        unit="ratio",
        objective="<ratio>",
        dashboard="overview",
        lookups=_VERSION_TRACE,
        rule_test=_failing,
    ),
    Alert(
        name="InferenceFallbackRatioHigh",
        kind="model",
        # The version at fault is a label, so that a fault of another version is a new alert, sent without delay. If no
        # version has enough fallbacks, the alert is about the pipeline.
        expr=f"""\
sum by (job, pipeline, model_version) (rate(inference_fallback_total{{{root_cause.OWN}}}[<window>]))
/ on (job, pipeline) group_left
sum by (job, pipeline) (rate(inference_requests_total[<window>]))
> <ratio>
and
sum by (job, pipeline, model_version) (increase(inference_fallback_total{{{root_cause.OWN}}}[<window>])) > <least>
or on (job, pipeline)
sum by (job, pipeline) (rate(inference_requests_total{{status=~"fallback|default"}}[<window>]))
/
sum by (job, pipeline) (rate(inference_requests_total[<window>]))
> <ratio>
and
sum by (job, pipeline) (increase(inference_requests_total{{status=~"fallback|default"}}[<window>])) > <least>""",
        summary="{{ $value | humanizePercentage }} of the requests to {{ $labels.pipeline }} fall back to another "
        "version or to the default response",
        description="More than <least> requests over <window>. The label `model_version` is the version that fails. "
        "Without this label, the service is overloaded.",
        unit="ratio",
        objective="<ratio>",
        dashboard="overview",
        lookups={"trace_id": LatestSeries(_FELL_BACK_TRACE, "<window>", "<scrape>")},
        rule_test=_fallback,
    ),
)
