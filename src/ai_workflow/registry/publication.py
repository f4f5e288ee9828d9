"""Publishes a version: whole or not at all, under the next name, and `latest` points at it in one write."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry.change_log import State, numbers
from ai_workflow.registry.manifest import ModelFacts
from ai_workflow.registry.registry import MANIFEST, STAGING, Registry, Version
from ai_workflow.storage.durable import sync_folder
from ai_workflow.telemetry import trace_context

_CLAIM = "claim"


def publish(
    registry: Registry,
    files: dict[str, bytes],
    schema: str,
    about: ModelFacts,
    named: Callable[[str], dict[str, bytes]] = lambda _: {},
    origin: str | None = None,
) -> Version:
    """Make a version of the files and point `latest` at it; without a `stable` it becomes that as well.

    A version whose manifest says `beats_baseline: false` never becomes `stable` here.

    Args:
        registry: where to.
        files: name -> bytes; all of them, the model and its feature spec included.
        schema: fingerprint of the columns the model asks for; another one raises the major number.
        about: what else the manifest says (kind, scores, …).
        named: files that bear the version's name in them, made once it is known.
        origin: what the version was made from; if `latest` was made from the same, it is that version already: its
            publisher was killed before it could tell.

    Raises:
        StoreError: it cannot be written; no version appears and no alias moves.
    """
    with registry.locked():
        _complete(registry)
        if origin and (done := _made_from(registry, origin)):
            return done
        name = _claim(registry, schema)
        extra = {"origin": origin} if origin else {}
        now, trace_id = _now(), trace_context.current()
        manifest = {**about, **extra, "version": name, "schema": schema, "published": now, "trace_id": trace_id}
        _place(registry, name, files | named(name), manifest)
        try:
            before = registry.aliases()["latest"]
            _make_latest(registry, name, f"passed the gate, after {before}" if before else "passed the gate")
        except BaseException:
            if name not in registry.aliases().values():
                registry.store.remove(f"{registry.folder}/{name}")
            raise
    return registry.get(name)


def _made_from(registry: Registry, origin: str) -> Version | None:
    """Return `latest` if it was made from `origin` and is whole."""
    try:
        latest = registry.get("latest")
    except AiWorkflowError:
        return None
    return latest if latest.manifest.get("origin") == origin and not registry.damaged(latest) else None


def _complete(registry: Registry) -> None:
    """Point `latest` at a version whose publisher was killed between placing it and pointing at it."""
    newest, state = registry.placed()[-1:], registry.state()
    if newest and not state.tells_of(newest[0]) and newest[0] not in state.deleting:
        _make_latest(registry, newest[0], "its publishing was interrupted, and completed by the next")


def _make_latest(registry: Registry, name: str, reason: str) -> None:
    def decide(state: State) -> dict[str, Any] | None:
        change: dict[str, Any] = {"action": "publish", "reason": reason, "versions": [name]}
        if state.tells_of(name):
            # Another publisher was quicker with a newer one, or told of this one: on an object store that can be.
            told = any(name in line["versions"] for line in registry.history(verified=False))
            return None if told else change
        stable = state.stable or (name if _beats_baseline(registry, name) else None)
        return {**change, "newest": name, "latest": name, "stable": stable}

    registry.change(decide)


def _beats_baseline(registry: Registry, name: str) -> bool:
    manifest = registry.store.read_record(f"{registry.folder}/{name}/{MANIFEST}")
    return bool(manifest.get("beats_baseline", True))


def _claim(registry: Registry, schema: str) -> str:
    """Return the name of the next version; on an object store a file claims it, which only one can create."""
    store = registry.store
    while True:
        name = _next(registry, schema)
        if store.is_local or store.write_new(f"{registry.folder}/{name}/{_CLAIM}", b"claimed\n"):
            return name


def _next(registry: Registry, schema: str) -> str:
    # After those too that were deleted, or lost their manifest: a name the history tells of is never another's.
    told = registry.state().newest
    names = [*registry.names(), *([told] if told else [])]
    if not names:
        return "model_v1.0"
    major, minor = max(map(numbers, names))
    return f"model_v{major}.{minor + 1}" if _last_schema(registry) in (schema, None) else f"model_v{major + 1}.0"


def _last_schema(registry: Registry) -> str | None:
    for name in reversed(registry.versions()):
        with contextlib.suppress(StoreError):
            return str(registry.get(name).manifest["schema"])
    return None


def _place(registry: Registry, name: str, files: dict[str, bytes], manifest: Mapping[str, object]) -> None:
    """Write all files aside, the manifest last, and give the folder its name in one rename."""
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
