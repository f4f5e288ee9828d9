"""How long a vendor that refuses a message as too many wants none: headers and JSON of its answer -> seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

# A vendor that names no time.
DEFAULT_SECONDS = 6.0
# The longest wait for one answer: a page must not wait for days because of a wrong header.
MAX_SECONDS = 3600.0
_MAX_ANSWER_BYTES = 64 * 1024
_HEADERS = ("x-ratelimit-reset-after", "x-ogw-ratelimit-reset")


def seconds(headers: Mapping[str, str], body: bytes) -> float | None:
    """Return the seconds until the next message may go, at most MAX_SECONDS; None where the answer names none.

    Read are `Retry-After` (seconds or a date), `X-RateLimit-Reset-After` (Discord), `X-Ogw-Ratelimit-Reset` (Feishu),
    and in the JSON `retry_after` (Discord, Slack), `parameters.retry_after` (Telegram), `retry_after_ms` (Matrix).
    The longest counts.
    """
    named = [value for value in (*_in_headers(headers), *_in_body(body)) if value is not None and value >= 0]
    return min(MAX_SECONDS, max(named)) if named else None


def after_success(headers: Mapping[str, str]) -> float:
    """Return the seconds that a vendor wants no message after one that it took: none are left in its window."""
    if (_number(headers.get("x-ratelimit-remaining")) or 0.0) > 0 or "x-ratelimit-remaining" not in headers:
        return 0.0
    return min(MAX_SECONDS, max(0.0, _number(headers.get("x-ratelimit-reset-after")) or 0.0))


def _in_headers(headers: Mapping[str, str]) -> Iterator[float | None]:
    after = headers.get("retry-after", "")
    yield _number(after)
    yield _until(after, headers.get("date", ""))
    for name in _HEADERS:
        yield _number(headers.get(name))


def _in_body(body: bytes) -> Iterator[float | None]:
    try:
        answer: Any = orjson.loads(body[:_MAX_ANSWER_BYTES])
    except orjson.JSONDecodeError:
        return
    if not isinstance(answer, dict):
        return
    yield _number(answer.get("retry_after"))
    milliseconds = _number(answer.get("retry_after_ms"))
    yield milliseconds / 1000 if milliseconds is not None else None
    parameters = answer.get("parameters")
    if isinstance(parameters, dict):
        yield _number(parameters.get("retry_after"))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if not math.isnan(number) else None


def _until(date: str, now: str) -> float | None:
    """Return the seconds to a date, on the clock of the vendor where its answer shows it."""
    until = _date(date)
    if until is None:
        return None
    return max(0.0, (until - (_date(now) or datetime.now(UTC))).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
