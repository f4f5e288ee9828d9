"""What storing predictions promises: complete under a manifest, never twice, and whole again when it is repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ai_workflow.datasets import partition_cache
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StoreError
from ai_workflow.inference import prediction_files
from ai_workflow.inference.stored_predictions import StoredPredictions
from ai_workflow.stages import feature_engineering, inference, preprocessor, result_store
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.file_ref import FileRef
from ai_workflow.storage.store import Store
from tests.stages.tables import Made, Result, parted, people, rows


@pytest.fixture(scope="module")
def answers(bought: Made) -> tuple[Store, Result]:
    """A store, and predictions in it."""
    store = bought.pipeline.store
    featured = bought.to_score(*parted(people(60, seed=3), 3))
    return store, inference.predict(store, featured, bought.scoring())


@pytest.fixture
def scored(answers: tuple[Store, Result], store: Store) -> Result:
    """Predictions in a store of their own."""
    made, result = answers
    for part in Dataset.load(made, result).partitions:
        store.write(part.path, made.read(part.path))
    store.write(result["record"]["path"], made.read(result["record"]["path"]))
    return result


@pytest.mark.integration
def test_predictions_round_trip_through_store(store: Store, scored: Result) -> None:
    stored = result_store.save(store, scored, "people")
    assert stored["message"] == "60 predictions stored"
    assert stored["folder"] == f"predictions/people/model_v1.0/{scored['fingerprint']}"
    assert store.names(stored["folder"]) == ["manifest.json", "part-00000.parquet", "part-00001.parquet",
                                             "part-00002.parquet"]  # fmt: skip
    pd.testing.assert_frame_equal(prediction_files.read(store, stored), rows(store, scored))


@pytest.mark.integration
def test_prediction_rows_are_counted_since_timestamp(store: Store, scored: Result) -> None:
    result_store.save(store, scored, "people")
    now = datetime.now(UTC)
    assert prediction_files.rows_of(store, "people", "model_v1.0", now - timedelta(minutes=1)) == 60
    assert prediction_files.rows_of(store, "people", "model_v1.0", now + timedelta(minutes=1)) == 0
    assert prediction_files.rows_of(store, "people", "model_v1.1", now - timedelta(minutes=1)) == 0


@pytest.mark.integration
def test_manifest_contains_pipeline_version_and_row_count(store: Store, scored: Result) -> None:
    body = store.read_record(result_store.save(store, scored, "people")["record"]["path"])
    assert (body["pipeline"], body["model_version"], body["rows"]) == ("people", "model_v1.0", 60)
    assert sum(part["rows"] for part in body["partitions"]) == 60


@pytest.mark.integration
def test_manifest_is_written_last_after_all_partitions(
    store: Store, scored: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = Store.write

    def recorded(self: Store, path: str, data: bytes) -> FileRef:
        written.append(path.rsplit("/", 1)[-1])
        if len(written) == 3:
            raise StoreError("the disk is full")
        return write(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", recorded)
        with pytest.raises(StoreError, match="disk is full"):
            result_store.save(store, scored, "people")
    folder = f"predictions/people/model_v1.0/{scored['fingerprint']}"
    assert store.names(folder) == ["part-00000.parquet", "part-00001.parquet"]
    result_store.save(store, scored, "people")
    with monkeypatch.context() as patch:
        written[:] = ["", "", ""]
        patch.setattr(Store, "write", recorded)
        store.remove(folder)
        result_store.save(store, scored, "people")
    assert written[3:] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet", "manifest.json"]


@pytest.mark.integration
def test_repeated_store_rewrites_no_partition(store: Store, scored: Result) -> None:
    first = result_store.save(store, scored, "people")
    inodes = [store.local(file["path"]).stat().st_ino for file in first["files"]]
    second = result_store.save(store, scored, "people")
    assert second == first
    assert [store.local(file["path"]).stat().st_ino for file in first["files"]] == inodes
    assert store.names("predictions/people/model_v1.0") == [scored["fingerprint"]]


@pytest.mark.integration
@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_repeated_store_repairs_damaged_copy(store: Store, scored: Result, damage: bytes | None) -> None:
    stored = result_store.save(store, scored, "people")
    path = store.local(stored["files"][1]["path"])
    path.unlink() if damage is None else path.write_bytes(damage)
    assert partition_cache.find_corrupt(store, stored) == [stored["files"][1]["path"]]
    assert result_store.save(store, scored, "people") == stored
    assert partition_cache.find_corrupt(store, stored) == []


@pytest.mark.integration
def test_changed_byte_in_predictions_is_detected_on_read(store: Store, scored: Result) -> None:
    stored = result_store.save(store, scored, "people")
    path = store.local(stored["files"][2]["path"])
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError, match="damaged"):
            prediction_files.read(store, stored)


@pytest.mark.integration
def test_damaged_prediction_is_not_stored(store: Store, scored: Result) -> None:
    part = Dataset.load(store, scored).partitions[2]
    store.local(part.path).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="damaged"):
        result_store.save(store, scored, "people")
    assert "manifest.json" not in store.names(f"predictions/people/model_v1.0/{scored['fingerprint']}")


@pytest.mark.slow
def test_batch_without_rows_is_stored_with_zero_predictions(bought: Made) -> None:
    store = bought.pipeline.store
    columns = [{"name": name, "type": "string"} for name in people(1).columns]
    empty = Dataset("loaded", (), {"columns": columns}).save(store)
    clean = preprocessor.preprocess(store, empty, RowRules.of_spec(bought.spec, bought.pipeline.settings))
    scored = inference.predict(store, feature_engineering.apply(store, clean, bought.spec), bought.scoring())
    stored = result_store.save(store, scored, "nobody")
    assert (stored["rows"], stored["message"]) == (0, "0 predictions stored")
    assert store.read_record(stored["record"]["path"])["partitions"] == []
    assert prediction_files.read(store, stored).empty
    assert prediction_files.rows_of(store, "nobody", "model_v1.0", datetime(2024, 1, 1, tzinfo=UTC)) == 0
    assert list(StoredPredictions(store, "nobody").parts()) == []
