"""Alertmanager's webhook, version 4 -> a notice (https://prometheus.io/docs/alerting/latest/configuration/)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field, StringConstraints

from ai_workflow import json_text
from monitoring.relay import bodies
from monitoring.relay.clean import clean, clean_url, moment
from monitoring.relay.notice import Alert, Link, Notice, in_order

_Label = Annotated[str, StringConstraints(max_length=16_384)]
_Labels = dict[_Label, _Label]
_SHOWN_LABEL = 120
# What an annotation names where no label does: a label would make another alert of each run.
_NAMED = ("model_version", "stage")
# Who silences an alert means each of its windows.
_NOT_SILENCED_BY = {"severity", "window"}


class _Alert(BaseModel):
    status: Literal["firing", "resolved"]
    labels: _Labels
    annotations: _Labels = Field(default_factory=dict)
    # With a zone: without one it would mean another moment on every machine.
    starts_at: datetime = Field(alias="startsAt")
    ends_at: datetime | None = Field(default=None, alias="endsAt")
    fingerprint: str = Field(min_length=1, max_length=200)


class _Webhook(BaseModel):
    version: Literal["4"]
    group_key: str = Field(alias="groupKey", min_length=1, max_length=16_384)
    alerts: list[_Alert] = Field(min_length=1, max_length=10_000)
    truncated: int = Field(default=0, alias="truncatedAlerts", ge=0)
    external_url: str = Field(default="", alias="externalURL", max_length=2000)


def notice(body: bytes) -> Notice:
    """Return what Alertmanager has to say.

    Raises:
        bodies.BadBody: it is not a webhook of version 4.
    """
    webhook = bodies.read(_Webhook, body)
    alerts = [_alert(one, webhook.group_key, webhook.external_url) for one in webhook.alerts]
    firing = [one.labels for one in webhook.alerts if one.status == "firing"]
    return Notice(
        webhook.group_key,
        in_order(alerts),
        webhook.truncated,
        _silence(webhook.external_url, _common(firing)) if firing else "",
    )


def _alert(found: _Alert, group: str, alertmanager: str) -> Alert:
    notes = found.annotations
    labels = {name: notes[name] for name in _NAMED if notes.get(name)} | found.labels
    links = [
        Link("runbook", clean_url(notes.get("runbook_url", ""))),
        Link("dashboard", clean_url(notes.get("dashboard_url", ""))),
        Link("run", clean_url(notes.get("run_url", ""))),
    ]
    if found.status == "firing":
        links.append(Link("silence", _silence(alertmanager, found.labels)))
    return Alert(
        key=f"{group}/{found.fingerprint}",
        status=found.status,
        name=clean(labels.get("alertname", "alert"), _SHOWN_LABEL),
        severity=clean(labels.get("severity", ""), 40),
        summary=clean(notes.get("summary") or notes.get("description") or ""),
        value=clean(notes.get("value", ""), 60),
        objective=clean(notes.get("objective", ""), 60),
        unit=clean(notes.get("unit", ""), 40),
        since=moment(found.starts_at),
        until=moment(found.ends_at) if found.status == "resolved" else None,
        trace_id=clean(notes.get("trace_id") or labels.get("trace_id") or "", 64),
        labels={name: clean(value, _SHOWN_LABEL) for name, value in labels.items()},
        links=tuple(link for link in links if link.url),
    )


def _common(labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
    first, *others = labels
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _silence(alertmanager: str, labels: Mapping[str, str]) -> str:
    """Return the page where these labels stand filled in; none without a name: it would silence everything."""
    base = clean_url(alertmanager)
    if not base or "alertname" not in labels:
        return ""
    chosen = sorted((name, value) for name, value in labels.items() if name not in _NOT_SILENCED_BY)
    matchers = ", ".join(f"{name}={json_text.line(value)}" for name, value in chosen)
    return clean_url(f"{base.rstrip('/')}/#/silences/new?filter={quote('{' + matchers + '}', safe='')}")
