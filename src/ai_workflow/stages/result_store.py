"""Prediction store: copy predictions to their final folder, with a manifest, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets.partitions import Dataset, PartitionRecord
from ai_workflow.inference.prediction_files import FOLDER
from ai_workflow.stage_names import stage
from ai_workflow.storage.file_ref import FileChecksum, FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from ai_workflow.stages.inference import ScoredData

log = logger("result_store")


class StoredPredictions(TypedDict):
    """Result of `save`: the folder of the predictions, its manifest (`record`) and its files."""

    fingerprint: str
    rows: int
    folder: str
    record: FileRecord
    files: list[FileChecksum]
    message: str


@stage("result_store")
def save(store: Store, scored: ScoredData, pipeline: str) -> StoredPredictions:
    """Copy predictions to `predictions/<pipeline>/<version>/<fingerprint>/`, and the manifest last.

    Raises:
        StoreError: a partition is damaged, or a file cannot be written.
    """
    dataset = Dataset.load(store, scored)
    folder = f"{FOLDER}/{pipeline}/{scored['version']}/{dataset.fingerprint}"
    copies: list[PartitionRecord] = []
    for number, part in enumerate(dataset.partitions):
        path = f"{folder}/part-{number:05d}.parquet"
        if not store.matches(path, part.sha256):
            store.write(path, store.read(part.path, part.sha256))
        copies.append({**part.to_json(), "path": path})
    body = {"pipeline": pipeline, "model_version": scored["version"], "rows": dataset.rows, "partitions": copies}
    record = store.write_record(f"{folder}/manifest.json", body)
    message = f"{dataset.rows} predictions stored"
    log.info(message)
    return {
        "fingerprint": dataset.fingerprint,
        "rows": dataset.rows,
        "folder": folder,
        "record": record.to_json(),
        "files": [{"path": part["path"], "sha256": part["sha256"]} for part in copies],
        "message": message,
    }
