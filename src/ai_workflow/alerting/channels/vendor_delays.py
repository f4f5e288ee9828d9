"""Delays demanded by the rate limits of vendors, from the headers and the JSON of a response."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

# The delay if the response contains none.
DEFAULT_SECONDS = 6.0
# An upper bound, because a wrong header must not delay a page for days.
MAX_SECONDS = 3600.0
_MAX_RESPONSE_BYTES = 64 * 1024
_HEADERS = ("x-ratelimit-reset-after", "x-ogw-ratelimit-reset")


def seconds(headers: Mapping[str, str], body: bytes) -> float | None:
    """Return the seconds until the next message, at most MAX_SECONDS; None if the response contains no delay.

    Headers: `Retry-After` (seconds or a date), `X-RateLimit-Reset-After` (Discord), `X-Ogw-Ratelimit-Reset` (Feishu).
    JSON: `retry_after` (Discord, Slack), `parameters.retry_after` (Telegram), `retry_after_ms` (Matrix).
    The longest delay is used.
    """
    delays = [value for value in (*_in_headers(headers), *_in_body(body)) if value is not None and value >= 0]
    return min(MAX_SECONDS, max(delays)) if delays else None


def after_success(headers: Mapping[str, str]) -> float:
    """Return the delay in seconds after a success, if it was the last message that the rate limit allows."""
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
        content: Any = orjson.loads(body[:_MAX_RESPONSE_BYTES])
    except orjson.JSONDecodeError:
        return
    if not isinstance(content, dict):
        return
    yield _number(content.get("retry_after"))
    milliseconds = _number(content.get("retry_after_ms"))
    yield milliseconds / 1000 if milliseconds is not None else None
    parameters = content.get("parameters")
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
    """Return the seconds until a date, by the clock of the vendor if the response has a Date header."""
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
