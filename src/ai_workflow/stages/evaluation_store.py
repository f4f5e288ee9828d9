"""Evaluation store: write one record for each version, which the exporter reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ai_workflow.config.settings import ConfigModel, Settings
from ai_workflow.errors import StoreError
from ai_workflow.quality.performance import PerformanceWindow, VersionPerformance
from ai_workflow.registry.registry import Registry
from ai_workflow.stage_names import stage
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from ai_workflow.stages.drift_detector import DriftResult, VersionDrift
    from ai_workflow.stages.label_joiner import LabelJoinResult

FOLDER = "evaluations"
log = logger("evaluation_store")


class EvaluationStoreOptions(ConfigModel):
    """The pipeline and the folder of its versions."""

    pipeline: str
    task: str
    folder: str

    @classmethod
    def of(cls, settings: Settings) -> EvaluationStoreOptions:
        """Return the options of the settings."""
        return cls(pipeline=settings.pipeline, task=settings.task, folder=settings.models)


class EvaluationRecord(VersionPerformance):
    """Content of `evaluations/<pipeline>/<version>.json`; `evaluated` is a Unix timestamp."""

    pipeline: str
    model_version: str
    task: str
    drift: VersionDrift | None
    evaluated: float
    trace_id: str | None


class StoredEvaluations(TypedDict):
    """Result of `save`: references to the records, and the number of versions."""

    files: list[FileRecord]
    versions: int
    message: str


@stage("evaluation_store")
def save(
    store: Store, joined: LabelJoinResult, drifted: DriftResult, options: EvaluationStoreOptions, moment: float
) -> StoredEvaluations:
    """Write `evaluations/<pipeline>/<version>.json` for each version, and delete the records of deleted versions.

    `labeled_total` and `correct_total` never decrease, because the exporter exposes them as counters: if labels are
    corrected, `correct_total` stays until the new count exceeds it.

    Raises:
        StoreError: a record cannot be written; the records before it are written.
    """
    folder = f"{FOLDER}/{options.pipeline}"
    versions = Registry(store, options.folder).versions()
    refs = []
    labeled = 0
    for version in versions:
        path = f"{folder}/{version}.json"
        performance = joined["standings"].get(version) or PerformanceWindow(1, None, None).describe(1, moment)
        labeled += bool(performance["labeled_total"])
        labeled_before, correct_before = _previous_totals(store, path)
        record: EvaluationRecord = {
            **performance,
            "labeled_total": max(performance["labeled_total"], labeled_before),
            "correct_total": max(performance["correct_total"], correct_before),
            "pipeline": options.pipeline,
            "model_version": version,
            "task": options.task,
            "drift": drifted["drift"].get(version),
            "evaluated": moment,
            "trace_id": trace_context.current(),
        }
        refs.append(store.write_record(path, record).to_json())
    for name in store.names(folder):
        if name.removesuffix(".json") not in versions:
            store.remove(f"{folder}/{name}")
    message = f"{len(versions)} versions evaluated, {labeled} of them by labels"
    log.info(message)
    return {"files": refs, "versions": len(versions), "message": message}


def _previous_totals(store: Store, path: str) -> tuple[int, int]:
    """Return `labeled_total` and `correct_total` of the record that is replaced, 0 if there is none."""
    try:
        record = store.read_record(path) if store.exists(path) else {}
    except StoreError as error:
        log.warning("%s; the record is replaced", error)
        return 0, 0
    return record.get("labeled_total", 0), record.get("correct_total", 0)
