"""Delivery log: delivered alerts by channel, so that a retry reaches only the channels that missed them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from ai_workflow.alerting.messages.notification import Alert, Notification, Status

# While a channel fails, the sender retries. The other channels get a reminder at most this often.
_RETRY_SECONDS = 3600
# Older entries of a channel are dropped, so their alerts may be delivered twice.
_MAX_ENTRIES = 50_000


class DeliveryLog:
    """The last delivered status of each alert by channel, in memory: a restart loses it.

    Args:
        remind_seconds: a repeated notification counts as a retry up to this age, and as a reminder later.
        clock: monotonic clock in seconds.
    """

    def __init__(self, remind_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._remind, self._clock = remind_seconds, clock
        self._delivered: dict[str, OrderedDict[str, tuple[Status, float]]] = {}

    def undelivered(
        self, channel: str, notification: Notification, others: Iterable[tuple[str, Notification]] = ()
    ) -> Notification:
        """Return the part of a notification that is still to be delivered to a channel.

        New alerts are returned. A notification without new alerts is a reminder and returned whole, unless it comes
        within `remind_seconds` or one of the `others` still lacks its part: then it is a retry, and empty.
        """
        delivered: Mapping[str, tuple[Status, float]] = self._delivered.get(channel, {})
        new = notification.filter(lambda alert: not _is_delivered(delivered, alert))
        if new.alerts or not notification.alerts:
            return new
        age = self._clock() - max(delivered[alert.key][1] for alert in notification.alerts)
        is_retry = age <= _RETRY_SECONDS and any(self._lacks(*other) for other in others)
        return new if age <= self._remind or is_retry else notification

    def record(self, channel: str, notification: Notification) -> None:
        """Record that a notification was delivered to a channel."""
        delivered = self._delivered.setdefault(channel, OrderedDict())
        now = self._clock()
        for alert in notification.alerts:
            delivered.pop(alert.key, None)
            delivered[alert.key] = (alert.status, now)
        while len(delivered) > _MAX_ENTRIES:
            delivered.popitem(last=False)

    def _lacks(self, channel: str, notification: Notification) -> bool:
        delivered: Mapping[str, tuple[Status, float]] = self._delivered.get(channel, {})
        return any(not _is_delivered(delivered, alert) for alert in notification.alerts)


def _is_delivered(delivered: Mapping[str, tuple[Status, float]], alert: Alert) -> bool:
    return alert.key in delivered and delivered[alert.key][0] == alert.status
