"""What deletion promises: only what nobody needs at that moment, told in the history, and gone at once."""

from __future__ import annotations

import random
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ai_workflow.config.settings import Retention
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import leases, promotion, pruning, publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests import processes
from tests.registry_checks import FOLDER, is_sound
from tests.tables import damage

NOW = Retention(versions=2, min_age_hours=0)
ACT = """
    import sys
    from ai_workflow.registry import promotion, pruning, publication as publishing
    from ai_workflow.registry.registry import Registry
    from ai_workflow.config.settings import Retention
    from ai_workflow.storage.store import Store
    registry, action = Registry(Store(sys.argv[1]), "models/development/credit"), sys.argv[2]
    policy = Retention(versions=2, min_age_hours=0)
    print("ready", flush=True)
    for number in range(int(sys.argv[3])):
        if action == "promote":
            promotion.promote(registry, registry.versions()[number % 2 - 2], "test")
        elif action == "prune":
            pruning.prune(registry, policy, [item.name for item in pruning.plan(registry, policy)], "test")
        if action in ("publish", "prune"):
            publishing.publish(registry, {"model.txt": b"m" * 5000, "card.md": b"c" * 100}, "schema", {})
"""


@pytest.fixture(params=["folder", "objects://"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    root = tmp_path if request.param == "folder" else f"objects://{uuid.uuid4().hex}"
    return Registry(Store(root), FOLDER)


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    return Registry(Store(tmp_path), FOLDER)


def _publish(registry: Registry, count: int = 1) -> None:
    for _ in range(count):
        publication.publish(registry, {"model.txt": b"m" * 5000, "card.md": b"c" * 100}, "schema", {})


def _prune(registry: Registry, *names: str) -> list[str]:
    return [item.name for item in pruning.prune(registry, NOW, names or registry.versions(), "test").deleted]


def test_prune_deletes_unused_versions_and_records_history(registry: Registry) -> None:
    _publish(registry, 5)
    done = pruning.prune(registry, NOW, ["model_v1.1", "model_v1.2"], "approved")
    assert [item.name for item in done.deleted] == ["model_v1.1", "model_v1.2"]
    assert done.bytes == 2 * 5100
    assert registry.versions() == ["model_v1.0", "model_v1.3", "model_v1.4"]
    line = registry.history()[-1]
    assert (line["action"], line["versions"], line["reason"]) == ("delete", ["model_v1.1", "model_v1.2"], "approved")
    assert [name for name in registry.store.names(FOLDER) if "v1.1" in name or "v1.2" in name] == []
    is_sound(registry)


def test_prune_deletes_only_approved_versions(registry: Registry) -> None:
    _publish(registry, 6)
    assert _prune(registry, "model_v1.2", "model_v9.9") == ["model_v1.2"]
    assert _prune(registry, "model_v1.2") == []
    assert len(registry.history()) == 7


def test_version_in_use_after_approval_is_kept(registry: Registry) -> None:
    _publish(registry, 7)
    doomed = [item.name for item in pruning.plan(registry, NOW) if not item.is_kept]
    assert doomed == [f"model_v1.{number}" for number in range(1, 5)]
    pruning.pin(registry, "model_v1.1", "for the audit")
    promotion.promote(registry, "model_v1.2", "by hand")
    with registry.leased("model_v1.3", "service") as held:
        done = pruning.prune(registry, NOW, doomed, "test")
    assert held.name == "model_v1.3"
    assert [item.name for item in done.deleted] == ["model_v1.4"]
    reasons = {item.name: item.reasons[0].split(",")[0] for item in done.skipped}
    assert reasons == {
        "model_v1.1": "pinned: for the audit", "model_v1.2": "stable", "model_v1.3": "leased: service",
    }  # fmt: skip
    # The first one was stable when the plan was made, and is not any more: nobody approved of its deletion.
    assert registry.versions() == [f"model_v1.{number}" for number in (0, 1, 2, 3, 5, 6)]
    is_sound(registry)


def test_deleted_version_is_unavailable_and_name_not_reused(registry: Registry) -> None:
    _publish(registry, 4)
    promotion.promote(registry, "latest", "test")
    pruning.prune(registry, Retention(versions=1, min_age_hours=0), registry.versions(), "test")
    assert registry.versions() == ["model_v1.3"]
    for name in ("model_v1.0", "model_v1.1"):
        with pytest.raises(AiWorkflowError, match=r"model version .* not found"):
            registry.get(name)
        with pytest.raises(AiWorkflowError, match=r"model version .* not found"), registry.leased(name, "service"):
            pass
    promotion.roll_back(registry, "test")
    _publish(registry)
    assert registry.versions() == ["model_v1.3", "model_v1.4"]


def test_pinned_version_is_kept_until_unpinned(registry: Registry) -> None:
    _publish(registry, 5)
    assert pruning.pin(registry, "model_v1.1", "audit") == "model_v1.1"
    assert _prune(registry) == ["model_v1.2"]
    assert pruning.unpin(registry, "model_v1.1", "over") == "model_v1.1"
    assert _prune(registry) == ["model_v1.1"]
    with pytest.raises(AiWorkflowError, match=r"model_v1\.1 is not pinned; pinned are: none"):
        pruning.unpin(registry, "model_v1.1", "again")
    with pytest.raises(AiWorkflowError, match=r"model version .* not found"):
        pruning.pin(registry, "model_v1.1", "too late")
    assert [line["action"] for line in registry.history()][5:] == ["pin", "delete", "unpin", "delete"]


def test_damaged_version_can_be_pruned(local: Registry) -> None:
    _publish(local, 4)
    damage(local.store, f"{FOLDER}/model_v1.1/manifest.json", "cut short")
    assert _prune(local) == ["model_v1.1"]


def test_full_disk_prevents_deletion(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(local, 4)
    before, write = local.versions(), Store.write_record

    def full(store: Store, path: str, body: object) -> object:
        if path.endswith("aliases.json"):
            raise StoreError("aliases.json cannot be written: No space left on device")
        return write(store, path, body)

    monkeypatch.setattr(Store, "write_record", full)
    with pytest.raises(StoreError, match="No space left"):
        _prune(local)
    assert local.versions() == before
    is_sound(local)


@pytest.mark.integration
@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.soak)])
@pytest.mark.parametrize("action", ["publish", "promote", "prune"])
def test_killed_registry_operation_is_atomic(local: Registry, tmp_path: Path, action: str, kills: int) -> None:
    _publish(local, 6)
    moments, seen = random.Random(0), set()
    for _ in range(kills):
        worker = processes.start(ACT, tmp_path, action, 1000)
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 0.05))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        is_sound(local)
        seen.add(len(local.history()))
    assert len(seen) > kills / 6, "it never got to do anything"
    _publish(local)
    left = {path.name for path in local.store.local(FOLDER).iterdir()} - set(local.versions())
    assert left <= {".lock", "aliases.json", "history.jsonl", "leases"}, "the next call clears away what was left"
    assert not is_sound(local)


