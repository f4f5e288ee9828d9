"""Published model versions: complete or not there; what holds of them, who uses one, and the lock to change it under.

models/<environment>/<pipeline>/
    model_v2.3/     model file, features.json, card.json, card.md, plots, golden.json, manifest.json
    aliases.json, history.jsonl    which version is latest and which stable, and how they came to be (history.py)
    leases/         who uses a version now (leases.py)
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry.change_log import ALIASES, VERSION, Conflict, History, State, numbers
from ai_workflow.registry.leases import Leases
from ai_workflow.registry.manifest import Manifest
from ai_workflow.storage import locks
from ai_workflow.storage.cleanup import delete_atomically
from ai_workflow.storage.store import FileRef, Store

MANIFEST = "manifest.json"
STAGING, _DELETING = ".publishing-", ".deleting-"


@dataclass(frozen=True, slots=True)
class Version:
    """A published version: its name, where it lies, and what its manifest vouches for."""

    name: str
    folder: str
    manifest: Manifest

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
        return [name for name in self.placed() if state.tells_of(name)]

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
            there = ", ".join(self.versions())
            remedy = "Name one of these, or latest or stable" if there else "Run the training flow first"
            raise AiWorkflowError(
                f"there is no model version '{name}' in {self.store.url(self.folder)}; there is: {there or 'none'}. "
                f"{remedy}"
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
            aside = f"{self.folder}/{_DELETING}{name}-{uuid.uuid4().hex[:8]}"
            delete_atomically(self.store, f"{self.folder}/{name}", aside)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of this machine out, and clear away what killed ones left; the lock dies with its holder.

        On an object store, which has no locks, `change` sees to it that nobody's change is lost.
        """
        if not self.store.is_local:
            yield
            return
        folder = self.store.local(self.folder)
        with locks.exclusive_folder(folder):
            self._clear(folder.iterdir())
            yield

    def _clear(self, entries: Iterable[Path]) -> None:
        for name in [entry.name for entry in entries if entry.name.startswith((STAGING, _DELETING))]:
            self.store.remove(f"{self.folder}/{name}")
        for folder in (self.folder, self.leases.folder):
            self.store.remove_parts(folder)
        self.remove(name for name in self.state().deleting if self.store.exists(f"{self.folder}/{name}"))

    def names(self) -> list[str]:
        """Return the names of versions there are, whole or not, the oldest first."""
        return sorted(filter(VERSION.match, self.store.names(self.folder)), key=numbers)

    def placed(self) -> list[str]:
        """Return the versions that are complete, told of or not, the oldest first."""
        return [name for name in self.names() if self.store.exists(f"{self.folder}/{name}/{MANIFEST}")]
