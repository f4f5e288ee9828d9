"""Published versions, from the registries of one environment: read anew only where something changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.samples import Sample
from ai_workflow.registry.change_log import State, parse_version
from ai_workflow.registry.registry import MANIFEST, Registry
from ai_workflow.storage.store import Store

# Each is a series of its own: of more versions the oldest without an alias are left out.
MOST = 20
_UNREADABLE = (AiWorkflowError, OSError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Version:
    published: float
    bytes: int


class RegistrySource:
    """Keeps which versions each pipeline has; where a registry is damaged, what was last known of it.

    Args:
        store: the store.
        folder: that of the environment's registries, `models/production`.
        failures: where damaged registries are counted.
    """

    name = "registry"

    def __init__(self, store: Store, folder: str, failures: Failures) -> None:
        self._store, self._folder, self._failures = store, folder, failures
        self._there: set[str] = set()
        self._seen: dict[str, tuple[int, ...]] = {}
        self._states: dict[str, State] = {}
        self._versions: dict[str, dict[str, _Version]] = {}

    def look(self) -> list[Sample]:
        """Return what the registries tell now."""
        there = self._store.names(self._folder)
        for pipeline in there:
            try:
                self._read(pipeline)
            except _UNREADABLE as error:
                self._seen.pop(pipeline, None)
                self._failures.note(self.name, error)
        self._there = set(there)
        for known in (self._seen, self._states, self._versions):
            for pipeline in known.keys() - self._there:
                del known[pipeline]
        total = sum(version.bytes for versions in self._versions.values() for version in versions.values())
        samples = [Sample("model_store_bytes", (), float(total))]
        for pipeline in self._states:
            samples += self._of(pipeline)
        return samples

    def shown(self, pipeline: str) -> set[str] | None:
        """Return the versions of a pipeline that are shown; None where its registry cannot be read."""
        if pipeline not in self._states:
            return None if pipeline in self._there else set()
        newest = sorted(self._versions[pipeline], key=parse_version)[-MOST:]
        return {*newest, *self._versions[pipeline].keys() & set(self._states[pipeline].aliases.values())}

    def _of(self, pipeline: str) -> list[Sample]:
        samples, aliases = [], self._states[pipeline].aliases
        for name in sorted(self.shown(pipeline) or ()):
            published = self._versions[pipeline][name].published
            samples.append(Sample("model_published_timestamp_seconds", (pipeline, name), published))
            for alias in [alias for alias, points_at in aliases.items() if points_at == name] or ["none"]:
                samples.append(Sample("model_registry_info", (pipeline, name, alias), 1.0))  # noqa: PERF401
        return samples

    def _read(self, pipeline: str) -> None:
        """Read a registry, if it has changed: every change of it writes `aliases.json` anew."""
        folder = f"{self._folder}/{pipeline}"
        now = self._stamp(f"{folder}/aliases.json")
        if now is not None and self._seen.get(pipeline) == now:
            return
        registry = Registry(self._store, folder)
        state, before = registry.state(), self._versions.get(pipeline, {})
        names = [name for name in registry.names() if state.is_published(name)]
        # A manifest never changes.
        found = {name: before.get(name) or self._version(f"{folder}/{name}/{MANIFEST}") for name in names}
        self._versions[pipeline] = {name: version for name, version in found.items() if version}
        self._states[pipeline] = state
        if now is not None and all(found.values()):
            self._seen[pipeline] = now

    def _version(self, path: str) -> _Version | None:
        """Return what a manifest says; None where it is damaged, which hides no other version."""
        try:
            manifest = self._store.read_record(path)
            size = sum(int(file["bytes"]) for file in manifest["files"].values())
            return _Version(datetime.fromisoformat(manifest["published"]).timestamp(), size)
        except _UNREADABLE as error:
            self._failures.note(self.name, error)
            return None

    def _stamp(self, path: str) -> tuple[int, ...] | None:
        """Return what changes with a file; None where nothing tells."""
        if not self._store.is_local:
            return None
        try:
            found = self._store.local(path).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
