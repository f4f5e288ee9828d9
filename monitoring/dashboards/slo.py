"""The dashboard of one SLO: measured values, objective, error budget and burn rates."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.slo.burn_rate import windows
from ai_workflow.slo.durations import seconds
from ai_workflow.slo.spec import Spec
from monitoring.dashboards.panels import Board, Panel, Query, Row, Variable

_WHICH = '{slo="$slo",pipeline=~"$pipeline"}'
_LEGEND = "{{of}}"


def board(spec: Spec, links: Sequence[tuple[str, str]]) -> Board:
    """Return the dashboard that burn-rate alerts link to."""
    return Board(
        title="AI workflow: SLOs",
        description="One SLO: objective, error budget, burn rates, alerts.",
        variables=(
            Variable("slo", "SLO", "slo:objective:ratio", many=False),
            Variable("pipeline", "Pipeline", 'slo:sli_error:ratio_rate5m{slo="$slo"}', everywhere=False),
        ),
        links=links,
        rows=(_now(spec), _history(spec)),
    )


def _each(expr: str, more: str = "") -> Query:
    """Return a query with job and pipeline as legend; some SLOs have no job."""
    return Query(f'label_join({expr}, "of", " ", "job", "pipeline")', f"{_LEGEND}{more}")


def _alerts() -> Query:
    """Return a query of firing alerts, with all their labels joined to one legend."""
    labels = ("alertname", "window", "job", "pipeline", "model_version")
    firing = f'max by ({", ".join(labels)}) (ALERTS{{alertstate="firing",slo="$slo"}})'
    names = ", ".join(f'"{label}"' for label in labels)
    return Query(f'label_join({firing}, "alert", " ", {names})', "{{alert}}")


def _now(spec: Spec) -> Row:
    return "Now", (
        Panel("Objective", "Required share of good events.", "stat", "percentunit", 6,
              (Query('slo:objective:ratio{slo="$slo"}', "{{slo}}"),), height=4),
        Panel("Measured", f"Share of good events over {spec.period}.", "stat", "percentunit", 6,
              (_each(f"1 - slo:sli_error:ratio_period{_WHICH}"),), height=4),
        Panel("Budget left", f"Remaining share of the budget of {spec.period}.", "stat", "percentunit", 6,
              (_each(f"slo:error_budget_remaining:ratio{_WHICH}"),), (0,), True, height=4),
        Panel("Bad events", f"Number of bad events over {spec.period}.", "stat", "short", 6,
              (_each(f"slo:sli_bad:increase_period{_WHICH}"),), height=4),
    )  # fmt: skip


def _history(spec: Spec) -> Row:
    factors = sorted({float(window.factor(spec.period)) for slo in spec.slos for window in slo.windows})
    lengths = sorted({length for slo in spec.slos if slo.windows for length in windows(slo)}, key=seconds)
    budget = '/ on (slo) group_left () slo:error_budget:ratio{slo="$slo"}'
    return "History", (
        Panel("Measured and objective", "Share of good events over 5 minutes, and the objective.",
              "graph", "percentunit", 12,
              (_each(f"1 - slo:sli_error:ratio_rate5m{_WHICH}"),
               Query('slo:objective:ratio{slo="$slo"}', "objective"))),
        Panel("Burn rate by window", "Spending rate of the budget relative to the sustainable rate. Alerts fire "
              "if both windows of a pair are above its line.", "graph", "none", 12,
              tuple(_each(f"slo:sli_error:ratio_rate{length}{_WHICH} {budget}", f" {length}")
                    for length in lengths), tuple(factors)),
        Panel("Budget left over time", f"Remaining share of the budget of {spec.period}.",
              "graph", "percentunit", 12,
              (_each(f"slo:error_budget_remaining:ratio{_WHICH}"),), (0,), True),
        Panel("Bad events over time", "Number of bad events within 5 minutes.", "graph", "short", 12,
              (_each(f"slo:sli_bad:increase5m{_WHICH}"),)),
        Panel("Alerts", "Firing alerts of this SLO over time.", "states", "none", 24,
              (_alerts(),), (1,)),
    )  # fmt: skip
