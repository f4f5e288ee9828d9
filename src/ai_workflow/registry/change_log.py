"""Append-only change log of a registry: each change of aliases, pins and deletions, chained by checksums.

    aliases.json          {"latest": ..., "stable": ..., "change": the last change}, one atomic write
    history.jsonl         one line for each change, each with the sha256 of the line before
    changes/000007.json   on an object store, which has no locks: the process that creates file 7 makes change 7

A change takes effect with `aliases.json`, or on an object store with its file in `changes/`. If the process is killed
then, the next change completes `history.jsonl`.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import socket
from datetime import UTC, datetime

from ai_workflow import json_text
from ai_workflow.errors import StoreError
from ai_workflow.registry.changes import Change, ChangeRecord, ConflictError, State
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context


class ChangeLog:
    """The changes in the folder of one registry; on a local disk, writers must hold the lock of the registry."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self._path, self._aliases = f"{folder}/history.jsonl", f"{folder}/aliases.json"

    def state(self) -> State:
        """Return the current state.

        Raises:
            StoreError: `aliases.json` is damaged.
        """
        last = self._last()
        return State.after(last) if last else State()

    def read(self, *, verify: bool = True) -> list[ChangeRecord]:
        """Return every change, the oldest first; if the file was moved away, the changes since then.

        Args:
            verify: whether to check the checksum of each line.

        Raises:
            StoreError: a line was changed or removed.
        """
        records, last = self._lines(), self._last()
        if last is not None and last not in records[-1:]:
            number = records[-1]["number"] if records else 0
            records += [last] if self._store.is_local else self._changes_since(number)
        if verify:
            self._verify(records)
        return records

    def _verify(self, records: list[ChangeRecord]) -> None:
        before = records[0]["before"] if records and records[0].get("anew") else ""
        for number, record in enumerate(records, 1):
            if record["before"] != before:
                raise StoreError(f"{self._store.url(self._path)} line {number} does not follow the line before it")
            before = _digest(record)

    def write(self, state: State, change: Change) -> State:
        """Make a change to a state, and return the new state.

        Raises:
            ConflictError: another change was made since that state.
            StoreError: the change cannot be written; nothing has changed.
        """
        records = self.read(verify=False)
        if (records[-1]["number"] if records else 0) != state.number:
            raise ConflictError("another process changed the registry at the same time")
        record = self._record(state, change, _digest(records[-1]) if records else "")
        if records and not self._store.exists(self._path) and records[-1]["before"]:
            records, record["anew"] = [], True
        # The previous change may be in `aliases.json` only, which is about to be replaced.
        self._write_lines(records)
        if not self._store.is_local:
            self._create_change(record)
        self._commit(record)
        # The change has taken effect; if its line is not written now, the next change writes it first.
        with contextlib.suppress(StoreError):
            self._write_lines([*records, record])
        return State.after(record)

    def _record(self, state: State, change: Change, before: str) -> ChangeRecord:
        return {
            "number": state.number + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "action": change.action,
            "versions": list(change.versions),
            "aliases": {"latest": change.latest or state.latest, "stable": change.stable or state.stable},
            "pins": dict(state.pins if change.pins is None else change.pins),
            "newest": change.newest or state.newest,
            "deleting": list(state.deleting if change.deleting is None else change.deleting),
            "reason": change.reason,
            "by": _user(),
            "trace_id": trace_context.current(),
            "before": before,
        }

    def _create_change(self, record: ChangeRecord) -> None:
        """Create the file of a change in `changes/`.

        A client that sends its request again because the first response was lost finds its own record there.
        """
        path = self._change(record["number"])
        if not self._store.write_new(path, _text(record)) and self._store.read(path) != _text(record):
            raise ConflictError("another process changed the registry at the same time")

    def _commit(self, record: ChangeRecord) -> None:
        try:
            self._store.write_record(self._aliases, {**record["aliases"], "change": record})
        except StoreError:
            if self._store.is_local:
                raise

    def _last(self) -> ChangeRecord | None:
        """Return the last change: from `aliases.json`, or if that is missing, from the history."""
        last: ChangeRecord | None = None
        if self._store.exists(self._aliases):
            try:
                last = self._store.read_record(self._aliases)["change"]
            except StoreError as error:
                raise StoreError(f"{error}. Remove it: history.jsonl has its content") from error
        else:
            last = next(reversed(self._lines()), None)
        if last and "number" not in last:
            raise StoreError(
                f"{self._store.url(self._folder)} was written by an earlier version of this project. "
                "Move it away: the next training creates a new one"
            )
        later = self._changes_since(last["number"] if last else 0)
        return later[-1] if later else last

    def _changes_since(self, number: int) -> list[ChangeRecord]:
        """Return the changes after a number that are only in `changes/` of an object store yet."""
        records: list[ChangeRecord] = []
        while not self._store.is_local and self._store.exists(path := self._change(number + len(records) + 1)):
            records.append(json.loads(self._store.read(path)))
        return records

    def _change(self, number: int) -> str:
        return f"{self._folder}/changes/{number:06d}.json"

    def _lines(self) -> list[ChangeRecord]:
        if not self._store.exists(self._path):
            return []
        try:
            return [json.loads(line) for line in self._store.read(self._path).splitlines()]
        except ValueError as error:
            url = self._store.url(self._path)
            raise StoreError(f"{url} is damaged: {error}. Move it away: the next change begins a new one") from error

    def _write_lines(self, records: list[ChangeRecord]) -> None:
        self._store.write(self._path, b"".join(map(_text, records)))


def _text(record: ChangeRecord) -> bytes:
    return json_text.line(record).encode() + b"\n"


def _digest(record: ChangeRecord) -> str:
    return hashlib.sha256(json_text.line(record).encode()).hexdigest()


def _user() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"unknown@{socket.gethostname()}"
