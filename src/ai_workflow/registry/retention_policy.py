"""Retention policy: decides for each version whether it is kept, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ai_workflow.config.settings import Retention


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A published version: its name, the bytes of its files, and the time of its publication."""

    name: str
    bytes: int
    published: datetime


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """The decision about a version: it is kept if there is a reason, else deleted."""

    name: str
    bytes: int
    published: datetime
    reasons: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """Whether the version is kept."""
        return bool(self.reasons)


def plan(
    versions: Sequence[VersionInfo], policy: Retention, in_use: Mapping[str, Iterable[str]], now: datetime
) -> list[RetentionDecision]:
    """Return the decision about each version, in the same order.

    Args:
        versions: all versions, the oldest first.
        policy: number of newest versions to keep, and the minimum age for deletion.
        in_use: uses of each version: aliases, pins, leases.
        now: the time at which ages are taken.
    """
    newest = {version.name for version in versions[-policy.versions :]}
    published = _publication_times(versions)
    decisions = []
    for version in versions:
        reasons = list(in_use.get(version.name, ()))
        if version.name in newest:
            reasons.append(f"among the newest {policy.versions}")
        if now - published[version.name] < timedelta(hours=policy.min_age_hours):
            reasons.append(f"younger than {policy.min_age_hours:g} h")
        decisions.append(RetentionDecision(version.name, version.bytes, version.published, tuple(reasons)))
    return decisions


def _publication_times(versions: Sequence[VersionInfo]) -> dict[str, datetime]:
    """Return the latest possible publication time of each version: not after any newer one, even if clocks differ."""
    times: dict[str, datetime] = {}
    latest: datetime | None = None
    for version in reversed(versions):
        latest = version.published if latest is None else min(latest, version.published)
        times[version.name] = latest
    return times


def size(count: int) -> str:
    """Return a number of bytes as `du -h` shows it: 3.9G."""
    value = float(count)
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{value:.0f}{unit}" if unit == "B" or value >= 10 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"
