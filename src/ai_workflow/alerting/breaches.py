"""Breaches of SLOs: the first alert about a pipeline and version begins one, the end of the last alert ends it."""

from __future__ import annotations

import uuid
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

from ai_workflow.alerting.messages.notification import Alert, Notice

Kind = Literal["breached", "resolved"]
_NAMES = uuid.UUID("5b1f4d58-5f3a-4d0e-9c39-0f8e7f7f6d1a")
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Resource:
    """What is breached: an SLO, of a pipeline and a version where the alert names them."""

    slo: str
    pipeline: str
    model_version: str

    @property
    def id(self) -> str:
        """Its id for Prefect, such as `ai-workflow.slo.accuracy.credit.model_v2.3`; `-` stands for none."""
        return f"ai-workflow.slo.{self.slo}.{self.pipeline or '-'}.{self.model_version or '-'}"

    def as_prefect(self, severity: str) -> dict[str, str]:
        """Return it as the resource of a Prefect event."""
        about = " ".join(part for part in (self.pipeline, self.model_version) if part)
        return {
            "prefect.resource.id": self.id,
            "prefect.resource.name": f"{self.slo} of {about}" if about else self.slo,
            "ai-workflow.slo": self.slo,
            "ai-workflow.pipeline": self.pipeline,
            "ai-workflow.model_version": self.model_version,
            "ai-workflow.severity": severity,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """A breach that began or is over, and the alert that tells it."""

    kind: Kind
    resource: Resource
    alert: Alert

    @property
    def id(self) -> uuid.UUID:
        """The same for the same change, told again after a restart."""
        moment = self.alert.since if self.kind == "breached" else self.alert.until
        return uuid.uuid5(_NAMES, f"{self.kind} {self.resource.id} {self.alert.key} {moment}")

    def payload(self) -> dict[str, Any]:
        """Return what an automation may want to know."""
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
    """Derives changes from what groups of alerts say; several alerts of one SLO make one breach."""

    _firing: OrderedDict[str, dict[str, Resource]] = field(default_factory=OrderedDict)
    # How many alerts of all groups fire for each resource.
    _alerts: Counter[Resource] = field(default_factory=Counter)
    _breached: dict[Resource, None] = field(default_factory=dict)
    _told: OrderedDict[uuid.UUID, None] = field(default_factory=OrderedDict)

    def see(self, notice: Notice) -> list[Change]:
        """Return what has changed with a notice; it holds all alerts of its group that fire."""
        known = self._firing.get(notice.group, {})
        about = [(alert, _kept(alert, resource, known)) for alert in notice.alerts if (resource := _resource(alert))]
        group = dict(known) if notice.others else {}
        for alert, resource in about:
            group.pop(alert.key, None)
            if alert.is_firing:
                group[alert.key] = resource
        gone = self._replace(notice.group, group)
        return [change for change in self._changes(about, gone) if self._is_new(change)]

    def _replace(self, name: str, group: dict[str, Resource]) -> set[Resource]:
        """Note the alerts that fire in a group; return the resources that no alert fires for any more."""
        self._alerts.update(group.values())
        before = [self._firing.pop(name, {})]
        if group:
            self._firing[name] = group
        while len(self._firing) > _MOST:
            before.append(self._firing.popitem(last=False)[1])
        self._alerts.subtract(resource for known in before for resource in known.values())
        gone = {resource for known in before for resource in known.values() if not self._alerts[resource]}
        for resource in gone:
            del self._alerts[resource]
        return gone

    def forget(self, change: Change) -> None:
        """Have a change told again with the next notice that says so: this time it was told to nobody."""
        self._told.pop(change.id, None)
        if change.kind == "breached":
            self._breached.pop(change.resource, None)

    def _changes(self, about: list[tuple[Alert, Resource]], gone: set[Resource]) -> list[Change]:
        changes: list[Change] = []
        over: set[Resource] = set()
        for alert, resource in about:
            if alert.is_firing and resource not in self._breached:
                self._breached[resource] = None
                changes.append(Change("breached", resource, alert))
            elif not alert.is_firing and resource not in self._alerts and resource not in over:
                self._breached.pop(resource, None)
                over.add(resource)
                changes.append(Change("resolved", resource, alert))
        # What fired in this group and is in it no more: nothing will tell its end.
        for resource in gone:
            self._breached.pop(resource, None)
        return changes

    def _is_new(self, change: Change) -> bool:
        if change.id in self._told:
            return False
        self._told[change.id] = None
        if len(self._told) > _MOST:
            self._told.popitem(last=False)
        return True


def _kept(alert: Alert, resource: Resource, known: dict[str, Resource]) -> Resource:
    """Return the resource of an alert as it was when the alert began to fire, where it ends or names no version now.

    The version is looked up for each notice: at the end of an alert there may be none at fault, or another one.
    """
    before = known.get(alert.key)
    is_same = before and (not alert.is_firing or not resource.model_version)
    return before if before and is_same else resource


def _resource(alert: Alert) -> Resource | None:
    slo = alert.labels.get("slo")
    if not slo:
        return None
    return Resource(slo, alert.labels.get("pipeline", ""), alert.labels.get("model_version", ""))
