"""State of a registry, and the changes that lead to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from ai_workflow.errors import AiWorkflowError

ALIASES = ("latest", "stable")
VERSION = re.compile(r"^model_v(\d+)\.(\d+)\Z")


class ChangeRecord(TypedDict):
    """A line of `history.jsonl`; `before` is the checksum of the line before."""

    number: int
    time: str
    action: str
    versions: list[str]
    aliases: dict[str, str | None]
    pins: dict[str, str]
    newest: str | None
    deleting: list[str]
    reason: str
    by: str
    trace_id: str | None
    before: str
    # The first line after the file was moved away.
    anew: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class Change:
    """A change to make; fields that are None stay as they are.

    Args:
        action: what is done, for people: publish, promote, rollback, pin, ...
        reason: why, for people.
        versions: the versions that the change is about.
        latest: the new target of `latest`.
        stable: the new target of `stable`.
        pins: all pinned versions, each with its reason.
        deleting: all versions that are deleted, their files perhaps not yet.
        newest: the newest version that was ever published.
    """

    action: str
    reason: str
    versions: Sequence[str] = ()
    latest: str | None = None
    stable: str | None = None
    pins: Mapping[str, str] | None = None
    deleting: Sequence[str] | None = None
    newest: str | None = None


class ConflictError(AiWorkflowError):
    """Another process made a change in between; read the state again."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of a registry after a change.

    Args:
        latest: the version that serves requests.
        stable: the fallback of `latest`.
        pins: versions that a person keeps, each with the reason.
        deleting: versions that are deleted, their files perhaps not yet.
        newest: the newest version that was ever published; the next one is newer.
        number: number of changes so far.
    """

    latest: str | None = None
    stable: str | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    deleting: Sequence[str] = ()
    newest: str | None = None
    number: int = 0

    @property
    def aliases(self) -> dict[str, str | None]:
        """The version behind each alias."""
        return {"latest": self.latest, "stable": self.stable}

    def is_published(self, version: str) -> bool:
        """Return whether a version was published and is not deleted; other folders are interrupted publications."""
        is_known = self.newest is not None and parse_version(version) <= parse_version(self.newest)
        return is_known and version not in self.deleting

    @classmethod
    def after(cls, record: ChangeRecord) -> State:
        """Return the state after a change."""
        return cls(
            **record["aliases"],
            pins=record["pins"],
            newest=record["newest"],
            number=record["number"],
            deleting=tuple(record["deleting"]),
        )


def parse_version(name: str) -> tuple[int, int]:
    """Return the major and the minor number of a version such as `model_v2.3`."""
    match = VERSION.match(name)
    assert match is not None
    return int(match[1]), int(match[2])
