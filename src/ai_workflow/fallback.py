"""Which version answers, and which one does where it cannot: `latest`, then `stable`."""

from __future__ import annotations

from collections.abc import Mapping


def order(asked: str, aliases: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the versions to ask, in their order; one that was asked for by its name answers, or nobody does.

    Args:
        asked: an alias or a version's name.
        aliases: which version each alias points at.
    """
    if asked != "latest":
        return (asked,)
    return tuple(dict.fromkeys(name for name in (aliases["latest"], aliases["stable"]) if name)) or (asked,)
