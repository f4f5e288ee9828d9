"""Interface and errors of chat backends."""

from __future__ import annotations

from typing import Protocol

from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.errors import AiWorkflowError


class DeliveryError(AiWorkflowError):
    """The vendor could not be reached, or its response is invalid. A retry may succeed."""


class RejectedError(DeliveryError):
    """The vendor rejected the message. The settings of the channel must be changed."""


class RateLimitedError(DeliveryError):
    """The vendor rejected the message because of a rate limit.

    Args:
        message: the error.
        seconds: delay until the next message.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class ChatBackend(Protocol):
    """Client of one chat."""

    async def send(self, notification: Notification) -> float | None:
        """Send one message.

        Return the delay in seconds that the vendor demands before the next one, if any.

        Raises:
            DeliveryError: the vendor did not confirm the message.
        """

    async def close(self) -> None:
        """Close the connections."""
