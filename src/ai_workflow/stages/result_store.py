"""Puts predictions where others read them: complete, under a manifest, never twice."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ai_workflow.datasets.partitions import Dataset
from ai_workflow.inference.prediction_files import FOLDER
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

log = logger("result_store")


@stage("result_store")
def keep(store: Store, scored: dict[str, Any], pipeline: str) -> dict[str, Any]:
    """Copy predictions to `predictions/<pipeline>/<version>/<fingerprint>/`, manifest last; return references.

    Raises:
        StoreError: a partition is damaged, or nothing can be written.
    """
    dataset = Dataset.load(store, scored)
    folder = f"{FOLDER}/{pipeline}/{scored['version']}/{dataset.fingerprint}"
    parts = []
    for number, part in enumerate(dataset.partitions):
        path = f"{folder}/part-{number:05d}.parquet"
        if not store.matches(path, part.sha256):
            store.write(path, store.read(part.path, part.sha256))
        parts.append({**asdict(part), "path": path})
    body = {"pipeline": pipeline, "model_version": scored["version"], "rows": dataset.rows, "partitions": parts}
    record = store.write_record(f"{folder}/manifest.json", body)
    message = f"{dataset.rows} predictions stored"
    log.info(message)
    return {
        "fingerprint": dataset.fingerprint,
        "rows": dataset.rows,
        "folder": folder,
        "record": record.to_json(),
        "files": [{"path": part["path"], "sha256": part["sha256"]} for part in parts],
        "message": message,
    }
