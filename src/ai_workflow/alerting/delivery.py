"""One notice to all channels at the same time: none waits for another, and each is told what it has not heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ai_workflow.alerting.delivery_log import Ledger
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.config.settings.chat import Relay
from ai_workflow.telemetry.logs import logger

log = logger("relay")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The channels that have received all of it, those that have not, and why.

    `unreached` are the names of the alerts that no configured channel takes.
    """

    told: tuple[str, ...]
    failed: dict[str, str]
    unreached: tuple[str, ...] = ()

    @property
    def result(self) -> Literal["delivered", "failed", "no_channel"]:
        """How the webhook counts: `failed` first, as its sender must send it again."""
        if self.failed:
            return "failed"
        return "no_channel" if self.unreached else "delivered"


class Delivery:
    """All channels.

    Args:
        relay: how long a sender waits.
        ledger: remembers who was told what.
        outboxes: one for each channel.
    """

    def __init__(self, relay: Relay, ledger: Ledger, outboxes: Sequence[Outbox]) -> None:
        self._relay, self._ledger, self._outboxes = relay, ledger, outboxes

    def knows(self, channel: str) -> bool:
        """Whether there is such a channel."""
        return any(box.channel.name == channel for box in self._outboxes)

    async def deliver(self, notice: Notice, channel: str | None = None) -> Outcome:
        """Send a notice to every channel that takes its severity, or to the named one.

        Return when all channels have answered, or after `relay.answer_seconds`.
        """
        boxes = [box for box in self._outboxes if channel is None or box.channel.name == channel]
        wanted = [(box, part) for box in boxes if (part := notice.only(box.takes)).alerts]
        lost = notice.only(lambda alert: not any(box.takes(alert) for box in self._outboxes))
        if lost.alerts:
            log.error("no chat channel takes severity %s: %s reaches no channel", _severities(lost), notice.group)
        others = boxes if channel else self._outboxes
        problems = await asyncio.gather(*(self._tell(box, part, notice, others) for box, part in wanted))
        told = tuple(box.channel.name for (box, _), problem in zip(wanted, problems, strict=True) if not problem)
        failed = {box.channel.name: problem for (box, _), problem in zip(wanted, problems, strict=True) if problem}
        return Outcome(told, failed, tuple(dict.fromkeys(alert.name for alert in lost.alerts)))

    async def close(self) -> None:
        """Stop all channels."""
        await asyncio.gather(*(box.close() for box in self._outboxes))

    async def _tell(self, box: Outbox, part: Notice, whole: Notice, others: Sequence[Outbox]) -> str:
        waiting = [(other.channel.name, whole.only(other.takes)) for other in others if other is not box]
        undelivered = self._ledger.undelivered(box.channel.name, part, waiting)
        return await box.deliver(undelivered, self._relay.answer_seconds) if undelivered.alerts else ""


def _severities(notice: Notice) -> str:
    return ", ".join(sorted({alert.severity or "none" for alert in notice.alerts}))
