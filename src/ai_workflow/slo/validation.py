"""Semantic checks of an SLO file: unknown metrics, and alerts that can never fire."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal

from ai_workflow.config.problems import Problem
from ai_workflow.slo import definitions, durations, promql
from ai_workflow.slo.burn_rate import BUDGETS
from ai_workflow.slo.durations import shortest
from ai_workflow.slo.spec import BUDGETED, AlertEntry, Slo, Spec
from ai_workflow.telemetry import metrics

# Metrics of Prometheus and Alertmanager, with their labels.
FOREIGN = {
    "up": (),
    "alertmanager_notifications_failed_total": ("integration",),
    "prometheus_rule_evaluation_failures_total": ("rule_group",),
    "ALERTS": ("alertname", "alertstate", "severity", "slo", "window", "model_version", "pipeline"),
}
_TARGET = ("job", "instance")


def problems(spec: Spec) -> list[Problem]:
    """Return all problems of an SLO file, with their lines."""
    result = [Problem(spec.file, *problem) for slo in spec.slos for problem in _slo(spec, slo)]
    result += [Problem(spec.file, *problem) for entry in spec.entries for problem in _entry(spec, entry)]
    names = [slo.name for slo in spec.slos]
    for index, slo in enumerate(spec.slos):
        if slo.name in names[:index]:
            result.append(Problem(spec.file, slo.line, slo.name, "there are two SLOs of this name"))
    return result


def unknown(expr: str, jobs: Collection[str] = ()) -> Iterator[str]:
    """Yield an error for each metric or label of an expression that is not exported.

    Recorded series `slo:...` and metrics of jobs other than `jobs` are not checked.
    """
    known = series()
    for selector in promql.selectors(expr):
        job = next((value for label, operator, value in selector.matchers if (label, operator) == ("job", "=")), "")
        if selector.metric.startswith("slo:") or (job and job not in jobs):
            continue
        if selector.metric not in known:
            yield (
                f"unknown metric {selector.metric}: it is not declared in ai_workflow.telemetry.metrics. "
                'Add a matcher {job="..."} if another program exports it'
            )
            continue
        for label, _, _ in selector.matchers:
            if label not in (*known[selector.metric], *_TARGET):
                yield f"{selector.metric} has no label {label}; it has {', '.join(known[selector.metric]) or 'none'}"


def series() -> dict[str, tuple[str, ...]]:
    """Return the labels of every exported series, by its name."""
    labels = dict(FOREIGN)
    for metric in metrics.TABLE:
        if metric.kind == "histogram":
            labels |= {f"{metric.name}_{part}": metric.labels for part in ("sum", "count")}
            labels[f"{metric.name}_bucket"] = (*metric.labels, "le")
        else:
            labels[metric.name] = metric.labels
    return labels


def _slo(spec: Spec, slo: Slo) -> Iterator[tuple[int, str, str]]:
    if slo.kind not in BUDGETED:
        return
    assert slo.objective is not None
    line = slo.lines["objective"]
    if not 0 < slo.objective < 100:
        yield line, f"{slo.name}.objective", f"must be between 0 and 100 percent, not {slo.objective}"
        return
    for window in slo.windows:
        factor = window.factor(spec.period)
        if factor * slo.budget >= 1:
            minimum = shortest(((1 - 1 / factor) * 100).quantize(Decimal("0.01"))) if factor > 1 else "0"
            yield (
                line,
                f"{slo.name}.objective",
                (
                    f"window {window.name} can never fire: {shortest(factor)} times the budget {shortest(slo.budget)} "
                    f"is more than all events. Set an objective above {minimum}, or choose other `windows`"
                ),
            )
    for query in (slo.error_query, slo.total_query, slo.raw):
        key = "metric" if slo.kind == "latency" else "sli"
        for problem in dict.fromkeys(unknown(query, spec.targets)):
            yield slo.lines[key], f"{slo.name}.{key}", problem


def _entry(spec: Spec, entry: AlertEntry) -> Iterator[tuple[int, str, str]]:
    alert = definitions.find_alert(entry.name)
    required = {"remaining", "least"} if entry.name in BUDGETS else alert.required_parameters if alert else set()
    kind = next((slo.kind for slo in spec.slos if slo.name == entry.slo), "")
    if alert is None and entry.name not in BUDGETS:
        yield entry.line, entry.name, "there is no such alert. The alerts are defined in monitoring/alerts/"
        return
    if alert and alert.kind != kind:
        owner = f"an SLO of kind {alert.kind}" if alert.kind else "`alerts` at the top of the file"
        yield entry.line, entry.name, f"belongs to {owner}"
    for name in sorted(required - set(entry.parameters)):
        yield entry.line, entry.name, f"the parameter {name} is missing"
    for name in sorted(set(entry.parameters) - required):
        known = ", ".join(sorted(required)) or "no parameters"
        yield entry.line, entry.name, f"unknown parameter {name}; it has {known}"
    for name, text in entry.parameters.items():
        if problem := _number_problem(text):
            yield entry.line, f"{entry.name}.{name}", problem


def _number_problem(text: str) -> str:
    try:
        Decimal(text)
    except ArithmeticError:
        try:
            durations.seconds(text)
        except ValueError:
            return f"`{text}` is neither a number nor a duration such as 5m"
    return ""
