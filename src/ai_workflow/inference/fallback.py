"""Fallback policy: `latest`, then `stable`, within one deadline."""

from __future__ import annotations

from collections.abc import Mapping

# Share of the remaining time for an attempt that another one may follow.
ATTEMPT_SHARE = 0.6
# Time reserved for the default response: seconds, at most this share of the remaining time.
_MARGIN_SECONDS, _MARGIN_SHARE = 0.01, 0.05


def order(requested: str, aliases: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the versions to try, in order; a version requested by its name has no fallback.

    Args:
        requested: an alias or the name of a version.
        aliases: the version behind each alias.
    """
    if requested != "latest":
        return (requested,)
    return tuple(dict.fromkeys(name for name in (aliases["latest"], aliases["stable"]) if name)) or (requested,)


def attempt_deadline(now: float, deadline: float, *, has_fallback: bool) -> float:
    """Return the deadline of an attempt, all times in seconds of one clock.

    Args:
        now: start of the attempt.
        deadline: deadline of the request.
        has_fallback: whether another version can be tried after this one.
    """
    last = deadline - min(_MARGIN_SECONDS, _MARGIN_SHARE * max(0.0, deadline - now))
    return now + ATTEMPT_SHARE * (last - now) if has_fallback else last
