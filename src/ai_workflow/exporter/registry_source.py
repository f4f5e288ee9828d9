"""Metrics of published versions, from the registries of one environment.

Only changed registries are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.samples import Sample
from ai_workflow.registry.changes import State, parse_version
from ai_workflow.registry.registry import MANIFEST, Registry
from ai_workflow.storage.store import Store

# Each version is a series. Beyond this number, the oldest versions without an alias are not exported.
MAX_VERSIONS = 20
_UNREADABLE = (AiWorkflowError, OSError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Version:
    published: float
    bytes: int


class RegistrySource:
    """Versions of each pipeline, and the last readable state of a damaged registry.

    Args:
        store: the store.
        folder: folder of the registries of the environment, such as `models/production`.
        failures: counter of damaged registries.
    """

    name = "registry"

    def __init__(self, store: Store, folder: str, failures: Failures) -> None:
        self._store, self._folder, self._failures = store, folder, failures
        self._pipelines: set[str] = set()
        self._file_states: dict[str, tuple[int, ...]] = {}
        self._states: dict[str, State] = {}
        self._versions: dict[str, dict[str, _Version]] = {}

    def collect(self) -> list[Sample]:
        """Return the samples of all registries."""
        pipelines = self._store.names(self._folder)
        for pipeline in pipelines:
            try:
                self._read(pipeline)
            except _UNREADABLE as error:
                self._file_states.pop(pipeline, None)
                self._failures.record(self.name, error)
        self._pipelines = set(pipelines)
        for cached in (self._file_states, self._states, self._versions):
            for pipeline in cached.keys() - self._pipelines:
                del cached[pipeline]
        total = sum(version.bytes for versions in self._versions.values() for version in versions.values())
        samples = [Sample("model_store_bytes", (), float(total))]
        for pipeline in self._states:
            samples += self._pipeline_samples(pipeline)
        return samples

    def visible_versions(self, pipeline: str) -> set[str] | None:
        """Return the exported versions of a pipeline; None if its registry cannot be read."""
        if pipeline not in self._states:
            return None if pipeline in self._pipelines else set()
        newest = sorted(self._versions[pipeline], key=parse_version)[-MAX_VERSIONS:]
        return {*newest, *self._versions[pipeline].keys() & set(self._states[pipeline].aliases.values())}

    def _pipeline_samples(self, pipeline: str) -> list[Sample]:
        samples, aliases = [], self._states[pipeline].aliases
        for name in sorted(self.visible_versions(pipeline) or ()):
            published = self._versions[pipeline][name].published
            samples.append(Sample("model_published_timestamp_seconds", (pipeline, name), published))
            for alias in [alias for alias, points_at in aliases.items() if points_at == name] or ["none"]:
                samples.append(Sample("model_registry_info", (pipeline, name, alias), 1.0))  # noqa: PERF401
        return samples

    def _read(self, pipeline: str) -> None:
        """Read a registry if it has changed: every change rewrites `aliases.json`."""
        folder = f"{self._folder}/{pipeline}"
        current = self._file_state(f"{folder}/aliases.json")
        if current is not None and self._file_states.get(pipeline) == current:
            return
        registry = Registry(self._store, folder)
        state, previous = registry.state(), self._versions.get(pipeline, {})
        names = [name for name in registry.names() if state.is_published(name)]
        # Manifests are immutable.
        versions = {name: previous.get(name) or self._version(f"{folder}/{name}/{MANIFEST}") for name in names}
        self._versions[pipeline] = {name: version for name, version in versions.items() if version}
        self._states[pipeline] = state
        if current is not None and all(versions.values()):
            self._file_states[pipeline] = current

    def _version(self, path: str) -> _Version | None:
        """Return the content of a manifest; None if it is damaged."""
        try:
            manifest = self._store.read_record(path)
            size = sum(int(file["bytes"]) for file in manifest["files"].values())
            return _Version(datetime.fromisoformat(manifest["published"]).timestamp(), size)
        except _UNREADABLE as error:
            self._failures.record(self.name, error)
            return None

    def _file_state(self, path: str) -> tuple[int, ...] | None:
        """Return inode, modification time and size of a file; None if missing or on an object store."""
        if not self._store.is_local:
            return None
        try:
            stat = self._store.local(path).stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
