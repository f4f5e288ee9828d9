"""A promise with an error budget -> the rules that measure it, and one alert for each pair of windows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ai_workflow.slo import durations, promql, queries, root_cause, trials_format
from ai_workflow.slo.annotations import dashboard, written
from ai_workflow.slo.durations import shortest
from ai_workflow.slo.spec import Slo, Spec, Window

Rule = dict[str, object]
SHORTEST = "5m"
_RATE = re.compile(r"\b(i?rate)\s*\(")

# Alerts about a budget as a whole; `slo.yaml` gives the numbers.
BUDGETS = ("ErrorBudgetExhausted", "ErrorBudgetLow")


@dataclass(frozen=True, slots=True)
class Told:
    """What an alert of a promise says."""

    summary: str
    description: str
    objective: str
    unit: str = "ratio"


def rules(spec: Spec, slo: Slo) -> list[Rule]:
    """Return the records of a promise and its alerts, which belong into one group."""
    return [*_records(spec, slo), *_burning(spec, slo), *_budgets(spec, slo), *_absent(spec, slo)]


def windows(slo: Slo) -> list[str]:
    """Return every window that is recorded, shortest first."""
    used = {SHORTEST, *(length for window in slo.windows for length in (window.long, window.short))}
    return sorted(used, key=durations.seconds)


def counted(slo: Slo) -> set[str]:
    """Return the windows over which all events are counted: those that `least` is asked of, and the shortest."""
    return set() if slo.raw else {SHORTEST, *(window.long for window in slo.windows)}


def threshold(spec: Spec, slo: Slo, window: Window) -> str:
    """Return the error ratio above which the pair fires."""
    return shortest(window.factor(spec.period) * slo.budget)


def _records(spec: Spec, slo: Slo) -> list[Rule]:
    here, budget = f'{{slo="{slo.name}"}}', shortest(slo.budget)
    found = []
    for window in windows(slo):
        if window in counted(slo):
            found.append((f"slo:sli_total:increase{window}", _count(slo.total_query, window)))
        found.append((f"slo:sli_error:ratio_rate{window}", _ratio(slo, window)))
    if slo.raw:
        found.append(("slo:sli_error:ratio_period", f"avg_over_time(slo:sli_error:ratio_rate5m{here}[{spec.period}])"))
    else:
        # Of counts, not of ratios: a quiet hour weighs as little as it should, and an empty one is no NaN.
        bad, total = (f"sum_over_time(slo:sli_{which}:increase5m{here}[{spec.period}])" for which in ("bad", "total"))
        found += [
            ("slo:sli_bad:increase5m", _bad(slo, _count(slo.error_query, SHORTEST), _count(slo.total_query, SHORTEST))),
            ("slo:sli_error:ratio_period", f"{bad}\n/\n({total} > 0)"),
            # Each event is in as many of the overlapping counts as there are evaluations in 5m.
            ("slo:sli_bad:increase_period", f"{bad} * {_share(spec)}"),
        ]
    found += [
        ("slo:objective:ratio", f"vector({shortest(1 - slo.budget)})"),
        ("slo:error_budget:ratio", f"vector({budget})"),
        ("slo:error_budget_remaining:ratio", f"1 - slo:sli_error:ratio_period{here} / {budget}"),
    ]
    return [{"record": name, "expr": expr, "labels": {"slo": slo.name}} for name, expr in found]


def _ratio(slo: Slo, window: str) -> str:
    if slo.raw:
        return queries.over(slo.raw, window)
    bad, total = queries.over(slo.error_query, window), queries.over(slo.total_query, window)
    return f"({_bad(slo, bad, total)})\n/\n({total} > 0)"


def _bad(slo: Slo, bad: str, total: str) -> str:
    """Where no error was ever seen there may be no series of errors: that is none of them, not nothing known."""
    return f"{bad}\nor\n{total} * 0" if slo.kind == "events" else bad


def _count(query: str, window: str) -> str:
    """The query as a number of events: where it is a rate, as Sloth's are, times its window."""
    found = queries.over(query, window)
    return f"({found}) * {durations.seconds(window)}" if _RATE.search(query) else found


