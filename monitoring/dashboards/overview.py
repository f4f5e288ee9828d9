"""The overview: SLOs, alerts, requests of each pipeline, versions at fault, versions."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.slo.spec import Spec
from monitoring.dashboards.panels import Board, Panel, Query, Row, Variable, limits

_WHERE = '{job=~"$job",instance=~"$instance"}'
_SERVICE = '{job=~"$job",instance=~"$instance",pipeline=~"$pipeline"}'
_WHICH = '{job=~"$job",instance=~"$instance",pipeline=~"$pipeline",model_version=~"$model_version"}'
_TOTAL = f"sum by (pipeline) (rate(inference_requests_total{_SERVICE}[$__rate_interval]))"
_LEGEND = "{{pipeline}} {{model_version}}"


def _share(status: str) -> str:
    which = _SERVICE.replace("{", f'{{status=~"{status}",')
    return f"sum by (pipeline) (rate(inference_requests_total{which}[$__rate_interval])) / {_TOTAL}"


def _quantile(share: str) -> str:
    rate = f"rate(inference_request_latency_seconds_bucket{_SERVICE}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (le, pipeline) ({rate}))"


def _named(expr: str) -> str:
    """Return the expression with one label for pipeline and version.

    Pipelines may have equal version names.
    """
    return f'label_join({expr}, "version", " ", "pipeline", "model_version")'


def board(spec: Spec, links: Sequence[tuple[str, str]]) -> Board:
    """Return the overview dashboard."""
    return Board(
        title="AI workflow: overview",
        description="SLOs, alerts, requests and model versions at a glance.",
        variables=(
            Variable("job", "Job", "inference_requests_total"),
            Variable("instance", "Instance", 'inference_requests_total{job=~"$job"}'),
            Variable("pipeline", "Pipeline", 'inference_requests_total{job=~"$job"}'),
            Variable("model_version", "Version", 'inference_total{job=~"$job",pipeline=~"$pipeline"}'),
        ),
        events=(Query("model_loaded_timestamp_seconds * 1000", "Version loaded"),),
        links=links,
        rows=(_slos(spec), _traffic(spec), _faults(spec), _versions(spec)),
    )


def _slos(spec: Spec) -> Row:
    budgeted = [slo for slo in spec.slos if slo.windows]
    factor = float(budgeted[0].windows[0].factor(spec.period)) if budgeted else 1
    window = budgeted[0].windows[0].long if budgeted else "5m"
    return "SLOs", (
        Panel(
            "Error budget left", f"Remaining share of the budget of {spec.period} for the worst pipeline.",
            "stat", "percentunit", 8,
            (Query("min by (slo) (slo:error_budget_remaining:ratio)", "{{slo}}"),), (0,), True,
        ),
        Panel(
            "Burn rate", f"Spending rate of the budget relative to the sustainable rate, over {window}.",
            "stat", "none", 8,
            (Query(f"max by (slo) (slo:sli_error:ratio_rate{window} / on (slo) group_left () "
                   "slo:error_budget:ratio)", "{{slo}}"),), (factor,),
        ),
        Panel(
            "Firing alerts", "Firing alerts over time.", "states", "none", 8,
            (Query('max by (alertname, severity) (ALERTS{alertstate="firing",alertname!="Watchdog"})',
                   "{{severity}} {{alertname}}"),), (1,),
        ),
    )  # fmt: skip


def _traffic(spec: Spec) -> Row:
    return "Traffic", (
        Panel(
            "Requests", "Requests per second by final status.", "graph", "reqps", 12,
            (Query(f"sum by (pipeline, status) (rate(inference_requests_total{_SERVICE}[$__rate_interval]))",
                   "{{pipeline}} {{status}}"),),
        ),
        Panel(
            "Latency", "Time from arrival to response. Points are single requests with their trace.",
            "graph", "s", 12,
            tuple(Query(_quantile(f"0.{share}"), f"{{{{pipeline}}}} p{share}") for share in ("50", "95", "99")),
            tuple(float(slo.threshold) for slo in spec.slos if slo.threshold)[:1],
        ),
        Panel(
            "Failures and fallbacks", "Share of requests that failed or were answered by a fallback.",
            "graph", "percentunit", 12,
            (Query(_share("error|timeout|rejected"), "{{pipeline}} failed"),
             Query(_share("fallback|default"), "{{pipeline}} fallback")),
        ),
        Panel(
            "Saturation", "Requests in flight, relative to the limit.",
            "graph", "percentunit", 12,
            (Query(f"inference_in_flight_requests{_WHERE} / inference_capacity_requests{_WHERE}",
                   "{{job}} {{instance}}"),),
            limits(spec, "InferenceSaturated", "share"),
        ),
    )  # fmt: skip


def _faults(spec: Spec) -> Row:
    every = f"{_WHICH}[$__rate_interval]"
    failed = _WHICH.replace("{", '{status=~"error|timeout",')
    return "Versions at fault", (
        Panel(
            "Failures by version", "Requests per second that a version failed to answer, by reason.",
            "graph", "reqps", 8,
            (Query(f"sum by (pipeline, model_version, reason) (rate(inference_fallback_total{every}))",
                   f"{_LEGEND} {{{{reason}}}}"),),
        ),
        Panel(
            "Failure ratio by version", "Share of the requests of a version that end in an error or a timeout.",
            "graph", "percentunit", 8,
            (Query("sum by (pipeline, model_version) (rate(inference_total"
                   f"{failed}[$__rate_interval])) / "
                   f"sum by (pipeline, model_version) (rate(inference_total{every}))", _LEGEND),),
            limits(spec, "ModelFailureRatioHigh", "ratio"),
        ),
        Panel(
            "Latency p99 by version", "Time until a version responds, or until the request is withdrawn from it.",
            "graph", "s", 8,
            (Query("histogram_quantile(0.99, sum by (le, pipeline, model_version) "
                   f"(rate(inference_latency_seconds_bucket{every})))", _LEGEND),),
        ),
    )  # fmt: skip


def _versions(_: Spec) -> Row:
    p99 = (
        "histogram_quantile(0.99, sum by (le, pipeline, model_version) "
        f"(rate(inference_latency_seconds_bucket{_WHICH}[$__rate_interval])))"
    )
    accuracy = '{pipeline=~"$pipeline",model_version=~"$model_version"}'
    return "Versions", (
        Panel(
            "Versions", "Current state of each version.", "table", "short", 24,
            (
                Query(_named(f"sum by (pipeline, model_version) (rate(inference_total{_WHICH}[$__rate_interval]))"),
                      "requests per second"),
                Query(_named(p99), "p99 seconds"),
                Query(_named(f"max by (pipeline, model_version) (model_accuracy_current{accuracy})"), "accuracy"),
                Query(_named(f"time() - max by (pipeline, model_version) (model_loaded_timestamp_seconds{_WHICH})"),
                      "seconds loaded"),
            ),
            join="version",
        ),
    )  # fmt: skip
