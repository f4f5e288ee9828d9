"""Versions, their accuracy and drift, checkpoints and the disk: as they are, and past what is damaged."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.exporter.checkpoint_source import CheckpointSource
from ai_workflow.exporter.collector import Collector
from ai_workflow.exporter.disk_source import DiskSource
from ai_workflow.exporter.evaluation_source import MAX_FEATURES, EvaluationSource
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.registry_source import MAX_VERSIONS, RegistrySource
from ai_workflow.exporter.samples import Sample
from ai_workflow.registry import publication
from ai_workflow.registry.promotion import roll_back
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.training.checkpoints import Checkpoints
from benchmarks import registry as many
from tests.monitoring.exporter import evaluations
from tests.monitoring.exporter.exporter_stores import SOURCES

MODELS = "models/production"
_rooms = count()


@pytest.fixture(params=["disk", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "var" if request.param == "disk" else f"objects://models-{next(_rooms)}")


@pytest.fixture
def failures() -> Failures:
    return Failures(SOURCES)


def values(samples: list[Sample], name: str) -> dict[str, float]:
    return {",".join(sample.labels): sample.value for sample in samples if sample.name == name}


def publish(store: Store, pipeline: str = "credit") -> str:
    about = {"kind": "lightgbm"}
    return publication.publish(
        Registry(store, f"{MODELS}/{pipeline}"), {"model.txt": b"m" * 1000}, "schema", about
    ).name


def test_versions_are_exported_with_current_aliases(store: Store, failures: Failures) -> None:
    source = RegistrySource(store, MODELS, failures)
    assert source.collect() == [Sample("model_store_bytes", (), 0)]
    for _ in range(3):
        publish(store)
        source.collect()
    assert values(source.collect(), "model_registry_info") == {
        "credit,model_v1.0,stable": 1, "credit,model_v1.1,none": 1, "credit,model_v1.2,latest": 1,
    }  # fmt: skip
    published = values(source.collect(), "model_published_timestamp_seconds")
    assert sorted(published, key=published.__getitem__) == [f"credit,model_v1.{number}" for number in range(3)]
    assert values(source.collect(), "model_store_bytes")[""] >= 3000
    roll_back(Registry(store, f"{MODELS}/credit"), "bad")
    assert "credit,model_v1.0,latest" in values(source.collect(), "model_registry_info")


def test_damaged_registry_is_counted_and_others_exported(store: Store, failures: Failures) -> None:
    source = RegistrySource(store, MODELS, failures)
    publish(store)
    publish(store, "churn")
    before = source.collect()
    store.write(f"{MODELS}/credit/aliases.json", b"{")
    assert source.collect() == before, "what was last known still serves"
    anew = RegistrySource(store, MODELS, failures).collect()
    assert list(values(anew, "model_registry_info")) == ["churn,model_v1.0,latest", "churn,model_v1.0,stable"]
    assert values(failures.samples(), "exporter_source_failures_total")["registry"] == 2


def test_restored_registry_is_exported_again(tmp_path: Path, failures: Failures) -> None:
    store = Store(tmp_path)
    source = RegistrySource(store, MODELS, failures)
    publish(store)
    before = source.collect()
    (tmp_path / "models").rename(tmp_path / "away")
    assert source.collect() != before
    (tmp_path / "away").rename(tmp_path / "models")
    assert source.collect() == before


def test_evaluations_are_exported_for_damaged_but_not_removed_registry(store: Store, failures: Failures) -> None:
    registries = RegistrySource(store, MODELS, failures)
    publish(store, "churn")
    store.write(f"{MODELS}/churn/aliases.json", b"{")
    for pipeline in ("credit", "churn"):
        evaluations.write(store, pipeline, "model_v1.0")
    registries.collect()
    found = EvaluationSource(store, registries.visible_versions, failures).collect()
    assert {sample.labels[0] for sample in found} == {"churn"}


def test_damaged_version_is_skipped_and_others_exported(store: Store, failures: Failures) -> None:
    for _ in range(2):
        publish(store)
    store.write(f"{MODELS}/credit/model_v1.0/manifest.json", b"")
    found = RegistrySource(store, MODELS, failures).collect()
    assert list(values(found, "model_registry_info")) == ["credit,model_v1.1,latest"]
    assert values(failures.samples(), "exporter_source_failures_total")["registry"] == 1


@pytest.mark.integration
def test_newest_and_serving_versions_are_exported_up_to_limit(tmp_path: Path, failures: Failures) -> None:
    store = Store(tmp_path)
    many.fill(Registry(store, f"{MODELS}/credit"), MAX_VERSIONS + 5)
    source = RegistrySource(store, MODELS, failures)
    shown = values(source.collect(), "model_registry_info")
    assert len(shown) == MAX_VERSIONS + 1
    assert {"credit,model_v1.0,stable", f"credit,model_v1.{MAX_VERSIONS + 4},latest"} <= set(shown)
    assert values(source.collect(), "model_store_bytes")[""] > 1000 * (MAX_VERSIONS + 4), "of all versions"


def test_evaluation_results_are_exported(store: Store, failures: Failures) -> None:
    evaluations.write(store, "credit", "model_v1.2")
    found = {(sample.name, sample.labels): sample.value for sample in evaluated(store, failures).collect()}
    of = ("credit", "model_v1.2")
    assert found == {
        ("model_labeled_predictions_total", of): 900, ("model_correct_predictions_total", of): 810,
        ("model_labeled_predictions_window", of): 200, ("model_accuracy_current", of): 0.9,
        ("model_accuracy_lower", of): 0.85, ("model_accuracy_upper", of): 0.93,
        ("model_last_label_timestamp_seconds", of): 1_795_000_000, ("prediction_drift_psi", of): 0.02,
        ("drift_threshold_psi", of): 0.2, ("model_label_delay_seconds", (*of, "0.5")): 60,
        ("model_label_delay_seconds", (*of, "0.9")): 3600, ("feature_drift_psi", (*of, "age")): 0.3,
        ("feature_drift_psi", (*of, "amount")): 0.05, ("model_evaluation_info", (*of, "a" * 32)): 1,
    }  # fmt: skip
    evaluations.write(store, "credit", "model_v1.2", labeled_total=1000)
    assert values(evaluated(store, failures).collect(), "model_labeled_predictions_total")["credit,model_v1.2"] == 1000


def evaluated(store: Store, failures: Failures, shown: set[str] | None = None) -> EvaluationSource:
    return EvaluationSource(store, lambda _: shown, failures)


def test_unknown_values_are_omitted_and_features_limited(store: Store, failures: Failures) -> None:
    nothing = dict.fromkeys(("accuracy", "lower", "upper", "from", "to"))
    drift = {"features": {f"f{n}": {"psi": n / 100, "ks": None} for n in range(99)}, "prediction": {"psi": None}}
    evaluations.write(
        store, "credit", "model_v1.2", window={"labeled": 0, "correct": 0, **nothing}, last_label=None,
        label_delay={"0.5": None, "0.9": None}, drift={**drift, "threshold": None, "rows": 5},
    )  # fmt: skip
    found = evaluated(store, failures).collect()
    assert {sample.name for sample in found} == {
        "model_labeled_predictions_total", "model_correct_predictions_total", "model_labeled_predictions_window",
        "feature_drift_psi", "model_evaluation_info",
    }  # fmt: skip
    evaluations.write(store, "churn", "model_v1.0", drift=None)
    assert values(evaluated(store, failures).collect(), "model_accuracy_current") == {"churn,model_v1.0": 0.9}
    assert not any(values(failures.samples(), "exporter_source_failures_total").values())
    drifted = values(found, "feature_drift_psi")
    assert set(drifted) == {f"credit,model_v1.2,f{n}" for n in range(99 - MAX_FEATURES, 99)}


@pytest.mark.parametrize(
    "changes",
    [{"window": None}, {"labeled_total": "900"}, {"drift": {"features": {"age": {}}}}, {"label_delay": [1]}],
    ids=["no window", "text for a number", "no psi", "a list"],
)
def test_invalid_evaluation_is_counted_and_others_exported(
    store: Store, failures: Failures, changes: dict[str, Any]
) -> None:
    evaluations.write(store, "churn", "model_v1.0")
    evaluations.write(store, "credit", "model_v1.2", **changes)
    found = evaluated(store, failures).collect()
    assert {sample.labels[0] for sample in found} == {"churn"}
    assert values(failures.samples(), "exporter_source_failures_total")["evaluations"] == 1


def test_damaged_evaluation_keeps_last_known_counters(store: Store, failures: Failures) -> None:
    evaluations.write(store, "credit", "model_v1.2")
    source = evaluated(store, failures)
    before = source.collect()
    store.write("evaluations/credit/model_v1.2.json", b'{"body": {}, "sha256": "0"}')
    assert source.collect() == before
    assert values(failures.samples(), "exporter_source_failures_total")["evaluations"] == 1


def test_evaluations_of_deleted_versions_are_not_exported(store: Store, failures: Failures) -> None:
    for number in range(3):
        evaluations.write(store, "credit", f"model_v1.{number}")
    found = evaluated(store, failures, {"model_v1.1"}).collect()
    assert {sample.labels[1] for sample in found} == {"model_v1.1"}


@pytest.mark.integration
def test_newest_checkpoint_timestamp_is_exported_per_pipeline(store: Store) -> None:
    source = CheckpointSource(store, dict)
    assert source.collect() == []
    for pipeline, fingerprint in (("credit", "a"), ("credit", "b"), ("churn", "c")):
        Checkpoints(store, pipeline, fingerprint, keep=3).save(50, b"state", {})
    first = values(source.collect(), "training_last_checkpoint_timestamp_seconds")
    assert set(first) == {"credit", "churn"}
    if store.is_local:
        for path in store.local("checkpoints").glob("*/*/model_step_*"):
            os.utime(path, (1000, 1000))
        # A training that has begun, and saved nothing yet, hides none that has.
        store.local("checkpoints/credit/d").mkdir()
        # One that goes while one looks.
        store.local("checkpoints/credit/a/model_step_10.json").symlink_to("gone")
    Checkpoints(store, "credit", "a", keep=3).save(100, b"state", {})
    second = values(source.collect(), "training_last_checkpoint_timestamp_seconds")
    assert second["credit"] >= first["credit"]
    assert second["churn"] == first["churn"]


def test_new_training_start_counts_as_checkpoint_timestamp(store: Store) -> None:
    Checkpoints(store, "credit", "a", keep=3).save(50, b"state", {})
    began = 4_000_000_000.0
    found = CheckpointSource(store, lambda: {"credit": began, "churn": began}).collect()
    assert values(found, "training_last_checkpoint_timestamp_seconds") == {"credit": began, "churn": began}


def test_available_disk_is_exported_before_store_exists(tmp_path: Path) -> None:
    found = DiskSource(Store(tmp_path / "not" / "yet")).collect()[0].value
    assert found == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert DiskSource(Store("objects://without-end")).collect() == []


def test_object_store_is_listed_at_each_collection(failures: Failures) -> None:
    root = f"objects://listed-{next(_rooms)}"
    collector = Collector([RegistrySource(Store(root), MODELS, failures)], failures, 1)
    collector.collect()
    publish(Store(root))
    collector.collect()
    assert "credit,model_v1.0,latest" in values(collector.samples(), "model_registry_info")
