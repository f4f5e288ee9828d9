"""Alerts that name the model version at fault, also where another version or the default response answers for it."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo import root_cause
from ai_workflow.slo.alert import (  # fmt: skip
    BEFORE,
    END,
    OVER,
    Alert,
    Counter,
    Numbers,
    Series,
    Trial,
    changed,
    crossing,
    fires_after,
    fixed,
    grown,
    labels,
    near,
)
from ai_workflow.slo.trials_format import Recent

_TRACE = "inference_example_info{job=$job,pipeline=$pipeline,model_version=$model_version}"
_FELL_BACK_TRACE = (
    'inference_example_info{job=$job,pipeline=$pipeline,model_version=$model_version,kind=~"fallback|default"}'
)
_AT_FAULT, _BUSY = "at_fault", "busy_"
_BEARS = {"job": "inference", "pipeline": "credit"}


def _fallback(n: Numbers) -> Trial:
    """A version at fault and an overload, each in pipelines of its own."""
    window, step = n.seconds("window"), max(1, n.seconds("window") // 12)
    onset = 2 * window

    def series(case: str, reason: str, ratio: float, least: float) -> Series:
        rate = least / ratio / window
        where = f'job="inference",pipeline="{case}"'
        name = f"inference_requests_total{{{where},status="
        return {
            f'inference_fallback_total{{{where},model_version="{_AT_FAULT}",reason="{reason}"}}': grown(
                onset, 0, rate * ratio
            ),
            f'{name}"fallback"}}': grown(onset, 0, rate * ratio / 2),
            f'{name}"default"}}': grown(onset, 0, rate * ratio / 2),
            f'{name}"success"}}': grown(onset, BEFORE * rate, rate * (1 - ratio)),
        }

    limits = near({"ratio": n["ratio"], "least": n["least"]})
    at_fault_cases = {case: series(case, "timeout", **at) for case, at in limits.items()}
    overloads = {f"{_BUSY}{case}": series(f"{_BUSY}{case}", "busy", **at) for case, at in limits.items()}
    checks = fires_after(onset + crossing(window), n, step, n["ratio"] * OVER, until=onset + window)
    return Trial(
        step,
        {**at_fault_cases, **overloads},
        _of_fallback,
        tuple(
            (at, {f"{kind}{case}": value for kind in ("", _BUSY) for case, value in on.items()}) for at, on in checks
        ),
    )


def _of_fallback(case: str) -> Mapping[str, str]:
    """Return the labels of a case: an overload names no version."""
    found = {"job": "inference", "pipeline": case}
    return found if case.startswith(_BUSY) else {**found, "model_version": _AT_FAULT}


def _failing(n: Numbers) -> Trial:
    window, step = n.seconds("window"), max(1, n.seconds("window") // 12)
    onset = 2 * window

    def series(case: str, ratio: float, least: float) -> Series:
        rate = least / ratio / window
        name = f'inference_total{{job="inference",pipeline="credit",model_version="{case}",status='
        return {
            f'{name}"timeout"}}': grown(onset, 0, rate * ratio / 2),
            f'{name}"error"}}': grown(onset, 0, rate * ratio / 2),
            f'{name}"success"}}': grown(onset, BEFORE * rate, rate * (1 - ratio)),
        }

    limits = near({"ratio": n["ratio"], "least": n["least"]})
    return Trial(
        step,
        {case: series(case, **at) for case, at in limits.items()},
        labels("model_version", **_BEARS),
        fires_after(onset + crossing(window), n, step, n["ratio"] * OVER, until=onset + window),
    )


def _restarting(n: Numbers) -> Trial:
    """Crashes and hangs count together, at a steady pace."""
    window, step = n.seconds("window"), max(1, n.seconds("window") // 30)
    onset = 2 * window

    def series(case: str, least: float) -> Series:
        where = f'job="inference",pipeline="credit",model_version="{case}"'
        each = least / 2 / window
        return {
            f'model_worker_restarts_total{{{where},reason="{reason}"}}': Counter(((onset, 0), (END, each)))
            for reason in ("crashed", "hung")
        }

    cases = near({"least": n["least"]})
    return Trial(
        step,
        {case: series(case, **at) for case, at in cases.items()},
        labels("model_version", **_BEARS),
        fires_after(onset + window / OVER, n, step, n["least"] * OVER, until=onset + window),
    )


def _breaker(n: Numbers) -> Trial:
    window, step = n.seconds("window"), max(1, n.seconds("window") // 20)
    onset = 2 * window
    name = 'model_breaker_state{{job="inference",instance="a",pipeline="credit",model_version="{}"}}'
    return Trial(
        step,
        {
            "fires": {name.format("fires"): changed(onset, 0, 1)},
            "closed": {name.format("closed"): fixed(0)},
        },
        labels("model_version", **_BEARS),
        fires_after(onset + window, n, step, 1),
    )


MODEL = (
    Alert(
        name="ModelBreakerOpen",
        kind="model",
        expr="max by (job, pipeline, model_version) (min_over_time(model_breaker_state[<window>])) > 0",
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} gets no requests: its circuit breaker is open",
        description="It failed several requests in a row, and no probe has succeeded for <window>.",
        unit="state",
        objective="0",
        dashboard="overview",
        finds={"trace_id": Recent(_TRACE, "<window>", "<scrape>")},
        trial=_breaker,
    ),
    Alert(
        name="ModelProcessRestarting",
        kind="model",
        expr="sum by (job, pipeline, model_version) (increase(model_worker_restarts_total[<window>])) >= <least>",
        summary="The process of {{ $labels.model_version }} of {{ $labels.pipeline }} ended "
        '{{ $value | printf "%.0f" }} times within <window>',
        description="It crashes or hangs again after each restart. At least <least> times within <window>.",
        unit="restarts",
        objective="<least>",
        dashboard="overview",
        finds={"trace_id": Recent(_TRACE, "<window>", "<scrape>")},
        trial=_restarting,
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
        summary="{{ $labels.model_version }} of {{ $labels.pipeline }} does not answer "
        "{{ $value | humanizePercentage }} of its requests",
        description="Timeouts, crashes and wrong output over <window>, more than <least>. Requests that its full queue "
        "rejects do not count.",
        unit="ratio",
        objective="<ratio>",
        dashboard="overview",
        finds={"trace_id": Recent(_TRACE, "<window>", "<scrape>")},
        trial=_failing,
    ),
    Alert(
        name="InferenceFallbackRatioHigh",
        kind="model",
        # The version at fault is a label, so that another version at fault is another alert, sent without delay. Where
        # no version has enough fallbacks of its own, the alert is about the pipeline.
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
        description="Over <window>, more than <least>. The label `model_version` is the version that does not answer; "
        "without it, the service is overloaded.",
        unit="ratio",
        objective="<ratio>",
        dashboard="overview",
        finds={"trace_id": Recent(_FELL_BACK_TRACE, "<window>", "<scrape>")},
        trial=_fallback,
    ),
)
