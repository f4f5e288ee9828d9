"""Published model versions: complete or not there; and the life of each, from its publishing to its deletion.

models/<environment>/<pipeline>/
    model_v2.3/     model file, features.json, card.json, card.md, plots, golden.json, manifest.json
    aliases.json, history.jsonl    which version is latest and which stable, and how they came to be (history.py)
    leases/         who uses a version now (leases.py)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ai_workflow import trace
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.history import ALIASES, VERSION, Conflict, History, State, numbers
from ai_workflow.leases import Leases
from ai_workflow.store import FileRef, Store, sync_folder

MANIFEST = "manifest.json"
_STAGING, _DELETING, _CLAIM = ".publishing-", ".deleting-", "claim"


@dataclass(frozen=True, slots=True)
class Version:
    """A published version: its name, where it lies, and what its manifest vouches for."""

    name: str
    folder: str
    manifest: dict[str, Any]

    def file(self, name: str) -> FileRef:
        """Return the reference of one of its files.

        Raises:
            StoreError: the version has no such file.
        """
        ref = self.manifest["files"].get(name)
        if ref is None:
            raise StoreError(f"{self.name} has no file {name}")
        return FileRef(f"{self.folder}/{name}", ref["sha256"], ref["bytes"])


class Registry:
    """The versions of one pipeline in one environment; `folder` is `Settings.models`."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, folder
        self.leases = Leases(store, folder)
        self._history = History(store, folder)

    def versions(self) -> list[str]:
        """Return the published versions, the oldest first."""
        state = self.state()
        return [name for name in self._placed() if state.tells_of(name)]

    def state(self) -> State:
        """Return which version each alias points at, and which a person keeps.

        Raises:
            StoreError: `aliases.json` is damaged.
        """
        return self._history.state()

    def aliases(self) -> dict[str, str | None]:
        """Return which version each alias points at.

        Raises:
            StoreError: `aliases.json` is damaged.
        """
        return self.state().aliases

    def history(self, *, verified: bool = True) -> list[dict[str, Any]]:
        """Return every change, the oldest first.

        Raises:
            StoreError: a line was changed or cut out.
        """
        return self._history.lines() if verified else self._history.lines_as_they_are()

    def get(self, name: str) -> Version:
        """Return a version by its name or an alias.

        Raises:
            AiWorkflowError: there is no such version.
            StoreError: its manifest is damaged.
        """
        state = self.state()
        wanted = state.aliases[name] if name in ALIASES else name
        folder = f"{self.folder}/{wanted}"
        known = wanted and VERSION.match(wanted) and state.tells_of(wanted)
        if not known or not self.store.exists(f"{folder}/{MANIFEST}"):
            there = ", ".join(self.versions()) or "none"
            raise AiWorkflowError(
                f"there is no model version '{name}' in {self.store.url(self.folder)}; there is: {there}. "
                "Run the training flow first"
            )
        return Version(str(wanted), folder, self.store.read_record(f"{folder}/{MANIFEST}"))

    def read(self, version: Version, name: str) -> bytes:
        """Return a file of a version, verified.

        Raises:
            StoreError: it is missing or damaged.
        """
        ref = version.file(name)
        return self.store.read(ref.path, ref.sha256)

    def damaged(self, version: Version) -> list[str]:
        """Return the files of a version that are missing or not as its manifest says."""
        refs = [version.file(name) for name in sorted(version.manifest["files"])]
        return [self.store.url(ref.path) for ref in refs if not self.store.matches(ref.path, ref.sha256)]

    @contextlib.contextmanager
    def leased(self, name: str, purpose: str) -> Iterator[Version]:
        """Use a version, by its name or an alias: within the context it is not deleted.

        Raises:
            AiWorkflowError: there is no such version.
            StoreError: its manifest is damaged, or the lease cannot be written.
        """
        with contextlib.ExitStack() as stack:
            with self.locked():
                version = self.get(name)
                stack.enter_context(self.leases.held(version.name, purpose))
            if not self.store.is_local:
                # Whoever deletes it looks for leases after he has said so: one of the two sees the other.
                self.get(version.name)
            yield version

    def publish(
        self,
        files: dict[str, bytes],
        schema: str,
        about: dict[str, Any],
        named: Callable[[str], dict[str, bytes]] = lambda _: {},
        origin: str | None = None,
    ) -> Version:
        """Make a version of the files and point `latest` at it; a first one becomes `stable` too, as there is no other.

        Args:
            files: name -> bytes; all of them, the model and its feature spec included.
            schema: fingerprint of the columns the model asks for; another one raises the major number.
            about: what else the manifest says (kind, scores, …).
            named: files that bear the version's name in them, made once it is known.
            origin: what the version was made from; if `latest` was made from the same, it is that version already:
                its publisher was killed before it could tell.

        Raises:
            StoreError: it cannot be written; no version appears and no alias moves.
        """
        with self.locked():
            self._complete()
            if origin and (done := self._made_from(origin)):
                return done
            name = self._claim(schema)
            about = {**about, "origin": origin} if origin else about
            manifest = {**about, "version": name, "schema": schema, "published": _now(), "trace_id": trace.current()}
            self._place(name, files | named(name), manifest)
            try:
                self._make_latest(name, _passed(self.state().latest))
            except BaseException:
                if name not in self.aliases().values():
                    self.store.remove(f"{self.folder}/{name}")
                raise
        return self.get(name)

    def change(self, decide: Callable[[State], dict[str, Any] | None]) -> State:
        """Make the change that `decide` finds right in the state at hand: what `History.write` takes, None for none.

        Raises:
            StoreError: it cannot be written; nothing has changed.
        """
        while True:
            state = self.state()
            decided = decide(state)
            if decided is None:
                return state
            try:
                return self._history.write(state, **decided)
            except Conflict:
                continue

    def remove(self, names: Iterable[str]) -> None:
        """Remove the files of versions that the history tells are deleted; each is gone in one rename."""
        for name in names:
            self.store.vanish(f"{self.folder}/{name}", f"{self.folder}/{_DELETING}{name}-{uuid.uuid4().hex[:8]}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of this machine out, and clear away what killed ones left; the lock dies with its holder.

        On an object store, which has no locks, `change` sees to it that nobody's change is lost.
        """
        if not self.store.is_local:
            yield
            return
        folder = self.store.local(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}. Mend its permissions") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._clear(folder.iterdir())
            yield
        finally:
            os.close(handle)

    def _clear(self, entries: Iterable[Path]) -> None:
        for name in [entry.name for entry in entries if entry.name.startswith((_STAGING, _DELETING))]:
            self.store.remove(f"{self.folder}/{name}")
        for folder in (self.folder, self.leases.folder):
            self.store.remove_parts(folder)
        self.remove(name for name in self.state().deleting if self.store.exists(f"{self.folder}/{name}"))

    def _made_from(self, origin: str) -> Version | None:
        """Return `latest` if it was made from `origin` and is whole."""
        try:
            latest = self.get("latest")
        except AiWorkflowError:
            return None
        return latest if latest.manifest.get("origin") == origin and not self.damaged(latest) else None

    def _complete(self) -> None:
        """Point `latest` at a version whose publisher was killed between placing it and pointing at it."""
        newest, state = self._placed()[-1:], self.state()
        if newest and not state.tells_of(newest[0]) and newest[0] not in state.deleting:
            self._make_latest(newest[0], "its publishing was interrupted, and completed by the next")

    def _make_latest(self, name: str, reason: str) -> None:
        def decide(state: State) -> dict[str, Any] | None:
            change: dict[str, Any] = {"action": "publish", "reason": reason, "versions": [name]}
            if state.tells_of(name):
                # Another publisher was quicker with a newer one, or told of this one: on an object store that can be.
                told = any(name in line["versions"] for line in self._history.lines_as_they_are())
                return None if told else change
            return {**change, "newest": name, "latest": name, "stable": state.stable or name}

        self.change(decide)

    def _names(self) -> list[str]:
        """Return the names of versions there are, whole or not, the oldest first."""
        return sorted(filter(VERSION.match, self.store.names(self.folder)), key=numbers)

    def _placed(self) -> list[str]:
        """Return the versions that are complete, told of or not, the oldest first."""
        return [name for name in self._names() if self.store.exists(f"{self.folder}/{name}/{MANIFEST}")]

    def _claim(self, schema: str) -> str:
        """Return the name of the next version; on an object store a file claims it, which only one can create."""
        while True:
            name = self._next(schema)
            if self.store.is_local or self.store.write_new(f"{self.folder}/{name}/{_CLAIM}", b"claimed\n"):
                return name

    def _next(self, schema: str) -> str:
        # After those too that were deleted, or lost their manifest: a name the history tells of is never another's.
        told = self.state().newest
        names = [*self._names(), *([told] if told else [])]
        if not names:
            return "model_v1.0"
        major, minor = max(map(numbers, names))
        return f"model_v{major}.{minor + 1}" if self._last_schema() in (schema, None) else f"model_v{major + 1}.0"

    def _last_schema(self) -> str | None:
        for name in reversed(self.versions()):
            with contextlib.suppress(StoreError):
                return str(self.store.read_record(f"{self.folder}/{name}/{MANIFEST}")["schema"])
        return None

    def _place(self, name: str, files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        """Write all files aside, the manifest last, and give the folder its name in one rename."""
        staging = f"{self.folder}/{_STAGING}{uuid.uuid4().hex[:8]}" if self.store.is_local else f"{self.folder}/{name}"
        refs = {}
        try:
            for file, data in files.items():
                ref = self.store.write(f"{staging}/{file}", data)
                refs[file] = {"sha256": ref.sha256, "bytes": ref.bytes}
            self.store.write_record(f"{staging}/{MANIFEST}", {**manifest, "files": refs})
            if self.store.is_local:
                self.store.local(staging).rename(self.store.local(f"{self.folder}/{name}"))
                sync_folder(self.store.local(self.folder))
        except BaseException:
            self.store.remove(staging)
            raise


def _passed(before: str | None) -> str:
    return f"passed the gate, after {before}" if before else "passed the gate"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
