"""What publishing promises: a version is whole or not there, and its number says whether callers must change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets import partition_cache
from ai_workflow.errors import StoreError
from ai_workflow.registry.registry import Registry
from ai_workflow.stages import registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from tests.stages.tables import Made, Pipeline, parted, people, settings

pytestmark = pytest.mark.integration

TRACE = "a3f7b2c1" * 4


def table(rows: int = 200, **changes: Any) -> pd.DataFrame:
    return people(rows, **changes).drop(columns="spent")


def publish(store: Store, frame: pd.DataFrame, **changes: Any) -> Made:
    changed = settings(trainer={"steps": 3, "params": {"num_threads": 1}}, **changes)
    return Pipeline(store, changed, alone=True).publish(frame)


def test_version_contains_model_card_spec_and_manifest(bought: Made) -> None:
    store, version = bought.pipeline.store, bought.version
    assert set(version.manifest["files"]) == {
        "calibration.svg", "card.json", "card.md", "confusion.svg", "features.json", "features.svg", "golden.json",
        "loss.svg", "model.txt", "precision_recall.svg", "roc.svg",
    }  # fmt: skip
    for name in version.manifest["files"]:
        assert bought.file(name)
    assert set(store.names(version.folder)) == {*version.manifest["files"], "manifest.json"}
    assert bought.file("model.txt") == store.read(bought.trained["model"]["path"])
    assert json.loads(bought.file("features.json")) == bought.spec
    assert partition_cache.find_corrupt(store, bought.published) == []
    assert version.manifest["scores"]["accuracy"] == bought.evaluated["accuracy"]
    assert version.manifest["data"] == bought.clean["fingerprint"]
    assert (version.manifest["kind"], version.manifest["pipeline"]) == ("lightgbm", "people")


def test_first_version_is_latest_and_stable(bought: Made) -> None:
    assert bought.published["message"] == "model_v1.0 published as latest"
    assert bought.pipeline.registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}


def test_card_manifest_and_history_contain_version_and_trace(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.registry")
    with trace_context.bound(trace_id=TRACE):
        made = publish(store, table())
    assert made.file("card.md").decode().startswith("# people · model_v1.0\n")
    assert f"- **trace**: `{TRACE}`" in made.file("card.md").decode()
    assert made.version.manifest["trace_id"] == made.published["trace_id"] == TRACE
    assert made.pipeline.registry.history()[-1]["trace_id"] == TRACE
    assert "model_v1.0 published as latest" in caplog.text


@pytest.mark.slow
def test_new_rows_bump_minor_and_interface_change_bumps_major(store: Store) -> None:
    changes: list[tuple[pd.DataFrame, str]] = [
        (table(), "model_v1.0"),
        (table(240), "model_v1.1"),
        (table(240).assign(member=lambda frame: frame["member"].astype(int)), "model_v2.0"),
        (table(240).drop(columns="member"), "model_v3.0"),
        (table(240).drop(columns="member").assign(more=range(240)), "model_v4.0"),
        (table(240, classes=("no", "perhaps", "yes")), "model_v5.0"),
        (table(200, classes=("no", "perhaps", "yes")), "model_v5.1"),
    ]
    weak = {"beat_baseline": False, "tolerance": 1}
    for frame, name in changes:
        assert publish(store, frame, evaluate=weak).published["version"] == name
    models = Registry(store, settings().models)
    assert models.versions() == [name for _, name in changes]
    # A new version is not stable yet.
    assert models.aliases() == {"latest": "model_v5.1", "stable": "model_v1.0"}


def test_pipelines_and_environments_have_separate_version_numbers(store: Store) -> None:
    for changes in ({}, {"pipeline": "others"}, {"environment": "production"}):
        made = publish(store, table(), **changes)
        assert made.published["version"] == "model_v1.0"
        assert made.pipeline.settings.pipeline in made.published["folder"]
        assert made.pipeline.settings.environment in made.published["folder"]


@pytest.mark.parametrize("damaged", ["model", "spec", "card"])
def test_damaged_input_file_prevents_publication(
    bought: Made, tmp_path_factory: pytest.TempPathFactory, damaged: str
) -> None:
    made = replace(bought.pipeline, store=Store(tmp_path_factory.mktemp("own"))).publish(*parted(table(), 2))
    store, before = made.pipeline.store, made.pipeline.registry.aliases()
    refs = {"model": made.trained["model"], "spec": made.featured["spec"], "card": made.evaluated["files"]["card.md"]}
    path = store.local(refs[damaged]["path"])
    path.write_bytes(path.read_bytes()[:-1])
    place = registry.RegistryOptions(folder=made.pipeline.settings.models)
    with pytest.raises(StoreError, match="damaged"):
        registry.publish(store, made.featured, made.trained, made.evaluated, place)
    assert made.pipeline.registry.versions() == ["model_v1.0"]
    assert made.pipeline.registry.aliases() == before


def test_first_version_below_baseline_is_not_stable(store: Store) -> None:
    noise = table(240)
    noise["bought"] = ["no", "yes", "yes"] * 80
    weak = publish(store, noise[["person", "member", "bought"]], evaluate={"beat_baseline": False})
    assert "never as the first stable" in weak.published["message"]
    assert weak.version.manifest["beats_baseline"] is False
    assert weak.pipeline.registry.aliases() == {"latest": "model_v1.0", "stable": None}
    card = weak.file("card.md").decode()
    assert "passes, although accuracy" in card
    assert "> **Warning:** The model does not beat the baseline" in card
    good = publish(store, table())
    assert good.pipeline.registry.aliases() == dict.fromkeys(("latest", "stable"), good.version.name)
