"""Model version at fault and trace, for alerts about the service of a pipeline.

Requests are counted by pipeline, because callers see one service. Metrics by version (`inference_total`,
`inference_refused_total`) identify the version that an alert names.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo import label_lookup, promql
from ai_workflow.slo.durations import seconds, shortest
from ai_workflow.slo.label_lookup import LargestIncrease, LatestSeries, Lookup
from ai_workflow.slo.spec import Slo, Spec

FAILED = "error|timeout|rejected"
_SERVICE = "job=$job,pipeline=$pipeline"
# These reasons are not failures of the version: a full queue, a pause of the service, the replacement of the version,
# and a deadline of the caller.
OWN = 'reason!~"busy|stalled|retired|expired"'
# Requests that a version failed to answer, and requests not sent to it because it would have failed.
_FAILURES = (f'inference_total{{{_SERVICE},status=~"error|timeout"}}', f"inference_refused_total{{{_SERVICE},{OWN}}}")
# If several versions fail, `latest` is named, because later versions receive only the requests that it fails.
_LATEST = f'model_info{{{_SERVICE},alias="latest"}}'
FAILED_TRACE = f'inference_example_info{{{_SERVICE},kind=~"{FAILED}"}}'
SLOW_TRACE = f'inference_example_info{{{_SERVICE},kind=~"slow|timeout"}}'
# Maximum number of points at which a range is searched for a series: 15 s apart up to a range of 6 h.
_MAX_POINTS = 1440


def lookups(spec: Spec, slo: Slo, window: str) -> Mapping[str, Lookup]:
    """Return the lookups of an SLO: the version with the most bad events, and a trace of a bad event.

    There are none for metrics of other programs.

    Args:
        spec: content of the SLO file.
        slo: the SLO.
        window: range over which bad events are counted.
    """
    query, share = slo.total_query or slo.raw, shortest(spec.attribution)
    step = f"{max(seconds(spec.scrape), seconds(window) // _MAX_POINTS)}s"
    metric, by = promql.selectors(query)[0].metric, set(promql.grouping(query))
    if metric == "inference_requests_total" and {"job", "pipeline"} <= by:
        return {"model_version": failing(window, share), "trace_id": LatestSeries(FAILED_TRACE, window, step)}
    if metric == "inference_request_latency_seconds_count" and {"job", "pipeline"} <= by:
        bound = next(value for name, _, value in promql.selectors(slo.error_query)[-1].matchers if name == "le")
        return {"model_version": _slow(window, share, bound), "trace_id": LatestSeries(SLOW_TRACE, window, step)}
    if metric == "model_labeled_predictions_total" and "pipeline" in by:
        labeled, correct = (f"model_{name}_predictions_total{{pipeline=$pipeline}}" for name in ("labeled", "correct"))
        return {
            "model_version": LargestIncrease((labeled,), window, (correct,)),
            "trace_id": LatestSeries("model_evaluation_info{pipeline=$pipeline}", window, step),
        }
    return {}


def failing(window: str, share: str) -> LargestIncrease:
    """Return a lookup of the version with the most failures, if it has this share of all failed requests."""
    requests = f'inference_requests_total{{{_SERVICE},status=~"{FAILED}"}}'
    return LargestIncrease(_FAILURES, window, minimum=_minimum(share, window, requests), preferred=_LATEST)


def clause(lookups: Mapping[str, Lookup], text: str = ", most of them by %s") -> str:
    """Return a template that names the version at fault, and expands to an empty text if there is none."""
    return label_lookup.template("model_version", lookups["model_version"], text) if lookups else ""


def _slow(window: str, share: str, bound: str) -> LargestIncrease:
    def parts(prefix: str) -> tuple[str, str]:
        return (
            f"{prefix}_latency_seconds_count{{{_SERVICE}}}",
            f'{prefix}_latency_seconds_bucket{{{_SERVICE},le="{bound}"}}',
        )

    own, fast = parts("inference")
    return LargestIncrease((own,), window, (fast,), _minimum(share, window, *parts("inference_request")), _LATEST)


def _minimum(share: str, window: str, *selectors: str) -> str:
    """Return an expression for a share of the increase of the first counter without the other counters."""
    growth = " - ".join(f"sum(increase({selector}[{window}]))" for selector in selectors)
    return f"{share} * scalar({growth})"
