"""The moment of a label, as a caller may write it: ISO 8601, in UTC where it names no zone, or seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

# Clocks differ, but not by more.
_AHEAD_SECONDS = 300.0


class LabelTimeError(ValueError):
    """It is no moment at which a label can have become known."""


def epoch(given: Any, now: float) -> float:
    """Return the moment in seconds since 1970; one that is slightly ahead of the clock becomes `now`.

    A label with a later time would win over the labels of the next minutes.

    Raises:
        LabelTimeError: it is neither, or lies before 1970 or in the future.
    """
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise LabelTimeError("is not a date (ISO 8601)") from None
    elif isinstance(given, int | float) and not isinstance(given, bool):
        seconds = float(given)
    else:
        raise LabelTimeError("is neither a date (ISO 8601) nor seconds since 1970")
    if not 0 <= seconds <= now + _AHEAD_SECONDS:
        raise LabelTimeError("lies before 1970" if seconds < 0 else "lies in the future")
    return min(seconds, now)
