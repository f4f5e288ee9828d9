"""What a channel is to those who deliver: `send`, which returns once the vendor has said that it has the message."""

from __future__ import annotations

from typing import Protocol

from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.errors import AiWorkflowError


class Undelivered(AiWorkflowError):
    """The vendor could not be reached, or its answer is none: sent again, the message may arrive."""


class Refused(Undelivered):
    """The vendor has answered, and does not take the message: someone must look at the channel's settings."""


class TooFast(Undelivered):
    """The vendor refuses the message as too many.

    Args:
        seconds: how long it wants none.
    """

    def __init__(self, said: str, seconds: float) -> None:
        super().__init__(said)
        self.seconds = seconds


class Vendor(Protocol):
    """A way to one chat."""

    async def send(self, notice: Notice) -> float | None:
        """Send one message, and return the seconds that the vendor wants no other, if it names them.

        Raises:
            Undelivered: it is not known to have arrived.
        """

    async def close(self) -> None:
        """Close the connections."""
