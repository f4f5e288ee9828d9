"""What is old goes by its kind and its age, together with what belongs to it; what a run may need waits."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_workflow.config.settings import Retention
from ai_workflow.registry import expired_files
from ai_workflow.storage.store import Store
from tests import processes

DAY = 86_400
NOW = datetime.now(UTC)
POLICY = Retention(data_days=30, checkpoint_days=7, journal_days=90, prediction_days=365)
# Path -> age in days.
FILES = {
    "data/loaded/aaaa.json": 40, "data/loaded/aaaa-00000.parquet": 40,
    "data/loaded/bbbb.json": 20, "data/loaded/bbbb-00000.parquet": 40,
    "data/datasets/loaded-cccc.json": 31, "data/datasets/clean-dddd.json": 29,
    "data/trained/eeee/model.txt": 400, "data/trained/ffff/model.txt": 1,
    "checkpoints/credit/ffff/model_step_50.json": 8, "checkpoints/credit/ffff/model_step_50.state": 8,
    "checkpoints/credit/9999/model_step_50.json": 8, "checkpoints/credit/8888/model_step_50.json": 31,
    "checkpoints/credit/ffff/.lock": 8,
    "journal/t1/0001-run-started.json": 91, "journal/t1/0002-run-success.json": 91, "quarantine/t1/rejected.csv": 91,
    "journal/t2/0001-run-started.json": 91, "journal/t2/0002-run-success.json": 89,
    "predictions/credit/model_v1.0/1111/manifest.json": 366, "predictions/credit/model_v1.0/1111/part-0.parquet": 366,
    "predictions/credit/model_v1.0/2222/manifest.json": 364, "models/development/credit/model_v1.0/manifest.json": 9999,
    "runs/of-yesterday.lock": 9999, "prefect/prefect.db": 9999,
}  # fmt: skip
OLD = {
    "data": ["data/datasets/loaded-cccc.json", "data/loaded/aaaa", "data/trained/eeee"],
    "checkpoints": ["checkpoints/credit/8888", "checkpoints/credit/ffff"],
    "journals": ["journal/t1", "quarantine/t1"],
    "predictions": ["predictions/credit/model_v1.0/1111"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path)
    for path, age in FILES.items():
        found.write(path, b"12345678")
        os.utime(found.local(path), (time.time() - age * DAY,) * 2)
    return found


def _found(store: Store, policy: Retention = POLICY) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in expired_files.find(store, policy, NOW):
        found.setdefault(one.kind, []).append(one.path)
    return {kind: sorted(paths) for kind, paths in found.items()}


def test_only_files_past_retention_are_found(store: Store) -> None:
    assert _found(store) == OLD


def test_expired_files_are_removed_with_dependent_files(store: Store) -> None:
    old = expired_files.find(store, POLICY, NOW)
    assert sorted(expired_files.summary(old)) == [
        ("checkpoints", 2, 32), ("data", 3, 32), ("journals", 2, 24), ("predictions", 1, 16),
    ]  # fmt: skip
    assert expired_files.remove(store, old, POLICY, NOW) == 104
    left = {path for path in FILES if store.exists(path)}
    gone = set(FILES) - left
    assert {one for paths in OLD.values() for one in paths if store.exists(one)} == set()
    assert all(any(path.startswith(one) for paths in OLD.values() for one in paths) for path in gone)
    assert _found(store) == {}
    assert not (store.local("journal/t1")).exists()


def test_file_used_since_plan_is_kept(store: Store) -> None:
    old = expired_files.find(store, POLICY, NOW)
    os.utime(store.local("data/loaded/aaaa.json"))
    expired_files.remove(store, old, POLICY, NOW)
    assert store.exists("data/loaded/aaaa-00000.parquet")


def test_only_approved_files_are_removed(store: Store) -> None:
    some = [one for one in expired_files.find(store, POLICY, NOW) if one.kind == "journals"]
    assert expired_files.remove(store, some, POLICY, NOW) == 24
    assert store.exists("data/loaded/aaaa.json")


@pytest.mark.integration
def test_data_and_checkpoints_are_kept_during_active_run(store: Store) -> None:
    held = processes.start(
        """
        import sys, time
        from ai_workflow.storage import run_lock
        from ai_workflow.storage.store import Store
        run_lock.acquire(Store(sys.argv[1]), "a-run", run_lock.Holder())
        print("held", flush=True)
        time.sleep(600)
        """,
        store.root,
    )
    assert held.stdout
    assert held.stdout.readline() == "held\n"
    old = expired_files.find(store, POLICY, NOW)
    try:
        assert expired_files.remove(store, old, POLICY, NOW) == 24 + 16
        assert _found(store) == {kind: OLD[kind] for kind in ("data", "checkpoints")}
    finally:
        held.kill()
        held.communicate()
    assert expired_files.remove(store, old, POLICY, NOW) == 64


def test_empty_store_has_no_expired_files(tmp_path: Path) -> None:
    assert expired_files.find(Store(tmp_path), POLICY, NOW) == []


def test_expired_files_are_found_in_object_store() -> None:
    store = Store("objects://old-files")
    store.write("journal/t1/0001-run-started.json", b"1234")
    later = NOW + timedelta(days=91)
    assert [one.path for one in expired_files.find(store, POLICY, later)] == ["journal/t1"]
    assert expired_files.remove(store, expired_files.find(store, POLICY, later), POLICY, later) == 4
    assert expired_files.find(store, POLICY, later) == []
