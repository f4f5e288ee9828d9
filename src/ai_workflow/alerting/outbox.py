"""Outgoing messages of one channel, sent in order within its rate limit.

Queued notifications are merged.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from ai_workflow.alerting.channels.channel import ChatBackend, DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import MAX_ALERTS, Alert, Notification, Status, merge
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.alerting.rate_limiter import RateLimiter
from ai_workflow.config.settings.chat import SEVERITIES, Channel
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

RESULTS = ("delivered", "failed", "refused")
log = logger("relay")

# Alert key and status.
_AlertStatus = tuple[str, Status]


@dataclass(frozen=True, slots=True)
class ChannelState:
    """State of a channel since its last delivered message.

    Attributes:
        pending: alerts that are queued or being sent.
        problem: why the last message was not delivered; empty if it was.
        failing_since: time of the first failure after the last delivered message, in seconds since the epoch.
    """

    pending: int
    problem: str = ""
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class _QueueEntry:
    notification: Notification
    result: asyncio.Future[str]


class Outbox:
    """Queue of the notifications for one channel.

    Args:
        channel: settings of the channel.
        backend: client of the chat.
        delivery_log: delivered alerts by channel.
    """

    def __init__(self, channel: Channel, backend: ChatBackend, delivery_log: DeliveryLog) -> None:
        self.channel, self._backend, self._delivery_log = channel, backend, delivery_log
        self._rate_limiter = RateLimiter(channel.per_minute)
        self._queue: deque[_QueueEntry] = deque()
        self._pending: dict[_AlertStatus, asyncio.Future[str]] = {}
        self._has_entries = asyncio.Event()
        self._seconds = metrics.get("alert_delivery_seconds").labels(channel.name)
        self._results = {result: metrics.get("alert_delivery_total").labels(channel.name, result) for result in RESULTS}
        self._problem = ""
        self._failing_since: float | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def state(self) -> ChannelState:
        """Whether alerts wait, and why the last message was not delivered."""
        return ChannelState(len(self._pending), self._problem, self._failing_since)

    def accepts(self, alert: Alert) -> bool:
        """Return whether the channel accepts this severity and pipeline; it accepts any unknown severity."""
        pipelines = self.channel.pipelines
        if pipelines and alert.labels.get("pipeline") not in pipelines:
            return False
        return alert.severity not in SEVERITIES or alert.severity in self.channel.severities

    async def deliver(self, notification: Notification, seconds: float) -> str:
        """Deliver a notification; return the problem, or an empty text.

        Alerts that are already queued are awaited and not sent again. After `seconds` the result is a problem, but
        the notification stays queued.
        """
        new = notification.filter(lambda alert: _alert_status(alert) not in self._pending)
        results = {self._pending[key] for key in map(_alert_status, notification.alerts) if key in self._pending}
        if new.alerts:
            results.add(self._put(new))
        done, unfinished = await asyncio.wait(results, timeout=seconds)
        problems = sorted({problem for result in done if (problem := result.result())})
        if unfinished:
            problems.append("still waiting to be sent")
        return "; ".join(problems)

    async def close(self) -> None:
        """Stop. Queued notifications are not sent; their senders received an error and repeat them."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._backend.close()

    def _put(self, notification: Notification) -> asyncio.Future[str]:
        result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.append(_QueueEntry(notification, result))
        for alert in notification.alerts:
            # If the opposite status is reported after this one, it must be sent again.
            self._pending.pop(_opposite_status(alert), None)
            self._pending[_alert_status(alert)] = result
        self._has_entries.set()
        return result

    def _requeue(self, notification: Notification) -> None:
        """Queue a notification again, whether or not its senders repeat it.

        It is put before the queued ones, because they hold the newer status of an alert.
        """
        result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.appendleft(_QueueEntry(notification, result))
        for alert in notification.alerts:
            if _opposite_status(alert) not in self._pending:
                self._pending.setdefault(_alert_status(alert), result)
        self._has_entries.set()

    async def _run(self) -> None:
        while True:
            await self._has_entries.wait()
            await self._rate_limiter.wait()
            batch = self._next_batch()
            notification = merge(entry.notification for entry in batch)
            problem, is_rate_limited = await self._send(notification)
            for entry in batch:
                if not problem:
                    self._delivery_log.record(self.channel.name, entry.notification)
                for key in map(_alert_status, entry.notification.alerts):
                    if self._pending.get(key) is entry.result:
                        del self._pending[key]
            if is_rate_limited:
                self._requeue(notification)
            for entry in batch:
                entry.result.set_result(problem)

    def _next_batch(self) -> list[_QueueEntry]:
        """Return the queued notifications for the next message, limited by their number of alerts."""
        batch: list[_QueueEntry] = []
        free = MAX_ALERTS
        while self._queue and (not batch or len(self._queue[0].notification.alerts) <= free):
            batch.append(self._queue.popleft())
            free -= len(batch[-1].notification.alerts)
        if not self._queue:
            self._has_entries.clear()
        return batch

    async def _send(self, notification: Notification) -> tuple[str, bool]:
        """Send one message.

        Return the problem or an empty text, and whether the message must be sent again.
        """
        started = time.monotonic()
        result = "failed"
        problem = ""
        is_rate_limited = False
        try:
            async with asyncio.timeout(self.channel.timeout_seconds):
                wait = await self._backend.send(notification)
            self._rate_limiter.pause(wait or 0.0)
            result = "delivered"
        except TimeoutError:
            problem = f"no response within {self.channel.timeout_seconds:g} s"
        except RateLimitedError as error:
            problem = f"rate limited for {error.seconds:.3g} s: {error}"
            is_rate_limited = True
            self._rate_limiter.pause(error.seconds)
        except RejectedError as error:
            result, problem = "refused", str(error)
        except DeliveryError as error:
            problem = str(error)
        except Exception as error:  # A bug in a backend must not stop the channel.
            log.exception("chat channel '%s' failed with an unexpected error", self.channel.name)
            problem = type(error).__name__
        self._seconds.observe(time.monotonic() - started)
        self._results[result].inc()
        problem = clean(problem, 400)
        self._problem = problem
        self._failing_since = (self._failing_since or time.time()) if problem else None
        if problem:
            log.error("chat channel '%s' did not receive %s: %s", self.channel.name, _names(notification), problem)
        else:
            log.info("chat channel '%s' received %s", self.channel.name, _names(notification))
        return problem, is_rate_limited


def _alert_status(alert: Alert) -> _AlertStatus:
    return alert.key, alert.status


def _opposite_status(alert: Alert) -> _AlertStatus:
    return alert.key, "resolved" if alert.is_firing else "firing"


def _names(notification: Notification) -> str:
    names = list(dict.fromkeys(f"{alert.name} ({alert.status})" for alert in notification.alerts))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
