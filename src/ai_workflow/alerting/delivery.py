"""Concurrent delivery of a notification to all channels.

Each channel receives only the alerts that it lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.outbox import ChannelState, Outbox
from ai_workflow.config.settings.chat import Relay
from ai_workflow.telemetry.logs import logger

log = logger("relay")


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """Result of a delivery.

    Attributes:
        delivered: names of the channels that received all alerts that they accept.
        failed: the problem of each other channel, by its name.
        unreached: names of the alerts that no configured channel accepts.
    """

    delivered: tuple[str, ...]
    failed: dict[str, str]
    unreached: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["delivered", "failed", "no_channel"]:
        """The label `result` in metrics. `failed` wins, because the sender must send the webhook again."""
        if self.failed:
            return "failed"
        return "no_channel" if self.unreached else "delivered"


class Delivery:
    """Sender of notifications to all channels.

    Args:
        relay: its `answer_seconds` limit how long a sender waits.
        delivery_log: delivered alerts by channel.
        outboxes: one for each channel.
    """

    def __init__(self, relay: Relay, delivery_log: DeliveryLog, outboxes: Sequence[Outbox]) -> None:
        self._relay, self._delivery_log, self._outboxes = relay, delivery_log, outboxes

    def has_channel(self, channel: str) -> bool:
        """Return whether a channel of this name is configured."""
        return any(outbox.channel.name == channel for outbox in self._outboxes)

    def states(self) -> dict[str, ChannelState]:
        """Return the state of each channel by name."""
        return {outbox.channel.name: outbox.state for outbox in self._outboxes}

    async def deliver(self, notification: Notification, channel: str | None = None) -> DeliveryResult:
        """Send a notification to every channel that accepts its severity, or to the named one.

        Return when all channels have responded, or after `relay.answer_seconds`.
        """
        outboxes = [outbox for outbox in self._outboxes if channel is None or outbox.channel.name == channel]
        parts = [(outbox, part) for outbox in outboxes if (part := notification.filter(outbox.accepts)).alerts]
        unreached = notification.filter(lambda alert: not any(outbox.accepts(alert) for outbox in self._outboxes))
        if unreached.alerts:
            log.error(
                "no chat channel accepts severity %s%s: %s reaches no channel",
                _severities(unreached),
                _of_pipelines(unreached),
                notification.group,
            )
        considered = outboxes if channel else self._outboxes
        problems = await asyncio.gather(
            *(self._deliver(outbox, part, notification, considered) for outbox, part in parts)
        )
        results = {outbox.channel.name: problem for (outbox, _), problem in zip(parts, problems, strict=True)}
        return DeliveryResult(
            delivered=tuple(name for name, problem in results.items() if not problem),
            failed={name: problem for name, problem in results.items() if problem},
            unreached=tuple(dict.fromkeys(alert.name for alert in unreached.alerts)),
        )

    async def close(self) -> None:
        """Stop all channels."""
        await asyncio.gather(*(outbox.close() for outbox in self._outboxes))

    async def _deliver(
        self, outbox: Outbox, part: Notification, notification: Notification, outboxes: Sequence[Outbox]
    ) -> str:
        waiting = [
            (other.channel.name, notification.filter(other.accepts)) for other in outboxes if other is not outbox
        ]
        undelivered = self._delivery_log.undelivered(outbox.channel.name, part, waiting)
        return await outbox.deliver(undelivered, self._relay.answer_seconds) if undelivered.alerts else ""


def _severities(notification: Notification) -> str:
    return ", ".join(sorted({alert.severity or "none" for alert in notification.alerts}))


def _of_pipelines(notification: Notification) -> str:
    names = sorted({alert.labels["pipeline"] for alert in notification.alerts if "pipeline" in alert.labels})
    return f" of pipeline {', '.join(names)}" if names else ""
