"""A probation that began while the clock was ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ai_workflow.registry import promotion, publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests.registry_checks import FOLDER, is_sound


def test_future_dated_probation_restarts_once(tmp_path: Path) -> None:
    registry = Registry(Store(tmp_path), FOLDER)
    for content in (b"one", b"two"):
        publication.publish(registry, {"model.txt": content}, "s", {"kind": "lightgbm"})
    found = promotion.on_probation(registry)
    assert found is not None
    name, since = found
    earlier = since - timedelta(days=400)
    assert promotion.restart_if_ahead(registry, name, since, since) == since
    assert promotion.restart_if_ahead(registry, name, since, earlier) == earlier
    last = registry.history()[-1]
    assert (last["action"], last["versions"], last["aliases"]["latest"]) == ("probation", [name], name)
    assert "the clock was ahead" in last["reason"]
    again = promotion.on_probation(registry)
    assert again is not None
    assert again[1] <= datetime.now(UTC)
    is_sound(registry)


def test_first_version_below_baseline_is_only_latest(tmp_path: Path) -> None:
    registry = Registry(Store(tmp_path), FOLDER)
    for number, beats in enumerate((False, True)):
        about = {"kind": "lightgbm", "beats_baseline": beats}
        publication.publish(registry, {"model.txt": b"%d" % number}, "s", about)
        stable = "model_v1.1" if beats else None
        assert registry.aliases() == {"latest": f"model_v1.{number}", "stable": stable}
