"""Prometheus rule groups of all SLOs and alerts; each group becomes one file."""

from __future__ import annotations

from dataclasses import replace

from ai_workflow.slo import burn_rate, definitions, label_lookup
from ai_workflow.slo.alert import Alert, parameters
from ai_workflow.slo.annotations import alert_annotations, dashboard
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.durations import shortest
from ai_workflow.slo.spec import BUDGETED, AlertEntry, Slo, Spec

# The groups of alerts that depend on metrics of the exporter.
_EXPORTED = ("pipelines", "quality")


def groups(spec: Spec) -> dict[str, list[Rule]]:
    """Return the rules by the name of their group."""
    members = {f"slo-{slo.name}": burn_rate.rules(spec, slo) for slo in spec.slos if slo.kind in BUDGETED}
    for entry in spec.entries:
        alert = definitions.find_alert(entry.name)
        if alert:
            members.setdefault(alert.group, []).append(_alert(spec, entry, alert))
    return members


def slo_of(spec: Spec, entry: AlertEntry) -> Slo | None:
    """Return the SLO that an alert belongs to, or None."""
    return spec.slo(entry.slo) if entry.slo else None


def _alert(spec: Spec, entry: AlertEntry, alert: Alert) -> Rule:
    own = parameters(entry, slo_of(spec, entry))
    fill = replace(own, texts={**own.texts, "attribution": shortest(spec.attribution), "scrape": spec.scrape}).fill
    url = dashboard(spec, alert.dashboard)
    return {
        "alert": alert.name,
        "expr": fill(alert.expr),
        "for": entry.for_,
        **({"keep_firing_for": spec.keep_firing} if alert.group in _EXPORTED else {}),
        "labels": {"severity": entry.severity, **({"slo": entry.slo} if entry.slo else {})},
        "annotations": {
            **alert_annotations(
                spec, alert.name, fill(alert.summary), fill(alert.description), fill(alert.objective), alert.unit, url
            ),
            **{label: fill(text) for label, text in label_lookup.templates(alert.lookups).items()},
        },
    }
