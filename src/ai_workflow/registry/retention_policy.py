"""What may be deleted, and why the rest is kept: a pure plan, made from facts and a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ai_workflow.config.settings import Retention


@dataclass(frozen=True, slots=True)
class Fact:
    """A published version: its name, the bytes of its files, and when it was published; the oldest comes first."""

    name: str
    bytes: int
    published: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """A version in a plan; without a reason to keep it, it is to be deleted."""

    name: str
    bytes: int
    published: datetime
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def plan(versions: Sequence[Fact], policy: Retention, in_use: Mapping[str, Iterable[str]], now: datetime) -> list[Item]:
    """Return what becomes of each version, in the order given.

    Args:
        versions: all there are, the oldest first.
        policy: how many of the newest stay, and how old one must be to go.
        in_use: who or what needs a version: an alias, a pin, a lease.
        now: the time at which ages are taken.
    """
    newest = {fact.name for fact in versions[-policy.versions :]}
    published = _no_later_than_the_next(versions)
    items = []
    for fact in versions:
        reasons = list(in_use.get(fact.name, ()))
        if fact.name in newest:
            reasons.append(f"among the newest {policy.versions}")
        if now - published[fact.name] < timedelta(hours=policy.min_age_hours):
            reasons.append(f"younger than {policy.min_age_hours:g} h")
        items.append(Item(fact.name, fact.bytes, fact.published, tuple(reasons)))
    return items


def _no_later_than_the_next(versions: Sequence[Fact]) -> dict[str, datetime]:
    """Return when each version was published at the latest: before every newer one, whatever the clock was then."""
    found: dict[str, datetime] = {}
    latest: datetime | None = None
    for fact in reversed(versions):
        latest = fact.published if latest is None else min(latest, fact.published)
        found[fact.name] = latest
    return found


def size(count: int) -> str:
    """Return a number of bytes as `du -h` shows it: 3.9G."""
    value = float(count)
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{value:.0f}{unit}" if unit == "B" or value >= 10 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"
