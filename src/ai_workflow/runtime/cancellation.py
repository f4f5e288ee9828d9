"""Stop requests, checked between steps after progress is saved; the next run resumes from it."""

from __future__ import annotations

import signal

from ai_workflow.errors import RunInterruptedError

IN_CACHE_KEY = False
_signal: int | None = None


def request(number: int) -> None:
    """Request a stop of the work of this process because of a signal."""
    global _signal  # noqa: PLW0603
    _signal = number


def is_requested() -> bool:
    """Return whether a stop was requested."""
    return _signal is not None


def clear() -> None:
    """Clear the request after the work has stopped."""
    global _signal  # noqa: PLW0603
    _signal = None


def check(saved: str = "progress was saved") -> None:
    """Raise if a stop was requested.

    Args:
        saved: the saved progress, for the message.

    Raises:
        RunInterruptedError: a stop was requested.
    """
    if _signal is not None:
        raise RunInterruptedError(
            f"interrupted by {signal.Signals(_signal).name}: {saved}. Rerun the same command to resume"
        )
