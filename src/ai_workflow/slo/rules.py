"""SLOs and alerts -> groups of Prometheus rules, one file each; records are in one group with their alerts."""

from __future__ import annotations

from dataclasses import replace

from ai_workflow.slo import burn_rate, definitions, trials_format
from ai_workflow.slo.alert import Alert, numbers
from ai_workflow.slo.annotations import dashboard, written
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.durations import shortest
from ai_workflow.slo.spec import BUDGETED, Entry, Slo, Spec

# The groups of alerts that stand on what the exporter tells.
_EXPORTED = ("pipelines", "quality")


def groups(spec: Spec) -> dict[str, list[Rule]]:
    """Return the rules by the name of their group."""
    found = {f"slo-{slo.name}": burn_rate.rules(spec, slo) for slo in spec.slos if slo.kind in BUDGETED}
    for entry in spec.entries:
        alert = definitions.find_alert(entry.name)
        if alert:
            found.setdefault(alert.group, []).append(_alert(spec, entry, alert))
    return found


def promise(spec: Spec, entry: Entry) -> Slo | None:
    """Return the promise that an alert belongs to."""
    return spec.slo(entry.slo) if entry.slo else None


def _alert(spec: Spec, entry: Entry, alert: Alert) -> Rule:
    own = numbers(entry, promise(spec, entry))
    fill = replace(own, texts={**own.texts, "attribution": shortest(spec.attribution), "scrape": spec.scrape}).fill
    where = dashboard(spec, alert.dashboard)
    return {
        "alert": alert.name,
        "expr": fill(alert.expr),
        "for": entry.hold,
        **({"keep_firing_for": spec.keep} if alert.group in _EXPORTED else {}),
        "labels": {"severity": entry.severity, **({"slo": entry.slo} if entry.slo else {})},
        "annotations": {
            **written(
                spec, alert.name, fill(alert.summary), fill(alert.description), fill(alert.objective), alert.unit, where
            ),
            **{label: fill(text) for label, text in trials_format.templates(alert.finds).items()},
        },
    }
