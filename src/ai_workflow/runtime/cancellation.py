"""Stop requests, checked between two steps: progress is saved first, and the next run resumes from it."""

from __future__ import annotations

import signal

from ai_workflow.errors import RunInterruptedError

IN_CACHE_KEY = False
_number: int | None = None


def request(number: int) -> None:
    """Request that the work of this process stops, because of a signal."""
    global _number  # noqa: PLW0603
    _number = number


def is_requested() -> bool:
    """Return whether a stop was requested."""
    return _number is not None


def clear() -> None:
    """Clear the request after the work has stopped."""
    global _number  # noqa: PLW0603
    _number = None


def check(done: str = "what is finished is kept") -> None:
    """Raise if a stop was requested.

    Args:
        done: what is saved, for the message.

    Raises:
        RunInterruptedError: a stop was requested.
    """
    if _number is not None:
        raise RunInterruptedError(
            f"stopped by {signal.Signals(_number).name}: {done}. The same command goes on from there"
        )
