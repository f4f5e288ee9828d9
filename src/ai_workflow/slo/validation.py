"""What a file of promises may not hold although it is well formed: what could never be measured, or never fire."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal

from ai_workflow.config.problems import Problem
from ai_workflow.slo import definitions, durations, promql
from ai_workflow.slo.burn_rate import BUDGETS
from ai_workflow.slo.durations import shortest
from ai_workflow.slo.spec import BUDGETED, Entry, Slo, Spec
from ai_workflow.telemetry import metrics

# What Prometheus and Alertmanager say of themselves, and the labels of it.
FOREIGN = {
    "up": (),
    "alertmanager_notifications_failed_total": ("integration",),
    "prometheus_rule_evaluation_failures_total": ("rule_group",),
    "ALERTS": ("alertname", "alertstate", "severity", "slo", "window", "model_version", "pipeline"),
}
_TARGET = ("job", "instance")


def problems(spec: Spec) -> list[Problem]:
    """Return everything about the file that cannot hold, each at its line."""
    found = [Problem(spec.file, *problem) for slo in spec.slos for problem in _slo(spec, slo)]
    found += [Problem(spec.file, *problem) for entry in spec.entries for problem in _entry(spec, entry)]
    names = [slo.name for slo in spec.slos]
    for index, slo in enumerate(spec.slos):
        if slo.name in names[:index]:
            found.append(Problem(spec.file, slo.line, slo.name, "there are two promises of this name"))
    return found


def unknown(expr: str, jobs: Collection[str] = ()) -> Iterator[str]:
    """Yield what an expression asks for that nobody exports: metrics, and labels that they do not have.

    Recorded series `slo:...` are known; what a job other than `jobs` exports cannot be.
    """
    known = series()
    for selector in promql.selectors(expr):
        job = next((value for label, how, value in selector.matchers if (label, how) == ("job", "=")), "")
        if selector.metric.startswith("slo:") or (job and job not in jobs):
            continue
        if selector.metric not in known:
            yield (
                f"no metric {selector.metric} is known: it is not declared in ai_workflow.telemetry.metrics; "
                'one of another program needs a matcher that names its job: {job="..."}'
            )
            continue
        for label, _, _ in selector.matchers:
            if label not in (*known[selector.metric], *_TARGET):
                yield f"{selector.metric} has no label {label}; it has {', '.join(known[selector.metric]) or 'none'}"


def series() -> dict[str, tuple[str, ...]]:
    """Return the labels of every series that is exported, by its name."""
    found = dict(FOREIGN)
    for metric in metrics.TABLE:
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{part}": metric.labels for part in ("sum", "count")}
            found[f"{metric.name}_bucket"] = (*metric.labels, "le")
        else:
            found[metric.name] = metric.labels
    return found


def _slo(spec: Spec, slo: Slo) -> Iterator[tuple[int, str, str]]:
    if slo.kind not in BUDGETED:
        return
    assert slo.objective is not None
    line = slo.lines["objective"]
    if not 0 < slo.objective < 100:
        yield line, f"{slo.name}.objective", f"must be between 0 and 100 percent, and is {slo.objective}"
        return
    for window in slo.windows:
        factor = window.factor(spec.period)
        if factor * slo.budget >= 1:
            least = shortest(((1 - 1 / factor) * 100).quantize(Decimal("0.01"))) if factor > 1 else "0"
            yield (
                line,
                f"{slo.name}.objective",
                (
                    f"pair {window.name} can never fire: {shortest(factor)} times the budget {shortest(slo.budget)} "
                    f"are more than all events; promise more than {least}, or name other `windows`"
                ),
            )
    for query in (slo.error_query, slo.total_query, slo.raw):
        key = "metric" if slo.kind == "latency" else "sli"
        for said in dict.fromkeys(unknown(query, spec.targets)):
            yield slo.lines[key], f"{slo.name}.{key}", said


def _entry(spec: Spec, entry: Entry) -> Iterator[tuple[int, str, str]]:
    alert = definitions.find_alert(entry.name)
    wanted = {"remaining", "least"} if entry.name in BUDGETS else alert.wanted if alert else set()
    kind = next((slo.kind for slo in spec.slos if slo.name == entry.slo), "")
    if alert is None and entry.name not in BUDGETS:
        yield entry.line, entry.name, "there is no such alert; the table is in monitoring/alerts/"
        return
    if alert and alert.kind != kind:
        where = f"a promise of kind {alert.kind}" if alert.kind else "`alerts` at the top of the file"
        yield entry.line, entry.name, f"belongs to {where}"
    for name in sorted(wanted - set(entry.numbers)):
        yield entry.line, entry.name, f"lacks the number {name}"
    for name in sorted(set(entry.numbers) - wanted):
        yield entry.line, entry.name, f"does not know {name}; it takes {', '.join(sorted(wanted)) or 'no numbers'}"
    for name, text in entry.numbers.items():
        if said := _no_number(text):
            yield entry.line, f"{entry.name}.{name}", said


def _no_number(text: str) -> str:
    try:
        Decimal(text)
    except ArithmeticError:
        try:
            durations.seconds(text)
        except ValueError:
            return f"`{text}` is neither a number nor a duration such as 5m"
    return ""
