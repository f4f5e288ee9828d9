"""What the registry promises: a version is complete or not there, `latest` is always one of them, and all is told."""

from __future__ import annotations

import json
import random
import signal
import time
import uuid
from pathlib import Path

import pytest

from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from tests import processes
from tests.tables import DAMAGES, damage

FOLDER = "models/development/credit"
FILES = {"model.txt": b"m" * 5000, "features.json": b"{}", "golden.json": b"[]"}
PUBLISH = """
    import sys
    from ai_workflow.registry import publication as publishing
    from ai_workflow.registry.registry import Registry
    from ai_workflow.storage.store import Store
    registry = Registry(Store(sys.argv[1]), "models/development/credit")
    files = {"model.txt": b"m" * 5000, "features.json": b"{}", "golden.json": b"[]"}
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        publishing.publish(registry, files, "schema", {})
"""
# Publishes again and again while files may grow a little larger each time: each of the writes fails once.
REFUSED = """
    import resource, signal, sys
    from ai_workflow.errors import StoreError
    from ai_workflow.registry import publication as publishing
    from ai_workflow.registry.registry import Registry
    from ai_workflow.storage.store import Store
    registry = Registry(Store(sys.argv[1]), "models/development/credit")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    state = lambda: (registry.versions(), registry.aliases(), registry.history())
    for size in [*range(10, 1500, 30), 100_000]:
        before, limits = state(), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            publishing.publish(registry, {"model.txt": b"m" * 100}, "schema", {})
            after = "published"
        except StoreError as error:
            after = str(error).split(" cannot be written: File too large")[0].rsplit("/")[-1]
            assert state() == before, (size, before, state())
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        print(after)
"""


