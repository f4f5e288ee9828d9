"""What a channel is to those who deliver: `send`, which returns once the vendor has said that it has the message."""

from __future__ import annotations

from typing import Protocol

from ai_workflow.errors import AiWorkflowError
from monitoring.relay.notice import Notice


class Undelivered(AiWorkflowError):
    """The vendor could not be reached, or its answer is none: sent again, the message may arrive."""


class Refused(Undelivered):
    """The vendor has answered, and does not take the message: someone must look at the channel's settings."""


class TooFast(Undelivered):
    """The vendor wants fewer messages.

    Args:
        seconds: how long it wants none.
    """

    def __init__(self, said: str, seconds: float) -> None:
        super().__init__(said)
        self.seconds = seconds


class Vendor(Protocol):
    """A way to one chat."""

    async def send(self, notice: Notice) -> None:
        """Send one message.

        Raises:
            Undelivered: it is not known to have arrived.
        """

    async def close(self) -> None:
        """Let go of connections."""
