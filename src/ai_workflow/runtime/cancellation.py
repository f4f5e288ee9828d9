"""A request to stop, heard between two steps: what is done is saved first, and the next run goes on from there."""

from __future__ import annotations

import signal

from ai_workflow.errors import Interrupted

IN_CACHE_KEY = False
_number: int | None = None


def request(number: int) -> None:
    """Ask the work of this process to stop, on behalf of a signal."""
    global _number  # noqa: PLW0603
    _number = number


def requested() -> bool:
    """Say whether a stop has been asked for."""
    return _number is not None


def clear() -> None:
    """Forget the request, once it has been obeyed."""
    global _number  # noqa: PLW0603
    _number = None


def check(done: str = "what is finished is kept") -> None:
    """Stop here if that has been asked for.

    Args:
        done: what is saved, for the message.

    Raises:
        Interrupted: a stop has been asked for.
    """
    if _number is not None:
        raise Interrupted(f"stopped by {signal.Signals(_number).name}: {done}. The same command goes on from there")
