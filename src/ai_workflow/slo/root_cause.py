"""The version at fault and a trace, for alerts about the service of a pipeline as a whole.

Callers see one service, so requests are counted by pipeline. What each version did with the requests that were put to
it is counted beside (`inference_total`, `inference_refused_total`), and names the version in an alert.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.slo import promql, trials_format
from ai_workflow.slo.durations import seconds, shortest
from ai_workflow.slo.spec import Slo, Spec
from ai_workflow.slo.trials_format import Find, Most, Recent

FAILED = "error|timeout|rejected"
_OF = "job=$job,pipeline=$pipeline"
# A full queue is overload. A pause of the service or of a version that is replaced, and a deadline that a caller set,
# are not failures of the version.
OWN = 'reason!~"busy|stalled|retired|expired"'
# Requests that a version got and did not answer, and requests kept from it because it would not have answered.
_FAILURES = (f'inference_total{{{_OF},status=~"error|timeout"}}', f"inference_refused_total{{{_OF},{OWN}}}")
# Of versions that fail alike, the first in line is named: the next one gets only the requests that it does not answer.
_FIRST = f'model_info{{{_OF},alias="latest"}}'
FAILED_TRACE = f'inference_example_info{{{_OF},kind=~"{FAILED}"}}'
SLOW_TRACE = f'inference_example_info{{{_OF},kind=~"slow|timeout"}}'
# The most points at which a range is searched for a series: 15 s apart up to a range of 6 h.
_MAX_POINTS = 1440


def finds(spec: Spec, slo: Slo, window: str) -> Mapping[str, Find]:
    """Return what the alerts of an SLO find: the version with the most bad events, and the trace of a bad event.

    Nothing is found for metrics of other programs.

    Args:
        spec: the whole file.
        slo: the SLO.
        window: the range over which bad events are counted.
    """
    query, share = slo.total_query or slo.raw, shortest(spec.attribution)
    step = f"{max(seconds(spec.scrape), seconds(window) // _MAX_POINTS)}s"
    metric, by = promql.selectors(query)[0].metric, set(promql.grouping(query))
    if metric == "inference_requests_total" and {"job", "pipeline"} <= by:
        return {"model_version": failing(window, share), "trace_id": Recent(FAILED_TRACE, window, step)}
    if metric == "inference_request_latency_seconds_count" and {"job", "pipeline"} <= by:
        bound = next(value for name, _, value in promql.selectors(slo.error_query)[-1].matchers if name == "le")
        return {"model_version": _slow(window, share, bound), "trace_id": Recent(SLOW_TRACE, window, step)}
    if metric == "model_labeled_predictions_total" and "pipeline" in by:
        labeled, correct = (f"model_{name}_predictions_total{{pipeline=$pipeline}}" for name in ("labeled", "correct"))
        return {
            "model_version": Most((labeled,), window, (correct,)),
            "trace_id": Recent("model_evaluation_info{pipeline=$pipeline}", window, step),
        }
    return {}


def failing(window: str, share: str) -> Most:
    """Return the version with the most failures, if it has this share of the failed requests of the pipeline."""
    requests = f'inference_requests_total{{{_OF},status=~"{FAILED}"}}'
    return Most(_FAILURES, window, least=_least(share, window, requests), preferred=_FIRST)


def clause(found: Mapping[str, Find], text: str = ", most of them by %s") -> str:
    """Return the text that names the version at fault; it is empty where none is found."""
    return trials_format.template("model_version", found["model_version"], text) if found else ""


def _slow(window: str, share: str, bound: str) -> Most:
    def parts(prefix: str) -> tuple[str, str]:
        return f"{prefix}_latency_seconds_count{{{_OF}}}", f'{prefix}_latency_seconds_bucket{{{_OF},le="{bound}"}}'

    own, fast = parts("inference")
    return Most((own,), window, (fast,), _least(share, window, *parts("inference_request")), _FIRST)


def _least(share: str, window: str, *selectors: str) -> str:
    """Return a share of the growth of the first counter, less that of the others."""
    growth = " - ".join(f"sum(increase({selector}[{window}]))" for selector in selectors)
    return f"{share} * scalar({growth})"
