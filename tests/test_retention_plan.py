"""A plan of retention is carried out as it was shown: nothing else is deleted, and nothing that is in use by then."""

from __future__ import annotations

import logging
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_workflow.config.settings import Retention
from ai_workflow.errors import StoreError
from ai_workflow.registry import expired_files, promotion, pruning, publication, retention_plan
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_plan import RetentionPlan
from ai_workflow.storage.store import Store
from tests.registry_checks import FOLDER
from tests.tables import damage

POLICY = Retention(versions=1, min_age_hours=0, journal_days=1)
DAYS_AGO = time.time() - 3 * 86_400
RUN = "b7a3c7a4-41b0-4c4e-8f5e-3e0d2c8f7a11"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with four versions, the first stable, the last latest; and two journals that are old enough."""
    found = Registry(Store(tmp_path_factory.mktemp("published")), FOLDER)
    for _ in range(4):
        _publish(found)
    for trace in ("t1", "t2"):
        _write(found.store, f"journal/{trace}/0001-run-started.json")
    return found.store.local("")


@pytest.fixture
def registry(published: Path, tmp_path: Path) -> Registry:
    """A copy of that store."""
    return Registry(Store(shutil.copytree(published, tmp_path / "var")), FOLDER)


def _publish(registry: Registry) -> None:
    publication.publish(registry, {"model.txt": b"m" * 100}, "schema", {})


def _write(store: Store, path: str, modified: float = DAYS_AGO) -> None:
    store.write(path, b"{}")
    os.utime(store.local(path), (modified, modified))


def _plan(registry: Registry) -> RetentionPlan:
    doomed = [item for item in pruning.plan(registry, POLICY) if not item.is_kept]
    old = expired_files.find(registry.store, POLICY, datetime.now(UTC))
    return RetentionPlan(registry.folder, "key", datetime.now(UTC) + timedelta(hours=1), doomed, old)


def _kept(registry: Registry) -> RetentionPlan:
    """Return the plan as another process finds it."""
    retention_plan.write(registry.store, RUN, _plan(registry))
    found = retention_plan.read(registry.store, RUN)
    assert found
    return found


def test_stored_plan_is_executed_as_approved(registry: Registry) -> None:
    plan = _kept(registry)
    assert plan.question == _plan(registry).question
    assert plan.question.startswith("Delete 2 versions (model_v1.1, model_v1.2) and 2 old files")

    done = retention_plan.carry_out(plan, registry, POLICY, "approved")

    assert done.versions == ("model_v1.1", "model_v1.2")
    assert registry.versions() == ["model_v1.0", "model_v1.3"]
    assert not registry.store.names("journal")


def test_versions_and_files_expired_after_plan_are_kept(registry: Registry) -> None:
    plan = _kept(registry)
    _publish(registry)
    _write(registry.store, "journal/t3/0001-run-started.json")

    retention_plan.carry_out(plan, registry, POLICY, "approved")

    assert registry.versions() == ["model_v1.0", "model_v1.3", "model_v1.4"]
    assert registry.store.names("journal") == ["t3"]


def test_version_in_use_at_execution_is_kept_and_logged(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    plan = _kept(registry)
    promotion.promote(registry, "model_v1.1", "back to it")
    pruning.pin(registry, "model_v1.2", "audit")

    with caplog.at_level(logging.INFO):
        done = retention_plan.carry_out(plan, registry, POLICY, "approved")

    assert done.versions == ()
    assert {"model_v1.1", "model_v1.2"} < set(registry.versions())
    assert "model_v1.2 stays: pinned: audit" in caplog.messages
    assert any(line.startswith("model_v1.1 stays: ") for line in caplog.messages)


def test_longer_retention_at_execution_is_respected(registry: Registry) -> None:
    plan = _kept(registry)
    retention_plan.carry_out(plan, registry, Retention(versions=9, min_age_hours=0, journal_days=9), "approved")
    assert len(registry.versions()) == 4
    assert registry.store.names("journal") == ["t1", "t2"]


def test_changed_or_removed_files_are_kept_and_logged(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    plan = _kept(registry)
    # Old as well, but not what the person was shown.
    _write(registry.store, "journal/t1/0002-run-success.json", DAYS_AGO + 1)
    registry.store.remove("journal/t2")
    pruning.prune(registry, POLICY, ["model_v1.1"], "by hand")

    with caplog.at_level(logging.INFO):
        retention_plan.carry_out(plan, registry, POLICY, "approved")

    assert registry.store.names("journal/t1") == ["0001-run-started.json", "0002-run-success.json"]
    assert "2 of 2 old files were used, changed or removed since the plan: they stay" in caplog.messages
    assert "model_v1.1 does not exist any more" in caplog.messages


def test_republished_version_is_kept(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    plan = _kept(registry)
    folder = registry.store.local(f"{FOLDER}/model_v1.1")
    manifest = registry.store.read_record(f"{FOLDER}/model_v1.1/manifest.json")
    registry.store.write_record(
        f"{FOLDER}/model_v1.1/manifest.json", {**manifest, "published": datetime.now(UTC).isoformat()}
    )

    with caplog.at_level(logging.INFO):
        retention_plan.carry_out(plan, registry, POLICY, "approved")

    assert folder.exists()
    assert "model_v1.1 stays: it was published again after the plan was made" in caplog.messages


def test_repeated_execution_deletes_no_more(registry: Registry) -> None:
    plan = _kept(registry)
    retention_plan.carry_out(plan, registry, POLICY, "approved")
    left = registry.versions()
    again = retention_plan.carry_out(plan, registry, POLICY, "approved")
    assert (again.versions, again.bytes) == ((), 0)
    assert registry.versions() == left


def test_damaged_plan_is_rejected(registry: Registry) -> None:
    retention_plan.write(registry.store, RUN, _plan(registry))
    damage(registry.store, f"retention/{RUN}.json", "a bit flipped")
    with pytest.raises(StoreError, match="is damaged"):
        retention_plan.read(registry.store, RUN)
    registry.store.write_record(f"retention/{RUN}.json", {"models": FOLDER})
    with pytest.raises(StoreError, match="is not a plan of this release"):
        retention_plan.read(registry.store, RUN)


@pytest.mark.parametrize("root", ["folder", "objects://plans"])
def test_plan_is_stored_until_deleted(registry: Registry, tmp_path: Path, root: str) -> None:
    store, plan = Store(tmp_path if root == "folder" else root), _plan(registry)
    assert retention_plan.read(store, RUN) is None
    retention_plan.write(store, RUN, plan)
    found = retention_plan.read(store, RUN)
    assert found
    assert (found.models, found.key, found.until) == (plan.models, plan.key, plan.until)
    assert retention_plan.run_ids(store) == [RUN]
    retention_plan.forget(store, RUN)
    retention_plan.forget(store, RUN)
    assert retention_plan.run_ids(store) == []
