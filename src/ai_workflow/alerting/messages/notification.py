"""What is told, before it is worded: facts about alerts, in no language and no vendor's markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

Status = Literal["firing", "resolved"]
LinkKind = Literal["runbook", "dashboard", "run", "silence"]
# As many alerts as a notice and a message have at most: the event loop of health checks works on both.
MAX_ALERTS = 1000
_RANK = {"page": 0, "ticket": 1, "chat": 2}


@dataclass(frozen=True, slots=True)
class Link:
    """Where to read on, and what is there."""

    kind: LinkKind
    url: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it stands: what it is about, how bad, since when, and where to look.

    `key` names it among all alerts: the sender's group and fingerprint.
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
        """Whether it still holds."""
        return self.status == "firing"


@dataclass(frozen=True, slots=True)
class Notice:
    """Alerts that are told together: the gravest first, those that fire before those that are over.

    Args:
        group: the sender's name for the group they belong to.
        alerts: those to tell.
        others: how many more the sender says there are, without saying which.
        silence: where those that fire can be silenced together; empty if they cannot.
    """

    group: str
    alerts: tuple[Alert, ...]
    others: int = 0
    silence: str = ""

    def only(self, wanted: Callable[[Alert], bool]) -> Notice:
        """Return the notice without the alerts that are not wanted."""
        return replace(self, alerts=tuple(alert for alert in self.alerts if wanted(alert)))


def in_order(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Return alerts as they are told: what fires first, and of that the gravest."""
    return tuple(sorted(alerts, key=lambda one: order(one.is_firing, one.severity, one.name, one.key)))


def order(is_firing: bool, severity: str, name: str, key: str) -> tuple[bool, int, str, str]:
    """Return the sort key of an alert."""
    return not is_firing, _RANK.get(severity, 1), name, key


def merged(notices: Iterable[Notice]) -> Notice:
    """Return one notice of several; of an alert that is in more than one, the last word counts."""
    given = list(notices)
    if len(given) == 1:
        return given[0]
    latest = {alert.key: alert for notice in given for alert in notice.alerts}
    return Notice("several", in_order(latest.values()), sum(notice.others for notice in given))