def _share(spec: Spec) -> str:
    return f"{durations.seconds(spec.evaluation)} / {durations.seconds(SHORTEST)}"


def _burning(spec: Spec, slo: Slo) -> list[Rule]:
    found = []
    for window in slo.windows:
        limit, factor = threshold(spec, slo, window), shortest(window.factor(spec.period))
        long, short = (
            f'slo:sli_error:ratio_rate{length}{{slo="{slo.name}"}}' for length in (window.long, window.short)
        )
        expr = f"{short} > {limit}\nand\n{long} > {limit}"
        if not slo.raw:
            expr += (
                f'\nand\n{long} * slo:sli_total:increase{window.long}{{slo="{slo.name}"}} >= {shortest(window.least)}'
            )
        finds = root_cause.finds(spec, slo, window.short)
        told = Told(
            f"{slo.name}{about(slo)}: {{{{ $value | humanizePercentage }}}} of events are bad"
            f"{root_cause.clause(finds)}; the error budget burns at more than {_times(factor)}the sustainable rate",
            f"{slo.description or slo.name} Over {window.short} and over {window.long}, more than {limit}; "
            f"the budget is {shortest(slo.budget)} over {spec.period}.",
            limit,
        )
        labels = {"severity": window.severity, "window": window.name, "burn_factor": factor}
        found.append(_alert(spec, slo, slo.alert, expr, window.hold, labels, told, finds))
    return found


def _budgets(spec: Spec, slo: Slo) -> list[Rule]:
    found = []
    here = f'{{slo="{slo.name}"}}'
    for name in BUDGETS:
        entry = spec.entry(name)
        if entry is None or slo.raw:
            continue
        limit, least = entry.numbers["remaining"], entry.numbers["least"]
        expr = f"slo:error_budget_remaining:ratio{here} <= {limit}\nand\nslo:sli_bad:increase_period{here} >= {least}"
        finds = root_cause.finds(spec, slo, windows(slo)[-1])
        told = Told(
            f"{slo.name}{about(slo)}: {{{{ $value | humanizePercentage }}}} of the error budget is left"
            f"{root_cause.clause(finds, ', most of the recent bad events are by %s')}",
            f"Of {shortest(slo.budget)} of all events over {spec.period}; by at least {least} bad ones.",
            limit,
        )
        found.append(_alert(spec, slo, name, expr, entry.hold, {"severity": entry.severity}, told, finds))
    return found


def _absent(spec: Spec, slo: Slo) -> list[Rule]:
    if not slo.absent:
        return []
    found = promql.selectors(slo.total_query or slo.raw)[0]
    told = Told(
        f"{slo.name}: {found.metric} is not measured any more",
        f"For {slo.absent} there has been no such series: nobody would be told of a breach.",
        "1",
        "series",
    )
    return [_alert(spec, slo, "SLOMetricAbsent", f"absent({found.text})", slo.absent, {"severity": "page"}, told, {})]


def about(slo: Slo) -> str:
    """Return the text that names what the series of an SLO are about, such as a pipeline."""
    by = promql.grouping(slo.total_query or slo.raw)
    named = [f"{{{{ $labels.{label} }}}}" for label in ("pipeline", "model_version") if label in by]
    return f" of {' '.join(named)}" if named else ""


def _times(factor: str) -> str:
    return "" if factor == "1" else f"{factor} times "


def _alert(
    spec: Spec, slo: Slo, name: str, expr: str, hold: str, labels: dict[str, str], told: Told,
    finds: Mapping[str, trials_format.Find],
) -> Rule:  # fmt: skip
    where = dashboard(spec, "slo", {"slo": slo.name})
    own = written(spec, name, told.summary, told.description, told.objective, told.unit, where)
    return {
        "alert": name,
        "expr": expr,
        "for": hold,
        "labels": {**slo.labels, **labels, "slo": slo.name},
        "annotations": {**own, **trials_format.templates(finds), **slo.annotations},
    }
