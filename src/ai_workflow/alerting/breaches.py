"""SLO breaches of a pipeline and version, from the first alert to the end of the last one."""

from __future__ import annotations

import uuid
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

from ai_workflow.alerting.messages.notification import Alert, Notification

Kind = Literal["breached", "resolved"]
_NAMES = uuid.UUID("5b1f4d58-5f3a-4d0e-9c39-0f8e7f7f6d1a")
_MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Resource:
    """A breached SLO, with the pipeline and the model version that the alert names."""

    slo: str
    pipeline: str
    model_version: str

    @property
    def id(self) -> str:
        """The resource id in Prefect, such as `ai-workflow.slo.accuracy.credit.model_v2.3`.

        A missing pipeline or version is `-`.
        """
        return f"ai-workflow.slo.{self.slo}.{self.pipeline or '-'}.{self.model_version or '-'}"

    def as_prefect(self, severity: str) -> dict[str, str]:
        """Return the resource of a Prefect event."""
        subject = " ".join(part for part in (self.pipeline, self.model_version) if part)
        return {
            "prefect.resource.id": self.id,
            "prefect.resource.name": f"{self.slo} of {subject}" if subject else self.slo,
            "ai-workflow.slo": self.slo,
            "ai-workflow.pipeline": self.pipeline,
            "ai-workflow.model_version": self.model_version,
            "ai-workflow.severity": severity,
        }


@dataclass(frozen=True, slots=True)
class BreachChange:
    """The start or end of a breach, with the alert that caused it."""

    kind: Kind
    resource: Resource
    alert: Alert

    @property
    def id(self) -> uuid.UUID:
        """The id of the event. It is the same if the change is detected again after a restart."""
        timestamp = self.alert.since if self.kind == "breached" else self.alert.until
        return uuid.uuid5(_NAMES, f"{self.kind} {self.resource.id} {self.alert.key} {timestamp}")

    def payload(self) -> dict[str, Any]:
        """Return the payload of the Prefect event."""
        alert = self.alert
        links = {f"{link.kind}_url": link.url for link in alert.links if link.kind != "silence"}
        return {
            "alert": alert.name,
            "severity": alert.severity,
            "summary": alert.summary,
            "value": alert.value,
            "objective": alert.objective,
            "unit": alert.unit,
            "since": alert.since.isoformat() if alert.since else None,
            "until": alert.until.isoformat() if alert.until else None,
            "trace_id": alert.trace_id,
            "labels": dict(alert.labels),
            **links,
        }


@dataclass(slots=True)
class Breaches:
    """Breaches by resource, derived from groups of alerts; several alerts of an SLO make one breach."""

    _firing: OrderedDict[str, dict[str, Resource]] = field(default_factory=OrderedDict)
    # Firing alerts of all groups, by resource.
    _alert_counts: Counter[Resource] = field(default_factory=Counter)
    _breached: dict[Resource, None] = field(default_factory=dict)
    _reported: OrderedDict[uuid.UUID, None] = field(default_factory=OrderedDict)

    def update(self, notification: Notification) -> list[BreachChange]:
        """Return the changes caused by a notification, which has all firing alerts of its group."""
        known = self._firing.get(notification.group, {})
        alerts = [
            (alert, _stable_resource(alert, resource, known))
            for alert in notification.alerts
            if (resource := _resource(alert))
        ]
        group = dict(known) if notification.others else {}
        for alert, resource in alerts:
            group.pop(alert.key, None)
            if alert.is_firing:
                group[alert.key] = resource
        cleared = self._replace(notification.group, group)
        return [change for change in self._changes(alerts, cleared) if self._is_new(change)]

    def _replace(self, name: str, group: dict[str, Resource]) -> set[Resource]:
        """Replace the firing alerts of a group; return the resources without a firing alert in any group."""
        self._alert_counts.update(group.values())
        removed = [self._firing.pop(name, {})]
        if group:
            self._firing[name] = group
        while len(self._firing) > _MAX_ENTRIES:
            removed.append(self._firing.popitem(last=False)[1])
        self._alert_counts.subtract(resource for known in removed for resource in known.values())
        cleared = {resource for known in removed for resource in known.values() if not self._alert_counts[resource]}
        for resource in cleared:
            del self._alert_counts[resource]
        return cleared

    def forget(self, change: BreachChange) -> None:
        """Report a change again with the next notification, because its event was not emitted."""
        self._reported.pop(change.id, None)
        if change.kind == "breached":
            self._breached.pop(change.resource, None)

    def _changes(self, alerts: list[tuple[Alert, Resource]], cleared: set[Resource]) -> list[BreachChange]:
        changes: list[BreachChange] = []
        resolved: set[Resource] = set()
        for alert, resource in alerts:
            if alert.is_firing and resource not in self._breached:
                self._breached[resource] = None
                changes.append(BreachChange("breached", resource, alert))
            elif not alert.is_firing and resource not in self._alert_counts and resource not in resolved:
                self._breached.pop(resource, None)
                resolved.add(resource)
                changes.append(BreachChange("resolved", resource, alert))
        # No resolved alert will follow for alerts that disappeared from their group.
        for resource in cleared:
            self._breached.pop(resource, None)
        return changes

    def _is_new(self, change: BreachChange) -> bool:
        if change.id in self._reported:
            return False
        self._reported[change.id] = None
        if len(self._reported) > _MAX_ENTRIES:
            self._reported.popitem(last=False)
        return True


def _stable_resource(alert: Alert, resource: Resource, known: dict[str, Resource]) -> Resource:
    """Return the resource that the alert had when it began to fire, if the alert ends or names no version.

    Prometheus looks up the version at fault for each notification, so it may change or be missing at the end.
    """
    first = known.get(alert.key)
    if first and (not alert.is_firing or not resource.model_version):
        return first
    return resource


def _resource(alert: Alert) -> Resource | None:
    slo = alert.labels.get("slo")
    if not slo:
        return None
    return Resource(slo, alert.labels.get("pipeline", ""), alert.labels.get("model_version", ""))
