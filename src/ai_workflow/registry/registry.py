"""Published model versions of one pipeline: files, aliases, change log, leases and lock.

models/<environment>/<pipeline>/
    model_v2.3/     model file, features.json, card.json, card.md, plots, golden.json, manifest.json
    aliases.json, history.jsonl    the versions behind `latest` and `stable`, and every change (change_log.py)
    leases/         processes that use a version (leases.py)
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry.change_log import ChangeLog
from ai_workflow.registry.changes import (
    ALIASES,
    VERSION,
    Change,
    ChangeRecord,
    ConflictError,
    State,
    parse_version,
)
from ai_workflow.registry.leases import Leases
from ai_workflow.registry.manifest import Manifest
from ai_workflow.storage import locks
from ai_workflow.storage.cleanup import delete_atomically
from ai_workflow.storage.file_ref import FileRef
from ai_workflow.storage.store import Store

MANIFEST = "manifest.json"
STAGING, _DELETING = ".publishing-", ".deleting-"


@dataclass(frozen=True, slots=True)
class Version:
    """A published version: its name, folder and manifest, which has the checksums of its files."""

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
        self._changes = ChangeLog(store, folder)

    def versions(self) -> list[str]:
        """Return the published versions, the oldest first."""
        state = self.state()
        return [name for name in self.complete_versions() if state.is_published(name)]

    def state(self) -> State:
        """Return the current aliases and pins.

        Raises:
            StoreError: `aliases.json` is damaged.
        """
        return self._changes.state()

    def aliases(self) -> dict[str, str | None]:
        """Return the version behind each alias.

        Raises:
            StoreError: `aliases.json` is damaged.
        """
        return self.state().aliases

    def history(self, *, verify: bool = True) -> list[ChangeRecord]:
        """Return every change, the oldest first.

        Args:
            verify: whether to check the checksum of each line.

        Raises:
            StoreError: a line was changed or removed.
        """
        return self._changes.read(verify=verify)

    def get(self, name: str) -> Version:
        """Return a version by its name or an alias.

        Raises:
            AiWorkflowError: there is no such version.
            StoreError: its manifest is damaged.
        """
        state = self.state()
        version = state.aliases[name] if name in ALIASES else name
        folder = f"{self.folder}/{version}"
        is_published = version and VERSION.match(version) and state.is_published(version)
        if not is_published or not self.store.exists(f"{folder}/{MANIFEST}"):
            available = ", ".join(self.versions())
            remedy = "Use one of these, or latest or stable" if available else "Publish the first with `make run`"
            raise AiWorkflowError(
                f"model version '{name}' not found in {self.store.url(self.folder)}; available: "
                f"{available or 'none'}. {remedy}"
            )
        return Version(str(version), folder, self.store.read_record(f"{folder}/{MANIFEST}"))

    def read(self, version: Version, name: str) -> bytes:
        """Return a file of a version, verified.

        Raises:
            StoreError: it is missing or damaged.
        """
        ref = version.file(name)
        return self.store.read(ref.path, ref.sha256)

    def damaged(self, version: Version) -> list[str]:
        """Return the files of a version that are missing or differ from its manifest."""
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
                # `pruning` records a deletion before it reads the leases: one of the two sees the other.
                self.get(version.name)
            yield version

    def change(self, decide: Callable[[State], Change | None]) -> State:
        """Make the change that `decide` returns for the current state, None for no change; return the new state.

        Raises:
            StoreError: it cannot be written; nothing has changed.
        """
        while True:
            state = self.state()
            change = decide(state)
            if change is None:
                return state
            try:
                return self._changes.write(state, change)
            except ConflictError:
                continue

    def remove(self, names: Iterable[str]) -> None:
        """Remove the files of versions whose deletion is recorded, each folder in one rename."""
        for name in names:
            aside = f"{self.folder}/{_DELETING}{name}-{uuid.uuid4().hex[:8]}"
            delete_atomically(self.store, f"{self.folder}/{name}", aside)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other writers on this machine, and remove partial files of killed writers.

        An object store has no locks: there `change` makes sure that no change is lost.
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
        """Return the names of all version folders, complete or not, the oldest first."""
        return sorted(filter(VERSION.match, self.store.names(self.folder)), key=parse_version)

    def complete_versions(self) -> list[str]:
        """Return the versions with a manifest, published or not, the oldest first."""
        return [name for name in self.names() if self.store.exists(f"{self.folder}/{name}/{MANIFEST}")]
