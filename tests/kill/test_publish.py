"""A publisher that was killed, or that finds its registry damaged, neither doubles a version nor overwrites one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_workflow.errors import StoreError
from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests.tables import DAMAGES, damage

FOLDER = "models/development/credit"
FILES = {"model.txt": b"m" * 5000, "features.json": b"{}"}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store(tmp_path), FOLDER)


def _publish(registry: Registry, origin: str | None = "a") -> str:
    return publication.publish(registry, FILES, "schema", {}, origin=origin).name


def test_republish_after_lost_acknowledgement_is_idempotent(registry: Registry) -> None:
    assert [_publish(registry), _publish(registry), _publish(registry, "b")] == [
        "model_v1.0", "model_v1.0", "model_v1.1",
    ]  # fmt: skip
    assert len(registry.history()) == 2


def test_version_without_alias_is_reused_by_publish(registry: Registry, tmp_path: Path) -> None:
    _publish(registry)
    for file in ("aliases.json", "history.jsonl"):
        (tmp_path / FOLDER / file).unlink()
    assert _publish(registry) == "model_v1.0"
    assert registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", ["model.txt", "manifest.json"])
def test_damaged_version_is_published_again_as_new_version(
    registry: Registry, tmp_path: Path, file: str, kind: str
) -> None:
    _publish(registry)
    damage(Store(tmp_path), f"{FOLDER}/model_v1.0/{file}", kind)
    assert _publish(registry) == "model_v1.1"
    assert registry.read(registry.get("latest"), "model.txt") == FILES["model.txt"]


def test_missing_aliases_are_recovered_from_history(registry: Registry, tmp_path: Path) -> None:
    _publish(registry)
    _publish(registry, "b")
    before = registry.aliases()
    (tmp_path / FOLDER / "aliases.json").unlink()
    assert registry.aliases() == before == {"latest": "model_v1.1", "stable": "model_v1.0"}
    assert _publish(registry, "c") == "model_v1.2"
    assert len(registry.history()) == 3


def test_damaged_aliases_error_has_remedy(registry: Registry, tmp_path: Path) -> None:
    _publish(registry)
    damage(Store(tmp_path), f"{FOLDER}/aliases.json", "cut short")
    with pytest.raises(StoreError, match=r"aliases\.json is damaged.*\. Remove it: history\.jsonl has its content"):
        registry.aliases()
