"""Which version answers, and which one does where it cannot: `latest`, then `stable`, within one deadline."""

from __future__ import annotations

from collections.abc import Mapping

# What a version may take of the time that is left, while another one could still answer.
SHARE = 0.6
# The default response, too, must be on its way when the deadline ends: seconds, or as a share of it.
_MARGIN, _MARGIN_SHARE = 0.01, 0.05


def order(asked: str, aliases: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the versions to ask, in their order; one that was asked for by its name answers, or nobody does.

    Args:
        asked: an alias or a version's name.
        aliases: which version each alias points at.
    """
    if asked != "latest":
        return (asked,)
    return tuple(dict.fromkeys(name for name in (aliases["latest"], aliases["stable"]) if name)) or (asked,)


def until(now: float, end: float, *, another: bool) -> float:
    """Return the moment by which a version must have answered, all in seconds of one clock.

    Args:
        now: when it is asked.
        end: the deadline of the request.
        another: whether one more version could answer after it.
    """
    last = end - min(_MARGIN, _MARGIN_SHARE * max(0.0, end - now))
    return now + SHARE * (last - now) if another else last
