"""What the aliases of a registry point at, and every change of it: an append-only history that vouches for itself.

    aliases.json     {"latest": ..., "stable": ..., "change": the history's line that tells of it}, one atomic write
    history.jsonl    one line for each change, each with the sha256 of the line before
    changes/000007.json   on an object store, which has no locks: whoever creates line 7 has made the seventh change

A change happens with `aliases.json`, or on an object store with its line in `changes/`: a process killed before it
could write the rest leaves nothing untold.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context

ALIASES = ("latest", "stable")
VERSION = re.compile(r"^model_v(\d+)\.(\d+)\Z")
# Of the first line of a history that was moved away, and began again.
_ANEW = "anew"


class Conflict(AiWorkflowError):
    """Another process made a change in between: look again."""


@dataclass(frozen=True, slots=True)
class State:
    """What holds after a change.

    Args:
        latest: the version that answers.
        stable: the version that answers where `latest` cannot.
        pins: versions that a person keeps, each with the reason.
        deleting: versions that are deleted, their files perhaps not yet.
        newest: the newest version that was ever told of: what comes next is newer.
        number: how many changes there were.
    """

    latest: str | None = None
    stable: str | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    deleting: Sequence[str] = ()
    newest: str | None = None
    number: int = 0

    @property
    def aliases(self) -> dict[str, str | None]:
        """Which version each alias points at."""
        return {"latest": self.latest, "stable": self.stable}

    def tells_of(self, version: str) -> bool:
        """Say whether a version was published, and is not deleted: one that was placed only may be half a wish."""
        told = self.newest is not None and numbers(version) <= numbers(self.newest)
        return told and version not in self.deleting

    @classmethod
    def after(cls, line: dict[str, Any]) -> State:
        """Return what holds after the change that a line tells of."""
        more = {name: line[name] for name in ("pins", "newest", "number")}
        return cls(**line["aliases"], **more, deleting=tuple(line["deleting"]))


class History:
    """The changes in one registry's folder; whoever makes one on a local disk holds the registry's lock."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self._path, self._aliases = f"{folder}/history.jsonl", f"{folder}/aliases.json"

    def state(self) -> State:
        """Return what holds now.

        Raises:
            StoreError: `aliases.json` is damaged.
        """
        last = self._last()
        return State.after(last) if last else State()

    def lines(self) -> list[dict[str, Any]]:
        """Return every change, the oldest first; where the file was moved away, those since.

        Raises:
            StoreError: a line was changed or cut out.
        """
        lines = self.lines_as_they_are()
        before = lines[0]["before"] if lines and lines[0].get(_ANEW) else ""
        for number, line in enumerate(lines, 1):
            if line["before"] != before:
                raise StoreError(f"{self._store.url(self._path)} line {number} does not follow the line before it")
            before = _digest(line)
        return lines

    def write(
        self,
        state: State,
        action: str,
        reason: str,
        *,
        latest: str | None = None,
        stable: str | None = None,
        pins: Mapping[str, str] | None = None,
        deleting: Sequence[str] | None = None,
        newest: str | None = None,
        versions: Sequence[str] = (),
    ) -> State:
        """Make a change to a state; what is not given stays.

        Raises:
            Conflict: that state holds no more.
            StoreError: it cannot be written; nothing has changed.
        """
        lines = self._lines_after(state)
        line: dict[str, Any] = {
            "number": state.number + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "action": action,
            "versions": list(versions),
            "aliases": {"latest": latest or state.latest, "stable": stable or state.stable},
            "pins": dict(state.pins if pins is None else pins),
            "newest": newest or state.newest,
            "deleting": list(state.deleting if deleting is None else deleting),
            "reason": reason,
            "by": _who(),
            "trace_id": trace_context.current(),
            "before": _digest(lines[-1]) if lines else "",
        }
        if lines and not self._store.exists(self._path) and lines[-1]["before"]:
            lines, line[_ANEW] = [], True
        # The line of the change before may stand in `aliases.json` only, which is about to tell of this one.
        self._write_lines(lines)
        if not self._store.is_local:
            self._create_change(line)
        self._commit(line)
        # It has happened; should the line not be written now, the next change writes it first.
        with contextlib.suppress(StoreError):
            self._write_lines([*lines, line])
        return State.after(line)

    def _lines_after(self, state: State) -> list[dict[str, Any]]:
        """Return the lines up to a state; raise Conflict if another change followed it."""
        lines = self.lines_as_they_are()
        if (lines[-1]["number"] if lines else 0) != state.number:
            raise Conflict("another process changed the registry at the same time")
        return lines

    def _create_change(self, line: dict[str, Any]) -> None:
        """Create the line's file in `changes/`.

        A client that sends its request again because the first response was lost finds its own line there.
        """
        path = self._change(line["number"])
        if not self._store.write_new(path, _text(line)) and self._store.read(path) != _text(line):
            raise Conflict("another process changed the registry at the same time")

    def _commit(self, line: dict[str, Any]) -> None:
        try:
            self._store.write_record(self._aliases, {**line["aliases"], "change": line})
        except StoreError:
            if self._store.is_local:
                raise

    def _last(self) -> dict[str, Any] | None:
        """Return the line of the last change: from `aliases.json`, or if that is gone, from the history."""
        last: dict[str, Any] | None = None
        if self._store.exists(self._aliases):
            try:
                last = self._store.read_record(self._aliases)["change"]
            except StoreError as error:
                raise StoreError(f"{error}. Remove it: history.jsonl tells what it held") from error
        else:
            last = next(reversed(self._written_lines()), None)
        if last and "number" not in last:
            raise StoreError(
                f"{self._store.url(self._folder)} was written by an earlier version of this project. "
                "Move it away: the next training publishes anew"
            )
        told = self._told_since(last["number"] if last else 0)
        return told[-1] if told else last

    def lines_as_they_are(self) -> list[dict[str, Any]]:
        """Return every change, whether or not it vouches for the one before."""
        lines, last = self._written_lines(), self._last()
        if last is None or last in lines[-1:]:
            return lines
        if self._store.is_local:
            return [*lines, last]
        return lines + self._told_since(lines[-1]["number"] if lines else 0)

    def _told_since(self, number: int) -> list[dict[str, Any]]:
        """Return the changes after one that only an object store's `changes/` tells of yet."""
        found: list[dict[str, Any]] = []
        while not self._store.is_local and self._store.exists(path := self._change(number + len(found) + 1)):
            found.append(json.loads(self._store.read(path)))
        return found

    def _change(self, number: int) -> str:
        return f"{self._folder}/changes/{number:06d}.json"

    def _written_lines(self) -> list[dict[str, Any]]:
        if not self._store.exists(self._path):
            return []
        try:
            return [json.loads(line) for line in self._store.read(self._path).splitlines()]
        except ValueError as error:
            where = self._store.url(self._path)
            raise StoreError(
                f"{where} is damaged: {error}. Move it away: a new one begins with the next change"
            ) from error

    def _write_lines(self, lines: list[dict[str, Any]]) -> None:
        self._store.write(self._path, b"".join(map(_text, lines)))


def numbers(version: str) -> tuple[int, int]:
    """Return major and minor number of `model_v2.3`."""
    found = VERSION.match(version)
    assert found is not None
    return int(found[1]), int(found[2])


def _text(line: dict[str, Any]) -> bytes:
    return json_text.line(line).encode() + b"\n"


def _digest(line: dict[str, Any]) -> str:
    return hashlib.sha256(json_text.line(line).encode()).hexdigest()


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"unknown@{socket.gethostname()}"
