"""Publication of a version: complete or not at all, under the next name, with `latest` moved in one write."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry.changes import Change, State, parse_version
from ai_workflow.registry.manifest import ModelFacts
from ai_workflow.registry.registry import MANIFEST, STAGING, Registry, Version
from ai_workflow.storage.durable import sync_folder
from ai_workflow.telemetry import trace_context

_CLAIM = "claim"


def publish(
    registry: Registry,
    files: dict[str, bytes],
    schema: str,
    metadata: ModelFacts,
    versioned_files: Callable[[str], dict[str, bytes]] = lambda _: {},
    origin: str | None = None,
) -> Version:
    """Publish files as a new version and point `latest` at it, and `stable` if there is none.

    A version whose manifest has `beats_baseline: false` never becomes `stable` here.

    Args:
        registry: the registry.
        files: name -> bytes of all files, the model and its feature spec included.
        schema: fingerprint of the columns that the model takes; a change raises the major number.
        metadata: further fields of the manifest (kind, scores, ...).
        versioned_files: returns the files whose content has the name of the version.
        origin: identity of the training; if `latest` has the same, its publisher was killed before it returned, and
            that version is returned.

    Raises:
        StoreError: it cannot be written; no version appears and no alias moves.
    """
    with registry.locked():
        _complete_interrupted(registry)
        if origin and (published := _published_from(registry, origin)):
            return published
        name = _claim(registry, schema)
        source = {"origin": origin} if origin else {}
        now, trace_id = _now(), trace_context.current()
        manifest = {**metadata, **source, "version": name, "schema": schema, "published": now, "trace_id": trace_id}
        _write_files(registry, name, files | versioned_files(name), manifest)
        try:
            previous = registry.aliases()["latest"]
            _make_latest(registry, name, f"passed the gate, after {previous}" if previous else "passed the gate")
        except BaseException:
            if name not in registry.aliases().values():
                registry.store.remove(f"{registry.folder}/{name}")
            raise
    return registry.get(name)


def _published_from(registry: Registry, origin: str) -> Version | None:
    """Return `latest` if it has this origin and is complete."""
    try:
        latest = registry.get("latest")
    except AiWorkflowError:
        return None
    return latest if latest.manifest.get("origin") == origin and not registry.damaged(latest) else None


def _complete_interrupted(registry: Registry) -> None:
    """Point `latest` at a complete version whose publisher was killed before it could do so."""
    newest, state = registry.complete_versions()[-1:], registry.state()
    if newest and not state.is_published(newest[0]) and newest[0] not in state.deleting:
        _make_latest(registry, newest[0], "its publishing was interrupted, and completed by the next")


def _make_latest(registry: Registry, name: str, reason: str) -> None:
    def decide(state: State) -> Change | None:
        change = Change("publish", reason, [name])
        if state.is_published(name):
            # On an object store, another publisher may have published a newer version, or recorded this one.
            is_recorded = any(name in record["versions"] for record in registry.history(verify=False))
            return None if is_recorded else change
        stable = state.stable or (name if _beats_baseline(registry, name) else None)
        return replace(change, newest=name, latest=name, stable=stable)

    registry.change(decide)


def _beats_baseline(registry: Registry, name: str) -> bool:
    manifest = registry.store.read_record(f"{registry.folder}/{name}/{MANIFEST}")
    return bool(manifest.get("beats_baseline", True))


def _claim(registry: Registry, schema: str) -> str:
    """Return the name of the next version; on an object store it is claimed by a file that one process can create."""
    store = registry.store
    while True:
        name = _next(registry, schema)
        if store.is_local or store.write_new(f"{registry.folder}/{name}/{_CLAIM}", b"claimed\n"):
            return name


def _next(registry: Registry, schema: str) -> str:
    # Deleted versions and those without a manifest count too: a recorded name is never used again.
    newest = registry.state().newest
    names = [*registry.names(), *([newest] if newest else [])]
    if not names:
        return "model_v1.0"
    major, minor = max(map(parse_version, names))
    return f"model_v{major}.{minor + 1}" if _last_schema(registry) in (schema, None) else f"model_v{major + 1}.0"


def _last_schema(registry: Registry) -> str | None:
    for name in reversed(registry.versions()):
        with contextlib.suppress(StoreError):
            return str(registry.get(name).manifest["schema"])
    return None


def _write_files(registry: Registry, name: str, files: dict[str, bytes], manifest: Mapping[str, object]) -> None:
    """Write all files into a staging folder, the manifest last, and rename the folder."""
    store, folder = registry.store, registry.folder
    staging = f"{folder}/{STAGING}{uuid.uuid4().hex[:8]}" if store.is_local else f"{folder}/{name}"
    refs = {}
    try:
        for file, data in files.items():
            ref = store.write(f"{staging}/{file}", data)
            refs[file] = {"sha256": ref.sha256, "bytes": ref.bytes}
        store.write_record(f"{staging}/{MANIFEST}", {**manifest, "files": refs})
        if store.is_local:
            store.local(staging).rename(store.local(f"{folder}/{name}"))
            sync_folder(store.local(folder))
    except BaseException:
        store.remove(staging)
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
