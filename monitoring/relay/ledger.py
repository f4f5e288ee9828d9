"""Which channel was told what: so that a retry reaches those that missed it, and only them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from monitoring.relay.notice import Alert, Notice, Status

# While a channel cannot be told, the sender tries again and again; the others are reminded so often at most.
_RETRIED_SECONDS = 3600
# Beyond this many alerts of a channel the oldest are forgotten: at worst they are told twice.
_MOST = 50_000


class Ledger:
    """Keeps, for each channel and alert, the last word it was told; in memory: after a restart nothing was.

    Args:
        remind_seconds: a notice that holds nothing new is a retry up to this age, and a reminder beyond.
        clock: seconds that only grow.
    """

    def __init__(self, remind_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._remind, self._clock = remind_seconds, clock
        self._told: dict[str, OrderedDict[str, tuple[Status, float]]] = {}

    def untold(self, channel: str, notice: Notice, others: Iterable[tuple[str, Notice]] = ()) -> Notice:
        """Return what the channel must still be told of a notice.

        That is what is new to it. Nothing new at all is a reminder, and told as a whole, unless it comes so soon, or
        one of the `others` still lacks its part of it: then somebody tries again.
        """
        told: Mapping[str, tuple[Status, float]] = self._told.get(channel, {})
        new = notice.only(lambda alert: not _is_told(told, alert))
        if new.alerts or not notice.alerts:
            return new
        age = self._clock() - max(told[alert.key][1] for alert in notice.alerts)
        is_waited_for = age <= _RETRIED_SECONDS and any(self._lacks(*other) for other in others)
        return new if age <= self._remind or is_waited_for else notice

    def note(self, channel: str, notice: Notice) -> None:
        """Remember that the channel was told."""
        told, now = self._told.setdefault(channel, OrderedDict()), self._clock()
        for alert in notice.alerts:
            told.pop(alert.key, None)
            told[alert.key] = (alert.status, now)
        while len(told) > _MOST:
            told.popitem(last=False)

    def _lacks(self, channel: str, notice: Notice) -> bool:
        told: Mapping[str, tuple[Status, float]] = self._told.get(channel, {})
        return any(not _is_told(told, alert) for alert in notice.alerts)


def _is_told(told: Mapping[str, tuple[Status, float]], alert: Alert) -> bool:
    return alert.key in told and told[alert.key][0] == alert.status