def test_version_deleted_during_planning_is_not_in_plan(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(local, 4)
    listed = local.versions()
    gone = _prune(local)
    assert gone
    monkeypatch.setattr(local, "versions", lambda: listed)
    assert [item.name for item in pruning.plan(local, NOW)] == [name for name in listed if name not in gone]


@pytest.mark.slow
def test_concurrent_publish_prune_and_read_lose_no_version(local: Registry, tmp_path: Path) -> None:
    _publish(local, 3)
    read = """
        import sys
        from ai_workflow.errors import AiWorkflowError
        from ai_workflow.registry.registry import Registry
        from ai_workflow.storage.store import Store
        registry, found = Registry(Store(sys.argv[1]), "models/development/credit"), 0
        for number in range(150):
            try:
                with registry.leased(registry.versions()[number % 3], "reader") as version:
                    assert not registry.damaged(version), version
                    found += 1
            except AiWorkflowError as error:
                assert "not found in" in str(error), error
        print(found)
    """
    workers = [processes.start(ACT, tmp_path, action, 40) for action in ("publish", "prune", "publish", "prune")]
    readers = [processes.start(read, tmp_path) for _ in range(2)]
    assert [worker.communicate(timeout=240)[0] for worker in workers] == ["ready\n"] * 4
    counts = [int(reader.communicate(timeout=240)[0]) for reader in readers]
    assert min(counts) > 50
    history = local.history()
    assert sum(line["action"] == "publish" for line in history) == 3 + 4 * 40
    assert any(line["action"] == "delete" for line in history)
    is_sound(local)


@pytest.mark.integration
def test_concurrent_publish_on_object_store_loses_no_version() -> None:
    registry = Registry(Store(f"objects://{uuid.uuid4().hex}"), FOLDER)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _publish(Registry(registry.store, FOLDER), 10), range(4)))
    assert [line["number"] for line in registry.history()] == list(range(1, 41))
    told = sorted(name for line in registry.history() for name in line["versions"])
    assert told == sorted(registry.versions())
    assert len(told) == 40
    assert not is_sound(registry)


def test_late_lease_on_object_store_prevents_deletion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    registry = Registry(Store(f"objects://{uuid.uuid4().hex}"), FOLDER)
    _publish(registry, 4)
    other = Registry(registry.store, FOLDER)
    with other.leases.held("model_v1.1", "late") as _:
        plan = pruning.plan
        # The plan is made before the lease is there.
        monkeypatch.setattr(pruning, "plan", lambda *given, **more: [_unleased(item) for item in plan(*given, **more)])
        assert _prune(registry) == []
    assert registry.versions() == [f"model_v1.{number}" for number in range(4)]
    assert [line["action"] for line in registry.history()][-2:] == ["delete", "keep"]
    is_sound(registry)


def _unleased(item: pruning.RetentionDecision) -> pruning.RetentionDecision:
    reasons = tuple(reason for reason in item.reasons if not reason.startswith("leased"))
    return pruning.RetentionDecision(item.name, item.bytes, item.published, reasons)
