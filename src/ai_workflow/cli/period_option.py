"""The option `--at` of several commands: a time or a whole day, local without an offset."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from ai_workflow.errors import AiWorkflowError

_TIME = re.compile(r"^\d{2}(?P<minutes>:?\d{2})?(?P<seconds>:?\d{2})?")


def period(text: str) -> tuple[datetime, datetime]:
    """Return begin and end of a time or a day, in UTC; the current day ends now.

    Raises:
        AiWorkflowError: it is neither, or in the future.
    """
    now = datetime.now(UTC)
    try:
        begin = datetime.fromisoformat(text).astimezone(UTC)
        # Local midnight of the next day; a day with a clock change is not 24 hours long.
        end = (datetime.fromisoformat(text) + timedelta(days=1)).astimezone(UTC) if _is_day(text) else begin
    except (ValueError, OverflowError) as error:
        raise AiWorkflowError(
            f"--at {text} is not a time: write it as 2026-11-20T10:00, or as 2026-11-20 for the whole day"
        ) from error
    if begin > now:
        raise AiWorkflowError(f"--at {text} is in the future. Give an earlier time")
    return begin, min(end, now)


def span(text: str) -> tuple[datetime, datetime]:
    """Return begin and end of a day, hour, minute or second, in UTC: 10:00 is the minute that begins then.

    Raises:
        AiWorkflowError: it is not a time, or in the future.
    """
    begin, end = period(text)
    return begin, min(max(end, begin + _precision(text)), datetime.now(UTC))


def _precision(text: str) -> timedelta:
    """Return the unit of the last part of a time; zero for a day."""
    # fromisoformat accepts any character between day and time.
    time = "" if _is_day(text) else re.split(r"(?<=\d)[^\d-](?=\d{2})", text, maxsplit=1)[-1]
    parts = _TIME.match(time)
    if parts is None:
        return timedelta(0)
    return (
        timedelta(seconds=1) if parts["seconds"] else timedelta(minutes=1) if parts["minutes"] else timedelta(hours=1)
    )


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
