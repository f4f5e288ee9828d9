"""One channel's outgoing messages: sent one after the other at its pace; what waits meanwhile becomes one message."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from ai_workflow.alerting.channels.channel import Refused, TooFast, Undelivered, Vendor
from ai_workflow.alerting.delivery_log import Ledger
from ai_workflow.alerting.messages.notification import MAX_ALERTS, Alert, Notice, Status, merged
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.alerting.rate_limiter import Pace
from ai_workflow.config.settings.chat import Channel
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

RESULTS = ("delivered", "failed", "refused")
log = logger("relay")

_Word = tuple[str, Status]


@dataclass(frozen=True, slots=True)
class _Waiting:
    notice: Notice
    outcome: asyncio.Future[str]


class Outbox:
    """The messages that are still to be sent to one channel.

    Args:
        channel: its settings.
        vendor: what writes to it.
        ledger: remembers what was delivered.
    """

    def __init__(self, channel: Channel, vendor: Vendor, ledger: Ledger) -> None:
        self.channel, self._vendor, self._ledger = channel, vendor, ledger
        self._pace = Pace(channel.per_minute)
        self._waiting: deque[_Waiting] = deque()
        self._under_way: dict[_Word, asyncio.Future[str]] = {}
        self._some = asyncio.Event()
        self._seconds = metrics.get("alert_delivery_seconds").labels(channel.name)
        self._results = {result: metrics.get("alert_delivery_total").labels(channel.name, result) for result in RESULTS}
        self._at_work = asyncio.get_running_loop().create_task(self._work())

    def takes(self, alert: Alert) -> bool:
        """Return whether the channel takes alerts of this severity; those of an unknown severity go to all channels."""
        known = alert.severity in ("page", "ticket", "chat")
        return not known or alert.severity in self.channel.severities

    async def deliver(self, notice: Notice, seconds: float) -> str:
        """Deliver a notice; return the problem, or an empty text.

        What another sender has brought already is waited for, not sent again. What takes longer than `seconds` is
        still sent.
        """
        fresh = notice.only(lambda alert: _word(alert) not in self._under_way)
        waits = {self._under_way[word] for word in map(_word, notice.alerts) if word in self._under_way}
        if fresh.alerts:
            waits.add(self._put(fresh))
        done, late = await asyncio.wait(waits, timeout=seconds)
        problems = sorted({problem for one in done if (problem := one.result())})
        if late:
            problems.append("still waiting to be sent")
        return "; ".join(problems)

    async def close(self) -> None:
        """Stop; what waits is not sent, and its senders got no success."""
        self._at_work.cancel()
        await asyncio.wait([self._at_work])
        await self._vendor.close()

    def _put(self, notice: Notice) -> asyncio.Future[str]:
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(notice, outcome))
        for alert in notice.alerts:
            # A status that comes again after this one is news.
            self._under_way.pop(_opposite(alert), None)
            self._under_way[_word(alert)] = outcome
        self._some.set()
        return outcome

    def _hold(self, notice: Notice) -> None:
        """Send a notice again later, whether or not its senders try again.

        It is put before what came meanwhile, which holds the newer status of an alert.
        """
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.appendleft(_Waiting(notice, outcome))
        for alert in notice.alerts:
            if _opposite(alert) not in self._under_way:
                self._under_way.setdefault(_word(alert), outcome)
        self._some.set()

    async def _work(self) -> None:
        while True:
            await self._some.wait()
            await self._pace.wait()
            batch = self._take()
            problem, is_held_back = await self._send(merged(one.notice for one in batch))
            for one in batch:
                if not problem:
                    self._ledger.note(self.channel.name, one.notice)
                for word in map(_word, one.notice.alerts):
                    if self._under_way.get(word) is one.outcome:
                        del self._under_way[word]
            if is_held_back:
                self._hold(merged(one.notice for one in batch))
            for one in batch:
                one.outcome.set_result(problem)

    def _take(self) -> list[_Waiting]:
        """Return what becomes the next message: all that waits, up to a number of alerts."""
        batch: list[_Waiting] = []
        room = MAX_ALERTS
        while self._waiting and (not batch or len(self._waiting[0].notice.alerts) <= room):
            batch.append(self._waiting.popleft())
            room -= len(batch[-1].notice.alerts)
        if not self._waiting:
            self._some.clear()
        return batch

    async def _send(self, notice: Notice) -> tuple[str, bool]:
        """Send one message; return what is wrong, or nothing, and whether it must be sent again later."""
        began = time.monotonic()
        result = "failed"
        problem = ""
        is_held_back = False
        try:
            async with asyncio.timeout(self.channel.timeout_seconds):
                wait = await self._vendor.send(notice)
            self._pace.pause(wait or 0.0)
            result = "delivered"
        except TimeoutError:
            problem = f"no answer within {self.channel.timeout_seconds:g} s"
        except TooFast as error:
            problem = f"too many messages, held back for {error.seconds:.3g} s: {error}"
            is_held_back = True
            self._pace.pause(error.seconds)
        except Refused as error:
            result, problem = "refused", str(error)
        except Undelivered as error:
            problem = str(error)
        except Exception as error:  # a plugin's own mistake must not end the channel
            log.exception("chat channel '%s' failed for a reason of its own", self.channel.name)
            problem = type(error).__name__
        self._seconds.observe(time.monotonic() - began)
        self._results[result].inc()
        problem = clean(problem, 400)
        if problem:
            log.error("chat channel '%s' did not receive %s: %s", self.channel.name, _names(notice), problem)
        else:
            log.info("chat channel '%s' received %s", self.channel.name, _names(notice))
        return problem, is_held_back


def _word(alert: Alert) -> _Word:
    return alert.key, alert.status


def _opposite(alert: Alert) -> _Word:
    return alert.key, "resolved" if alert.is_firing else "firing"


def _names(notice: Notice) -> str:
    names = list(dict.fromkeys(f"{alert.name} ({alert.status})" for alert in notice.alerts))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
