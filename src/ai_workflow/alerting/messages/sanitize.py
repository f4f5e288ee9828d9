"""Sanitization of external text for chat messages: one line, bounded length, secrets masked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

from ai_workflow.secret_values import MASK, scrub

MAX_TEXT_CHARACTERS = 2000
# Longer texts are cut before secrets are searched for.
_MAX_SCANNED_CHARACTERS = 20_000
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_URL = re.compile(r"(?is)(?P<scheme>https?)://(?P<authority>[^\s/?#\\]+)(?P<rest>.*)")
# `@` and `!` start mentions, `$` and `~` tags and channels; the others start or end markup, or are invisible.
_NOT_IN_LINKS = re.compile(
    r"[\s<>()\[\]{}|\"'`\\^*@!$~\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
# Patterns of secrets that are not in the configuration: `password=…`, `Bearer …`, `https://user:…@host`.
_SECRET_PATTERNS = (
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*)(?:(?:bearer|basic)\s+)?\S+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (
        re.compile(
            r"(?i)\b([\w-]{0,40}(?:password|passwd|pwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*)[\"']?[^\s\"',;&]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(\w://)[^\s/@:]*:[^\s/@]+@"), rf"\1{MASK}@"),
)


def clean(text: object, max_characters: int = MAX_TEXT_CHARACTERS) -> str:
    """Return the text on one line, secrets masked, with at most `max_characters`."""
    cleaned = scrub(str(text))[:_MAX_SCANNED_CHARACTERS]
    for pattern, masked in _SECRET_PATTERNS:
        cleaned = pattern.sub(masked, cleaned)
    return clip(_SPACE.sub(" ", cleaned).strip(), max_characters)


def clean_url(text: object) -> str:
    """Return an http(s) URL that is safe in a link of any vendor, or an empty text if it is invalid.

    A user name before the host is removed. Characters that start markup or a mention are percent-encoded.
    """
    url = scrub(str(text)).strip()
    match = _URL.match(url)
    if not match or len(url) > MAX_TEXT_CHARACTERS:
        return ""
    host = match["authority"].rpartition("@")[2]
    if not host:
        return ""
    return _NOT_IN_LINKS.sub(_percent, f"{match['scheme'].lower()}://{host}{match['rest']}")


def _percent(match: re.Match[str]) -> str:
    return quote(match.group(), safe="", errors="replace")


def normalize_timestamp(timestamp: datetime | None) -> datetime | None:
    """Return a timestamp with a time zone, UTC by default; None for an implausible year.

    Alertmanager writes the year 1 as the end of a firing alert.
    """
    if timestamp is None:
        return None
    aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    return aware if 2000 <= aware.year < 9000 else None


def clip(text: str, max_characters: int) -> str:
    """Return the text, shortened with `…` if it is too long."""
    return text if len(text) <= max_characters else text[: max(0, max_characters - 1)].rstrip() + "…"
