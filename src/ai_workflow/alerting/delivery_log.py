"""Which alerts were delivered to which channel: a retry reaches those that missed it, and only them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from ai_workflow.alerting.messages.notification import Alert, Notice, Status

# While one channel fails, the sender retries again and again; the other channels are reminded once in this time.
_RETRIED_SECONDS = 3600
# Beyond this many alerts of a channel the oldest are forgotten: at worst they are delivered twice.
_MOST = 50_000


class Ledger:
    """Keeps the last delivered status of each alert, by channel; in memory, so that a restart forgets all.

    Args:
        remind_seconds: a notice that holds nothing new is a retry up to this age, and a reminder beyond.
        clock: seconds that only grow.
    """

    def __init__(self, remind_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._remind, self._clock = remind_seconds, clock
        self._delivered: dict[str, OrderedDict[str, tuple[Status, float]]] = {}

    def undelivered(self, channel: str, notice: Notice, others: Iterable[tuple[str, Notice]] = ()) -> Notice:
        """Return the part of a notice that is still to be delivered to a channel.

        That is what is new to it. A notice without anything new is a reminder and returned whole, unless it comes
        within `remind_seconds`, or one of the `others` still lacks its part: then it is a retry, and empty.
        """
        delivered: Mapping[str, tuple[Status, float]] = self._delivered.get(channel, {})
        new = notice.only(lambda alert: not _is_delivered(delivered, alert))
        if new.alerts or not notice.alerts:
            return new
        age = self._clock() - max(delivered[alert.key][1] for alert in notice.alerts)
        is_waited_for = age <= _RETRIED_SECONDS and any(self._lacks(*other) for other in others)
        return new if age <= self._remind or is_waited_for else notice

    def note(self, channel: str, notice: Notice) -> None:
        """Remember that a notice was delivered to a channel."""
        delivered, now = self._delivered.setdefault(channel, OrderedDict()), self._clock()
        for alert in notice.alerts:
            delivered.pop(alert.key, None)
            delivered[alert.key] = (alert.status, now)
        while len(delivered) > _MOST:
            delivered.popitem(last=False)

    def _lacks(self, channel: str, notice: Notice) -> bool:
        delivered: Mapping[str, tuple[Status, float]] = self._delivered.get(channel, {})
        return any(not _is_delivered(delivered, alert) for alert in notice.alerts)


def _is_delivered(delivered: Mapping[str, tuple[Status, float]], alert: Alert) -> bool:
    return alert.key in delivered and delivered[alert.key][0] == alert.status
