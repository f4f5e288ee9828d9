"""SLO breaches as Prefect events for automations.

A failure to emit them does not affect the chat channels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ai_workflow.alerting.breaches import BreachChange, Breaches
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

# Alertmanager does not repeat a notification for hours, so retries must outlast a restart of Prefect.
_RETRY_DELAYS = (0.0, 2.0, 10.0, 60.0, 300.0)
_TIMEOUT_SECONDS = 10.0
_MAX_QUEUE_LENGTH = 1000
log = logger("relay")


class EventEmitter:
    """Emitter of `ai-workflow.slo.breached` and `ai-workflow.slo.resolved`, one after the other.

    Args:
        retry_delays: seconds to wait before each attempt.
        labels: labels of the resource of each event, such as its environment.
    """

    def __init__(
        self, retry_delays: tuple[float, ...] = _RETRY_DELAYS, labels: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._labels = labels
        self._breaches, self._retry_delays = Breaches(), retry_delays
        self._queue: asyncio.Queue[BreachChange] = asyncio.Queue(_MAX_QUEUE_LENGTH)
        counter = metrics.get("slo_events_total")
        self._emitted, self._failed = counter.labels("emitted"), counter.labels("failed")
        self._task = asyncio.get_running_loop().create_task(self._run())

    def publish(self, notification: Notification) -> None:
        """Queue the events that a notification causes, without waiting for Prefect."""
        for change in self._breaches.update(notification):
            try:
                self._queue.put_nowait(change)
            except asyncio.QueueFull:
                self._give_up(change, "the queue is full")

    async def close(self) -> None:
        """Stop. Queued events are not emitted."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            change = await self._queue.get()
            problem = ""
            for pause in self._retry_delays:
                await asyncio.sleep(pause)
                problem = await _try_emit(change, self._labels)
                if not problem:
                    break
            if problem:
                self._give_up(change, problem)
            else:
                self._emitted.inc()
                log.info("event ai-workflow.slo.%s for %s", change.kind, change.resource.id)

    def _give_up(self, change: BreachChange, problem: str) -> None:
        self._failed.inc()
        self._breaches.forget(change)
        log.error(
            "event ai-workflow.slo.%s for %s was not emitted, so no automation reacts to it: %s",
            change.kind, change.resource.id, problem,
        )  # fmt: skip


def is_api_configured() -> bool:
    """Return whether a Prefect API is configured. Without one, Prefect would start a temporary server."""
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


async def _try_emit(change: BreachChange, labels: Mapping[str, str]) -> str:
    """Emit one event; return the problem, or an empty text."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await _emit(change, labels)
    except TimeoutError:
        return f"no response from Prefect within {_TIMEOUT_SECONDS:g} s"
    except Exception as error:
        return clean(f"{type(error).__name__}: {error}", 300)
    return ""


async def _emit(change: BreachChange, labels: Mapping[str, str]) -> None:
    from prefect.events.clients import get_events_client
    from prefect.events.schemas.events import Event

    resource: Any = {**change.resource.as_prefect(change.alert.severity), **labels}
    event = Event(id=change.id, event=f"ai-workflow.slo.{change.kind}", resource=resource, payload=change.payload())
    # With a checkpoint for every event, the client raises an error if the event is lost.
    async with get_events_client(reconnection_attempts=0, checkpoint_every=1) as client:
        await client.emit(event)
