"""Alert notifications, independent of language and vendor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

Status = Literal["firing", "resolved"]
LinkKind = Literal["runbook", "dashboard", "run", "silence"]
# Limit for a notification and a message, because the event loop that serves health checks processes both.
MAX_ALERTS = 1000
_RANK = {"page": 0, "ticket": 1, "chat": 2}


@dataclass(frozen=True, slots=True)
class Link:
    """A link to further information, such as a runbook."""

    kind: LinkKind
    url: str


@dataclass(frozen=True, slots=True)
class Alert:
    """State of one alert.

    `key` is unique among all alerts: the group and the fingerprint of the sender.
    """

    key: str
    status: Status
    name: str
    severity: str = ""
    summary: str = ""
    value: str = ""
    objective: str = ""
    unit: str = ""
    since: datetime | None = None
    until: datetime | None = None
    trace_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @property
    def is_firing(self) -> bool:
        """Whether the alert is firing."""
        return self.status == "firing"


@dataclass(frozen=True, slots=True)
class Notification:
    """A group of alerts, sorted by status and severity.

    Args:
        group: name of the group at the sender.
        alerts: alerts to deliver.
        others: number of further alerts that the sender only counted.
        silence: URL that silences all firing alerts; empty if there is none.
    """

    group: str
    alerts: tuple[Alert, ...]
    others: int = 0
    silence: str = ""

    def filter(self, predicate: Callable[[Alert], bool]) -> Notification:
        """Return the notification with the alerts that satisfy a predicate."""
        return replace(self, alerts=tuple(filter(predicate, self.alerts)))


def sort_alerts(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Return alerts sorted: firing before resolved, then by severity."""
    return tuple(sorted(alerts, key=lambda alert: sort_key(alert.is_firing, alert.severity, alert.name, alert.key)))


def sort_key(is_firing: bool, severity: str, name: str, key: str) -> tuple[bool, int, str, str]:
    """Return the sort key of an alert."""
    return not is_firing, _RANK.get(severity, 1), name, key


def merge(notifications: Iterable[Notification]) -> Notification:
    """Return one notification; the last status of an alert wins."""
    parts = list(notifications)
    if len(parts) == 1:
        return parts[0]
    latest = {alert.key: alert for part in parts for alert in part.alerts}
    return Notification("several", sort_alerts(latest.values()), sum(part.others for part in parts))
