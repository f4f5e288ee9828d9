"""Is all well: promises, what is on fire, traffic, and the versions that answer."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.dashboards.panels import Board, Panel, Query, Row, Variable, limits
from monitoring.spec import Spec

_WHERE = '{job=~"$job",instance=~"$instance"}'
_WHICH = '{job=~"$job",instance=~"$instance",model_version=~"$model_version"}'
_TOTAL = f"sum(rate(inference_total{_WHICH}[$__rate_interval]))"


def _share(status: str) -> str:
    which = _WHICH.replace("{", f'{{status=~"{status}",')
    return f"sum(rate(inference_total{which}[$__rate_interval])) / {_TOTAL}"


def _quantile(share: str, by: str = "") -> str:
    keys = f"le, {by}" if by else "le"
    rate = f"rate(inference_latency_seconds_bucket{_WHICH}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({keys}) ({rate}))"


def board(spec: Spec, links: Sequence[tuple[str, str]]) -> Board:
    """Return the dashboard to look at first."""
    return Board(
        title="AI workflow: overview",
        description="Promises, alerts, traffic and versions at a glance.",
        variables=(
            Variable("job", "Job", "inference_total"),
            Variable("instance", "Instance", 'inference_total{job=~"$job"}'),
            Variable("model_version", "Version", 'inference_total{job=~"$job"}'),
            Variable("pipeline", "Pipeline", "model_registry_info", many=False),
        ),
        events=(Query("model_loaded_timestamp_seconds * 1000", "Version loaded"),),
        links=links,
        rows=(_promises(spec), _traffic(spec), _versions(spec)),
    )


def _promises(spec: Spec) -> Row:
    burnt = [slo for slo in spec.slos if slo.windows]
    factor = float(burnt[0].windows[0].factor(spec.period)) if burnt else 1
    shown = burnt[0].windows[0].long if burnt else "5m"
    return "Promises", (
        Panel(
            "Error budget left", f"Share of the budget of {spec.period}, of the worst version.",
            "stat", "percentunit", 8,
            (Query("min by (slo) (slo:error_budget_remaining:ratio)", "{{slo}}"),), (0,), True,
        ),
        Panel(
            "Burn rate", f"How many times faster than allowed the budget is spent, over {shown}.",
            "stat", "none", 8,
            (Query(f"max by (slo) (slo:sli_error:ratio_rate{shown} / on (slo) group_left () "
                   "slo:error_budget:ratio)", "{{slo}}"),), (factor,),
        ),
        Panel(
            "Firing alerts", "Which alerts fire, and since when.", "states", "none", 8,
            (Query('max by (alertname, severity) (ALERTS{alertstate="firing",alertname!="Watchdog"})',
                   "{{severity}} {{alertname}}"),), (1,),
        ),
    )  # fmt: skip


def _traffic(spec: Spec) -> Row:
    return "Traffic", (
        Panel(
            "Requests", "Requests per second, by how they ended.", "graph", "reqps", 12,
            (Query(f"sum by (status) (rate(inference_total{_WHICH}[$__rate_interval]))", "{{status}}"),),
        ),
        Panel(
            "Latency", "Time from arrival to answer; points are single requests with their trace.",
            "graph", "s", 12,
            tuple(Query(_quantile(f"0.{share}"), f"p{share}") for share in ("50", "95", "99")),
            tuple(float(slo.threshold) for slo in spec.slos if slo.threshold)[:1],
        ),
        Panel(
            "Not answered by latest", "Share that failed, and that stable or the default answered.",
            "graph", "percentunit", 12,
            (Query(_share("error|timeout|rejected"), "failed"), Query(_share("fallback"), "fallback")),
        ),
        Panel(
            "Saturation", "Requests in flight, as a share of those that are let in.",
            "graph", "percentunit", 12,
            (Query(f"inference_in_flight_requests{_WHERE} / inference_capacity_requests{_WHERE}",
                   "{{job}} {{instance}}"),),
            limits(spec, "InferenceSaturated", "share"),
        ),
    )  # fmt: skip


def _versions(_: Spec) -> Row:
    return "Versions", (
        Panel(
            "Versions", "What each version does just now; its accuracy is that of the pipeline chosen above.",
            "table", "short", 24,
            (
                Query(f"sum by (model_version) (rate(inference_total{_WHICH}[$__rate_interval]))",
                      "requests per second"),
                Query(_quantile("0.99", "model_version"), "p99 seconds"),
                Query('max by (model_version) (model_accuracy_current{pipeline="$pipeline"})', "accuracy"),
                Query(f"time() - max by (model_version) (model_loaded_timestamp_seconds{_WHICH})", "seconds loaded"),
            ),
            join="model_version",
        ),
    )  # fmt: skip
