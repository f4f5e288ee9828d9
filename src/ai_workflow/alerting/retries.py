"""RetryQueue on behalf of Prefect automations, which post a webhook only once."""

from __future__ import annotations

import asyncio

from ai_workflow.alerting.delivery import Delivery
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.telemetry.logs import logger

_RETRY_DELAYS = (5.0, 15.0, 60.0, 300.0, 900.0)
_MAX_PENDING = 200
log = logger("relay")


class RetryQueue:
    """RetryQueue failed deliveries; channels that have the notification do not receive it again.

    Args:
        delivery: sends notifications to the channels.
        delays: seconds before each retry.
    """

    def __init__(self, delivery: Delivery, delays: tuple[float, ...] = _RETRY_DELAYS) -> None:
        self._delivery, self._delays = delivery, delays
        self._tasks: set[asyncio.Task[None]] = set()

    def schedule(self, notification: Notification) -> None:
        """Schedule retries of a notification without waiting for them."""
        if len(self._tasks) >= _MAX_PENDING:
            log.error(
                "%s did not reach every channel and is not retried: %d are pending", notification.group, _MAX_PENDING
            )
            return
        task = asyncio.get_running_loop().create_task(self._retry(notification), name=notification.group)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all retries, and log the notifications that are lost."""
        for task in self._tasks:
            log.error("%s did not reach every channel, and the relay stops", task.get_name())
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _retry(self, notification: Notification) -> None:
        for delay in self._delays:
            await asyncio.sleep(delay)
            result = await self._delivery.deliver(notification)
            if not result.failed:
                return
        log.error(
            "%s did not reach %s after %d retries", notification.group, ", ".join(result.failed), len(self._delays)
        )
