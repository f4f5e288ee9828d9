"""Breaches of SLOs as Prefect events, for automations to act on; that they cannot be emitted stops nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from ai_workflow.alerting.breaches import Breaches, Change
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

# Who posts does not post again for hours: a Prefect that restarts meanwhile must not miss the event.
_TRIES = (0.0, 2.0, 10.0, 60.0, 300.0)
_TIMEOUT = 10.0
_MOST_WAITING = 1000
log = logger("relay")


class Events:
    """Emits `ai-workflow.slo.breached` and `ai-workflow.slo.resolved`, one after the other.

    Args:
        tries: seconds to wait before each try.
    """

    def __init__(self, tries: tuple[float, ...] = _TRIES) -> None:
        self._breaches, self._tries = Breaches(), tries
        self._queue: asyncio.Queue[Change] = asyncio.Queue(_MOST_WAITING)
        counter = metrics.get("slo_events_total")
        self._emitted, self._failed = counter.labels("emitted"), counter.labels("failed")
        self._at_work = asyncio.get_running_loop().create_task(self._work())

    def see(self, notice: Notice) -> None:
        """Have what has changed with a notice emitted; returns at once."""
        for change in self._breaches.see(notice):
            try:
                self._queue.put_nowait(change)
            except asyncio.QueueFull:
                self._give_up(change, "too many wait already")

    async def close(self) -> None:
        """Stop; what waits is not emitted."""
        self._at_work.cancel()
        await asyncio.wait([self._at_work])

    async def _work(self) -> None:
        while True:
            change = await self._queue.get()
            problem = ""
            for pause in self._tries:
                await asyncio.sleep(pause)
                problem = await _emitted(change)
                if not problem:
                    break
            if problem:
                self._give_up(change, problem)
            else:
                self._emitted.inc()
                log.info("event ai-workflow.slo.%s for %s", change.kind, change.resource.id)

    def _give_up(self, change: Change, problem: str) -> None:
        self._failed.inc()
        self._breaches.forget(change)
        log.error(
            "event ai-workflow.slo.%s for %s was not emitted, automations do not act on it: %s",
            change.kind, change.resource.id, problem,
        )  # fmt: skip


def is_possible() -> bool:
    """Whether a Prefect API is configured; unasked, Prefect would start one."""
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


async def _emitted(change: Change) -> str:
    """Emit one event, and return what is wrong, or nothing."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            await _emit(change)
    except TimeoutError:
        return f"no answer from Prefect within {_TIMEOUT:g} s"
    except Exception as error:  # whatever keeps Prefect from taking it
        return clean(f"{type(error).__name__}: {error}", 300)
    return ""


async def _emit(change: Change) -> None:
    from prefect.events.clients import get_events_client
    from prefect.events.schemas.events import Event

    resource: Any = change.resource.as_prefect(change.alert.severity)
    event = Event(id=change.id, event=f"ai-workflow.slo.{change.kind}", resource=resource, payload=change.payload())
    # Every event is confirmed: the client would otherwise say nothing where it is lost.
    async with get_events_client(reconnection_attempts=0, checkpoint_every=1) as client:
        await client.emit(event)
