"""Alertmanager's webhook, version 4 -> a notice (https://prometheus.io/docs/alerting/latest/configuration/)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field

from ai_workflow import json_text
from ai_workflow.alerting import request_bodies
from ai_workflow.alerting.messages.notification import MAX_ALERTS, Alert, Link, Notice, in_order, order
from ai_workflow.alerting.messages.sanitize import LONGEST, clean, clean_url, clip, moment
from ai_workflow.telemetry.logs import logger

# Longer texts are clipped, never refused: Alertmanager does not repeat a webhook that is answered 4xx.
_MAX_CHARACTERS = 16_384
_MAX_KEY_CHARACTERS = 1000
_MAX_LABELS = 200
_SHOWN_LABEL = 120
log = logger("relay")


def _short(key: str) -> str:
    """Return a key of bounded length that differs where the whole key does."""
    if len(key) <= _MAX_KEY_CHARACTERS:
        return key
    return f"{key[:_MAX_KEY_CHARACTERS]}…{hashlib.sha256(key.encode(errors='replace')).hexdigest()}"


_Label = Annotated[str, AfterValidator(lambda text: clip(text, _MAX_CHARACTERS))]
_Key = Annotated[str, Field(min_length=1), AfterValidator(_short)]
_Labels = dict[str, _Label]
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
    fingerprint: _Key


class _Webhook(BaseModel):
    version: Literal["4"]
    group_key: _Key = Field(alias="groupKey")
    alerts: list[_Alert] = Field(min_length=1)
    truncated: int = Field(default=0, alias="truncatedAlerts", ge=0)
    external_url: str = Field(default="", alias="externalURL")


def notice(body: bytes) -> Notice:
    """Return the alerts of a webhook; of more than `MAX_ALERTS` the gravest that fire, and the number of the others.

    Raises:
        bodies.BadBody: it is not a webhook of version 4.
    """
    webhook = request_bodies.read(_Webhook, body)
    kept = sorted(webhook.alerts, key=_order)[:MAX_ALERTS]
    if cut := len(webhook.alerts) - len(kept):
        log.warning("a webhook of Alertmanager has %d alerts more than %d, they are counted only", cut, MAX_ALERTS)
    alerts = [_alert(one, webhook.group_key, webhook.external_url) for one in kept]
    firing = [one.labels for one in webhook.alerts if one.status == "firing"]
    return Notice(
        webhook.group_key,
        in_order(alerts),
        webhook.truncated + len(webhook.alerts) - len(kept),
        _silence(webhook.external_url, _common(firing)) if firing else "",
    )


def _order(found: _Alert) -> tuple[bool, int, str, str]:
    labels = found.labels
    severity, name = labels.get("severity", ""), labels.get("alertname", "")
    return order(found.status == "firing", severity, name, found.fingerprint)


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
        labels={clean(name, _SHOWN_LABEL): clean(value, _SHOWN_LABEL) for name, value in _kept(labels)},
        links=tuple(link for link in links if link.url),
    )


def _kept(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return at most _MAX_LABELS labels: those with the shortest names, as the names that the relay reads are short."""
    if len(labels) <= _MAX_LABELS:
        return list(labels.items())
    return sorted(labels.items(), key=lambda label: len(label[0]))[:_MAX_LABELS]


def _common(labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
    first, *others = labels
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _silence(alertmanager: str, labels: Mapping[str, str]) -> str:
    """Return the page with these labels filled in; none without a name, as it would silence everything."""
    base = clean_url(alertmanager)
    if not base or "alertname" not in labels or sum(map(len, labels.values())) > LONGEST:
        return ""
    chosen = sorted((name, value) for name, value in labels.items() if name not in _NOT_SILENCED_BY)
    matchers = ", ".join(f"{name}={json_text.line(value)}" for name, value in chosen)
    return clean_url(f"{base.rstrip('/')}/#/silences/new?filter={quote('{' + matchers + '}', safe='')}")
