"""Text from outside made fit for a chat: one line, no secret in it, not endless."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

from ai_workflow.secret_values import MASK, scrub

LONGEST = 2000
# Longer texts are cut before they are looked through.
_MOST = 20_000
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_ADDRESS = re.compile(r"(?is)(?P<scheme>https?)://(?P<authority>[^\s/?#\\]+)(?P<rest>.*)")
# `@` and `!` open mentions, `$` and `~` tags and channels; the rest opens or closes markup, or is not visible.
_NOT_IN_LINKS = re.compile(
    r"[\s<>()\[\]{}|\"'`\\^*@!$~\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
# What looks like a secret that this process was never told: `password=…`, `Bearer …`, `https://user:…@host`.
_LOOKS_SECRET = (
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


def clean(text: object, longest: int = LONGEST) -> str:
    """Return the text on one line, secrets masked, at most `longest` characters."""
    said = scrub(str(text))[:_MOST]
    for pattern, masked in _LOOKS_SECRET:
        said = pattern.sub(masked, said)
    return clip(_SPACE.sub(" ", said).strip(), longest)


def clean_url(text: object) -> str:
    """Return an http(s) address for any vendor's link, or nothing where the text is none.

    A user name before the host is removed. Characters that open markup or a mention are percent-encoded.
    """
    url = scrub(str(text)).strip()
    address = _ADDRESS.match(url)
    if not address or len(url) > LONGEST:
        return ""
    host = address["authority"].rpartition("@")[2]
    if not host:
        return ""
    return _NOT_IN_LINKS.sub(_percent, f"{address['scheme'].lower()}://{host}{address['rest']}")


def _percent(found: re.Match[str]) -> str:
    return quote(found.group(), safe="", errors="replace")


def moment(found: datetime | None) -> datetime | None:
    """Return a moment with its zone, UTC where it names none; None for what no clock shows.

    An alert that fires has no end: Alertmanager writes the year 1.
    """
    if found is None:
        return None
    known = found if found.tzinfo else found.replace(tzinfo=UTC)
    return known if 2000 <= known.year < 9000 else None


def clip(text: str, longest: int) -> str:
    """Return the text, or its beginning and `…`."""
    return text if len(text) <= longest else text[: max(0, longest - 1)].rstrip() + "…"
