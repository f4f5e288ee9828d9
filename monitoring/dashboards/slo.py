"""One promise in detail: what was measured against what was promised, and how fast its budget goes."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.slo.burn_rate import windows
from ai_workflow.slo.durations import seconds
from ai_workflow.slo.spec import Spec
from monitoring.dashboards.panels import Board, Panel, Query, Row, Variable

_WHICH = '{slo="$slo",pipeline=~"$pipeline"}'
_ONE = "{{of}}"


def board(spec: Spec, links: Sequence[tuple[str, str]]) -> Board:
    """Return the dashboard that burn-rate alerts link to."""
    return Board(
        title="AI workflow: promises",
        description="One promise: objective, error budget, burn rates, alerts.",
        variables=(
            Variable("slo", "Promise", "slo:objective:ratio", many=False),
            Variable("pipeline", "Pipeline", 'slo:sli_error:ratio_rate5m{slo="$slo"}', everywhere=False),
        ),
        links=links,
        rows=(_now(spec), _in_time(spec)),
    )


def _each(expr: str, more: str = "") -> Query:
    """Return a query whose series are named by job and pipeline; some SLOs are not about a job."""
    return Query(f'label_join({expr}, "of", " ", "job", "pipeline")', f"{_ONE}{more}")


def _alerts() -> Query:
    """What tells alerts of a promise apart, as one name: few have all of these labels, and a legend has no choice."""
    labels = ("alertname", "window", "job", "pipeline", "model_version")
    firing = f'max by ({", ".join(labels)}) (ALERTS{{alertstate="firing",slo="$slo"}})'
    names = ", ".join(f'"{label}"' for label in labels)
    return Query(f'label_join({firing}, "alert", " ", {names})', "{{alert}}")


def _now(spec: Spec) -> Row:
    return "Now", (
        Panel("Objective", "The share of events that has to be good.", "stat", "percentunit", 6,
              (Query('slo:objective:ratio{slo="$slo"}', "{{slo}}"),), height=4),
        Panel("Kept", f"The share of events over {spec.period} that was good.", "stat", "percentunit", 6,
              (_each(f"1 - slo:sli_error:ratio_period{_WHICH}"),), height=4),
        Panel("Budget left", f"Share of the budget of {spec.period}.", "stat", "percentunit", 6,
              (_each(f"slo:error_budget_remaining:ratio{_WHICH}"),), (0,), True, height=4),
        Panel("Bad events", f"Events over {spec.period} that were bad.", "stat", "short", 6,
              (_each(f"slo:sli_bad:increase_period{_WHICH}"),), height=4),
    )  # fmt: skip


def _in_time(spec: Spec) -> Row:
    factors = sorted({float(window.factor(spec.period)) for slo in spec.slos for window in slo.windows})
    lengths = sorted({length for slo in spec.slos if slo.windows for length in windows(slo)}, key=seconds)
    budget = '/ on (slo) group_left () slo:error_budget:ratio{slo="$slo"}'
    return "In time", (
        Panel("Measured and promised", "Share of good events over 5 minutes, and the objective.",
              "graph", "percentunit", 12,
              (_each(f"1 - slo:sli_error:ratio_rate5m{_WHICH}"),
               Query('slo:objective:ratio{slo="$slo"}', "objective"))),
        Panel("Burn rate by window", "How many times too fast the budget is spent; alerts fire where both "
              "windows of a pair are above its line.", "graph", "none", 12,
              tuple(_each(f"slo:sli_error:ratio_rate{length}{_WHICH} {budget}", f" {length}")
                    for length in lengths), tuple(factors)),
        Panel("Budget left in time", f"Share of the budget of {spec.period} that is left.",
              "graph", "percentunit", 12,
              (_each(f"slo:error_budget_remaining:ratio{_WHICH}"),), (0,), True),
        Panel("Bad events in time", "Bad events within 5 minutes.", "graph", "short", 12,
              (_each(f"slo:sli_bad:increase5m{_WHICH}"),)),
        Panel("Alerts", "Which alerts of this promise fire, and since when.", "states", "none", 24,
              (_alerts(),), (1,)),
    )  # fmt: skip
