"""Parser of Alertmanager webhooks, version 4 (https://prometheus.io/docs/alerting/latest/configuration/)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field

from ai_workflow import json_text
from ai_workflow.alerting import request_bodies
from ai_workflow.alerting.messages.notification import MAX_ALERTS, Alert, Link, Notification, sort_alerts, sort_key
from ai_workflow.alerting.messages.sanitize import MAX_TEXT_CHARACTERS, clean, clean_url, clip, normalize_timestamp
from ai_workflow.telemetry.logs import logger

# Longer texts are clipped and never rejected, because Alertmanager does not repeat a webhook after a 4xx response.
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
# Read from annotations if no label has the name. As labels they would create a new alert for each run.
_ANNOTATION_LABELS = ("model_version", "stage")
# A silence applies to every burn-rate window of an alert.
_LABELS_NOT_IN_SILENCES = {"severity", "window"}


class _Alert(BaseModel):
    status: Literal["firing", "resolved"]
    labels: _Labels
    annotations: _Labels = Field(default_factory=dict)
    starts_at: datetime = Field(alias="startsAt")
    ends_at: datetime | None = Field(default=None, alias="endsAt")
    fingerprint: _Key


class _Webhook(BaseModel):
    version: Literal["4"]
    group_key: _Key = Field(alias="groupKey")
    alerts: list[_Alert] = Field(min_length=1)
    truncated: int = Field(default=0, alias="truncatedAlerts", ge=0)
    external_url: str = Field(default="", alias="externalURL")


def parse(body: bytes) -> Notification:
    """Return the alerts of a webhook, at most `MAX_ALERTS` of them.

    Firing alerts of high severity are kept first; `others` counts the alerts that were dropped.

    Raises:
        InvalidBodyError: the body is not a webhook of version 4.
    """
    webhook = request_bodies.read(_Webhook, body)
    kept = sorted(webhook.alerts, key=_sort_key)[:MAX_ALERTS]
    if cut := len(webhook.alerts) - len(kept):
        log.warning("a webhook of Alertmanager has more than %d alerts. %d of them are only counted", MAX_ALERTS, cut)
    alerts = [_alert(alert, webhook.group_key, webhook.external_url) for alert in kept]
    firing = [alert.labels for alert in webhook.alerts if alert.status == "firing"]
    return Notification(
        webhook.group_key,
        sort_alerts(alerts),
        webhook.truncated + len(webhook.alerts) - len(kept),
        _silence(webhook.external_url, _common(firing)) if firing else "",
    )


def _sort_key(alert: _Alert) -> tuple[bool, int, str, str]:
    severity, name = alert.labels.get("severity", ""), alert.labels.get("alertname", "")
    return sort_key(alert.status == "firing", severity, name, alert.fingerprint)


def _alert(received: _Alert, group: str, alertmanager: str) -> Alert:
    annotations = received.annotations
    labels = {name: annotations[name] for name in _ANNOTATION_LABELS if annotations.get(name)} | received.labels
    links = [
        Link("runbook", clean_url(annotations.get("runbook_url", ""))),
        Link("dashboard", clean_url(annotations.get("dashboard_url", ""))),
        Link("run", clean_url(annotations.get("run_url", ""))),
    ]
    if received.status == "firing":
        links.append(Link("silence", _silence(alertmanager, received.labels)))
    return Alert(
        key=f"{group}/{received.fingerprint}",
        status=received.status,
        name=clean(labels.get("alertname", "alert"), _SHOWN_LABEL),
        severity=clean(labels.get("severity", ""), 40),
        summary=clean(annotations.get("summary") or annotations.get("description") or ""),
        value=clean(annotations.get("value", ""), 60),
        objective=clean(annotations.get("objective", ""), 60),
        unit=clean(annotations.get("unit", ""), 40),
        since=normalize_timestamp(received.starts_at),
        until=normalize_timestamp(received.ends_at) if received.status == "resolved" else None,
        trace_id=clean(annotations.get("trace_id") or labels.get("trace_id") or "", 64),
        labels={clean(name, _SHOWN_LABEL): clean(value, _SHOWN_LABEL) for name, value in _kept(labels)},
        links=tuple(link for link in links if link.url),
    )


def _kept(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return at most _MAX_LABELS labels.

    The shortest names are kept, because the relay reads only short names.
    """
    if len(labels) <= _MAX_LABELS:
        return list(labels.items())
    return sorted(labels.items(), key=lambda label: len(label[0]))[:_MAX_LABELS]


def _common(labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
    first, *others = labels
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _silence(alertmanager: str, labels: Mapping[str, str]) -> str:
    """Return the URL that creates a silence for these labels; empty without an alert name."""
    base = clean_url(alertmanager)
    if not base or "alertname" not in labels or sum(map(len, labels.values())) > MAX_TEXT_CHARACTERS:
        return ""
    chosen = sorted((name, value) for name, value in labels.items() if name not in _LABELS_NOT_IN_SILENCES)
    matchers = ", ".join(f"{name}={json_text.line(value)}" for name, value in chosen)
    return clean_url(f"{base.rstrip('/')}/#/silences/new?filter={quote('{' + matchers + '}', safe='')}")
