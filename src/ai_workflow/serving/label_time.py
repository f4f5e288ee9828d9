"""Timestamps of labels in requests: ISO 8601, in UTC if without a zone, or seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

# Tolerance for clocks that differ.
_MAX_AHEAD_SECONDS = 300.0


class LabelTimeError(ValueError):
    """The timestamp of a label is unreadable or out of range."""


def parse_label_time(value: Any, now: float) -> float:
    """Return a timestamp in seconds since 1970; one that is slightly ahead of the clock becomes `now`.

    A label with a later timestamp would override the labels of the next minutes.

    Raises:
        LabelTimeError: it is no timestamp, or lies before 1970 or in the future.
    """
    if isinstance(value, str):
        try:
            timestamp = datetime.fromisoformat(value)
            seconds = (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise LabelTimeError("is not a date (ISO 8601)") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise LabelTimeError("is neither a date (ISO 8601) nor seconds since 1970")
    if not 0 <= seconds <= now + _MAX_AHEAD_SECONDS:
        raise LabelTimeError("lies before 1970" if seconds < 0 else "lies in the future")
    return min(seconds, now)
