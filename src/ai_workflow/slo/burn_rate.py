"""Recording rules and burn-rate alerts of an SLO with an error budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ai_workflow.slo import durations, label_lookup, promql, queries, root_cause
from ai_workflow.slo.annotations import alert_annotations, dashboard
from ai_workflow.slo.durations import shortest
from ai_workflow.slo.spec import Slo, Spec, Window

Rule = dict[str, object]
SHORTEST = "5m"
_RATE = re.compile(r"\b(i?rate)\s*\(")

# Alerts about the remaining budget of the period, with parameters in `slo.yaml`.
BUDGETS = ("ErrorBudgetExhausted", "ErrorBudgetLow")


@dataclass(frozen=True, slots=True)
class AlertText:
    """Texts of an alert of an SLO."""

    summary: str
    description: str
    objective: str
    unit: str = "ratio"


def rules(spec: Spec, slo: Slo) -> list[Rule]:
    """Return the recording rules and alerts of an SLO, which belong to one group."""
    return [*_records(spec, slo), *_burn_alerts(spec, slo), *_budget_alerts(spec, slo), *_absent_alerts(spec, slo)]


def windows(slo: Slo) -> list[str]:
    """Return all recorded windows, the shortest first."""
    used = {SHORTEST, *(length for window in slo.windows for length in (window.long, window.short))}
    return sorted(used, key=durations.seconds)


def counted(slo: Slo) -> set[str]:
    """Return the windows with a recorded event count: the long ones, for the minimum of events, and the shortest."""
    return set() if slo.raw else {SHORTEST, *(window.long for window in slo.windows)}


def threshold(spec: Spec, slo: Slo, window: Window) -> str:
    """Return the error ratio above which the pair of windows fires."""
    return shortest(window.factor(spec.period) * slo.budget)


def _records(spec: Spec, slo: Slo) -> list[Rule]:
    selector, budget = f'{{slo="{slo.name}"}}', shortest(slo.budget)
    records = []
    for window in windows(slo):
        if window in counted(slo):
            records.append((f"slo:sli_total:increase{window}", _count(slo.total_query, window)))
        records.append((f"slo:sli_error:ratio_rate{window}", _ratio(slo, window)))
    if slo.raw:
        records.append(
            ("slo:sli_error:ratio_period", f"avg_over_time(slo:sli_error:ratio_rate5m{selector}[{spec.period}])")
        )
    else:
        # Computed from counts, so that an hour with few events has little weight and an empty one is not NaN.
        bad, total = (f"sum_over_time(slo:sli_{name}:increase5m{selector}[{spec.period}])" for name in ("bad", "total"))
        records += [
            ("slo:sli_bad:increase5m", _bad(slo, _count(slo.error_query, SHORTEST), _count(slo.total_query, SHORTEST))),
            ("slo:sli_error:ratio_period", f"{bad}\n/\n({total} > 0)"),
            # The counts overlap: each event is included once for every evaluation within 5m.
            ("slo:sli_bad:increase_period", f"{bad} * {_overlap_factor(spec)}"),
        ]
    records += [
        ("slo:objective:ratio", f"vector({shortest(1 - slo.budget)})"),
        ("slo:error_budget:ratio", f"vector({budget})"),
        ("slo:error_budget_remaining:ratio", f"1 - slo:sli_error:ratio_period{selector} / {budget}"),
    ]
    return [{"record": name, "expr": expr, "labels": {"slo": slo.name}} for name, expr in records]


def _ratio(slo: Slo, window: str) -> str:
    if slo.raw:
        return queries.with_window(slo.raw, window)
    bad, total = queries.with_window(slo.error_query, window), queries.with_window(slo.total_query, window)
    return f"({_bad(slo, bad, total)})\n/\n({total} > 0)"


def _bad(slo: Slo, bad: str, total: str) -> str:
    """Return the bad events, or 0 if there is no series of errors but one of all events."""
    return f"{bad}\nor\n{total} * 0" if slo.kind == "events" else bad


def _count(query: str, window: str) -> str:
    """Return a query for the number of events. A rate, as in Sloth files, is multiplied by its window."""
    count = queries.with_window(query, window)
    return f"({count}) * {durations.seconds(window)}" if _RATE.search(query) else count


def _overlap_factor(spec: Spec) -> str:
    return f"{durations.seconds(spec.evaluation)} / {durations.seconds(SHORTEST)}"


def _burn_alerts(spec: Spec, slo: Slo) -> list[Rule]:
    rules = []
    for window in slo.windows:
        limit, factor = threshold(spec, slo, window), shortest(window.factor(spec.period))
        long, short = (
            f'slo:sli_error:ratio_rate{length}{{slo="{slo.name}"}}' for length in (window.long, window.short)
        )
        expr = f"{short} > {limit}\nand\n{long} > {limit}"
        if not slo.raw:
            total = f'slo:sli_total:increase{window.long}{{slo="{slo.name}"}}'
            expr += f"\nand\n{long} * {total} >= {shortest(window.min_events)}"
        lookups = root_cause.lookups(spec, slo, window.short)
        text = AlertText(
            f"{slo.name}{subject_clause(slo)}: {{{{ $value | humanizePercentage }}}} of events are bad"
            f"{root_cause.clause(lookups)}; the error budget burns at more than {_times(factor)}the sustainable rate",
            f"{slo.description or slo.name} The ratio of bad events is above {limit} over {window.short} and over "
            f"{window.long}. The error budget is {shortest(slo.budget)} over {spec.period}.",
            limit,
        )
        labels = {"severity": window.severity, "window": window.name, "burn_factor": factor}
        rules.append(_alert(spec, slo, slo.alert, expr, window.for_, labels, text, lookups))
    return rules


def _budget_alerts(spec: Spec, slo: Slo) -> list[Rule]:
    rules = []
    selector = f'{{slo="{slo.name}"}}'
    for name in BUDGETS:
        entry = spec.entry(name)
        if entry is None or slo.raw:
            continue
        limit, min_events = entry.parameters["remaining"], entry.parameters["least"]
        expr = (
            f"slo:error_budget_remaining:ratio{selector} <= {limit}\n"
            f"and\nslo:sli_bad:increase_period{selector} >= {min_events}"
        )
        lookups = root_cause.lookups(spec, slo, windows(slo)[-1])
        text = AlertText(
            f"{slo.name}{subject_clause(slo)}: {{{{ $value | humanizePercentage }}}} of the error budget is left"
            f"{root_cause.clause(lookups, ', most of the recent bad events are by %s')}",
            f"The budget is {shortest(slo.budget)} of all events over {spec.period}. "
            f"At least {min_events} events were bad.",
            limit,
        )
        rules.append(_alert(spec, slo, name, expr, entry.for_, {"severity": entry.severity}, text, lookups))
    return rules


def _absent_alerts(spec: Spec, slo: Slo) -> list[Rule]:
    if not slo.absent:
        return []
    selector = promql.selectors(slo.total_query or slo.raw)[0]
    text = AlertText(
        f"{slo.name}: the metric {selector.metric} is missing",
        f"There has been no series for {slo.absent}, so alerts of this SLO cannot fire.",
        "1",
        "series",
    )
    return [
        _alert(spec, slo, "SLOMetricAbsent", f"absent({selector.text})", slo.absent, {"severity": "page"}, text, {})
    ]


def subject_clause(slo: Slo) -> str:
    """Return a clause with the pipeline and model version of an SLO's series, if they have these labels."""
    by = promql.grouping(slo.total_query or slo.raw)
    subjects = [f"{{{{ $labels.{label} }}}}" for label in ("pipeline", "model_version") if label in by]
    return f" of {' '.join(subjects)}" if subjects else ""


def _times(factor: str) -> str:
    return "" if factor == "1" else f"{factor} times "


def _alert(
    spec: Spec, slo: Slo, name: str, expr: str, for_: str, labels: dict[str, str], text: AlertText,
    lookups: Mapping[str, label_lookup.Lookup],
) -> Rule:  # fmt: skip
    url = dashboard(spec, "slo", {"slo": slo.name})
    own = alert_annotations(spec, name, text.summary, text.description, text.objective, text.unit, url)
    return {
        "alert": name,
        "expr": expr,
        "for": for_,
        "labels": {**slo.labels, **labels, "slo": slo.name},
        "annotations": {**own, **label_lookup.templates(lookups), **slo.annotations},
    }