@pytest.fixture(params=["folder", "objects://"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """An empty registry in a store of each kind."""
    root = tmp_path if request.param == "folder" else f"objects://{uuid.uuid4().hex}"
    return Registry(Store(root), FOLDER)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def local(store: Store) -> Registry:
    return Registry(store, FOLDER)


def _publish(registry: Registry, schema: str = "schema") -> Version:
    return publication.publish(registry, FILES, schema, {"kind": "lightgbm"})


def _is_sound(registry: Registry) -> None:
    """Check that what the aliases point at can be used, and that the history tells how they came to."""
    history = registry.history()
    for name in registry.versions():
        version = registry.get(name)
        for file in version.manifest["files"]:
            registry.read(version, file)
    assert (history[-1]["aliases"] if history else {"latest": None, "stable": None}) == registry.aliases()
    assert all(name in registry.versions() for line in history for name in line["aliases"].values())


def test_first_version_becomes_latest_and_stable(registry: Registry) -> None:
    assert registry.aliases() == {"latest": None, "stable": None}
    assert _publish(registry).name == "model_v1.0"
    assert registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}


def test_training_bumps_minor_and_schema_change_bumps_major(registry: Registry) -> None:
    names = [_publish(registry, schema).name for schema in ("a", "a", "b", "b", "a")]
    assert names == ["model_v1.0", "model_v1.1", "model_v2.0", "model_v2.1", "model_v3.0"]
    assert registry.versions() == names
    assert registry.aliases() == {"latest": "model_v3.0", "stable": "model_v1.0"}


@pytest.mark.integration
def test_versions_are_sorted_numerically(registry: Registry) -> None:
    for _ in range(11):
        _publish(registry)
    assert registry.versions()[-2:] == ["model_v1.9", "model_v1.10"]


def test_version_contains_files_and_manifest(registry: Registry) -> None:
    with trace_context.bound(trace_id="f" * 32):
        publication.publish(registry, FILES, "s", {"kind": "lightgbm"}, lambda name: {"card.md": f"# {name}".encode()})
    version = registry.get("latest")
    assert registry.read(version, "model.txt") == FILES["model.txt"]
    assert registry.read(version, "card.md") == b"# model_v1.0"
    said = {name: version.manifest[name] for name in ("version", "schema", "kind", "trace_id")}
    assert said == {"version": "model_v1.0", "schema": "s", "kind": "lightgbm", "trace_id": "f" * 32}
    assert set(version.manifest["files"]) == {*FILES, "card.md"}


@pytest.mark.parametrize(
    "name", ["latest", "stable", "model_v9.9", "", "..", "../../../etc", "history.jsonl", "Latest"]
)
def test_missing_version_in_empty_registry_suggests_training(registry: Registry, name: str) -> None:
    with pytest.raises(AiWorkflowError, match=r"available: none\. Publish the first with `make run`") as caught:
        registry.get(name)
    assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize("name", ["model_v9.9", "Latest", ".."])
def test_missing_version_error_lists_available_versions(registry: Registry, name: str) -> None:
    _publish(registry)
    with pytest.raises(AiWorkflowError, match=rf"'{name}'.*; available: model_v1\.0\. Use one of these, or latest or"):
        registry.get(name)


def test_missing_version_file_is_named(registry: Registry) -> None:
    with pytest.raises(StoreError, match=r"model_v1.0 has no file weights.bin"):
        registry.read(_publish(registry), "weights.bin")


def test_history_records_latest_and_stable(registry: Registry) -> None:
    _publish(registry)
    _publish(registry)
    first, second = registry.history()
    assert second["aliases"] == {"latest": "model_v1.1", "stable": "model_v1.0"}
    assert (first["before"], second["action"], second["reason"]) == ("", "publish", "passed the gate, after model_v1.0")
    assert first["time"] <= second["time"]


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", ["model.txt", "manifest.json"])
def test_damaged_version_is_rejected(local: Registry, store: Store, file: str, kind: str) -> None:
    _publish(local)
    damage(store, f"{FOLDER}/model_v1.0/{file}", kind)
    with pytest.raises(AiWorkflowError, match=r"damaged|cannot be read|model version .* not found"):
        local.read(local.get("latest"), "model.txt")


@pytest.mark.parametrize("kind", ["empty", "cut short", "a bit flipped"])
def test_damaged_aliases_are_rejected(local: Registry, store: Store, kind: str) -> None:
    _publish(local)
    damage(store, f"{FOLDER}/aliases.json", kind)
    with pytest.raises(StoreError, match=r"aliases\.json is damaged"):
        local.get("latest")


def test_registry_of_earlier_release_is_rejected(local: Registry, store: Store) -> None:
    _publish(local)
    store.write_record(f"{FOLDER}/aliases.json", {"latest": "model_v1.0", "stable": None, "change": {"time": "x"}})
    for ask in (local.aliases, local.versions, lambda: _publish(local)):
        with pytest.raises(StoreError, match=r"was written by an earlier version.*Move it away"):
            ask()


def test_moved_history_file_starts_new_history(local: Registry, store: Store) -> None:
    for _ in range(3):
        _publish(local)
    path = store.local(f"{FOLDER}/history.jsonl")
    path.rename(path.with_suffix(".old"))
    _publish(local)
    assert [line["number"] for line in local.history()] == [4]
    _publish(local)
    assert [line["number"] for line in local.history()] == [4, 5]
    assert len(local.versions()) == 5


def test_edited_history_is_rejected(local: Registry, store: Store) -> None:
    for _ in range(4):
        _publish(local)
    path = store.local(f"{FOLDER}/history.jsonl")
    good = path.read_text().splitlines(keepends=True)
    edited = good[1].replace("passed the gate", "failed the gate")
    for lines in ([good[0], edited, *good[2:]], [good[0], *good[2:]], good[1:], [good[1], good[0], *good[2:]]):
        path.write_text("".join(lines))
        with pytest.raises(StoreError, match=r"history\.jsonl line \d does not follow the line before it"):
            local.history()
    path.write_text("{" + "".join(good))
    with pytest.raises(StoreError, match=r"history\.jsonl is damaged"):
        local.history()


def test_unwritten_history_line_is_recovered(local: Registry, store: Store) -> None:
    _publish(local)
    path = store.local(f"{FOLDER}/history.jsonl")
    before = path.read_bytes()
    _publish(local)
    path.write_bytes(before)
    assert [line["aliases"]["latest"] for line in local.history()] == ["model_v1.0", "model_v1.1"]
    _publish(local)
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3
    _is_sound(local)


@pytest.mark.integration
def test_concurrent_publishers_lose_no_version(local: Registry, tmp_path: Path) -> None:
    publishers = [processes.start(PUBLISH, tmp_path, 10) for _ in range(2)]
    assert [publisher.communicate(timeout=240)[0] for publisher in publishers] == ["ready\n"] * 2
    assert local.versions() == [f"model_v1.{minor}" for minor in range(20)]
    assert [line["aliases"]["latest"] for line in local.history()] == local.versions()
    _is_sound(local)


@pytest.mark.slow
def test_killed_publisher_leaves_consistent_registry(local: Registry, store: Store, tmp_path: Path) -> None:
    moments = random.Random(0)
    for _ in range(20):
        publisher = processes.start(PUBLISH, tmp_path, 1000)
        assert publisher.stdout
        assert publisher.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 0.02))
        publisher.send_signal(signal.SIGKILL)
        publisher.communicate()
        _is_sound(local)
    newest = _publish(local).name
    _is_sound(local)
    assert local.aliases()["latest"] == newest
    assert [line["aliases"]["latest"] for line in local.history()] == local.versions()
    assert not list(store.local(FOLDER).glob(".publishing-*"))


def test_version_of_killed_publisher_is_adopted_by_next_publish(local: Registry, store: Store) -> None:
    _publish(local)
    _publish(local)
    folder = store.local(FOLDER)
    (folder / "model_v1.1").rename(folder / "kept")
    for file in ("aliases.json", "history.jsonl"):
        store.remove(f"{FOLDER}/{file}")
    _publish(local)
    (folder / "kept").rename(folder / "model_v1.2")
    _publish(local)
    assert [line["aliases"]["latest"] for line in local.history()][-2:] == ["model_v1.2", "model_v1.3"]


@pytest.mark.integration
def test_failed_publish_leaves_registry_unchanged(local: Registry, store: Store, tmp_path: Path) -> None:
    said = processes.python(REFUSED, tmp_path).splitlines()
    assert set(said) == {"model.txt", "manifest.json", "aliases.json", "history.jsonl", "published"}
    left = {path.name for path in store.local(FOLDER).iterdir()}
    assert left == {".lock", "aliases.json", "history.jsonl", *local.versions()}
    assert len(local.history()) == said.count("published")
    _is_sound(local)


def test_unwritable_registry_folder_raises_store_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder must be")
    with pytest.raises(StoreError, match="credit cannot be written: Not a directory"):
        _publish(Registry(Store(tmp_path), FOLDER))
