"""Tries again for a sender that does not: an automation of Prefect posts once, whatever it is answered."""

from __future__ import annotations

import asyncio

from ai_workflow.alerting.delivery import Delivery
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.telemetry.logs import logger

_PAUSES = (5.0, 15.0, 60.0, 300.0, 900.0)
_MOST = 200
log = logger("relay")


class Retries:
    """Delivers later what could not be delivered at once; what was told by then is not told again.

    Args:
        delivery: tells the channels.
        pauses: seconds before each try.
    """

    def __init__(self, delivery: Delivery, pauses: tuple[float, ...] = _PAUSES) -> None:
        self._delivery, self._pauses = delivery, pauses
        self._tasks: set[asyncio.Task[None]] = set()

    def later(self, notice: Notice) -> None:
        """Have a notice delivered later; returns at once."""
        if len(self._tasks) >= _MOST:
            log.error("%s was not told everywhere, and %d others wait already: given up", notice.group, _MOST)
            return
        task = asyncio.get_running_loop().create_task(self._again(notice), name=notice.group)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what waits, and say so: its sender does not bring it again."""
        for task in self._tasks:
            log.error("%s was not told everywhere, and the relay ends", task.get_name())
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _again(self, notice: Notice) -> None:
        for pause in self._pauses:
            await asyncio.sleep(pause)
            outcome = await self._delivery.deliver(notice)
            if not outcome.failed:
                return
        log.error(
            "%s was not told to %s, after %d more tries", notice.group, ", ".join(outcome.failed), len(self._pauses)
        )
